output "administrator_role_arn" {
  description = "ARN of the role for day-2 work."
  value       = aws_iam_role.this["administrator"].arn
}

output "break_glass_role_arn" {
  description = "ARN of the role for last resorts."
  value       = aws_iam_role.this["break-glass"].arn
}

output "read_only_role_arn" {
  description = "ARN of the role that looks; null if nobody may."
  value       = try(aws_iam_role.this["read-only"].arn, null)
}
