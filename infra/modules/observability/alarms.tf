# The one place that names the alarms. Each has a runbook of the same name, and a test compares both.
#
# metrics: id → [namespace, metric, dimensions, statistic]; fires when `expression` is at least `threshold` in `of` of `periods`
# periods of `seconds` each. `silence` says what it means when there is no data at all.
locals {
  own = { for metric in keys(local.metrics) : metric => [local.namespace, metric, {}, "Sum"] }

  load_balancer = { LoadBalancer = var.control_plane.load_balancer_arn_suffix, TargetGroup = var.control_plane.target_group_arn_suffix }
  service       = { ClusterName = var.control_plane.cluster_name, ServiceName = var.control_plane.service_name }
  rotate        = { FunctionName = var.rotate.function_name }

  alarms = {
    NodeStale = {
      why     = "A node has not read the changes feed within its limit and refuses all calls."
      metrics = { m = local.own.StaleReports }, expression = "FILL(m, 0)", threshold = 1
      seconds = 60, of = 2, periods = 3, silence = "notBreaching"
    }
    UnhealthyNodes = {
      why = "The load balancer has an unhealthy node, or too few healthy ones."
      metrics = {
        # Over the load balancer's own nodes: one of them that sees a target late is no fault (NLB, "Statistics for CloudWatch metrics").
        u = ["AWS/NetworkELB", "UnHealthyHostCount", local.load_balancer, "Minimum"]
        h = ["AWS/NetworkELB", "HealthyHostCount", local.load_balancer, "Maximum"]
      }
      expression = "IF(u > 0 OR h < ${var.control_plane.minimum_nodes}, 1, 0)", threshold = 1
      seconds    = 60, of = 3, periods = 5, silence = "breaching"
    }
    NodesBusy = {
      why     = "CPU is high, and autoscaling is at its maximum."
      metrics = { m = ["AWS/ECS", "CPUUtilization", local.service, "Average"] }, expression = "FILL(m, 0)", threshold = 85
      seconds = 300, of = 3, periods = 3, silence = "notBreaching"
    }
    NodeFull = {
      why     = "Nodes are at their limit of calls or streams and refuse callers that are within their own share."
      metrics = { m = local.own.FullRefusals }, expression = "FILL(m, 0)", threshold = 1
      seconds = 60, of = 2, periods = 3, silence = "notBreaching"
    }
    DeploymentFailed = {
      why     = "A deployment was rolled back because its tasks did not become healthy."
      metrics = { m = local.own.FailedDeployments }, expression = "FILL(m, 0)", threshold = 1
      seconds = 300, of = 1, periods = 1, silence = "notBreaching"
    }
    ApiErrors = {
      why = "More than one call in a hundred fails with a server error."
      metrics = {
        m = local.own.FailedCalls
        n = [local.namespace, "CallDuration", {}, "SampleCount"]
      }
      expression = "IF(FILL(m, 0) >= 10 AND FILL(m, 0) > 0.01 * FILL(n, 0), 1, 0)", threshold = 1
      seconds    = 300, of = 1, periods = 1, silence = "notBreaching"
    }
    HandshakeRefusals = {
      why     = "Many connections with certificates of our CAs are refused."
      metrics = { m = local.own.RefusedConnections }, expression = "FILL(m, 0)", threshold = var.handshake_refusals
      seconds = 300, of = 1, periods = 1, silence = "notBreaching"
    }
    EnrollmentErrors = {
      why = "The enrollment API returns 5xx."
      metrics = {
        m = ["AWS/ApiGateway", "5XXError", { ApiName = var.enroll.api_name }, "Sum"]
        # A throttled Lambda's caller gets 503 (modules/enroll), and tries again.
        t = ["AWS/Lambda", "Throttles", { FunctionName = var.enroll.function_name }, "Sum"]
      }
      expression = "FILL(m, 0) - FILL(t, 0)", threshold = 5
      seconds    = 300, of = 1, periods = 1, silence = "notBreaching"
    }
    KmsThrottled = {
      why     = "KMS throttles after all retries: certificates are not signed."
      metrics = { m = local.own.KmsThrottles }, expression = "FILL(m, 0)", threshold = 1
      seconds = 300, of = 1, periods = 1, silence = "notBreaching"
    }
    Misconfigured = {
      why     = "A key, table or permission is wrong, and calls fail until somebody fixes it. Or there is an unused key."
      metrics = { m = local.own.OperatorFaults, u = local.own.UnnamedKeys }, expression = "FILL(m, 0) + FILL(u, 0)", threshold = 1
      seconds = 300, of = 1, periods = 1, silence = "notBreaching"
    }
    # A server certificate lives 604,800 s; with a third of that left, two rotations have been missed.
    RotationFailed = {
      why = "The rotate Lambda fails or does not run, or a node serves a certificate that is overdue for replacement."
      metrics = {
        e = ["AWS/Lambda", "Errors", local.rotate, "Sum"]
        i = ["AWS/Lambda", "Invocations", local.rotate, "Sum"]
        c = [local.namespace, "CertificateTimeLeft", {}, "Minimum"]
      }
      expression = "IF(FILL(e, 0) > 2 OR FILL(i, 0) < 1 OR FILL(c, 604800) < 201600, 1, 0)", threshold = 1
      seconds    = 900, of = 1, periods = 1, silence = "breaching"
    }
    CertificateFaulty = {
      why     = "Clients would reject the certificate stored as the server's. Nodes keep serving the previous one; new nodes do not become ready."
      metrics = { m = local.own.CertificateFaults }, expression = "FILL(m, 0)", threshold = 1
      seconds = 300, of = 1, periods = 1, silence = "notBreaching"
    }
    # Once each: a balancer that has not yet noticed a replaced task.
    EndpointUnreachable = {
      why     = "Nodes that are ready cannot connect to the environment by its name, through the load balancer, as clients do."
      metrics = { m = local.own.EndpointFaults }, expression = "FILL(m, 0)", threshold = 1
      seconds = 60, of = 4, periods = 5, silence = "notBreaching"
    }
    DeadLetters = {
      why     = "A scheduled task failed all its retries and is in the dead-letter queue."
      metrics = { m = ["AWS/SQS", "ApproximateNumberOfMessagesVisible", { QueueName = var.rotate.dead_letter_queue_name }, "Maximum"] }, expression = "FILL(m, 0)", threshold = 1
      seconds = 300, of = 1, periods = 1, silence = "notBreaching"
    }
    CertificateExpiry = {
      why     = "A certificate expires soon and has not been replaced; the previous notification names it."
      metrics = { m = local.own.ExpiryWarnings }, expression = "FILL(m, 0)", threshold = 1
      seconds = 86400, of = 1, periods = 1, silence = "notBreaching"
    }
    PeriodicWorkFailed = {
      why     = "Sealing the audit log, sweeping reservations or reading the roots fails repeatedly."
      metrics = { m = local.own.FailedPeriodicWork }, expression = "FILL(m, 0)", threshold = 5
      seconds = 600, of = 1, periods = 1, silence = "notBreaching"
    }
    UnreadableRecords = {
      why     = "A record cannot be read; whatever depends on it is refused."
      metrics = { m = local.own.UnreadableRecords }, expression = "FILL(m, 0)", threshold = 1
      seconds = 600, of = 1, periods = 1, silence = "notBreaching"
    }
    FeedIncomplete = {
      why     = "Changes are missing from the feed: nodes may admit whoever was revoked or suspended."
      metrics = { m = local.own.MissingChanges }, expression = "FILL(m, 0)", threshold = 1
      seconds = 300, of = 1, periods = 1, silence = "notBreaching"
    }
    AuditFinding = {
      why     = "The audit log lacks what was sealed before: it was truncated, or an older store was restored."
      metrics = { m = local.own.AuditCuts }, expression = "FILL(m, 0)", threshold = 1
      seconds = 300, of = 1, periods = 1, silence = "notBreaching"
    }
    CloneDetected = {
      why     = "A superseded certificate asked for renewal: its key was copied, and the instance is locked."
      metrics = { m = local.own.Clones }, expression = "FILL(m, 0)", threshold = 1
      seconds = 300, of = 1, periods = 1, silence = "notBreaching"
    }
    UnrecordedCertificates = {
      why     = "A certificate of a tenant's CA has no record: its key signs outside of Signet, or a restore lost records."
      metrics = { m = local.own.UnrecordedCertificates }, expression = "FILL(m, 0)", threshold = 1
      seconds = 300, of = 1, periods = 1, silence = "notBreaching"
    }
    BreakGlassUsed = {
      why     = "Somebody assumed, tried to assume, or uses the break-glass role."
      metrics = { m = local.own.BreakGlassUses }, expression = "FILL(m, 0)", threshold = 1
      seconds = 300, of = 1, periods = 1, silence = "notBreaching"
    }
    CaKeyChanged = {
      why     = "Somebody disabled a key of the environment's CAs, scheduled its deletion or changed its policy, or tried to."
      metrics = { m = local.own.CaKeyChanges }, expression = "FILL(m, 0)", threshold = 1
      seconds = 300, of = 1, periods = 1, silence = "notBreaching"
    }
  }

  # One for each table, since CloudWatch cannot add up all of them. A table's own metrics do not have its indexes' (DynamoDB Developer Guide,
  # "Metrics and dimensions"), and ThrottledRequests has them by operation only.
  table_alarms = {
    DynamoDbThrottled = "DynamoDB throttles reads or writes of the table or one of its indexes."
  }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${var.name_prefix}-${each.key}"
  alarm_description   = "${each.value.why} Runbook: runbooks/${each.key}.md"
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = each.value.threshold
  evaluation_periods  = each.value.periods
  datapoints_to_alarm = each.value.of
  treat_missing_data  = each.value.silence
  alarm_actions       = [aws_sns_topic.this.arn]
  ok_actions          = [aws_sns_topic.this.arn]

  metric_query {
    id          = "result"
    label       = each.key
    expression  = each.value.expression
    return_data = true
  }

  dynamic "metric_query" {
    for_each = each.value.metrics
    content {
      id = metric_query.key

      metric {
        namespace   = metric_query.value[0]
        metric_name = metric_query.value[1]
        dimensions  = metric_query.value[2]
        stat        = metric_query.value[3]
        period      = each.value.seconds
      }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "table" {
  for_each = merge([
    for alarm, why in local.table_alarms : { for table, it in var.tables : "${alarm}-${table}" => merge(it, { alarm = alarm, why = why }) }
  ]...)

  alarm_name          = "${var.name_prefix}-${each.key}"
  alarm_description   = "${each.value.why} Runbook: runbooks/${each.value.alarm}.md"
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  evaluation_periods  = 5
  datapoints_to_alarm = 3
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.this.arn]
  ok_actions          = [aws_sns_topic.this.arn]

  metric_query {
    id          = "result"
    label       = each.value.alarm
    expression  = join(" + ", concat(["FILL(r, 0)", "FILL(w, 0)"], [for number, index in each.value.indexes : "FILL(r${number}, 0) + FILL(w${number}, 0)"]))
    return_data = true
  }

  dynamic "metric_query" {
    for_each = merge(
      { r = ["ReadThrottleEvents", {}], w = ["WriteThrottleEvents", {}] },
      { for number, index in each.value.indexes : "r${number}" => ["ReadThrottleEvents", { GlobalSecondaryIndexName = index }] },
      { for number, index in each.value.indexes : "w${number}" => ["WriteThrottleEvents", { GlobalSecondaryIndexName = index }] },
    )
    content {
      id = metric_query.key

      metric {
        namespace   = "AWS/DynamoDB"
        metric_name = metric_query.value[0]
        dimensions  = merge({ TableName = each.value.name }, metric_query.value[1])
        stat        = "Sum"
        period      = 60
      }
    }
  }
}
