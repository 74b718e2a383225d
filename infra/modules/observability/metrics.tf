# Metrics made of log lines: no agent, and nothing that a node would have to send. The code has the same words, and a test compares both.
locals {
  namespace = "Signet/${var.name_prefix}"

  log_groups = {
    control_plane = var.control_plane.log_group_name
    enroll        = var.enroll.log_group_name
    keymaker      = var.keymaker.log_group_name
    rotate        = var.rotate.log_group_name
    events        = aws_cloudwatch_log_group.events.name
  }
  every_process = ["control_plane", "enroll", "rotate"]

  # Metric → log groups, what to look for, and the value: 1 counts lines.
  metrics = {
    StaleReports           = { logs = ["control_plane"], value = "1", pattern = "{ $.message = \"health\" && $.stale IS TRUE }" }
    FeedStaleness          = { logs = ["control_plane"], value = "$.staleness_ms", pattern = "{ $.message = \"health\" }" }
    FullRefusals           = { logs = ["control_plane"], value = "$.full_refusals", pattern = "{ $.message = \"health\" }" }
    Connections            = { logs = ["control_plane"], value = "$.connections", pattern = "{ $.message = \"health\" }" }
    CertificateTimeLeft    = { logs = ["control_plane"], value = "$.certificate_seconds_left", pattern = "{ $.message = \"health\" }" }
    CertificateFaults      = { logs = ["control_plane"], value = "1", pattern = "{ $.message = \"health\" && $.certificate_fault = \"*\" }" }
    EndpointFaults         = { logs = ["control_plane"], value = "1", pattern = "{ $.message = \"health\" && $.endpoint_fault = \"*\" }" }
    CallDuration           = { logs = ["control_plane"], value = "$.duration_ms", pattern = "{ $.message = \"call\" }" }
    FailedCalls            = { logs = ["control_plane"], value = "1", pattern = "{ $.message = \"call\" && $.ended NOT EXISTS && ($.code = \"INTERNAL\" || $.code = \"UNKNOWN\" || $.code = \"UNAVAILABLE\" || $.code = \"DATA_LOSS\" || $.code = \"DEADLINE_EXCEEDED\" || ($.code = \"CANCELLED\" && $.duration_ms > 9000)) }" }
    RefusedConnections     = { logs = ["control_plane"], value = "1", pattern = "{ $.message = \"connection refused\" && $.verified IS TRUE }" }
    FailedPeriodicWork     = { logs = ["control_plane"], value = "1", pattern = "{ $.message = \"periodic work failed; will retry\" }" }
    UnreadableRecords      = { logs = local.every_process, value = "1", pattern = "{ $.message = \"a record cannot be read\" }" }
    MissingChanges         = { logs = ["control_plane"], value = "1", pattern = "{ $.message = \"changes are missing from the feed\" || $.message = \"the changes feed was rolled back: entries that this node has read are gone\" || $.message = \"the feed head went backwards or cannot be read; continuing after the last entry\" }" }
    Clones                 = { logs = ["control_plane", "enroll"], value = "1", pattern = "{ $.message = \"instance locked: its key was copied\" }" }
    UnrecordedCertificates = { logs = ["control_plane"], value = "1", pattern = "{ $.message = \"a certificate was never recorded\" }" }
    AuditCuts              = { logs = ["control_plane", "rotate"], value = "1", pattern = "{ $.message = \"the audit log was truncated or rolled back\" }" }
    KmsThrottles           = { logs = concat(local.every_process, ["keymaker"]), value = "1", pattern = "{ $.message = \"KMS refused\" && $.code = \"ThrottlingException\" }" }
    OperatorFaults         = { logs = local.every_process, value = "1", pattern = "{ $.message = \"misconfigured: the operator must act\" }" }
    UnnamedKeys            = { logs = ["rotate"], value = "1", pattern = "{ $.message = \"unused KMS key without an alias: delete it\" }" }
    ExpiryWarnings         = { logs = ["events"], value = "1", pattern = "{ $.source = \"signet\" && $.detail-type = \"Certificate Expiry\" }" }
    FailedDeployments      = { logs = ["events"], value = "1", pattern = "{ $.source = \"aws.ecs\" && $.detail.eventName = \"SERVICE_DEPLOYMENT_FAILED\" }" }
    CaKeyChanges           = { logs = ["events"], value = "1", pattern = "{ $.source = \"aws.kms\" && ($.detail.eventName = \"DisableKey\" || $.detail.eventName = \"PutKeyPolicy\" || $.detail.eventName = \"ScheduleKeyDeletion\") }" }
    BreakGlassUses         = { logs = ["events"], value = "1", pattern = "{ $.source = \"aws.sts\" || $.detail.userIdentity.sessionContext.sessionIssuer.arn = \"${var.break_glass_role_arn}\" }" }
  }

  filters = merge([
    for metric, it in local.metrics : { for log in it.logs : "${metric}-${log}" => { metric = metric, log = log, pattern = it.pattern, value = it.value } }
  ]...)
}

resource "aws_cloudwatch_log_metric_filter" "this" {
  for_each = local.filters

  name           = each.key
  log_group_name = local.log_groups[each.value.log]
  pattern        = each.value.pattern

  metric_transformation {
    name      = each.value.metric
    namespace = local.namespace
    value     = each.value.value
  }
}
