# Signet's own events, which the rotate Lambda sends. Others may have rules on the bus as well.
resource "aws_cloudwatch_event_bus" "this" {
  name        = var.name_prefix
  description = "Events of Signet (${var.name_prefix})"
}

locals {
  # The name that EventBridge's own permission asks for.
  events_log_group   = "/aws/events/${var.name_prefix}"
  events_log_streams = "arn:${local.partition}:logs:${local.region}:${local.account}:log-group:${local.events_log_group}:*"

  # Rule → where it listens and for what. All of them are kept in the log group, which the metrics are made from.
  rules = {
    warnings = {
      bus     = aws_cloudwatch_event_bus.this.name
      state   = "ENABLED"
      pattern = { source = ["signet"] }
    }
    deployments = {
      bus   = "default"
      state = "ENABLED"
      pattern = {
        source      = ["aws.ecs"]
        detail-type = ["ECS Deployment State Change"]
        resources   = [{ suffix = ":service/${var.control_plane.cluster_name}/${var.control_plane.service_name}" }]
        detail      = { eventName = ["SERVICE_DEPLOYMENT_FAILED"] }
      }
    }
    # Other keys of the account are not ours. Of those whose work it is to change policies, Terraform first of all, only the rest is heard.
    ca-keys = {
      bus   = "default"
      state = "ENABLED"
      pattern = {
        source      = ["aws.kms"]
        detail-type = ["AWS API Call via CloudTrail"]
        detail = {
          for name, value in {
            eventSource = ["kms.amazonaws.com"]
            resources   = { ARN = var.ca_key_arns }
            eventName   = ["DeleteAlias", "DisableKey", "PutKeyPolicy", "ScheduleKeyDeletion", "UpdateAlias"]
            "$or" = [
              { eventName = ["DeleteAlias", "DisableKey", "ScheduleKeyDeletion", "UpdateAlias"] },
              { eventName = ["PutKeyPolicy"], userIdentity = { sessionContext = { sessionIssuer = { arn = [{ anything-but = var.key_administrator_role_arns }] } } } },
              { eventName = ["PutKeyPolicy"], userIdentity = { type = [{ anything-but = "AssumedRole" }] } },
            ]
          } : name => value if name != (length(var.key_administrator_role_arns) == 0 ? "$or" : "eventName")
        }
      }
    }
    # Tenants' keys are made at run time, and neither their ARNs are known here nor their tags in an event. So this rule goes by who acts,
    # whatever the key: our roles, and who could take the right to end one. The keymaker ends keys as its work; break glass has a rule of its
    # own. The task key-policies takes back what is done to a policy, and a key that cannot sign is told by the alarm Misconfigured.
    tenant-keys = {
      bus   = "default"
      state = "ENABLED"
      pattern = {
        source      = ["aws.kms"]
        detail-type = ["AWS API Call via CloudTrail"]
        detail = {
          eventSource = ["kms.amazonaws.com"]
          eventName   = ["DisableKey", "ScheduleKeyDeletion"]
          userIdentity = { sessionContext = { sessionIssuer = { arn = concat(
            [for role in ["administrator", "control-plane", "enroll", "rotate"] : "arn:${local.partition}:iam::${local.account}:role/${var.name_prefix}-${role}"],
            var.key_administrator_role_arns,
          ) } } }
        }
      }
    }
    # CloudTrail calls AssumeRole an event that only reads, which a rule hears of in this state only.
    break-glass = {
      bus   = "default"
      state = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
      pattern = {
        source      = ["aws.sts"]
        detail-type = ["AWS API Call via CloudTrail"]
        detail      = { eventSource = ["sts.amazonaws.com"], requestParameters = { roleArn = [var.break_glass_role_arn] } }
      }
    }
    # Who took the role through another region's STS is not heard there; what the role may do is in this region.
    break-glass-acts = {
      bus   = "default"
      state = "ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS"
      pattern = {
        detail-type = ["AWS API Call via CloudTrail"]
        detail      = { userIdentity = { sessionContext = { sessionIssuer = { arn = [var.break_glass_role_arn] } } } }
      }
    }
  }
}

resource "aws_cloudwatch_event_rule" "this" {
  for_each = local.rules

  name           = "${var.name_prefix}-${each.key}"
  event_bus_name = each.value.bus
  event_pattern  = jsonencode(each.value.pattern)
  state          = each.value.state
}

resource "aws_cloudwatch_event_target" "log" {
  for_each = local.rules

  rule           = aws_cloudwatch_event_rule.this[each.key].name
  event_bus_name = each.value.bus
  target_id      = "log"
  arn            = aws_cloudwatch_log_group.events.arn
}

# A warning says what is the matter, so it is sent as it is. Of the others the alarm tells, and the log has the details.
resource "aws_cloudwatch_event_target" "notify" {
  rule           = aws_cloudwatch_event_rule.this["warnings"].name
  event_bus_name = local.rules.warnings.bus
  target_id      = "notify"
  arn            = aws_sns_topic.this.arn
}

resource "aws_cloudwatch_log_group" "events" {
  name              = local.events_log_group
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.logs.arn
}

resource "aws_cloudwatch_log_resource_policy" "events" {
  policy_name     = "${var.name_prefix}-events"
  policy_document = data.aws_iam_policy_document.events_log.json
}

data "aws_iam_policy_document" "events_log" {
  statement {
    sid       = "EventsOpenStreams"
    actions   = ["logs:CreateLogStream"]
    resources = [local.events_log_streams]

    principals {
      type        = "Service"
      identifiers = ["delivery.logs.amazonaws.com", "events.amazonaws.com"]
    }
  }

  statement {
    sid       = "EventsLog"
    actions   = ["logs:PutLogEvents"]
    resources = [local.events_log_streams]

    principals {
      type        = "Service"
      identifiers = ["delivery.logs.amazonaws.com", "events.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [for rule in aws_cloudwatch_event_rule.this : rule.arn]
    }
  }
}
