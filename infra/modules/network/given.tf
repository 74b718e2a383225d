# What we need to know of a VPC that is not ours.
data "aws_vpc" "given" {
  count = var.vpc == null ? 0 : 1

  id = var.vpc.id
}

data "aws_subnet" "load_balancer" {
  for_each = var.vpc == null ? toset([]) : toset(coalesce(var.vpc.load_balancer_subnet_ids, var.vpc.private_subnet_ids))

  id = each.value
}

locals {
  vpc_id               = var.vpc == null ? aws_vpc.this[0].id : var.vpc.id
  vpc_cidrs            = var.vpc == null ? [var.cidr] : [for range in data.aws_vpc.given[0].cidr_block_associations : range.cidr_block]
  own_task_subnets     = var.public_tasks ? aws_subnet.public : aws_subnet.private
  task_subnet_ids      = var.vpc == null ? [for zone in sort(keys(local.zones)) : local.own_task_subnets[zone].id] : var.vpc.private_subnet_ids
  task_route_table_ids = var.vpc == null ? [var.public_tasks ? aws_route_table.public[0].id : aws_route_table.private[0].id] : var.vpc.private_route_table_ids

  own_load_balancer_subnets = local.public ? aws_subnet.public : aws_subnet.private
  load_balancer_subnets     = var.vpc == null ? local.own_load_balancer_subnets : data.aws_subnet.load_balancer
}
