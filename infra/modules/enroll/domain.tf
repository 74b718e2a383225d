# A name of one's own. API mappings are of API Gateway's second API, for REST APIs too (apigateway/latest/developerguide/rest-api-mappings.html).
locals {
  url = var.domain == null ? "https://${aws_api_gateway_rest_api.this.id}.execute-api.${data.aws_region.current.id}.${data.aws_partition.current.dns_suffix}/${local.stage}" : "https://${var.domain.name}"
}

resource "aws_apigatewayv2_domain_name" "this" {
  count = var.domain == null ? 0 : 1

  domain_name = var.domain.name

  domain_name_configuration {
    certificate_arn = var.domain.certificate_arn
    endpoint_type   = "REGIONAL"
    security_policy = "TLS_1_2"
  }
}

resource "aws_apigatewayv2_api_mapping" "this" {
  count = var.domain == null ? 0 : 1

  api_id      = aws_api_gateway_rest_api.this.id
  domain_name = aws_apigatewayv2_domain_name.this[0].id
  stage       = aws_api_gateway_stage.this.stage_name
}

resource "aws_route53_record" "this" {
  count = try(var.domain.zone_id, null) == null ? 0 : 1

  zone_id = var.domain.zone_id
  name    = var.domain.name
  type    = "A"

  alias {
    name                   = aws_apigatewayv2_domain_name.this[0].domain_name_configuration[0].target_domain_name
    zone_id                = aws_apigatewayv2_domain_name.this[0].domain_name_configuration[0].hosted_zone_id
    evaluate_target_health = false
  }
}
