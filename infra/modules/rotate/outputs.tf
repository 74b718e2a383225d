output "role_arn" {
  description = "ARN of the Lambda's role."
  value       = aws_iam_role.this.arn
}

output "function_name" {
  description = "The Lambda."
  value       = aws_lambda_function.this.function_name
}

output "function_arn" {
  description = "ARN of the Lambda."
  value       = aws_lambda_function.this.arn
}

output "log_group_name" {
  description = "The Lambda's log."
  value       = aws_cloudwatch_log_group.this.name
}

output "dead_letter_queue_name" {
  description = "Queue of the tasks that were given up."
  value       = aws_sqs_queue.dead_letters.name
}

output "dead_letter_queue_arn" {
  description = "ARN of that queue."
  value       = aws_sqs_queue.dead_letters.arn
}

output "server_secret_arn" {
  description = "ARN of the secret with the server's key and certificate chain."
  value       = aws_secretsmanager_secret.server.arn
}

output "server_secret_name" {
  description = "Name of that secret."
  value       = aws_secretsmanager_secret.server.name
}

output "server_secret_kms_key_arn" {
  description = "ARN of the key that encrypts it."
  value       = aws_kms_key.server.arn
}

output "parameter_arns" {
  description = "Parameter (root, admin/chain) → its ARN."
  value       = { for name, parameter in aws_ssm_parameter.this : name => parameter.arn }
}

output "access" {
  description = "Role (control_plane, and bootstrap while it is given) → what it may do with the secret and the parameters (JSON)."
  value = merge(
    { control_plane = data.aws_iam_policy_document.reader.minified_json },
    { for document in data.aws_iam_policy_document.bootstrap : "bootstrap" => document.minified_json },
  )
}
