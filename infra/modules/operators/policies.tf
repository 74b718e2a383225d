locals {
  log_group_arns = [
    for name in [var.control_plane.log_group_name, var.enroll.log_group_name, var.keymaker.log_group_name, var.rotate.log_group_name, "/aws/events/${var.name_prefix}"] :
    "arn:${local.partition}:logs:${local.region}:${local.account}:log-group:${name}"
  ]
  cluster_arn = "arn:${local.partition}:ecs:${local.region}:${local.account}:cluster/${var.control_plane.cluster_name}"
  service_arn = "arn:${local.partition}:ecs:${local.region}:${local.account}:service/${var.control_plane.cluster_name}/${var.control_plane.service_name}"
  table_arns  = values(var.tables.table_arns)
  # A restored table gets a name of its own and is put in the old one's place by hand.
  restored_arns = [for arn in local.table_arns : "${arn}-restored-*"]
}

# What all three may see: how things are and what the logs say. No record, no secret, no key material.
data "aws_iam_policy_document" "look" {
  # checkov:skip=CKV_AWS_356:The statement Everywhere has only calls that take no resource.
  statement {
    sid       = "Everywhere"
    resources = ["*"]
    actions = [
      "cloudtrail:LookupEvents",
      "cloudwatch:GetMetricData",
      "cloudwatch:GetMetricStatistics",
      "cloudwatch:ListMetrics",
      "ecs:DescribeTaskDefinition",
      "elasticloadbalancing:DescribeTargetHealth",
      "logs:DescribeLogGroups",
      "logs:GetQueryResults",
      "logs:StopQuery",
      "scheduler:ListSchedules",
      "servicequotas:ListServiceQuotas",
    ]
  }

  statement {
    sid     = "Alarms"
    actions = ["cloudwatch:DescribeAlarms", "cloudwatch:DescribeAlarmHistory", "cloudwatch:GetDashboard"]
    resources = [
      "arn:${local.partition}:cloudwatch:${local.region}:${local.account}:alarm:${var.name_prefix}-*",
      "arn:${local.partition}:cloudwatch::${local.account}:dashboard/${var.name_prefix}",
    ]
  }

  statement {
    sid       = "Logs"
    actions   = ["logs:DescribeLogStreams", "logs:FilterLogEvents", "logs:GetLogEvents", "logs:StartQuery"]
    resources = flatten([for arn in local.log_group_arns : [arn, "${arn}:*"]])
  }

  statement {
    sid       = "Tables"
    actions   = ["dynamodb:DescribeContinuousBackups", "dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive"]
    resources = local.table_arns
  }

  statement {
    sid       = "Keys"
    actions   = ["kms:DescribeKey", "kms:GetKeyPolicy", "kms:GetPublicKey", "kms:ListGrants", "kms:ListResourceTags"]
    resources = ["arn:${local.partition}:kms:${local.region}:${local.account}:key/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/signet:environment"
      values   = [var.name_prefix]
    }
  }

  statement {
    sid       = "Service"
    actions   = ["ecs:DescribeServices", "ecs:ListTasks", "ecs:DescribeTasks"]
    resources = [local.service_arn, local.cluster_arn, replace("${local.cluster_arn}/*", ":cluster/", ":task/"), replace("${local.cluster_arn}/*", ":cluster/", ":container-instance/")]
  }

  statement {
    sid       = "Lambdas"
    actions   = ["lambda:GetFunctionConcurrency", "lambda:GetFunctionConfiguration"]
    resources = [for name in [var.enroll.function_name, var.keymaker.function_name, var.rotate.function_name] : "arn:${local.partition}:lambda:${local.region}:${local.account}:function:${name}"]
  }

  statement {
    sid       = "DeadLetters"
    actions   = ["sqs:GetQueueAttributes", "sqs:GetQueueUrl"]
    resources = [var.rotate.dead_letter_queue_arn]
  }

  statement {
    sid       = "ServerIdentity"
    actions   = ["secretsmanager:DescribeSecret"]
    resources = [var.rotate.server_secret_arn]
  }

  statement {
    sid       = "Parameters"
    actions   = ["ssm:GetParameter"]
    resources = values(var.rotate.parameter_arns)
  }

  statement {
    sid       = "Published"
    actions   = ["s3:GetObject", "s3:ListBucket"]
    resources = [var.publication.bucket_arn, "${var.publication.bucket_arn}/*"]
  }
}

