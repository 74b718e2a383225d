# AWS attaches no web ACL to an HTTP API, so the one given stands at a distribution before it. The API's own address stays reachable, throttled and as
# strict as ever: the web ACL keeps load away, it is not what protects enrollment.
# AWS's own policies; their ids are the same everywhere.
locals {
  caching_disabled              = "4135ea2d-6df8-44a3-9df3-dad5a84beb39"
  all_viewer_except_host_header = "b689b0a8-53d0-40ac-baf2-68738e2966ac"
}

resource "aws_cloudfront_distribution" "this" {
  # checkov:skip=CKV_AWS_86:The API behind it has the access log.
  # checkov:skip=CKV_AWS_305:There is no page to serve.
  # checkov:skip=CKV_AWS_310:The API is one per region and has its own redundancy.
  # checkov:skip=CKV_AWS_374:Where clients may be is the web ACL's to say.
  # checkov:skip=CKV2_AWS_32:Answers are JSON for programs, not for browsers.
  # checkov:skip=CKV2_AWS_47:The rules are in the web ACL that is given.
  count = var.web_acl_arn == null ? 0 : 1

  enabled         = true
  is_ipv6_enabled = true
  comment         = "${var.name_prefix}-enroll"
  aliases         = var.domain == null ? [] : [var.domain.name]
  web_acl_id      = var.web_acl_arn
  price_class     = "PriceClass_All"

  origin {
    origin_id   = "api"
    domain_name = local.api_hostname

    custom_origin_config {
      http_port              = 80
      https_port             = 443
      origin_protocol_policy = "https-only"
      origin_ssl_protocols   = ["TLSv1.2"]
    }
  }

  default_cache_behavior {
    target_origin_id         = "api"
    viewer_protocol_policy   = "https-only"
    allowed_methods          = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]
    cached_methods           = ["GET", "HEAD"]
    cache_policy_id          = local.caching_disabled
    origin_request_policy_id = local.all_viewer_except_host_header
  }

  viewer_certificate {
    cloudfront_default_certificate = var.domain == null
    acm_certificate_arn            = try(var.domain.certificate_arn, null)
    ssl_support_method             = var.domain == null ? null : "sni-only"
    minimum_protocol_version       = var.domain == null ? null : "TLSv1.2_2021"
  }

  restrictions {
    geo_restriction {
      restriction_type = "none"
    }
  }
}
