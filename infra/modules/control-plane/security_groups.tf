data "aws_ec2_managed_prefix_list" "gateway" {
  for_each = toset(["dynamodb", "s3"])

  name = "com.amazonaws.${data.aws_region.current.id}.${each.value}"
}

resource "aws_security_group" "load_balancer" {
  name        = "${var.name_prefix}-load-balancer"
  description = "Load balancer: clients in, tasks out"
  vpc_id      = var.network.vpc_id

  tags = { Name = "${var.name_prefix}-load-balancer" }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "client" {
  for_each = {
    for rule in setunion(
      setproduct(["grpc"], setunion(var.network.vpc_cidrs, var.client_cidrs)),
      setproduct(["public"], setunion(var.network.vpc_cidrs, var.public_cidrs)),
    ) : "${rule[0]} ${rule[1]}" => { listener = rule[0], cidr = rule[1] }
  }

  security_group_id = aws_security_group.load_balancer.id
  description       = "Clients, ${each.value.listener}"
  cidr_ipv4         = each.value.cidr
  ip_protocol       = "tcp"
  from_port         = local.listeners[each.value.listener].port
  to_port           = local.listeners[each.value.listener].port
}

resource "aws_vpc_security_group_egress_rule" "to_tasks" {
  for_each = toset(concat(keys(local.listeners), ["health"]))

  security_group_id            = aws_security_group.load_balancer.id
  description                  = "Tasks, ${each.key}"
  referenced_security_group_id = aws_security_group.tasks.id
  ip_protocol                  = "tcp"
  from_port                    = local.ports[each.key]
  to_port                      = local.ports[each.key]
}

resource "aws_security_group" "tasks" {
  name        = "${var.name_prefix}-tasks"
  description = "signetd: load balancer in, AWS endpoints out"
  vpc_id      = var.network.vpc_id

  tags = { Name = "${var.name_prefix}-tasks" }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "from_load_balancer" {
  for_each = toset(concat(keys(local.listeners), ["health"]))

  security_group_id            = aws_security_group.tasks.id
  description                  = "Load balancer, ${each.key}"
  referenced_security_group_id = aws_security_group.load_balancer.id
  ip_protocol                  = "tcp"
  from_port                    = local.ports[each.key]
  to_port                      = local.ports[each.key]
}

resource "aws_vpc_security_group_ingress_rule" "metrics" {
  for_each = var.metrics_cidrs

  security_group_id = aws_security_group.tasks.id
  description       = "Prometheus"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = local.ports.metrics
  to_port           = local.ports.metrics
}

resource "aws_vpc_security_group_egress_rule" "aws" {
  for_each = toset(var.network.egress_cidrs)

  security_group_id = aws_security_group.tasks.id
  description       = "AWS: interface endpoints, or a NAT gateway"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "gateway" {
  for_each = data.aws_ec2_managed_prefix_list.gateway

  security_group_id = aws_security_group.tasks.id
  description       = "Gateway endpoint of ${each.key}"
  prefix_list_id    = each.value.id
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}
