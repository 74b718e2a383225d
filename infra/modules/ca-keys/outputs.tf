output "key_arns" {
  description = "Purpose → ARN of its key."
  value       = merge({ for purpose, key in aws_kms_key.this : purpose => key.arn }, { tokens = aws_kms_key.tokens.arn })
}

output "aliases" {
  description = "Purpose → alias of its key."
  value       = { for purpose, alias in aws_kms_alias.this : purpose => alias.name }
}

output "tenant_key_policy" {
  description = "Key policy (JSON) of the keys that the keymaker creates for tenants' CAs."
  value       = data.aws_iam_policy_document.key["tenant"].minified_json
}

output "access" {
  description = "Role (control_plane, keymaker, rotate) → IAM policy (JSON) for the keys of tenants' CAs, in addition to the key policies: keymaker creates them, the others look for them."
  value = merge(
    { for role in ["control_plane", "rotate"] : role => data.aws_iam_policy_document.access.minified_json },
    { keymaker = data.aws_iam_policy_document.maker.minified_json },
  )
}
