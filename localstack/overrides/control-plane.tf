# What MiniStack does not have or keep; see GAPS.md.
resource "aws_ecs_service" "this" {
  lifecycle {
    ignore_changes = [availability_zone_rebalancing, desired_count]
  }
}

resource "aws_vpc_security_group_egress_rule" "gateway" {
  for_each = {}
}

resource "aws_appautoscaling_target" "this" {
  count = 0
}

resource "aws_appautoscaling_policy" "this" {
  for_each = {}
}
