# MiniStack keeps these and does not tell of them, so that every plan would set them anew; see GAPS.md.
resource "aws_cloudwatch_metric_alarm" "this" {
  lifecycle {
    ignore_changes = [actions_enabled, alarm_actions, alarm_description, ok_actions, treat_missing_data]
  }
}

resource "aws_cloudwatch_metric_alarm" "table" {
  lifecycle {
    ignore_changes = [actions_enabled, alarm_actions, alarm_description, ok_actions, treat_missing_data]
  }
}
