output "role_arn" {
  description = "ARN of the Lambda's role."
  value       = aws_iam_role.this.arn
}

output "function_name" {
  description = "Name of the Lambda."
  value       = aws_lambda_function.this.function_name
}

output "function_arn" {
  description = "ARN of the Lambda."
  value       = aws_lambda_function.this.arn
}

output "log_group_name" {
  description = "Log group of the Lambda."
  value       = aws_cloudwatch_log_group.this.name
}

output "dead_letter_queue_name" {
  description = "Name of the dead-letter queue."
  value       = aws_sqs_queue.dead_letters.name
}

output "dead_letter_queue_arn" {
  description = "ARN of the dead-letter queue."
  value       = aws_sqs_queue.dead_letters.arn
}

output "server_secret_arn" {
  description = "ARN of the secret with the server's key and certificate chain."
  value       = aws_secretsmanager_secret.server.arn
}

output "server_secret_name" {
  description = "Name of the secret with the server's key and certificate chain."
  value       = aws_secretsmanager_secret.server.name
}

output "server_secret_kms_key_arn" {
  description = "ARN of the KMS key that encrypts the secret."
  value       = aws_kms_key.server.arn
}

output "parameter_arns" {
  description = "Parameter (root, admin/chain) → its ARN."
  value       = { for name, parameter in aws_ssm_parameter.this : name => parameter.arn }
}

output "access" {
  description = "Role (control_plane, and bootstrap if it is set) → IAM policy (JSON) for the secret and the parameters."
  value = merge(
    { control_plane = data.aws_iam_policy_document.reader.minified_json },
    { for document in data.aws_iam_policy_document.bootstrap : "bootstrap" => document.minified_json },
  )
}
