# What MiniStack keeps nothing of, so that every plan would set it anew; see GAPS.md.
resource "aws_vpc_endpoint" "gateway" {
  lifecycle {
    ignore_changes = [policy]
  }
}

resource "aws_vpc_endpoint" "interface" {
  lifecycle {
    ignore_changes = [policy, private_dns_enabled, security_group_ids]
  }
}

resource "aws_flow_log" "this" {
  lifecycle {
    ignore_changes = [iam_role_arn, max_aggregation_interval, tags, tags_all]
  }
}
