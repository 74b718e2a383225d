locals {
  routes = ["/v1/enroll", "/v1/renew"]
}

resource "aws_apigatewayv2_api" "this" {
  name          = "${var.name_prefix}-enroll"
  description   = "Enrollment and out-of-band renewal"
  protocol_type = "HTTP"
  # With a name of its own there is one way in; CloudFront, though, comes in by this one.
  disable_execute_api_endpoint = local.own_domain
}

resource "aws_apigatewayv2_integration" "this" {
  api_id                 = aws_apigatewayv2_api.this.id
  integration_type       = "AWS_PROXY"
  integration_uri        = aws_lambda_function.this.invoke_arn
  integration_method     = "POST"
  payload_format_version = "2.0"
  timeout_milliseconds   = 15000
}

resource "aws_apigatewayv2_route" "this" {
  # checkov:skip=CKV_AWS_309:The proof in the request's body is the authorization; who calls has no credentials yet.
  for_each = toset(local.routes)

  api_id             = aws_apigatewayv2_api.this.id
  route_key          = "POST ${each.value}"
  target             = "integrations/${aws_apigatewayv2_integration.this.id}"
  authorization_type = "NONE"
}

resource "aws_apigatewayv2_stage" "this" {
  api_id      = aws_apigatewayv2_api.this.id
  name        = "$default"
  auto_deploy = true

  default_route_settings {
    throttling_rate_limit    = local.size.rate
    throttling_burst_limit   = local.size.burst
    detailed_metrics_enabled = true
  }

  # Who asked for what and what became of it: no headers, no bodies.
  access_log_settings {
    destination_arn = aws_cloudwatch_log_group.this["api"].arn
    format = jsonencode({
      time              = "$context.requestTime"
      request_id        = "$context.requestId"
      source_address    = "$context.identity.sourceIp"
      route             = "$context.routeKey"
      status            = "$context.status"
      error             = "$context.error.message"
      integration_error = "$context.integrationErrorMessage"
      integration_ms    = "$context.integrationLatency"
      response_ms       = "$context.responseLatency"
      response_bytes    = "$context.responseLength"
    })
  }
}

resource "aws_lambda_permission" "this" {
  for_each = toset(local.routes)

  statement_id  = "api${replace(each.value, "/", "-")}"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.this.function_name
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_apigatewayv2_api.this.execution_arn}/*/*${each.value}"
}
