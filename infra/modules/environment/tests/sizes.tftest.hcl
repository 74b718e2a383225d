# Each size as COST.md prices it: scripts/cost reads these plans.
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
  environment         = "test"
  trust_domain_suffix = "test.example.com"
  image               = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/signet/signetd:0.2.0"
  architecture        = "arm64"
  package_dir         = "./tests/packages"
  trail_arn           = "arn:aws:cloudtrail:eu-central-1:123456789012:trail/signet"
  operators = {
    administrators = ["arn:aws:iam::123456789012:role/platform"]
    break_glass    = ["arn:aws:iam::123456789012:user/break-glass"]
  }
}

run "tiny" {
  command = plan
  variables {
    size    = "tiny"
    network = { internet_facing = true, client_cidrs = ["203.0.113.10/32"] }
  }

  assert {
    condition     = module.control_plane.minimum_nodes == 1 && module.network.public_tasks && module.observability.dashboard_name == null
    error_message = "tiny is one node with a public address, and no dashboard."
  }
}

run "small" {
  command = plan
  variables { size = "small" }

  assert {
    condition     = module.control_plane.minimum_nodes == 2
    error_message = "small has two nodes at least."
  }
}

run "medium" {
  command = plan
  variables {
    size    = "medium"
    network = { az_count = 3 }
  }

  assert {
    condition     = module.control_plane.minimum_nodes == 2
    error_message = "medium has two nodes at least."
  }
}

run "large" {
  command = plan
  variables {
    size    = "large"
    network = { az_count = 3 }
  }

  assert {
    condition     = module.control_plane.minimum_nodes == 3
    error_message = "large has three nodes at least."
  }
}
