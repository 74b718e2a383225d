terraform {
  required_version = ">= 1.11" # 1.11: state locking by S3 itself

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7"
    }
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = merge(var.tags, {
      "signet:environment" = local.name_prefix
      "managed-by"         = "terraform"
    })
  }
}
