# The composition. The modules' own tests check what each of them makes.
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
  package_dir         = "./tests/packages"
  trail_arn           = "arn:aws:cloudtrail:eu-central-1:123456789012:trail/signet"
  operators = {
    administrators = ["arn:aws:iam::123456789012:role/platform"]
    break_glass    = ["arn:aws:iam::123456789012:user/break-glass"]
  }
}

run "outputs_say_what_to_do_next" {
  command = plan

  variables {
    bootstrap_until = "2026-12-01T18:00:00Z"
    domain          = { name = "signet.example.com" }
  }

  override_module {
    target  = module.control_plane
    outputs = { dns_names = ["signet.example.com", "lb.example"], endpoint = "https://signet.example.com:443", public_url = "http://signet.example.com", cluster_name = "c", service_name = "s", role_arn = "arn:aws:iam::123456789012:role/control-plane", log_group_name = "l", load_balancer_arn_suffix = "a", target_group_arn_suffix = "t", minimum_nodes = 2 }
  }

  override_module {
    target  = module.operators
    outputs = { administrator_role_arn = "arn:aws:iam::123456789012:role/administrator", break_glass_role_arn = "arn:aws:iam::123456789012:role/break-glass" }
  }

  override_module {
    target  = module.enroll
    outputs = { url = "https://enroll.example", api_id = "a", api_name = "n", function_name = "f", log_group_name = "l", role_arn = "arn:aws:iam::123456789012:role/enroll" }
  }

  override_module {
    target  = module.publication
    outputs = { url = "https://bucket.example", bucket_name = "b", bucket_arn = "arn:aws:s3:::b" }
  }

  assert {
    condition = alltrue([for step in [
      "By 2026-12-01T18:00:00Z, as arn:aws:iam::123456789012:role/administrator",
      "principal bootstrap --from-terraform outputs.json",
      "update-service --region eu-central-1 --cluster c --service s",
      "https://enroll.example/v1/enroll",
      "Point signet.example.com at lb.example",
    ] : strcontains(output.next_steps, step)])
    error_message = "The outputs must say what to do next."
  }

  assert {
    condition     = local.bootstrap.until == "2026-12-01T18:00:00Z"
    error_message = "Bootstrap must be open until then."
  }

  assert {
    condition     = join(" ", output.signet.server_dns_names) == "signet.example.com lb.example"
    error_message = "The server's certificate must have all names that clients may use."
  }

  assert {
    condition     = output.signet.storage_prefix == "signet-test" && output.signet.key_prefix == "signet-test" && output.signet.server_identity_prefix == "/signet/test"
    error_message = "Names must follow from the environment's."
  }

  # As signetd's configuration spells its keys; tidy compares them with the sample.
  assert {
    condition     = alltrue([for name in keys(local.settings) : can(regex("^SIGNET_[A-Z_]+__[A-Z_]+$", name))])
    error_message = "A setting must be SIGNET_SECTION__KEY."
  }
}

run "tiny_in_a_given_vpc" {
  command = plan
  variables {
    size    = "tiny"
    network = { vpc = { id = "vpc-0123456789abcdef0", private_subnet_ids = ["subnet-a", "subnet-b"], private_route_table_ids = ["rtb-a"] } }
  }

  assert {
    condition     = !module.network.public_tasks
    error_message = "In a VPC that is not ours tasks are where its owner wants them."
  }
}

run "medium_with_a_domain" {
  command = plan
  variables {
    size        = "medium"
    domain      = { name = "signet.example.com" }
    network     = { metrics_cidrs = ["10.0.0.0/16"] }
    publication = { reader_principal_arns = ["arn:aws:iam::210987654321:root"] }
  }

  assert {
    condition     = module.control_plane.minimum_nodes == 2
    error_message = "medium has two nodes at least."
  }

  assert {
    condition     = output.signet.endpoint == "https://signet.example.com:443"
    error_message = "The given name must be the endpoint's."
  }
}

run "large_on_arm_and_internet_facing" {
  command = plan
  variables {
    size         = "large"
    architecture = "arm64"
    network      = { internet_facing = true, client_cidrs = ["0.0.0.0/0"] }
  }

  assert {
    condition     = module.control_plane.minimum_nodes == 3
    error_message = "large has three nodes at least."
  }

  assert {
    condition     = module.network.load_balancer_cidrs == ["10.0.128.0/20", "10.0.144.0/20"]
    error_message = "Only the load balancer is in public subnets."
  }
}

run "a_plan_without_a_trail_says_so" {
  command = plan
  variables { trail_arn = null }
  expect_failures = [check.trail]
}

run "prod_unprotected_and_unheard_is_refused" {
  command = plan
  variables {
    environment           = "prod"
    deletion_protection   = false
    alarm_email_addresses = []
    trail_arn             = null
    # with a scheme
    trust_domain_suffix = "spiffe://prod.example.com"
    # everybody, at an internal load balancer
    network = { client_cidrs = ["0.0.0.0/0"] }
  }
  expect_failures = [var.deletion_protection, var.alarm_email_addresses, var.trail_arn, var.trust_domain_suffix, var.network]
}

run "other_bad_input_is_refused" {
  command = plan
  variables {
    environment = "a-name-beyond-measure"
    # without dots
    trust_domain_suffix = "prod"
    # internet-facing, in private subnets
    network = {
      internet_facing = true
      vpc             = { id = "vpc-0123456789abcdef0", private_subnet_ids = ["subnet-a", "subnet-b"], private_route_table_ids = ["rtb-a"] }
    }
  }
  expect_failures = [var.environment, var.trust_domain_suffix, var.network]
}
