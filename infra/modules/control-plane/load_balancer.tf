# TLS ends in signetd, so the load balancer passes TCP on and tells in a PROXY protocol header where a connection comes from.
locals {
  listeners = {
    grpc   = { port = 443 }
    public = { port = 80 }
  }
}

resource "aws_lb" "this" {
  # checkov:skip=CKV_AWS_91:A network load balancer logs TLS listeners only, and TLS ends in signetd, which logs who is refused.
  # checkov:skip=CKV2_AWS_20:It is no application load balancer: what is on 80 is public material, and nothing redirects.
  name               = var.name_prefix
  load_balancer_type = "network"
  internal           = !var.internet_facing
  subnets            = var.network.load_balancer_subnet_ids
  security_groups    = [aws_security_group.load_balancer.id]

  enable_cross_zone_load_balancing = true
  enable_deletion_protection       = var.deletion_protection
}

resource "aws_lb_target_group" "this" {
  for_each = local.listeners

  name        = "${var.name_prefix}-${each.key}"
  vpc_id      = var.network.vpc_id
  target_type = "ip"
  protocol    = "TCP"
  port        = local.ports[each.key]

  proxy_protocol_v2    = true
  preserve_client_ip   = false
  deregistration_delay = 30

  # A node that is not ready (no certificate yet, or stale) gets no connections on either port. It is asked on a port that no
  # client reaches, so that none can keep it from answering. The check comes with a PROXY header, which signetd reads over.
  health_check {
    protocol            = "HTTP"
    port                = local.ports.health
    path                = "/readyz"
    matcher             = "200"
    interval            = 10
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener" "this" {
  for_each = local.listeners

  load_balancer_arn = aws_lb.this.arn
  protocol          = "TCP"
  port              = each.value.port

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this[each.key].arn
  }
}
