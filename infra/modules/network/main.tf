data "aws_region" "current" {}
data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

data "aws_availability_zones" "available" {
  count = local.own

  state            = "available"
  exclude_zone_ids = var.exclude_zone_ids

  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

locals {
  own       = var.vpc == null ? 1 : 0
  region    = data.aws_region.current.id
  available = local.own == 1 ? sort(data.aws_availability_zones.available[0].names) : []
  zones     = { for i, zone in slice(local.available, 0, min(var.az_count, length(local.available))) : zone => i }
}

resource "aws_vpc" "this" {
  count = local.own

  cidr_block           = var.cidr
  enable_dns_support   = true
  enable_dns_hostnames = true

  tags = { Name = var.name_prefix }

  lifecycle {
    precondition {
      condition     = length(local.overlaps) == 0
      error_message = "These ranges overlap, so nothing could be routed between them: ${join("; ", local.overlaps)}. Change cidr, or take one out of peer_cidrs."
    }

    precondition {
      condition     = length(local.zones) == var.az_count
      error_message = "${local.region} has ${length(local.available)} usable availability zones (${join(", ", local.available)}), fewer than az_count = ${var.az_count}. Lower az_count, or shorten exclude_zone_ids."
    }
  }
}

# Whatever forgets to name its security group can then speak to nobody.
resource "aws_default_security_group" "this" {
  count = local.own

  vpc_id = aws_vpc.this[0].id
  tags   = { Name = "${var.name_prefix}-unused" }
}

resource "aws_subnet" "private" {
  for_each = var.public_tasks ? {} : local.zones

  vpc_id            = aws_vpc.this[0].id
  availability_zone = each.key
  cidr_block        = cidrsubnet(var.cidr, 4, each.value)

  tags = { Name = "${var.name_prefix}-private-${each.key}" }
}

# No default route: what is in these subnets reaches the VPC and the endpoints, and nothing else.
resource "aws_route_table" "private" {
  count = var.public_tasks ? 0 : local.own

  vpc_id = aws_vpc.this[0].id
  tags   = { Name = "${var.name_prefix}-private" }
}

resource "aws_route_table_association" "private" {
  for_each = aws_subnet.private

  subnet_id      = each.value.id
  route_table_id = aws_route_table.private[0].id
}
