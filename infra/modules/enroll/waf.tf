# One address may ask so often; beyond that it is told 429 for a while, and the others' share of the API's throttling stays theirs.
locals {
  requests_per_address = coalesce(var.requests_per_address, local.size.per_address)
  web_acl              = var.web_acl_arn == null && local.requests_per_address > 0 ? 1 : 0
}

resource "aws_wafv2_web_acl" "this" {
  # checkov:skip=CKV_AWS_192:Bodies go to our own parser, not to Log4j.
  # checkov:skip=CKV2_AWS_31:The API's access log says what the web ACL did with each request.
  count = local.web_acl

  name        = "${var.name_prefix}-enroll"
  description = "Enrollment: a limit per address"
  scope       = "REGIONAL"

  default_action {
    allow {}
  }

  rule {
    name     = "per-address"
    priority = 1

    action {
      block {
        custom_response {
          response_code = 429

          response_header {
            name  = "retry-after"
            value = "300"
          }
        }
      }
    }

    statement {
      rate_based_statement {
        limit                 = local.requests_per_address
        aggregate_key_type    = "IP"
        evaluation_window_sec = 300
      }
    }

    visibility_config {
      cloudwatch_metrics_enabled = true
      metric_name                = "${var.name_prefix}-enroll-per-address"
      sampled_requests_enabled   = true
    }
  }

  visibility_config {
    cloudwatch_metrics_enabled = true
    metric_name                = "${var.name_prefix}-enroll"
    sampled_requests_enabled   = true
  }
}

resource "aws_wafv2_web_acl_association" "this" {
  count = var.web_acl_arn == null ? local.web_acl : 1

  resource_arn = aws_api_gateway_stage.this.arn
  web_acl_arn  = var.web_acl_arn == null ? aws_wafv2_web_acl.this[0].arn : var.web_acl_arn
}
