locals {
  # What signetd and Fargate use. `sts` only verifies AWS IAM proofs.
  needed_endpoints    = toset(["ecr.api", "ecr.dkr", "kms", "lambda", "logs", "secretsmanager"])
  gateway_endpoints   = var.gateway_endpoints != null ? var.gateway_endpoints : toset(local.own == 1 ? ["dynamodb", "s3"] : [])
  interface_endpoints = var.interface_endpoints != null ? var.interface_endpoints : toset(local.own == 1 && !var.public_tasks ? concat(tolist(local.needed_endpoints), ["sts"]) : [])
  private             = length(setsubtract(local.needed_endpoints, setunion(local.interface_endpoints, var.existing_endpoints))) == 0
}

resource "aws_vpc_endpoint" "gateway" {
  for_each = local.gateway_endpoints

  vpc_id            = local.vpc_id
  service_name      = "com.amazonaws.${local.region}.${each.value}"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = local.task_route_table_ids
  policy            = local.endpoint_policy[each.value]

  tags = { Name = "${var.name_prefix}-${each.value}" }
}

resource "aws_vpc_endpoint" "interface" {
  for_each = local.interface_endpoints

  vpc_id              = local.vpc_id
  service_name        = "com.amazonaws.${local.region}.${each.value}"
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  subnet_ids          = local.task_subnet_ids
  security_group_ids  = [aws_security_group.endpoints.id]
  policy              = local.endpoint_policy[each.value]

  tags = { Name = "${var.name_prefix}-${each.value}" }
}

resource "aws_security_group" "endpoints" {
  name        = "${var.name_prefix}-endpoints"
  description = "Interface endpoints: HTTPS from the VPC"
  vpc_id      = local.vpc_id

  tags = { Name = "${var.name_prefix}-endpoints" }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  for_each = toset(local.vpc_cidrs)

  security_group_id = aws_security_group.endpoints.id
  description       = "HTTPS from the VPC"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}
