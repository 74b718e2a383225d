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
  target          = aws_apigatewayv2_api.this
  override_during = plan
  values          = { id = "a1b2c3d4e5", execution_arn = "arn:aws:execute-api:eu-central-1:123456789012:a1b2c3d4e5" }
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
    condition     = toset([for route in aws_apigatewayv2_route.this : route.route_key]) == toset(["POST /v1/enroll", "POST /v1/renew"])
    error_message = "The internet may reach enrollment and renewal, nothing else."
  }

  assert {
    condition     = toset([for permission in aws_lambda_permission.this : permission.source_arn]) == toset(["arn:aws:execute-api:eu-central-1:123456789012:a1b2c3d4e5/*/*/v1/enroll", "arn:aws:execute-api:eu-central-1:123456789012:a1b2c3d4e5/*/*/v1/renew"])
    error_message = "Only this API may call the Lambda, on these routes."
  }

  assert {
    condition     = length(aws_apigatewayv2_api.this.cors_configuration) == 0
    error_message = "Browsers have no business here."
  }

  # Floods are bounded.
  assert {
    condition     = aws_apigatewayv2_stage.this.default_route_settings[0].throttling_rate_limit == 20 && aws_apigatewayv2_stage.this.default_route_settings[0].throttling_burst_limit == 40
    error_message = "small: 20 calls a second."
  }

  assert {
    condition     = aws_lambda_function.this.reserved_concurrent_executions == -1 && aws_lambda_function.this.memory_size == 256
    error_message = "small: 256 MiB, and nothing reserved, since a new account has no concurrency to reserve."
  }

  # Logs say who and no more.
  assert {
    condition     = strcontains(aws_apigatewayv2_stage.this.access_log_settings[0].format, "$context.identity.sourceIp") && !strcontains(aws_apigatewayv2_stage.this.access_log_settings[0].format, "authorizer") && !strcontains(lower(aws_apigatewayv2_stage.this.access_log_settings[0].format), "header")
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
    condition     = aws_lambda_function.this.reserved_concurrent_executions == 50 && aws_lambda_function.this.memory_size == 512 && aws_apigatewayv2_stage.this.default_route_settings[0].throttling_rate_limit == 100
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
    condition     = aws_lambda_function.this.reserved_concurrent_executions == 200 && aws_lambda_function.this.memory_size == 1024 && aws_apigatewayv2_stage.this.default_route_settings[0].throttling_rate_limit == 500
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

run "a_name_of_ones_own_is_the_only_way_in" {
  command = plan

  variables {
    domain = { name = "enroll.example.com", certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/1", zone_id = "Z123" }
  }

  assert {
    condition     = output.url == "https://enroll.example.com" && aws_apigatewayv2_api.this.disable_execute_api_endpoint && length(aws_route53_record.this) == 1
    error_message = "With a domain the API's own address must be off."
  }

  assert {
    condition     = aws_apigatewayv2_domain_name.this[0].domain_name_configuration[0].security_policy == "TLS_1_2"
    error_message = "TLS must be 1.2 at least."
  }
}

run "a_web_acl_stands_in_front" {
  command = plan

  variables {
    web_acl_arn = "arn:aws:wafv2:us-east-1:123456789012:global/webacl/signet/1"
    domain      = { name = "enroll.example.com", certificate_arn = "arn:aws:acm:us-east-1:123456789012:certificate/1" }
  }

  assert {
    condition     = aws_cloudfront_distribution.this[0].web_acl_id == var.web_acl_arn && one(aws_cloudfront_distribution.this[0].origin).domain_name == "a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com"
    error_message = "The distribution must have the web ACL and lead to the API."
  }

  assert {
    condition     = aws_cloudfront_distribution.this[0].default_cache_behavior[0].viewer_protocol_policy == "https-only" && aws_cloudfront_distribution.this[0].viewer_certificate[0].minimum_protocol_version == "TLSv1.2_2021" && aws_cloudfront_distribution.this[0].default_cache_behavior[0].cache_policy_id == "4135ea2d-6df8-44a3-9df3-dad5a84beb39"
    error_message = "Only HTTPS, and nothing cached."
  }

  assert {
    condition     = !aws_apigatewayv2_api.this.disable_execute_api_endpoint && length(aws_apigatewayv2_domain_name.this) == 0
    error_message = "CloudFront needs the API's own address."
  }
}

run "bad_input_is_refused" {
  command = plan

  variables {
    package_path         = "./tests/missing.zip"
    architecture         = "amd64"
    size                 = "huge"
    reserved_concurrency = 0.5
    # regional
    web_acl_arn = "arn:aws:wafv2:eu-central-1:123456789012:regional/webacl/signet/1"
    # not ours
    settings = { RUST_LOG = "debug" }
    # none of CloudWatch's periods
    log_retention_days = 100
  }
  expect_failures = [var.package_path, var.architecture, var.size, var.reserved_concurrency, var.web_acl_arn, var.settings, var.log_retention_days]
}

run "a_domain_that_is_none_is_refused" {
  command = plan

  variables {
    domain = { name = "enroll_example", certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/1" }
  }
  expect_failures = [var.domain]
}

run "cloudfront_needs_a_certificate_of_us_east_1" {
  command = plan

  variables {
    web_acl_arn = "arn:aws:wafv2:us-east-1:123456789012:global/webacl/signet/1"
    domain      = { name = "enroll.example.com", certificate_arn = "arn:aws:acm:eu-central-1:123456789012:certificate/1" }
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
