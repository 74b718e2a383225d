output "role_arn" {
  description = "ARN of the Lambda's role."
  value       = aws_iam_role.this.arn
}

output "function_name" {
  description = "Name of the Lambda; signetd's setting keys.maker."
  value       = aws_lambda_function.this.function_name
}

output "log_group_name" {
  description = "Log group of the Lambda."
  value       = aws_cloudwatch_log_group.this.name
}

output "access" {
  description = "Role (control_plane, rotate) → IAM policy (JSON) to have keys made."
  value       = { for role in ["control_plane", "rotate"] : role => data.aws_iam_policy_document.invoke.minified_json }
}
