# Handshakes cost CPU, connections memory.
locals {
  targets = {
    cpu    = { metric = "ECSServiceAverageCPUUtilization", percent = 50 }
    memory = { metric = "ECSServiceAverageMemoryUtilization", percent = 70 }
  }
}

resource "aws_appautoscaling_target" "this" {
  count = var.autoscaling ? 1 : 0

  service_namespace  = "ecs"
  resource_id        = "service/${aws_ecs_cluster.this.name}/${aws_ecs_service.this.name}"
  scalable_dimension = "ecs:service:DesiredCount"
  min_capacity       = local.size.min_tasks
  max_capacity       = local.size.max_tasks
}

resource "aws_appautoscaling_policy" "this" {
  for_each = var.autoscaling ? local.targets : {}

  name               = "${var.name_prefix}-${each.key}"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = aws_appautoscaling_target.this[0].service_namespace
  resource_id        = aws_appautoscaling_target.this[0].resource_id
  scalable_dimension = aws_appautoscaling_target.this[0].scalable_dimension

  target_tracking_scaling_policy_configuration {
    target_value       = each.value.percent
    scale_out_cooldown = 60
    # Slowly back: every task that goes ends connections.
    scale_in_cooldown = 600

    predefined_metric_specification {
      predefined_metric_type = each.value.metric
    }
  }
}
