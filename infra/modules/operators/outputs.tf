output "administrator_role_arn" {
  description = "ARN of the administrator role."
  value       = aws_iam_role.this["administrator"].arn
}

output "break_glass_role_arn" {
  description = "ARN of the break-glass role."
  value       = aws_iam_role.this["break-glass"].arn
}

output "read_only_role_arn" {
  description = "ARN of the read-only role; null if it does not exist."
  value       = try(aws_iam_role.this["read-only"].arn, null)
}
