# A name of one's own, at the API or at CloudFront.
locals {
  own_domain   = var.domain != null && var.web_acl_arn == null
  api_hostname = "${aws_apigatewayv2_api.this.id}.execute-api.${data.aws_region.current.id}.${data.aws_partition.current.dns_suffix}"
  alias_target = (
    local.own_domain ? { name = aws_apigatewayv2_domain_name.this[0].domain_name_configuration[0].target_domain_name, zone_id = aws_apigatewayv2_domain_name.this[0].domain_name_configuration[0].hosted_zone_id } :
    var.web_acl_arn != null ? { name = aws_cloudfront_distribution.this[0].domain_name, zone_id = aws_cloudfront_distribution.this[0].hosted_zone_id } :
    { name = local.api_hostname, zone_id = null }
  )
  hostname = var.domain == null ? local.alias_target.name : var.domain.name
}

resource "aws_apigatewayv2_domain_name" "this" {
  count = local.own_domain ? 1 : 0

  domain_name = var.domain.name

  domain_name_configuration {
    certificate_arn = var.domain.certificate_arn
    endpoint_type   = "REGIONAL"
    security_policy = "TLS_1_2"
  }
}

resource "aws_apigatewayv2_api_mapping" "this" {
  count = local.own_domain ? 1 : 0

  api_id      = aws_apigatewayv2_api.this.id
  domain_name = aws_apigatewayv2_domain_name.this[0].id
  stage       = aws_apigatewayv2_stage.this.id
}

resource "aws_route53_record" "this" {
  count = try(var.domain.zone_id, null) == null ? 0 : 1

  zone_id = var.domain.zone_id
  name    = var.domain.name
  type    = "A"

  alias {
    name                   = local.alias_target.name
    zone_id                = local.alias_target.zone_id
    evaluate_target_health = false
  }
}
