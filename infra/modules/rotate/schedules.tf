# Task → how often. lambdas/rotate has the same names, and a test compares both: keep one on a line.
# Each task does what is due and nothing twice, so that they may run at any time and again.
locals {
  tasks = {
    rotate-cas    = "rate(1 hour)"
    publish       = "rate(10 minutes)"
    sweep         = "rate(5 minutes)"
    warn-expiry   = "rate(1 hour)"
    count-quotas  = "rate(1 hour)"
    key-policies  = "rate(1 hour)"
    purge-tenants = "rate(1 hour)"
  }
}

resource "aws_scheduler_schedule_group" "this" {
  name = var.name_prefix
}

resource "aws_scheduler_schedule" "this" {
  # checkov:skip=CKV_AWS_297:An input is the name of a task.
  for_each = local.tasks

  name                = each.key
  description         = "Runs the task ${each.key} of ${local.function_name}"
  group_name          = aws_scheduler_schedule_group.this.name
  schedule_expression = each.value
  state               = var.schedules_enabled ? "ENABLED" : "DISABLED"

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_lambda_function.this.arn
    role_arn = aws_iam_role.scheduler.arn
    input    = jsonencode({ task = each.key })

    retry_policy {
      maximum_event_age_in_seconds = 3600
      maximum_retry_attempts       = 5
    }

    dead_letter_config {
      arn = aws_sqs_queue.dead_letters.arn
    }
  }
}

# Tasks that were given up, with their cause. The alarm DeadLetters looks here.
resource "aws_sqs_queue" "dead_letters" {
  name                      = "${var.name_prefix}-rotate-dead-letters"
  sqs_managed_sse_enabled   = true
  message_retention_seconds = 1209600
}

resource "aws_sqs_queue_policy" "dead_letters" {
  queue_url = aws_sqs_queue.dead_letters.id
  policy    = data.aws_iam_policy_document.dead_letters.json
}

# Who may send comes from IAM; this only refuses plain HTTP.
data "aws_iam_policy_document" "dead_letters" {
  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["sqs:*"]
    resources = [aws_sqs_queue.dead_letters.arn]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_iam_role" "scheduler" {
  name               = "${var.name_prefix}-schedules"
  description        = "EventBridge Scheduler: runs the rotate Lambda"
  assume_role_policy = data.aws_iam_policy_document.scheduler_trust.json
}

data "aws_iam_policy_document" "scheduler_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["scheduler.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }

    condition {
      test     = "ArnLike"
      variable = "aws:SourceArn"
      values   = ["arn:${local.partition}:scheduler:${local.region}:${local.account}:schedule-group/${var.name_prefix}"]
    }
  }
}

resource "aws_iam_role_policy" "scheduler" {
  name   = "run"
  role   = aws_iam_role.scheduler.name
  policy = data.aws_iam_policy_document.scheduler.json
}

data "aws_iam_policy_document" "scheduler" {
  statement {
    sid       = "Run"
    actions   = ["lambda:InvokeFunction"]
    resources = [local.function_arn]
  }

  statement {
    sid       = "GiveUp"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.dead_letters.arn]
  }
}
