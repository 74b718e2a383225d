output "role_arn" {
  description = "ARN of the Lambda's role."
  value       = aws_iam_role.this.arn
}

output "function_name" {
  description = "Name of the Lambda."
  value       = aws_lambda_function.this.function_name
}

output "api_id" {
  description = "Id of the REST API."
  value       = aws_api_gateway_rest_api.this.id
}

output "api_name" {
  description = "Name of the REST API, a dimension of its metrics."
  value       = aws_api_gateway_rest_api.this.name
}

output "url" {
  description = "Where clients enroll: URL/v1/enroll."
  value       = local.url
}

output "log_group_name" {
  description = "Log group of the Lambda."
  value       = aws_cloudwatch_log_group.this["function"].name
}

output "api_log_group_name" {
  description = "Log group of the API's access log."
  value       = aws_cloudwatch_log_group.this["api"].name
}
