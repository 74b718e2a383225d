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
  region = "eu-central-1"

  default_tags {
    tags = { "signet:environment" = "signet-dev", "managed-by" = "terraform" }
  }
}
