# What one looks at first: is it well, who calls, how long does it take, what do the parts below say.
locals {
  tables_throttles = flatten([for table in values(var.tables) : [for dimensions in concat([{}], [for index in table.indexes : { GlobalSecondaryIndexName = index }]) : [
    for metric in ["ReadThrottleEvents", "WriteThrottleEvents"] : { metric = concat(["AWS/DynamoDB", metric, "TableName", table.name], flatten([for name, value in dimensions : [name, value]])) }
  ]]])
  tables_writes = [for table in values(var.tables) : ["AWS/DynamoDB", "ConsumedWriteCapacityUnits", "TableName", table.name]]
  balancer      = flatten([for dimension, value in local.load_balancer : [dimension, value]])
  ecs           = flatten([for dimension, value in local.service : [dimension, value]])

  # Title → statistic and metrics, two graphs a row.
  graphs = [
    { title = "Nodes", stat = "Average", metrics = [concat(["AWS/NetworkELB", "HealthyHostCount"], local.balancer), concat(["AWS/NetworkELB", "UnHealthyHostCount"], local.balancer)] },
    { title = "Staleness of the changes feed (ms)", stat = "Maximum", metrics = [[local.namespace, "FeedStaleness"]] },
    { title = "Connections (all nodes' reports)", stat = "Average", metrics = [[local.namespace, "Connections"]] },
    { title = "Refused connections", stat = "Sum", metrics = [[local.namespace, "RefusedConnections"]] },
    { title = "Calls", stat = "SampleCount", metrics = [[local.namespace, "CallDuration"]] },
    { title = "Failed calls", stat = "Sum", metrics = [[local.namespace, "FailedCalls"]] },
    { title = "Duration of calls (ms, p99)", stat = "p99", metrics = [[local.namespace, "CallDuration"]] },
    { title = "CPU and memory of nodes (%)", stat = "Average", metrics = [concat(["AWS/ECS", "CPUUtilization"], local.ecs), concat(["AWS/ECS", "MemoryUtilization"], local.ecs)] },
    { title = "Enrollment API", stat = "Sum", metrics = [for metric in ["Count", "4XXError", "5XXError"] : ["AWS/ApiGateway", metric, "ApiName", var.enroll.api_name]] },
    { title = "Rotate Lambda", stat = "Sum", metrics = [for metric in ["Invocations", "Errors"] : ["AWS/Lambda", metric, "FunctionName", var.rotate.function_name]] },
    { title = "Server certificate: seconds left", stat = "Minimum", metrics = [[local.namespace, "CertificateTimeLeft"]] },
    { title = "KMS throttles", stat = "Sum", metrics = [[local.namespace, "KmsThrottles"]] },
    { title = "Table writes", stat = "Sum", metrics = local.tables_writes },
    { title = "Table throttles", stat = "Sum", metrics = local.tables_throttles[*].metric },
  ]
}

resource "aws_cloudwatch_dashboard" "this" {
  count = var.dashboard ? 1 : 0

  dashboard_name = var.name_prefix
  dashboard_body = jsonencode({
    widgets = concat(
      [{
        type = "alarm", x = 0, y = 0, width = 24, height = 4
        properties = {
          title  = "Alarms"
          alarms = [for it in concat(values(aws_cloudwatch_metric_alarm.this), values(aws_cloudwatch_metric_alarm.table)) : it.arn]
        }
      }],
      [for number, graph in local.graphs : {
        type = "metric", x = number % 2 * 12, y = 4 + floor(number / 2) * 6, width = 12, height = 6
        properties = {
          title = graph.title, region = local.region, view = "timeSeries", period = 60, stat = graph.stat, metrics = graph.metrics
        }
      }],
    )
  })
}

# Terraform sees this by itself, but not of an environment whose module moves too (environments/*/moved.tf).
moved {
  from = aws_cloudwatch_dashboard.this
  to   = aws_cloudwatch_dashboard.this[0]
}
