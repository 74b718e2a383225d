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

override_resource {
  target          = aws_api_gateway_rest_api.this
  override_during = plan
  values          = { id = "a1b2c3d4e5", root_resource_id = "r", execution_arn = "arn:aws:execute-api:eu-central-1:123456789012:a1b2c3d4e5" }
}

# So that the plan knows what a deployment copies.
override_resource {
  target          = aws_lambda_function.this
  override_during = plan
  values          = { invoke_arn = "arn:aws:apigateway:eu-central-1:lambda:path/2015-03-31/functions/enroll/invocations" }
}

override_resource {
  target          = aws_api_gateway_resource.this
  override_during = plan
}

override_resource {
  target          = aws_api_gateway_method.this
  override_during = plan
}

override_resource {
  target          = aws_api_gateway_integration.this
  override_during = plan
}

override_resource {
  target          = aws_api_gateway_gateway_response.failed
  override_during = plan
}

override_resource {
  target          = aws_api_gateway_stage.this
  override_during = plan
  values          = { arn = "arn:aws:apigateway:eu-central-1::/restapis/a1b2c3d4e5/stages/signet" }
}

variables {
  name_prefix      = "signet-test"
  package_path     = "./tests/package.zip"
  settings         = { SIGNET_STORAGE__PREFIX = "signet-test" }
  access_policies  = { tables = "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"dynamodb:GetItem\",\"Resource\":\"arn:aws:dynamodb:eu-central-1:123456789012:table/signet-test-audit\"}]}", keys = "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"dynamodb:GetItem\",\"Resource\":\"arn:aws:dynamodb:eu-central-1:123456789012:table/signet-test-audit\"}]}" }
  logs_kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
}

run "by_default" {
  command = plan

  # Two routes and no more.
  assert {
    condition     = toset([for route, method in aws_api_gateway_method.this : "${method.http_method} /${aws_api_gateway_resource.v1.path_part}/${aws_api_gateway_resource.this[route].path_part}"]) == toset(["POST /v1/enroll", "POST /v1/renew"])
    error_message = "The internet may reach enrollment and renewal, nothing else."
  }

  assert {
    condition     = toset([for permission in aws_lambda_permission.this : permission.source_arn]) == toset(["arn:aws:execute-api:eu-central-1:123456789012:a1b2c3d4e5/*/POST/v1/enroll", "arn:aws:execute-api:eu-central-1:123456789012:a1b2c3d4e5/*/POST/v1/renew"])
    error_message = "Only this API may call the Lambda, on these routes."
  }

  # Floods are bounded, and one address cannot use up what all share.
  assert {
    condition     = aws_api_gateway_method_settings.this.settings[0].throttling_rate_limit == 20 && aws_api_gateway_method_settings.this.settings[0].throttling_burst_limit == 40
    error_message = "small: 20 calls a second."
  }

  assert {
    condition     = one(one(aws_wafv2_web_acl.this[0].rule).statement[0].rate_based_statement).limit == 2000 && one(one(aws_wafv2_web_acl.this[0].rule).statement[0].rate_based_statement).aggregate_key_type == "IP"
    error_message = "An address must have a limit."
  }

  assert {
    condition     = alltrue([for size in values(local.sizes) : size.per_address < size.rate * 300 / 2])
    error_message = "One address must not be able to use up half of what the API lets through."
  }

  assert {
    condition     = aws_wafv2_web_acl_association.this[0].resource_arn == aws_api_gateway_stage.this.arn
    error_message = "The web ACL must be in front of the API."
  }

  assert {
    condition     = output.url == "https://a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com/signet"
    error_message = "The stage is part of the API's own address."
  }

  assert {
    condition     = aws_lambda_function.this.reserved_concurrent_executions == -1 && aws_lambda_function.this.memory_size == 256
    error_message = "small: 256 MiB, and nothing reserved, since a new account has no concurrency to reserve."
  }

  # A change of any of these must reach the stage.
  assert {
    condition = (
      aws_api_gateway_deployment.this.triggers.api == sha1(jsonencode(local.deployed)) && local.deployed.default_endpoint &&
      local.deployed.methods["/v1/enroll"][2] == "NONE" && local.deployed.integrations["/v1/renew"][3] == 15000 &&
      local.deployed.integrations["/v1/enroll"][2] == aws_lambda_function.this.invoke_arn && local.deployed.failed[0] == "503"
    )
    error_message = "A deployment must be made anew with each route, method, integration, answer and with the default endpoint."
  }

  # API Gateway would answer a throttled Lambda's caller with 500.
  assert {
    condition = (
      aws_api_gateway_gateway_response.failed.response_type == "INTEGRATION_FAILURE" && aws_api_gateway_gateway_response.failed.status_code == "503" &&
      aws_api_gateway_gateway_response.failed.response_parameters == tomap({ "gatewayresponse.header.Retry-After" = "'5'" }) &&
      jsondecode(aws_api_gateway_gateway_response.failed.response_templates["application/json"]).correlation_id == "$context.extendedRequestId"
    )
    error_message = "Who finds the Lambda busy must be told to come again."
  }

  # The caller chooses $context.requestId, by x-amzn-requestid.
  assert {
    condition     = jsondecode(aws_api_gateway_stage.this.access_log_settings[0].format).request_id == "$context.extendedRequestId" && !strcontains(aws_api_gateway_stage.this.access_log_settings[0].format, "$context.requestId")
    error_message = "The access log must name requests by an id of API Gateway's own."
  }

  # Logs say who and no more.
  assert {
    condition     = strcontains(aws_api_gateway_stage.this.access_log_settings[0].format, "$context.identity.sourceIp") && !strcontains(aws_api_gateway_stage.this.access_log_settings[0].format, "authorizer") && !strcontains(lower(aws_api_gateway_stage.this.access_log_settings[0].format), "header")
    error_message = "The access log must have the caller's address and nothing of the request's content."
  }

  assert {
    condition     = alltrue([for group in aws_cloudwatch_log_group.this : group.retention_in_days == 365 && group.kms_key_id == var.logs_kms_key_arn])
    error_message = "Logs must be kept for a year and encrypted with our key."
  }

  # Role has what it is given.
  assert {
    condition     = toset(keys(aws_iam_role_policy.access)) == toset(["keys", "tables"])
    error_message = "The role must have the policies that it is given."
  }

  assert {
    condition     = jsondecode(data.aws_iam_policy_document.log.json).Statement[0].Resource == "arn:aws:logs:eu-central-1:123456789012:log-group:/signet-test/enroll:*"
    error_message = "The Lambda may write its own log only."
  }

  assert {
    condition     = length(aws_lambda_function.this.vpc_config) == 0
    error_message = "The Lambda must stay outside of the VPC."
  }
}

