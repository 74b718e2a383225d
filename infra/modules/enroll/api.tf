# A REST API and not an HTTP API: only in front of it AWS puts a web ACL, and its throttling is one bucket for all callers
# (apigateway/latest/developerguide/apigateway-control-access-aws-waf.html).
locals {
  routes = ["/v1/enroll", "/v1/renew"]
  stage  = "signet"

  # What we set of that which a deployment copies: when it changes, it takes effect with another one, the default endpoint too.
  deployed = {
    default_endpoint = var.domain == null
    methods          = { for route, method in aws_api_gateway_method.this : route => [method.resource_id, method.http_method, method.authorization] }
    integrations = {
      for route, integration in aws_api_gateway_integration.this :
      route => [integration.type, integration.integration_http_method, integration.uri, integration.timeout_milliseconds]
    }
    failed = [
      aws_api_gateway_gateway_response.failed.status_code, aws_api_gateway_gateway_response.failed.response_parameters,
      aws_api_gateway_gateway_response.failed.response_templates,
    ]
  }
}

resource "aws_api_gateway_rest_api" "this" {
  # checkov:skip=CKV2_AWS_53:The function reads the body itself, and refuses what it does not know.
  name        = "${var.name_prefix}-enroll"
  description = "Enrollment and out-of-band renewal"
  # With a name of its own there is one way in.
  disable_execute_api_endpoint = var.domain != null

  endpoint_configuration {
    types = ["REGIONAL"]
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_api_gateway_resource" "v1" {
  rest_api_id = aws_api_gateway_rest_api.this.id
  parent_id   = aws_api_gateway_rest_api.this.root_resource_id
  path_part   = "v1"
}

resource "aws_api_gateway_resource" "this" {
  for_each = toset(local.routes)

  rest_api_id = aws_api_gateway_rest_api.this.id
  parent_id   = aws_api_gateway_resource.v1.id
  path_part   = basename(each.value)
}

resource "aws_api_gateway_method" "this" {
  # checkov:skip=CKV_AWS_59:The proof in the request's body is the authorization; who calls has no credentials yet.
  # checkov:skip=CKV2_AWS_53:The function reads the body itself, and refuses what it does not know.
  for_each = toset(local.routes)

  rest_api_id   = aws_api_gateway_rest_api.this.id
  resource_id   = aws_api_gateway_resource.this[each.value].id
  http_method   = "POST"
  authorization = "NONE"
}

resource "aws_api_gateway_integration" "this" {
  for_each = toset(local.routes)

  rest_api_id             = aws_api_gateway_rest_api.this.id
  resource_id             = aws_api_gateway_resource.this[each.value].id
  http_method             = aws_api_gateway_method.this[each.value].http_method
  type                    = "AWS_PROXY"
  integration_http_method = "POST"
  uri                     = aws_lambda_function.this.invoke_arn
  timeout_milliseconds    = 15000
}

# A Lambda beyond its concurrency, or the account's: API Gateway by itself answers 500, and does not say when to come again.
resource "aws_api_gateway_gateway_response" "failed" {
  rest_api_id         = aws_api_gateway_rest_api.this.id
  response_type       = "INTEGRATION_FAILURE"
  status_code         = "503"
  response_parameters = { "gatewayresponse.header.Retry-After" = "'5'" }

  response_templates = {
    "application/json" = jsonencode({
      status         = 503
      detail         = "enrollment is busy or not available; retry with the same request_id"
      correlation_id = "$context.extendedRequestId"
    })
  }
}

resource "aws_api_gateway_deployment" "this" {
  rest_api_id = aws_api_gateway_rest_api.this.id
  triggers    = { api = sha1(jsonencode(local.deployed)) }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_api_gateway_stage" "this" {
  # checkov:skip=CKV_AWS_73:Access log and application log have the request's id; tracing would add a permission on everything.
  # checkov:skip=CKV_AWS_120:Every answer is somebody's own.
  # checkov:skip=CKV2_AWS_4:The access log says who asked for what; the API's own log would have requests' content.
  # checkov:skip=CKV2_AWS_29:The size tiny has none, as its description says; the others have one.
  # checkov:skip=CKV2_AWS_51:Who calls has no certificate yet.
  # checkov:skip=CKV2_AWS_77:Bodies go to our own parser, not to Log4j.
  rest_api_id   = aws_api_gateway_rest_api.this.id
  deployment_id = aws_api_gateway_deployment.this.id
  stage_name    = local.stage

  # Who asked for what and what became of it: no headers, no bodies. Callers may choose requestId, by the header x-amzn-RequestId
  # (apigateway/latest/developerguide/api-gateway-variables-for-access-logging.html).
  dynamic "access_log_settings" {
    for_each = var.access_log ? [aws_cloudwatch_log_group.this["api"].arn] : []
    content {
      destination_arn = access_log_settings.value
      format = jsonencode({
        time              = "$context.requestTime"
        request_id        = "$context.extendedRequestId"
        source_address    = "$context.identity.sourceIp"
        route             = "$context.httpMethod $context.resourcePath"
        status            = "$context.status"
        error             = "$context.error.message"
        web_acl           = "$context.waf.status"
        integration_error = "$context.integrationErrorMessage"
        integration_ms    = "$context.integrationLatency"
        response_ms       = "$context.responseLatency"
        response_bytes    = "$context.responseLength"
      })
    }
  }
}

# For all callers together; each one's share is the web ACL's to say.
resource "aws_api_gateway_method_settings" "this" {
  # checkov:skip=CKV_AWS_225:Every answer is somebody's own.
  # checkov:skip=CKV_AWS_308:Every answer is somebody's own.
  rest_api_id = aws_api_gateway_rest_api.this.id
  stage_name  = aws_api_gateway_stage.this.stage_name
  method_path = "*/*"

  settings {
    throttling_rate_limit  = local.size.rate
    throttling_burst_limit = local.size.burst
  }
}

resource "aws_lambda_permission" "this" {
  for_each = toset(local.routes)

  statement_id  = "api${replace(each.value, "/", "-")}"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.this.function_name
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_api_gateway_rest_api.this.execution_arn}/*/POST${each.value}"
}
