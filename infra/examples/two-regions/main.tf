# Two regions are two environments, each with its own root, tables and names: what one region loses, the other has not. A fleet enrolls in
# one and trusts both roots; runbooks/LoseRegion.md says what to do when a region is lost.
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

  default_tags {
    tags = { "signet:environment" = "signet-eu" }
  }
}

provider "aws" {
  alias  = "us"
  region = "us-east-2"

  default_tags {
    tags = { "signet:environment" = "signet-us" }
  }
}

locals {
  # Of all regions, so one for both.
  trail_arn = "arn:aws:cloudtrail:eu-central-1:123456789012:trail/signet"

  operators = {
    administrators = ["arn:aws:iam::123456789012:role/platform"]
    break_glass    = ["arn:aws:iam::123456789012:user/break-glass"]
  }
}

module "signet" {
  source = "../../modules/environment"

  environment         = "eu"
  trust_domain_suffix = "eu.example.com"

  image        = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/signet/signetd:0.2.0"
  package_dir  = "../../../dist"
  architecture = "arm64"
  size         = "small"

  trail_arn = local.trail_arn
  operators = local.operators
}

module "signet_us" {
  source = "../../modules/environment"

  providers = { aws = aws.us }

  environment         = "us"
  trust_domain_suffix = "us.example.com"

  # ECR copies it there: replica_regions = ["us-east-2"] in infra/foundation, before the image is pushed.
  image        = "123456789012.dkr.ecr.us-east-2.amazonaws.com/signet/signetd:0.2.0"
  package_dir  = "../../../dist"
  architecture = "arm64"
  size         = "small"

  trail_arn = local.trail_arn
  operators = local.operators

  # The account's role for access logs is set in the foundation's region only.
  enroll = { access_log = false }
}

output "signet" {
  description = "Input for `principal bootstrap --from-terraform`."
  value       = module.signet.signet
}

output "signet_us" {
  description = "The same of the other region, for a bootstrap of its own."
  value       = module.signet_us.signet
}