# What the runbooks have an administrator do.
data "aws_iam_policy_document" "operate" {
  statement {
    sid       = "RunTasks"
    actions   = ["lambda:InvokeFunction"]
    resources = ["arn:${local.partition}:lambda:${local.region}:${local.account}:function:${var.rotate.function_name}"]
  }

  statement {
    # The second takes a half-made version back, without which Secrets Manager begins no other.
    sid       = "RotateServerCertificate"
    actions   = ["secretsmanager:RotateSecret", "secretsmanager:UpdateSecretVersionStage"]
    resources = [var.rotate.server_secret_arn]

    # RotateSecret could name another.
    condition {
      test     = "StringEqualsIfExists"
      variable = "secretsmanager:RotationLambdaARN"
      values   = ["arn:${local.partition}:lambda:${local.region}:${local.account}:function:${var.rotate.function_name}"]
    }
  }

  statement {
    sid       = "RestartNodes"
    actions   = ["ecs:UpdateService"]
    resources = [local.service_arn]

    # UpdateService could open a shell in a node.
    condition {
      test     = "StringEqualsIfExists"
      variable = "ecs:enable-execute-command"
      values   = ["false"]
    }
  }

  statement {
    sid       = "StopNode"
    actions   = ["ecs:StopTask"]
    resources = [replace("${local.cluster_arn}/*", ":cluster/", ":task/")]
  }

  statement {
    sid       = "EmptyDeadLetters"
    actions   = ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:PurgeQueue", "sqs:ReceiveMessage"]
    resources = [var.rotate.dead_letter_queue_arn]
  }

  statement {
    sid       = "QuietAlarms"
    actions   = ["cloudwatch:DisableAlarmActions", "cloudwatch:EnableAlarmActions"]
    resources = ["arn:${local.partition}:cloudwatch:${local.region}:${local.account}:alarm:${var.name_prefix}-*"]
  }

  # The way back from what break glass did. The key's own policy has to allow it as well.
  statement {
    sid       = "SaveKeys"
    actions   = ["kms:CancelKeyDeletion", "kms:EnableKey"]
    resources = ["arn:${local.partition}:kms:${local.region}:${local.account}:key/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/signet:environment"
      values   = [var.name_prefix]
    }
  }
}

# What nobody does on an ordinary day. Ending a CA's key comes from the keys' policies (module ca-keys), which name this role.
data "aws_iam_policy_document" "last_resort" {
  # Whoever restores tables can bring back what was revoked.
  statement {
    sid = "RestoreTables"
    actions = [
      "dynamodb:BatchGetItem",
      "dynamodb:BatchWriteItem",
      "dynamodb:ConditionCheckItem",
      "dynamodb:DeleteItem",
      "dynamodb:DescribeTable",
      "dynamodb:GetItem",
      "dynamodb:PutItem",
      "dynamodb:Query",
      "dynamodb:RestoreTableToPointInTime",
      "dynamodb:Scan",
      "dynamodb:UpdateContinuousBackups",
      "dynamodb:UpdateItem",
      "dynamodb:UpdateTable",
      "dynamodb:UpdateTimeToLive",
    ]
    resources = concat(local.table_arns, local.restored_arns)
  }

  statement {
    sid       = "RestoreTablesKey"
    actions   = ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
    resources = [var.tables.kms_key_arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["dynamodb.${local.region}.amazonaws.com"]
    }
  }

  statement {
    sid       = "StopService"
    actions   = ["ecs:UpdateService"]
    resources = [local.service_arn]

    condition {
      test     = "StringEqualsIfExists"
      variable = "ecs:enable-execute-command"
      values   = ["false"]
    }
  }

  # Zero stops enrollment, new keys, or the rotation.
  statement {
    sid       = "StopLambdas"
    actions   = ["lambda:PutFunctionConcurrency"]
    resources = [for name in [var.enroll.function_name, var.keymaker.function_name, var.rotate.function_name] : "arn:${local.partition}:lambda:${local.region}:${local.account}:function:${name}"]
  }
}
