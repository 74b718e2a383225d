# One node with a public address, no NAT gateway, no interface endpoint: the least that an environment can cost (COST.md).
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
    tags = { "signet:environment" = "signet-cheap" }
  }
}

module "signet" {
  source = "../../modules/environment"

  environment         = "cheap"
  trust_domain_suffix = "cheap.example.com"

  image        = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/signet/signetd:0.2.0"
  package_dir  = "../../../dist"
  architecture = "arm64"
  size         = "tiny"

  # Who may connect, over the internet: your address, or your company's.
  network = {
    internet_facing = true
    client_cidrs    = ["203.0.113.10/32"]
  }

  deletion_protection = false
  log_retention_days  = 7

  # Hears of break glass and of changes to CA keys; the module foundation creates one.
  trail_arn = "arn:aws:cloudtrail:eu-central-1:123456789012:trail/signet"

  operators = {
    administrators = ["arn:aws:iam::123456789012:role/developers"]
    break_glass    = ["arn:aws:iam::123456789012:user/break-glass"]
  }
}

output "signet" {
  description = "Input for `principal bootstrap --from-terraform`."
  value       = module.signet.signet
}
