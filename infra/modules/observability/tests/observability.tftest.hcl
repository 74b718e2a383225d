# The dashboard and policies name ARNs that are known after apply only, so this applies, to resources that are made up.
provider "aws" {
  region                      = "eu-central-1"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}

override_data {
  target = data.aws_caller_identity.current
  values = { account_id = "123456789012" }
}

override_resource {
  target = aws_kms_key.logs
  values = { arn = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000" }
}

override_resource {
  target = aws_kms_alias.logs
}

override_resource {
  target = aws_sns_topic.this
  values = { arn = "arn:aws:sns:eu-central-1:123456789012:signet-test-operators" }
}

override_resource {
  target = aws_sns_topic_policy.this
}

override_resource {
  target = aws_sns_topic_subscription.email
}

override_resource {
  target = aws_cloudwatch_event_bus.this
  values = { arn = "arn:aws:events:eu-central-1:123456789012:event-bus/signet-test" }
}

override_resource {
  target = aws_cloudwatch_event_rule.this
  values = { arn = "arn:aws:events:eu-central-1:123456789012:rule/signet-test-rule" }
}

override_resource {
  target = aws_cloudwatch_event_target.log
}

override_resource {
  target = aws_cloudwatch_event_target.notify
}

override_resource {
  target = aws_cloudwatch_log_group.events
  values = { arn = "arn:aws:logs:eu-central-1:123456789012:log-group:/aws/events/signet-test" }
}

override_resource {
  target = aws_cloudwatch_log_resource_policy.events
}

override_resource {
  target = aws_cloudwatch_log_metric_filter.this
}

override_resource {
  target = aws_cloudwatch_metric_alarm.this
  values = { arn = "arn:aws:cloudwatch:eu-central-1:123456789012:alarm:signet-test-alarm" }
}

override_resource {
  target = aws_cloudwatch_metric_alarm.table
  values = { arn = "arn:aws:cloudwatch:eu-central-1:123456789012:alarm:signet-test-table-alarm" }
}

override_resource {
  target = aws_cloudwatch_dashboard.this[0]
}

variables {
  name_prefix = "signet-test"
  control_plane = {
    log_group_name           = "/signet-test/control-plane"
    cluster_name             = "signet-test"
    service_name             = "signetd"
    load_balancer_arn_suffix = "net/signet-test/0123456789abcdef"
    target_group_arn_suffix  = "targetgroup/signet-test-grpc/0123456789abcdef"
  }
  enroll               = { log_group_name = "/signet-test/enroll", function_name = "signet-test-enroll", api_name = "signet-test-enroll" }
  keymaker             = { log_group_name = "/signet-test/keymaker" }
  rotate               = { log_group_name = "/signet-test/rotate", function_name = "signet-test-rotate", dead_letter_queue_name = "signet-test-rotate-dead-letters" }
  tables               = { changes = { name = "signet-test-changes", indexes = [] }, certificates = { name = "signet-test-certificates", indexes = ["by_deadline", "revoked"] } }
  ca_key_arns          = ["arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-00000000000a"]
  break_glass_role_arn = "arn:aws:iam::123456789012:role/signet-test-break-glass"
  email_addresses      = ["signet@example.com"]
}

run "applied" {
  command = apply

  # Every alarm tells and names its runbook.
  assert {
    condition = alltrue([
      for name, alarm in aws_cloudwatch_metric_alarm.this :
      alarm.alarm_name == "signet-test-${name}" && endswith(alarm.alarm_description, "Runbook: runbooks/${name}.md")
    ])
    error_message = "An alarm must be PREFIX-Name, and its description end with runbooks/Name.md."
  }

  assert {
    condition     = toset([for alarm in aws_cloudwatch_metric_alarm.table : alarm.alarm_name]) == toset(["signet-test-DynamoDbThrottled-changes", "signet-test-DynamoDbThrottled-certificates"])
    error_message = "Each table must have its alarm."
  }

  assert {
    condition = toset(flatten([
      for query in aws_cloudwatch_metric_alarm.table["DynamoDbThrottled-certificates"].metric_query :
      [for metric in query.metric : "${metric.metric_name} ${lookup(metric.dimensions, "GlobalSecondaryIndexName", "table")}"]
      ])) == toset(flatten([
      for place in ["table", "by_deadline", "revoked"] : ["ReadThrottleEvents ${place}", "WriteThrottleEvents ${place}"]
    ]))
    error_message = "The table's alarm must watch reads and writes of the table and of each index: the table's metrics are without its indexes'."
  }

  assert {
    condition = alltrue([
      for alarm in aws_cloudwatch_metric_alarm.table : alltrue([
        for query in alarm.metric_query : alltrue([for other in alarm.metric_query : strcontains(query.expression, "FILL(${other.id}, 0)") if other.id != "result"]) if query.id == "result"
      ])
    ])
    error_message = "A table's alarm must add up all that it watches."
  }

  assert {
    condition = alltrue([
      for alarm in concat(values(aws_cloudwatch_metric_alarm.this), values(aws_cloudwatch_metric_alarm.table)) :
      alarm.alarm_actions == toset([aws_sns_topic.this.arn]) && alarm.ok_actions == toset([aws_sns_topic.this.arn])
    ])
    error_message = "Every alarm must tell when it fires and when it is over."
  }

  assert {
    condition = alltrue([
      for alarm in concat(values(aws_cloudwatch_metric_alarm.this), values(aws_cloudwatch_metric_alarm.table)) :
      alltrue([for query in alarm.metric_query : coalesce(query.return_data, false) == (query.id == "result")]) && length(alarm.metric_query) >= 2 && length(alarm.metric_query) <= 11
    ])
    error_message = "An alarm must watch exactly its expression, over one to ten metrics."
  }

  assert {
    condition     = toset([for name, alarm in aws_cloudwatch_metric_alarm.this : name if alarm.treat_missing_data == "breaching"]) == toset(["UnhealthyNodes", "RotationFailed"])
    error_message = "Silence is bad news where something must be heard: from the load balancer and from the rotate Lambda."
  }

  # Every metric of ours that an alarm watches is made.
  assert {
    condition = length(setsubtract(
      flatten([
        for alarm in aws_cloudwatch_metric_alarm.this : [
          for query in alarm.metric_query : [for metric in query.metric : metric.metric_name if metric.namespace == "Signet/signet-test"]
        ]
      ]),
      [for filter in aws_cloudwatch_log_metric_filter.this : filter.metric_transformation[0].name],
    )) == 0
    error_message = "An alarm watches a metric that no filter makes."
  }

  assert {
    condition     = toset([for filter in aws_cloudwatch_log_metric_filter.this : filter.log_group_name if filter.metric_transformation[0].name == "KmsThrottles"]) == toset(["/signet-test/control-plane", "/signet-test/enroll", "/signet-test/keymaker", "/signet-test/rotate"])
    error_message = "KMS throttles must be seen in every process."
  }

  assert {
    condition     = alltrue([for filter in aws_cloudwatch_log_metric_filter.this : length(filter.pattern) <= 1024 && filter.metric_transformation[0].namespace == "Signet/signet-test"])
    error_message = "A pattern may have 1,024 characters, and metrics of environments must not mix."
  }

  # Events are kept and warnings told.
  assert {
    condition     = toset(keys(aws_cloudwatch_event_target.log)) == toset(["warnings", "deployments", "ca-keys", "tenant-keys", "break-glass", "break-glass-acts"]) && aws_cloudwatch_event_target.notify.arn == aws_sns_topic.this.arn
    error_message = "All events must be kept, and warnings sent to people."
  }

  assert {
    condition     = jsondecode(aws_cloudwatch_event_rule.this["warnings"].event_pattern) == { source = ["signet"] } && aws_cloudwatch_event_rule.this["warnings"].event_bus_name == "signet-test"
    error_message = "Every event of ours on our bus is a warning."
  }

  assert {
    condition = (
      jsondecode(aws_cloudwatch_event_rule.this["break-glass"].event_pattern).detail.requestParameters.roleArn == ["arn:aws:iam::123456789012:role/signet-test-break-glass"] &&
      aws_cloudwatch_event_rule.this["break-glass"].state == "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
    )
    error_message = "The rule must hear of AssumeRole on the break-glass role."
  }

  assert {
    condition = (
      jsondecode(aws_cloudwatch_event_rule.this["break-glass-acts"].event_pattern).detail.userIdentity.sessionContext.sessionIssuer.arn == ["arn:aws:iam::123456789012:role/signet-test-break-glass"] &&
      !contains(keys(jsondecode(aws_cloudwatch_event_rule.this["break-glass-acts"].event_pattern)), "source") &&
      aws_cloudwatch_event_rule.this["break-glass-acts"].state == "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
    )
    error_message = "Whatever the break-glass role does must be heard, wherever it was taken."
  }

  assert {
    condition = (
      toset(jsondecode(aws_cloudwatch_event_rule.this["ca-keys"].event_pattern).detail.eventName) == toset(["DeleteAlias", "DisableKey", "PutKeyPolicy", "ScheduleKeyDeletion", "UpdateAlias"]) &&
      jsondecode(aws_cloudwatch_event_rule.this["ca-keys"].event_pattern).detail.resources.ARN == ["arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-00000000000a"]
    )
    error_message = "The rule must hear of what ends or hands out one of our keys, and of no other team's."
  }

  assert {
    condition = (
      toset(jsondecode(aws_cloudwatch_event_rule.this["tenant-keys"].event_pattern).detail.eventName) == toset(["DisableKey", "ScheduleKeyDeletion"]) &&
      jsondecode(aws_cloudwatch_event_rule.this["tenant-keys"].event_pattern).detail.userIdentity.sessionContext.sessionIssuer.arn == [
        for role in ["administrator", "control-plane", "enroll", "rotate"] : "arn:aws:iam::123456789012:role/signet-test-${role}"
      ]
    )
    error_message = "Whoever of us ends a tenant's key must be heard, but for the keymaker, whose work it is."
  }

  # One of the load balancer's own nodes that sees a target late wakes nobody.
  assert {
    condition = (
      { for metric in flatten([for query in aws_cloudwatch_metric_alarm.this["UnhealthyNodes"].metric_query : query.metric]) : metric.metric_name => metric.stat } == { UnHealthyHostCount = "Minimum", HealthyHostCount = "Maximum" } &&
      aws_cloudwatch_metric_alarm.this["UnhealthyNodes"].datapoints_to_alarm == 3 && aws_cloudwatch_metric_alarm.this["UnhealthyNodes"].evaluation_periods == 5
    )
    error_message = "A node is unhealthy when all of the load balancer say so, in three of five minutes."
  }

  assert {
    condition = {
      for name in ["ApiErrors", "EnrollmentErrors"] : name => one([for query in aws_cloudwatch_metric_alarm.this[name].metric_query : query.expression if query.id == "result"])
    } == { ApiErrors = "IF(FILL(m, 0) >= 10 AND FILL(m, 0) > 0.01 * FILL(n, 0), 1, 0)", EnrollmentErrors = "FILL(m, 0) - FILL(t, 0)" }
    error_message = "Errors must be weighed against calls, and throttles are told elsewhere."
  }

  # What is kept and told is encrypted.
  assert {
    condition     = aws_sns_topic.this.kms_master_key_id == aws_kms_key.logs.arn && aws_cloudwatch_log_group.events.kms_key_id == aws_kms_key.logs.arn && aws_cloudwatch_log_group.events.retention_in_days == 365
    error_message = "Topic and log group must be encrypted with our key, and events kept for a year."
  }

  assert {
    condition     = aws_kms_key.logs.enable_key_rotation && aws_kms_key.logs.deletion_window_in_days == 30
    error_message = "The key must rotate and have the longest deletion window."
  }

  assert {
    condition = toset(flatten([
      for statement in jsondecode(data.aws_iam_policy_document.key.json).Statement : try(statement.Principal.Service, statement.Principal.AWS)
      if contains(flatten([statement.Action]), "kms:Decrypt")
    ])) == toset(["logs.eu-central-1.amazonaws.com", "cloudwatch.amazonaws.com", "events.amazonaws.com"])
    error_message = "Only services may use the key."
  }

  assert {
    condition = [
      for statement in jsondecode(data.aws_iam_policy_document.key.json).Statement : statement.Condition.ArnLike["kms:EncryptionContext:aws:logs:arn"]
      if statement.Sid == "LogsEncrypt"
    ] == [["arn:aws:logs:eu-central-1:123456789012:log-group:/signet-test/*", "arn:aws:logs:eu-central-1:123456789012:log-group:/aws/events/signet-test"]]
    error_message = "The key must serve this environment's log groups only."
  }

  assert {
    condition     = alltrue([for statement in jsondecode(data.aws_iam_policy_document.topic.json).Statement : statement.Effect == "Deny" || can(statement.Principal.Service)])
    error_message = "Only services may publish; people subscribe."
  }
}

run "terraform_may_change_policies_unheard" {
  command = apply

  variables { key_administrator_role_arns = ["arn:aws:iam::123456789012:role/terraform"] }

  assert {
    condition = [
      for one in jsondecode(aws_cloudwatch_event_rule.this["ca-keys"].event_pattern).detail["$or"] : one.eventName
      if !can(one.userIdentity)
    ] == [["DeleteAlias", "DisableKey", "ScheduleKeyDeletion", "UpdateAlias"]]
    error_message = "What ends a key must be heard, whoever does it."
  }

  assert {
    condition     = contains(jsondecode(aws_cloudwatch_event_rule.this["tenant-keys"].event_pattern).detail.userIdentity.sessionContext.sessionIssuer.arn, "arn:aws:iam::123456789012:role/terraform")
    error_message = "Who administers keys may not end a tenant's unheard."
  }

  assert {
    condition = [
      for one in jsondecode(aws_cloudwatch_event_rule.this["ca-keys"].event_pattern).detail["$or"] : jsonencode(one.userIdentity)
      if one.eventName == ["PutKeyPolicy"]
      ] == [
      jsonencode({ sessionContext = { sessionIssuer = { arn = [{ anything-but = ["arn:aws:iam::123456789012:role/terraform"] }] } } }),
      jsonencode({ type = [{ anything-but = "AssumedRole" }] }),
    ]
    error_message = "A policy that anybody else changes must be heard, users and the account's root too."
  }
}

run "bad_input_is_refused" {
  command = plan

  plan_options {
    refresh = false
  }

  variables {
    email_addresses    = ["operators"]
    handshake_refusals = 0
    # more than a formula of CloudWatch's takes
    tables = { changes = { name = "signet-test-changes", indexes = ["a", "b", "c", "d", "e"] } }
  }

  expect_failures = [var.email_addresses, var.handshake_refusals, var.tables]
}
