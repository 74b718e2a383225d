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
  name_prefix       = "signet-test"
  package_path      = "./tests/package.zip"
  settings          = { SIGNET_KEYS__PREFIX = "signet-test" }
  tenant_key_policy = "{}"
  access_policies   = { keys = "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"kms:ListAliases\",\"Resource\":\"*\"}]}" }
  logs_kms_key_arn  = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
}

run "by_default" {
  command = plan

  assert {
    condition     = aws_lambda_function.this.environment[0].variables == tomap({ SIGNET_KEYS__PREFIX = "signet-test", SIGNET_KEYS__TENANT_KEY_POLICY = "{}" })
    error_message = "The function must have the policy, which no caller may choose."
  }

  # crates/kms/src/maker.rs waits 30 seconds.
  assert {
    condition     = aws_lambda_function.this.timeout == 25
    error_message = "The function must end before its callers give up."
  }

  assert {
    condition     = keys(output.access) == ["control_plane", "rotate"]
    error_message = "The control plane and the rotate Lambda have keys made; the enrollment API does not."
  }

  assert {
    condition = [
      for statement in jsondecode(data.aws_iam_policy_document.invoke.json).Statement : [statement.Action, statement.Resource]
    ] == [["lambda:InvokeFunction", "arn:aws:lambda:eu-central-1:123456789012:function:signet-test-keymaker"]]
    error_message = "They may invoke this function and no other."
  }

  assert {
    condition     = jsondecode(data.aws_iam_policy_document.trust.json).Statement[0].Principal.Service == "lambda.amazonaws.com"
    error_message = "Only Lambda may take the role."
  }

  assert {
    condition     = jsondecode(data.aws_iam_policy_document.log.json).Statement[0].Resource == "arn:aws:logs:eu-central-1:123456789012:log-group:/signet-test/keymaker:*"
    error_message = "The Lambda may write its own log only."
  }

  assert {
    condition     = aws_cloudwatch_log_group.this.retention_in_days == 365 && aws_cloudwatch_log_group.this.kms_key_id == var.logs_kms_key_arn
    error_message = "Logs must be kept for a year and encrypted with our key."
  }
}

run "bad_input_is_refused" {
  command = plan

  variables {
    name_prefix        = "signet-with-a-name-beyond-all-measure"
    package_path       = "./tests/none.zip"
    architecture       = "amd64"
    settings           = { RUST_LOG = "debug" }
    tenant_key_policy  = format("%3001s", "x")
    log_retention_days = 100
  }
  expect_failures = [var.name_prefix, var.package_path, var.architecture, var.settings, var.tenant_key_policy, var.log_retention_days]
}

run "an_environment_beyond_lambdas_limit_is_refused" {
  command = plan

  variables {
    settings = { SIGNET_SERVER__DNS_NAMES = format("%4000s", "x") }
  }
  expect_failures = [aws_lambda_function.this]
}
