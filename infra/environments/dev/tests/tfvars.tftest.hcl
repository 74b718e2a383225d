# What this environment's terraform.tfvars says, with the composition.
# Nothing of AWS is asked, so no account is needed.
mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { id = "eu-central-1" }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com" }
  }
  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}", minified_json = "{}" }
  }
}

variables {
  package_dir = "./tests/packages"
}

run "terraform_tfvars_is_this_environments" {
  command = plan

  assert {
    condition     = var.environment == basename(abspath("."))
    error_message = "terraform.tfvars names another environment than the folder."
  }

  assert {
    condition     = output.signet.storage_prefix == "signet-${var.environment}" && output.signet.key_prefix == "signet-${var.environment}" && output.signet.server_identity_prefix == "/signet/${var.environment}"
    error_message = "Names must follow from the environment's."
  }

  # As signetd's configuration spells its keys; tidy compares them with the sample.
  assert {
    condition     = alltrue([for name in keys(local.settings) : can(regex("^SIGNET_[A-Z_]+__[A-Z_]+$", name))])
    error_message = "A setting must be SIGNET_SECTION__KEY."
  }
}
