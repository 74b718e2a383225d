output "bucket_name" {
  description = "The bucket: root.pem, bundles/TENANT.pem, bundles/TENANT.json, crl/CA.crl."
  value       = aws_s3_bucket.this["publication"].bucket
}

output "bucket_arn" {
  description = "Its ARN."
  value       = local.bucket_arns.publication
}

output "url" {
  description = "Its address; only those whom the policy names may read."
  value       = "https://${aws_s3_bucket.this["publication"].bucket_regional_domain_name}"
}
