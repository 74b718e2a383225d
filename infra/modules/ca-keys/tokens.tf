# Wraps the keys of tenants' tokens. Unlike those of CAs it encrypts: KMS makes a pair, and a node decrypts its private half once.
resource "aws_kms_key" "tokens" {
  description             = "${var.name_prefix}: wraps the keys of tokens"
  deletion_window_in_days = var.deletion_window_in_days
  enable_key_rotation     = true
  policy                  = data.aws_iam_policy_document.tokens.json

  tags = merge(var.tags, {
    Name                 = "${var.name_prefix}-tokens"
    "signet:environment" = var.name_prefix
    "signet:purpose"     = "tokens"
  })
}

resource "aws_kms_alias" "tokens" {
  name          = "alias/${var.name_prefix}-tokens"
  target_key_id = aws_kms_key.tokens.key_id
}

data "aws_iam_policy_document" "tokens" {
  # checkov:skip=CKV_AWS_109:In a key policy `*` is the key itself.
  # checkov:skip=CKV_AWS_111:In a key policy `*` is the key itself.
  # checkov:skip=CKV_AWS_356:In a key policy `*` is the key itself.
  statement {
    sid       = "AccountLooks"
    resources = ["*"]
    actions   = local.look

    principals {
      type        = "AWS"
      identifiers = [local.account_root]
    }
  }

  # Nobody here has Encrypt, Decrypt, ReEncrypt or CreateGrant.
  statement {
    sid       = "AdministratorsAdminister"
    resources = ["*"]
    actions   = concat(local.look, local.administer, ["kms:EnableKeyRotation"])

    principals {
      type        = "AWS"
      identifiers = local.administrators
    }
  }

  # Whoever makes a key need not be able to read it, and says whose it is: the context is what crates/kms sends.
  dynamic "statement" {
    for_each = { for role, arn in var.signer_role_arns : role => arn if role == "control_plane" }
    content {
      sid       = "NodesMakeKeys"
      resources = ["*"]
      actions   = ["kms:GenerateDataKeyPairWithoutPlaintext"]

      principals {
        type        = "AWS"
        identifiers = [statement.value]
      }

      condition {
        test     = "StringEquals"
        variable = "kms:DataKeyPairSpec"
        values   = ["ECC_NIST_P256", "RSA_2048"]
      }

      condition {
        test     = "StringEquals"
        variable = "kms:EncryptionContext:signet:environment"
        values   = [var.name_prefix]
      }

      condition {
        test     = "Null"
        variable = "kms:EncryptionContext:signet:tenant"
        values   = ["false"]
      }
    }
  }

  # Of the secrets that devices sign messages with: a key for each tenant, and for nothing else.
  dynamic "statement" {
    for_each = { for role, arn in var.signer_role_arns : role => arn if role == "control_plane" }
    content {
      sid       = "NodesMakeDataKeys"
      resources = ["*"]
      actions   = ["kms:GenerateDataKeyWithoutPlaintext"]

      principals {
        type        = "AWS"
        identifiers = [statement.value]
      }

      condition {
        test     = "StringEquals"
        variable = "kms:EncryptionContext:signet:environment"
        values   = [var.name_prefix]
      }

      condition {
        test     = "StringEquals"
        variable = "kms:EncryptionContext:signet:use"
        values   = ["message_secrets"]
      }

      condition {
        test     = "Null"
        variable = "kms:EncryptionContext:signet:tenant"
        values   = ["false"]
      }
    }
  }

  dynamic "statement" {
    for_each = { for role, arn in var.signer_role_arns : role => arn if role == "control_plane" }
    content {
      sid       = "NodesUnwrapKeys"
      resources = ["*"]
      actions   = ["kms:Decrypt"]

      principals {
        type        = "AWS"
        identifiers = [statement.value]
      }

      condition {
        test     = "StringEquals"
        variable = "kms:EncryptionContext:signet:environment"
        values   = [var.name_prefix]
      }

      condition {
        test     = "Null"
        variable = "kms:EncryptionContext:signet:tenant"
        values   = ["false"]
      }
    }
  }

  dynamic "statement" {
    for_each = length(var.break_glass_role_arns) > 0 ? [var.break_glass_role_arns] : []
    content {
      sid       = "BreakGlassDestroys"
      resources = ["*"]
      actions   = local.break_glass

      principals {
        type        = "AWS"
        identifiers = statement.value
      }
    }
  }
}
