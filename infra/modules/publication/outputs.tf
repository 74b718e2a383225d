output "bucket_name" {
  description = "Name of the bucket: server-anchor.pem, root.pem, bundles/TENANT.pem, bundles/TENANT.json, crl/CA.crl."
  value       = aws_s3_bucket.this["publication"].bucket
}

output "bucket_arn" {
  description = "ARN of the bucket."
  value       = local.bucket_arns.publication
}

output "url" {
  description = "URL of the bucket. Only principals in the bucket policy can read it."
  value       = "https://${aws_s3_bucket.this["publication"].bucket_regional_domain_name}"
}
