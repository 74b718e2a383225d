data "aws_region" "current" {}
data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

locals {
  # Where signetd listens; services/control-plane has the same defaults.
  ports = { grpc = 8443, public = 8080, health = 8081, metrics = 9464 }
}

resource "aws_ecs_cluster" "this" {
  name = var.name_prefix

  setting {
    name  = "containerInsights"
    value = var.size == "tiny" ? "disabled" : "enabled"
  }
}

resource "aws_ecs_service" "this" {
  name            = "signetd"
  cluster         = aws_ecs_cluster.this.id
  task_definition = aws_ecs_task_definition.this.arn
  launch_type     = "FARGATE"
  desired_count   = local.size.min_tasks

  # A zone that comes back gets its nodes back.
  availability_zone_rebalancing = "ENABLED"

  propagate_tags          = "SERVICE"
  enable_ecs_managed_tags = true
  enable_execute_command  = false

  # A new version has to be ready before an old task ends; one that does not get there is rolled back.
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200
  # Time for the first start: no node is ready before bootstrap. A node that crashes counts at once.
  health_check_grace_period_seconds = 900

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = var.network.task_subnet_ids
    security_groups  = [aws_security_group.tasks.id]
    assign_public_ip = var.network.public_tasks
  }

  dynamic "load_balancer" {
    for_each = aws_lb_target_group.this
    content {
      target_group_arn = load_balancer.value.arn
      container_name   = "signetd"
      container_port   = load_balancer.value.port
    }
  }

  # A target group has to have its listener before a service may use it, and a task its rights before it starts.
  depends_on = [aws_lb_listener.this, aws_iam_role_policy.access, aws_iam_role_policy.execution]

  lifecycle {
    ignore_changes = [desired_count]
  }
}
