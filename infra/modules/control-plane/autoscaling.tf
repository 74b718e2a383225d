locals {
  # The service's number of tasks, as the autoscaler names it.
  scaled = {
    namespace   = "ecs"
    resource_id = "service/${aws_ecs_cluster.this.name}/${aws_ecs_service.this.name}"
    dimension   = "ecs:service:DesiredCount"
  }

  # Handshakes cost CPU, connections memory.
  targets = {
    cpu    = { metric = "ECSServiceAverageCPUUtilization", percent = 50 }
    memory = { metric = "ECSServiceAverageMemoryUtilization", percent = 70 }
  }
}

resource "aws_appautoscaling_target" "this" {
  service_namespace  = local.scaled.namespace
  resource_id        = local.scaled.resource_id
  scalable_dimension = local.scaled.dimension
  min_capacity       = local.size.min_tasks
  max_capacity       = local.size.max_tasks
}

resource "aws_appautoscaling_policy" "this" {
  for_each = local.targets

  name               = "${var.name_prefix}-${each.key}"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = local.scaled.namespace
  resource_id        = local.scaled.resource_id
  scalable_dimension = local.scaled.dimension

  target_tracking_scaling_policy_configuration {
    target_value       = each.value.percent
    scale_out_cooldown = 60
    # Slowly back: every task that goes ends connections.
    scale_in_cooldown = 600

    predefined_metric_specification {
      predefined_metric_type = each.value.metric
    }
  }

  depends_on = [aws_appautoscaling_target.this]
}
