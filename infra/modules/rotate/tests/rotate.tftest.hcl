# Plans only, so no AWS account is needed.
provider "aws" {
  region                      = "eu-central-1"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}

override_data {
  target = data.aws_caller_identity.current
  values = { account_id = "123456789012" }
}

variables {
  name_prefix             = "signet-test"
  parameter_prefix        = "/signet/test"
  package_path            = "./tests/package.zip"
  settings                = { SIGNET_STORAGE__PREFIX = "signet-test" }
  key_maker               = "signet-test-keymaker"
  access_policies         = { tables = "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"dynamodb:GetItem\",\"Resource\":\"arn:aws:dynamodb:eu-central-1:123456789012:table/signet-test-audit\"}]}" }
  secret_reader_role_arns = ["arn:aws:iam::123456789012:role/signet-test-control-plane"]
  bucket_arn              = "arn:aws:s3:::signet-test-publication"
  event_bus_arn           = "arn:aws:events:eu-central-1:123456789012:event-bus/signet-test"
  logs_kms_key_arn        = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
}

run "by_default" {
  command = plan

  # Every task has a schedule and a place to end.
  assert {
    condition     = { for name, schedule in aws_scheduler_schedule.this : name => jsondecode(schedule.target[0].input).task } == { rotate-cas = "rotate-cas", publish = "publish", sweep = "sweep", warn-expiry = "warn-expiry", count-quotas = "count-quotas", key-policies = "key-policies", purge-tenants = "purge-tenants" }
    error_message = "Each task must have a schedule that names it."
  }

  assert {
    condition = alltrue([
      for schedule in aws_scheduler_schedule.this :
      schedule.state == "ENABLED" && schedule.target[0].retry_policy[0].maximum_retry_attempts == 5
    ])
    error_message = "A schedule must try again, and then give up into the queue."
  }

  assert {
    condition     = aws_sqs_queue.dead_letters.sqs_managed_sse_enabled && aws_sqs_queue.dead_letters.message_retention_seconds == 1209600
    error_message = "The queue must be encrypted and keep messages for as long as SQS can."
  }

  # Secret rotates and terraform never knows it.
  assert {
    condition     = aws_secretsmanager_secret.server.name == "/signet/test/server"
    error_message = "The secret's name must be PREFIX/server."
  }

  assert {
    condition     = aws_secretsmanager_secret_rotation.server.rotation_rules[0].schedule_expression == "rate(2 days)" && !aws_secretsmanager_secret_rotation.server.rotate_immediately
    error_message = "A new certificate every two days, and none before bootstrap."
  }

  assert {
    condition     = { for name, parameter in aws_ssm_parameter.this : name => nonsensitive(parameter.value) } == { root = "pending", "admin/chain" = "pending" }
    error_message = "Parameters must begin without a value."
  }
}

run "arm64_is_possible" {
  command = plan

  variables {
    architecture = "arm64"
  }

  assert {
    condition     = aws_lambda_function.this.architectures == tolist(["arm64"]) && aws_lambda_function.this.runtime == "provided.al2023" && aws_lambda_function.this.handler == "bootstrap"
    error_message = "The Lambda runs our own binary on the chosen processor."
  }
}

run "bad_input_is_refused" {
  command = plan

  variables {
    # missing package
    package_path = "./tests/none.zip"
    # AWS's own
    parameter_prefix = "/aws/signet"
    # longer than a certificate lives
    server_certificate_days = 7
    # user as reader
    secret_reader_role_arns = ["arn:aws:iam::123456789012:user/ann"]
    # other architecture
    architecture = "riscv64"
  }
  expect_failures = [var.package_path, var.parameter_prefix, var.server_certificate_days, var.secret_reader_role_arns, var.architecture]
}

run "an_environment_beyond_lambdas_limit_is_refused" {
  command = plan

  variables {
    settings = { SIGNET_SERVER__DNS_NAMES = format("%4000s", "x") }
  }
  expect_failures = [aws_lambda_function.this]
}
