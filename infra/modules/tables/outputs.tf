output "name_prefix" {
  description = "Table prefix, as a setting for signetd, the Lambdas and the CLI."
  value       = var.name_prefix
}

output "table_names" {
  description = "Table → its name."
  value       = { for table, resource in aws_dynamodb_table.this : table => resource.name }
}

output "tables" {
  description = "Table → its name and indexes, for alarms."
  value       = { for table, resource in aws_dynamodb_table.this : table => { name = resource.name, indexes = local.tables[table] } }
}

output "table_arns" {
  description = "Table → its ARN. Permissions on indexes need ARN/index/NAME as well."
  value       = { for table, resource in aws_dynamodb_table.this : table => resource.arn }
}

output "audit_stream_arn" {
  description = "ARN of the stream of new audit events."
  value       = aws_dynamodb_table.this["audit"].stream_arn
}

output "kms_key_arn" {
  description = "ARN of the key that encrypts the tables."
  value       = local.key_arn
}

output "access" {
  description = "Role (control_plane, enroll, rotate, auditor, and bootstrap if bootstrap_until is set) → IAM policy (JSON) for the tables."
  value       = { for role, document in data.aws_iam_policy_document.access : role => document.minified_json }
}
