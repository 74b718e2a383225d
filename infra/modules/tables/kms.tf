data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  account_root = "arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:root"
}

resource "aws_kms_key" "this" {
  count = var.create_kms_key ? 1 : 0

  description             = "${var.name_prefix}: encrypts the DynamoDB tables"
  deletion_window_in_days = 30
  enable_key_rotation     = true
  policy                  = data.aws_iam_policy_document.key.json
  tags                    = merge(var.tags, { Name = "${var.name_prefix}-tables" })
}

resource "aws_kms_alias" "this" {
  count = var.create_kms_key ? 1 : 0

  name          = "alias/${var.name_prefix}-tables"
  target_key_id = aws_kms_key.this[0].key_id
}

# Nobody may use the key directly, only through DynamoDB, which needs these actions on behalf of whoever reads or writes a table.
data "aws_iam_policy_document" "key" {
  # checkov:skip=CKV_AWS_109:In a key policy `*` is the key itself.
  # checkov:skip=CKV_AWS_111:In a key policy `*` is the key itself.
  # checkov:skip=CKV_AWS_356:In a key policy `*` is the key itself.
  statement {
    sid       = "AccountAdministers"
    resources = ["*"]
    # Without protection `terraform destroy` ends the key with its tables.
    actions = concat(var.deletion_protection ? [] : ["kms:ScheduleKeyDeletion"], [
      "kms:CancelKeyDeletion",
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
      "kms:TagResource",
      "kms:UntagResource",
      "kms:UpdateKeyDescription",
      # An alias needs the permission on the key as well as on the alias.
      "kms:CreateAlias",
      "kms:DeleteAlias",
      "kms:UpdateAlias",
    ])

    principals {
      type        = "AWS"
      identifiers = [local.account_root]
    }
  }

  statement {
    sid       = "DynamoDbEncrypts"
    resources = ["*"]
    actions = [
      "kms:CreateGrant",
      "kms:Decrypt",
      "kms:DescribeKey",
      "kms:Encrypt",
      "kms:GenerateDataKey*",
      "kms:ReEncrypt*",
    ]

    principals {
      type        = "AWS"
      identifiers = [local.account_root]
    }

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["dynamodb.${data.aws_region.current.id}.amazonaws.com"]
    }
  }

  # Without the key the tables are lost.
  dynamic "statement" {
    for_each = length(var.break_glass_role_arns) > 0 ? [var.break_glass_role_arns] : []
    content {
      sid       = "BreakGlassDestroys"
      resources = ["*"]
      actions   = ["kms:DisableKey", "kms:ScheduleKeyDeletion"]

      principals {
        type        = "AWS"
        identifiers = statement.value
      }
    }
  }
}
