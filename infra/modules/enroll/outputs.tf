output "role_arn" {
  description = "ARN of the Lambda's role."
  value       = aws_iam_role.this.arn
}

output "function_name" {
  description = "Name of the Lambda."
  value       = aws_lambda_function.this.function_name
}

output "api_id" {
  description = "Id of the HTTP API."
  value       = aws_apigatewayv2_api.this.id
}

output "url" {
  description = "Where clients enroll: URL/v1/enroll."
  value       = "https://${local.hostname}"
}

output "log_group_name" {
  description = "Log group of the Lambda."
  value       = aws_cloudwatch_log_group.this["function"].name
}

output "api_log_group_name" {
  description = "Log group of the API's access log."
  value       = aws_cloudwatch_log_group.this["api"].name
}
