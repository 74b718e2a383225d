# In a VPC that is there already, next to its other workloads: none of its endpoints is changed.
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
    tags = { "signet:environment" = "signet-shared" }
  }
}

module "signet" {
  source = "../../modules/environment"

  environment         = "shared"
  trust_domain_suffix = "shared.example.com"

  image        = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/signet/signetd:0.2.0"
  package_dir  = "../../../dist"
  architecture = "arm64"
  size         = "small"

  network = {
    vpc = {
      id                       = "vpc-0123456789abcdef0"
      private_subnet_ids       = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
      private_route_table_ids  = ["rtb-0123456789abcdef0"]
      load_balancer_subnet_ids = ["subnet-0123456789abcdef2", "subnet-0123456789abcdef3"]
    }
    # What it has. The others are created; without any, tasks need a NAT gateway.
    existing_endpoints  = ["ecr.api", "ecr.dkr", "logs", "secretsmanager"]
    interface_endpoints = ["kms", "lambda"]
    client_cidrs        = ["10.0.0.0/8"]
  }

  # Hears of break glass and of changes to CA keys; the module foundation creates one.
  trail_arn = "arn:aws:cloudtrail:eu-central-1:123456789012:trail/signet"

  operators = {
    administrators = ["arn:aws:iam::123456789012:role/platform"]
    break_glass    = ["arn:aws:iam::123456789012:user/break-glass"]
  }
}

output "signet" {
  description = "Input for `principal bootstrap --from-terraform`."
  value       = module.signet.signet
}
