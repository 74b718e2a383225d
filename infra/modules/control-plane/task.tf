locals {
  log_group_name = "/${var.name_prefix}/control-plane"

  environment = merge(var.settings, {
    SIGNET_KEYS__MAKER                 = var.key_maker
    SIGNET_LISTEN__GRPC                = "0.0.0.0:${local.ports.grpc}"
    SIGNET_LISTEN__PUBLIC              = "0.0.0.0:${local.ports.public}"
    SIGNET_LISTEN__HEALTH              = "0.0.0.0:${local.ports.health}"
    SIGNET_LISTEN__METRICS             = "0.0.0.0:${local.ports.metrics}"
    SIGNET_LISTEN__PROXY_PROTOCOL_FROM = jsonencode(var.network.load_balancer_cidrs)
    # Of all regions' STS, a task reaches this one's only: better to say so than to wait for another.
    SIGNET_ENROLLMENT__AWS_REGIONS = jsonencode([data.aws_region.current.id])
  }, local.probed ? { SIGNET_PROBE__ENDPOINT = local.address } : {})
}

resource "aws_ecs_task_definition" "this" {
  family                   = "${var.name_prefix}-signetd"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = local.size.cpu
  memory                   = local.size.memory
  task_role_arn            = aws_iam_role.task.arn
  execution_role_arn       = aws_iam_role.execution.arn

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.architecture == "arm64" ? "ARM64" : "X86_64"
  }

  container_definitions = jsonencode([{
    name      = "signetd"
    image     = var.image
    essential = true

    # Nothing is written to disk, nothing runs as root, nothing may become it.
    user                   = "65532:65532"
    privileged             = false
    readonlyRootFilesystem = true
    linuxParameters        = { capabilities = { drop = ["ALL"] } }

    portMappings = [for port in sort(values(local.ports)) : { containerPort = tonumber(port), hostPort = tonumber(port), protocol = "tcp" }]
    environment  = [for name in sort(keys(local.environment)) : { name = name, value = local.environment[name] }]
    ulimits      = [{ name = "nofile", softLimit = 65536, hardLimit = 65536 }]
    # signetd finishes running calls for 20 s after SIGTERM.
    stopTimeout = 30

    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.this.name
        awslogs-region        = data.aws_region.current.id
        awslogs-stream-prefix = "signetd"
        # A stuck log service must not stop the control plane.
        mode            = "non-blocking"
        max-buffer-size = "4m"
      }
    }
  }])
}

resource "aws_cloudwatch_log_group" "this" {
  name              = local.log_group_name
  retention_in_days = var.log_retention_days
  kms_key_id        = var.logs_kms_key_arn
}
