output "logs_kms_key_arn" {
  description = "ARN of the key for all log groups named /NAME_PREFIX/…."
  value       = aws_kms_key.logs.arn
}

output "event_bus_name" {
  description = "Name of the bus for Signet's own events; signetd's events.bus."
  value       = aws_cloudwatch_event_bus.this.name
}

output "event_bus_arn" {
  description = "ARN of the bus for Signet's own events."
  value       = aws_cloudwatch_event_bus.this.arn
}

output "topic_arn" {
  description = "Topic of alarms and warnings: subscribe your paging service."
  value       = aws_sns_topic.this.arn
}

output "alarm_arns" {
  description = "Alarm → its ARN."
  value       = { for alarm, it in merge(aws_cloudwatch_metric_alarm.this, aws_cloudwatch_metric_alarm.table) : alarm => it.arn }
}

output "dashboard_name" {
  description = "Name of the CloudWatch dashboard."
  value       = one(aws_cloudwatch_dashboard.this[*].dashboard_name)
}
