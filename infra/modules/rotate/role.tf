resource "aws_iam_role" "this" {
  name               = "${var.name_prefix}-rotate"
  description        = "The rotate Lambda"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

resource "aws_iam_role_policy" "access" {
  for_each = var.access_policies

  name   = each.key
  role   = aws_iam_role.this.name
  policy = each.value
}

resource "aws_iam_role_policy" "this" {
  name   = "own"
  role   = aws_iam_role.this.name
  policy = data.aws_iam_policy_document.this.json
}

data "aws_iam_policy_document" "this" {
  statement {
    sid       = "Log"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["arn:${local.partition}:logs:${local.region}:${local.account}:log-group:${local.log_group}:*"]
  }

  statement {
    sid = "RotateServerSecret"
    actions = [
      "secretsmanager:DescribeSecret",
      "secretsmanager:GetSecretValue",
      "secretsmanager:PutSecretValue",
      "secretsmanager:UpdateSecretVersionStage",
    ]
    resources = [aws_secretsmanager_secret.server.arn]
  }

  # The administrator's chain is bootstrap's business.
  statement {
    sid       = "PublishRootParameter"
    actions   = ["ssm:GetParameter", "ssm:PutParameter"]
    resources = [aws_ssm_parameter.this["root"].arn]
  }

  # Reads before it writes, so that what has not changed is not written again.
  statement {
    sid       = "Publish"
    actions   = ["s3:GetObject", "s3:PutObject"]
    resources = [for path in ["audit/head.json", "server-anchor.pem", "root.pem", "bundles/*", "crl/*"] : "${var.bucket_arn}/${path}"]
  }

  # Without this S3 answers 403, and not 404, of what is not there yet.
  statement {
    sid       = "SeeWhatIsPublished"
    actions   = ["s3:ListBucket"]
    resources = [var.bucket_arn]
  }

  statement {
    sid       = "Warn"
    actions   = ["events:PutEvents"]
    resources = [var.event_bus_arn]

    condition {
      test     = "StringEquals"
      variable = "events:source"
      values   = ["signet"]
    }
  }

  statement {
    sid       = "GiveUp"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.dead_letters.arn]
  }
}

# What others may do with the secret, and bootstrap with the parameters.
data "aws_iam_policy_document" "reader" {
  statement {
    sid       = "ReadServerSecret"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [aws_secretsmanager_secret.server.arn]
  }
}

data "aws_iam_policy_document" "bootstrap" {
  count = var.bootstrap == null ? 0 : 1

  statement {
    sid       = "FillServerSecret"
    actions   = ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"]
    resources = [aws_secretsmanager_secret.server.arn]

    condition {
      test     = "DateLessThan"
      variable = "aws:CurrentTime"
      values   = [var.bootstrap.until]
    }
  }

  statement {
    sid       = "FillParameters"
    actions   = ["ssm:GetParameter", "ssm:PutParameter"]
    resources = [for parameter in aws_ssm_parameter.this : parameter.arn]

    condition {
      test     = "DateLessThan"
      variable = "aws:CurrentTime"
      values   = [var.bootstrap.until]
    }
  }
}
