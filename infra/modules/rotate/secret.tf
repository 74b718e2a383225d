# The server's key and certificate chain, changed together by Secrets Manager's rotation.
#
# No version of it is known here: AWS drops old versions, and Terraform would put its own back in place of the one in use.
resource "aws_secretsmanager_secret" "server" {
  name                    = "${var.parameter_prefix}/server"
  description             = "signetd's private key and certificate chain"
  kms_key_id              = aws_kms_key.server.arn
  recovery_window_in_days = var.recovery_window_in_days
}

# The rotation starts at the next turn of its schedule: before bootstrap there is no CA to ask.
resource "aws_secretsmanager_secret_rotation" "server" {
  secret_id           = aws_secretsmanager_secret.server.id
  rotation_lambda_arn = aws_lambda_function.this.arn
  rotate_immediately  = false

  rotation_rules {
    schedule_expression = "rate(${var.server_certificate_days} days)"
    duration            = "4h"
  }

  depends_on = [aws_lambda_permission.secrets_manager]
}

resource "aws_lambda_permission" "secrets_manager" {
  statement_id   = "rotation"
  action         = "lambda:InvokeFunction"
  function_name  = aws_lambda_function.this.function_name
  principal      = "secretsmanager.amazonaws.com"
  source_account = local.account
  source_arn     = aws_secretsmanager_secret.server.arn
}

# What anybody may know. crates and services have the same names, and a test compares both: keep one on a line.
locals {
  parameters = {
    "root"        = "The root's certificate (PEM)"
    "admin/chain" = "The first administrator's certificate chain (PEM)"
  }
}

resource "aws_ssm_parameter" "this" {
  # checkov:skip=CKV2_AWS_34:Certificates are public.
  # checkov:skip=CKV_AWS_337:Certificates are public.
  for_each = local.parameters

  name        = "${var.parameter_prefix}/${each.key}"
  description = each.value
  type        = "String"
  value       = "pending" # until bootstrap

  lifecycle {
    ignore_changes = [value, insecure_value, tier]
  }
}

# A key of its own, so that reading the secret takes two permissions, and this one has few holders.
resource "aws_kms_key" "server" {
  description             = "${var.name_prefix}: encrypts the server's private key"
  deletion_window_in_days = 30
  enable_key_rotation     = true
  policy                  = data.aws_iam_policy_document.server_key.json
}

resource "aws_kms_alias" "server" {
  name          = "alias/${var.name_prefix}-server-secret"
  target_key_id = aws_kms_key.server.key_id
}

data "aws_iam_policy_document" "server_key" {
  # checkov:skip=CKV_AWS_109:In a key policy `*` is the key itself.
  # checkov:skip=CKV_AWS_111:In a key policy `*` is the key itself.
  # checkov:skip=CKV_AWS_356:In a key policy `*` is the key itself.
  statement {
    sid       = "AccountAdministers"
    resources = ["*"]
    actions = [
      "kms:CancelKeyDeletion",
      "kms:CreateAlias",
      "kms:DeleteAlias",
      "kms:DescribeKey",
      "kms:EnableKey",
      "kms:EnableKeyRotation",
      "kms:GetKeyPolicy",
      "kms:GetKeyRotationStatus",
      "kms:ListGrants",
      "kms:ListKeyPolicies",
      "kms:ListResourceTags",
      "kms:PutKeyPolicy",
      "kms:RevokeGrant",
      # The secret can be made again, by bootstrap.
      "kms:ScheduleKeyDeletion",
      "kms:TagResource",
      "kms:UntagResource",
      "kms:UpdateAlias",
      "kms:UpdateKeyDescription",
    ]

    principals {
      type        = "AWS"
      identifiers = ["arn:${local.partition}:iam::${local.account}:root"]
    }
  }

  statement {
    sid       = "ReadersDecrypt"
    resources = ["*"]
    actions   = ["kms:Decrypt"]

    principals {
      type        = "AWS"
      identifiers = concat([aws_iam_role.this.arn], var.secret_reader_role_arns)
    }

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["secretsmanager.${local.region}.amazonaws.com"]
    }
  }

  statement {
    sid       = "RotationEncrypts"
    resources = ["*"]
    actions   = ["kms:GenerateDataKey"]

    principals {
      type        = "AWS"
      identifiers = [aws_iam_role.this.arn]
    }

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["secretsmanager.${local.region}.amazonaws.com"]
    }
  }

  # CreateSecret, and UpdateSecret with another key, try both as their caller, which opens no secret (Secrets Manager User Guide,
  # "Secret encryption and decryption"). The context is what tells this from reading.
  statement {
    sid       = "SecretIsMade"
    resources = ["*"]
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]

    principals {
      type        = "AWS"
      identifiers = ["arn:${local.partition}:iam::${local.account}:root"]
    }

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["secretsmanager.${local.region}.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "kms:EncryptionContext:SecretVersionId"
      values   = ["RequestToValidateKeyAccess"]
    }
  }

  dynamic "statement" {
    for_each = var.bootstrap == null ? [] : [var.bootstrap]
    content {
      sid       = "BootstrapWrites"
      resources = ["*"]
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]

      principals {
        type        = "AWS"
        identifiers = statement.value.role_arns
      }

      condition {
        test     = "StringEquals"
        variable = "kms:ViaService"
        values   = ["secretsmanager.${local.region}.amazonaws.com"]
      }

      condition {
        test     = "DateLessThan"
        variable = "aws:CurrentTime"
        values   = [statement.value.until]
      }
    }
  }
}