run "medium" {
  command = plan

  variables { size = "medium" }

  assert {
    condition     = aws_lambda_function.this.reserved_concurrent_executions == 50 && aws_lambda_function.this.memory_size == 512 && aws_api_gateway_method_settings.this.settings[0].throttling_rate_limit == 100
    error_message = "medium: fifty instances of 512 MiB, 100 calls a second."
  }
}

run "large_on_arm" {
  command = plan

  variables {
    size         = "large"
    architecture = "arm64"
  }

  assert {
    condition     = aws_lambda_function.this.reserved_concurrent_executions == 200 && aws_lambda_function.this.memory_size == 1024 && aws_api_gateway_method_settings.this.settings[0].throttling_rate_limit == 500
    error_message = "large: two hundred instances of 1 GiB, 500 calls a second."
  }

  assert {
    condition     = aws_lambda_function.this.architectures == tolist(["arm64"])
    error_message = "One variable must choose the processor."
  }
}

run "no_reservation" {
  command = plan

  variables { reserved_concurrency = -1 }

  assert {
    condition     = aws_lambda_function.this.reserved_concurrent_executions == -1
    error_message = "reserved_concurrency must win over the size."
  }
}

run "tiny_has_no_web_acl" {
  command = plan

  variables {
    size       = "tiny"
    access_log = false
  }

  assert {
    condition     = length(aws_wafv2_web_acl.this) == 0 && length(aws_wafv2_web_acl_association.this) == 0
    error_message = "tiny must cost nothing by the hour."
  }

  assert {
    condition     = length(aws_api_gateway_stage.this.access_log_settings) == 0
    error_message = "Without the account's role there must be no access log."
  }
}

run "a_name_of_ones_own_is_the_only_way_in" {
  command = plan

  variables {
    domain = { name = "enroll.example.com", certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/1", zone_id = "Z123" }
  }

  assert {
    condition     = output.url == "https://enroll.example.com" && aws_api_gateway_rest_api.this.disable_execute_api_endpoint && length(aws_route53_record.this) == 1
    error_message = "With a domain the API's own address must be off."
  }

  assert {
    condition     = aws_api_gateway_deployment.this.triggers.api != sha1(jsonencode(merge(local.deployed, { default_endpoint = true })))
    error_message = "The API's own address is off only after a deployment."
  }

  assert {
    condition     = aws_apigatewayv2_domain_name.this[0].domain_name_configuration[0].security_policy == "TLS_1_2"
    error_message = "TLS must be 1.2 at least."
  }
}

run "a_web_acl_that_is_given_stands_in_front" {
  command = plan

  variables { web_acl_arn = "arn:aws:wafv2:eu-central-1:123456789012:regional/webacl/signet/1" }

  assert {
    condition     = length(aws_wafv2_web_acl.this) == 0 && aws_wafv2_web_acl_association.this[0].web_acl_arn == var.web_acl_arn
    error_message = "The API must have the web ACL that is given, and no other."
  }
}

run "bad_input_is_refused" {
  command = plan

  variables {
    package_path         = "./tests/missing.zip"
    architecture         = "amd64"
    size                 = "huge"
    reserved_concurrency = 0.5
    # below AWS's least
    requests_per_address = 5
    # for CloudFront
    web_acl_arn = "arn:aws:wafv2:us-east-1:123456789012:global/webacl/signet/1"
    # not ours
    settings = { RUST_LOG = "debug" }
    # none of CloudWatch's periods
    log_retention_days = 100
  }
  expect_failures = [var.package_path, var.architecture, var.size, var.reserved_concurrency, var.requests_per_address, var.web_acl_arn, var.settings, var.log_retention_days]
}

run "a_domain_that_is_none_is_refused" {
  command = plan

  variables {
    domain = { name = "enroll_example", certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/1" }
  }
  expect_failures = [var.domain]
}

run "an_environment_beyond_lambdas_limit_is_refused" {
  command = plan

  variables {
    settings = { SIGNET_SERVER__DNS_NAMES = format("%4000s", "x") }
  }
  expect_failures = [aws_lambda_function.this]
}
