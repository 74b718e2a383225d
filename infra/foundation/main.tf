# Once per account, before the first environment, by an administrator of the account. Replace account and names with yours.
terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7"
    }
  }
}

provider "aws" {
  region = "eu-central-1"
}

module "foundation" {
  source = "../modules/foundation"

  # Who may run Terraform, roles or users that exist: your own role, to begin with. For a CI, its issuer and subjects: see the module.
  terraform_principal_arns = ["arn:aws:iam::123456789012:role/platform"]
}

output "state_bucket" {
  description = "For terraform init -backend-config=bucket=…"
  value       = module.foundation.state_bucket
}

output "repository_url" {
  description = "Where to push signetd's image."
  value       = module.foundation.repository_url
}

output "trail_arn" {
  description = "The environments' trail_arn."
  value       = module.foundation.trail_arn
}

output "terraform_role_arn" {
  description = "What Terraform runs as from now on."
  value       = module.foundation.terraform_role_arn
}

output "backend" {
  description = "Contents of backend.tf for this folder's own state."
  value       = module.foundation.backend
}
