# Nothing reaches the internet: clients come over peering, a transit gateway or a VPN, tasks reach AWS by endpoints.
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
    tags = { "signet:environment" = "signet-private" }
  }
}

module "signet" {
  source = "../../modules/environment"

  environment         = "private"
  trust_domain_suffix = "private.example.com"

  image        = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/signet/signetd:0.2.0"
  package_dir  = "../../../dist"
  architecture = "arm64"
  size         = "medium"

  network = {
    cidr          = "10.60.0.0/16"
    az_count      = 3
    client_cidrs  = ["10.20.0.0/16", "10.30.0.0/16"]
    public_cidrs  = ["10.20.0.0/16"]
    metrics_cidrs = ["10.20.8.0/24"]
  }

  domain = { name = "signet.private.example.com", zone_id = "Z0123456789ABCDEFGHIJ" }

  # Who reads CRLs and bundles, through an endpoint of its own VPC.
  publication = { reader_vpc_endpoint_ids = ["vpce-0123456789abcdef0"] }

  alarm_email_addresses = ["platform@example.com"]

  # Hears of break glass and of changes to CA keys; the module foundation creates one.
  trail_arn = "arn:aws:cloudtrail:eu-central-1:123456789012:trail/signet"

  operators = {
    administrators              = ["arn:aws:iam::123456789012:role/platform"]
    break_glass                 = ["arn:aws:iam::123456789012:user/break-glass"]
    read_only                   = ["arn:aws:iam::123456789012:role/auditors"]
    key_administrator_role_arns = ["arn:aws:iam::123456789012:role/signet-terraform"]
  }
}

output "signet" {
  description = "Input for `principal bootstrap --from-terraform`."
  value       = module.signet.signet
}
