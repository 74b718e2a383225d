output "state_bucket" {
  description = "Name of the bucket for Terraform's state: terraform init -backend-config=bucket=NAME."
  value       = aws_s3_bucket.this["state"].id
}

output "repository_url" {
  description = "URL of the ECR repository for signetd's image."
  value       = aws_ecr_repository.this.repository_url
}

output "trail_arn" {
  description = "ARN of the trail, the environments' trail_arn; null if none was created."
  value       = one(aws_cloudtrail.this[*].arn)
}

output "terraform_role_arn" {
  description = "ARN of Terraform's role: name it in the environments' operators.key_administrator_role_arns."
  value       = aws_iam_role.terraform.arn
}

output "backend" {
  description = "Backend block for the state of this module itself, which is applied before the bucket is there."
  value       = <<-TEXT
    terraform {
      backend "s3" {
        bucket       = "${aws_s3_bucket.this["state"].id}"
        key          = "${var.name_prefix}/foundation.tfstate"
        region       = "${local.region}"
        encrypt      = true
        use_lockfile = true
      }
    }
  TEXT
}
