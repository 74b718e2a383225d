# What an emulator needs for the tests and the demo: the same modules as a real environment, and nothing else.
terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7"
    }
  }
}

variable "name_prefix" {
  description = "Start of every name, as the modules take it."
  type        = string
}

variable "region" {
  description = "Region that the emulator plays."
  type        = string
  default     = "eu-central-1"
}

provider "aws" {
  region = var.region
}

# Encrypted with a key of its own as in production; deletable, since an emulator is thrown away.
module "tables" {
  source              = "../../infra/modules/tables"
  name_prefix         = var.name_prefix
  deletion_protection = false
}

# Emulators do not check key policies, so there are no roles to give.
module "ca_keys" {
  source      = "../../infra/modules/ca-keys"
  name_prefix = var.name_prefix
}

# The server's key and certificate; a real environment has it from infra/modules/rotate.
resource "aws_secretsmanager_secret" "server" {
  name                    = "/signet/${var.name_prefix}/server"
  description             = "Key and certificate of the control plane as a server."
  recovery_window_in_days = 0
}

output "table_names" {
  description = "Table → its name."
  value       = module.tables.table_names
}

output "key_aliases" {
  description = "Purpose → alias of its key."
  value       = module.ca_keys.aliases
}
