output "key_arns" {
  description = "Purpose → ARN of its key."
  value       = { for purpose, key in aws_kms_key.this : purpose => key.arn }
}

output "aliases" {
  description = "Purpose → alias of its key."
  value       = { for purpose, alias in aws_kms_alias.this : purpose => alias.name }
}

output "tenant_key_policy" {
  description = "Key policy (JSON) that signetd sets when it creates the key of a dedicated tenant's CA."
  value       = data.aws_iam_policy_document.key["tenant"].minified_json
}

output "access" {
  description = "Role (control_plane, rotate) → IAM policy (JSON) to create the key of a tenant's CA, in addition to the key policies."
  value       = { for role in ["control_plane", "rotate"] : role => data.aws_iam_policy_document.access.minified_json }
}
