# The names that clients may use; they are in the server's certificate.
locals {
  dns_names = concat(var.domain == null ? [] : [var.domain.name], [aws_lb.this.dns_name])
  address   = "${local.dns_names[0]}:${local.listeners.grpc.port}"

  # Tasks reach an internal load balancer always, an internet-facing one by its public addresses: if they reach the internet, and it lets
  # everybody in, since their own address there is not known.
  probed = !var.internet_facing || (contains(var.client_cidrs, "0.0.0.0/0") && contains(var.network.egress_cidrs, "0.0.0.0/0"))
}

resource "aws_route53_record" "this" {
  count = try(var.domain.zone_id, null) == null ? 0 : 1

  zone_id = var.domain.zone_id
  name    = var.domain.name
  type    = "A"

  alias {
    name                   = aws_lb.this.dns_name
    zone_id                = aws_lb.this.zone_id
    evaluate_target_health = true
  }
}
