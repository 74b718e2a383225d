data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  account_root = "arn:${local.partition}:iam::${local.account}:root"

  # Neither these nor `administer` has Sign, CreateGrant (which could hand out Sign) or DisableKey; nor ScheduleKeyDeletion, but without
  # protection, where `terraform destroy` ends the keys.
  look = [
    "kms:DescribeKey",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:GetPublicKey",
    "kms:ListGrants",
    "kms:ListKeyPolicies",
    "kms:ListResourceTags",
  ]
  administer = concat(local.administer_always, var.deletion_protection ? [] : ["kms:ScheduleKeyDeletion"])
  administer_always = [
    "kms:CancelKeyDeletion",
    "kms:CreateAlias",
    "kms:DeleteAlias",
    "kms:EnableKey",
    "kms:PutKeyPolicy",
    "kms:RevokeGrant",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateAlias",
    "kms:UpdateKeyDescription",
  ]

  break_glass = [
    "kms:CancelKeyDeletion",
    "kms:DisableKey",
    "kms:EnableKey",
    "kms:PutKeyPolicy",
    "kms:ScheduleKeyDeletion",
  ]

  administrators = length(var.administrator_role_arns) == 0 ? [local.account_root] : var.administrator_role_arns
}

# One policy a purpose, and one more, "tenant", for the keys that are made at run time.
data "aws_iam_policy_document" "key" {
  # checkov:skip=CKV_AWS_109:In a key policy `*` is the key itself.
  # checkov:skip=CKV_AWS_111:In a key policy `*` is the key itself.
  # checkov:skip=CKV_AWS_356:In a key policy `*` is the key itself.
  for_each = local.signers

  statement {
    sid       = "AccountLooks"
    resources = ["*"]
    actions   = local.look

    principals {
      type        = "AWS"
      identifiers = [local.account_root]
    }
  }

  statement {
    sid       = "AdministratorsAdminister"
    resources = ["*"]
    actions   = concat(local.look, local.administer)

    principals {
      type        = "AWS"
      identifiers = local.administrators
    }
  }

  dynamic "statement" {
    for_each = length(local.signer_arns[each.key]) > 0 ? [local.signer_arns[each.key]] : []
    content {
      sid       = "SignersSign"
      resources = ["*"]
      actions   = ["kms:Sign"]

      principals {
        type        = "AWS"
        identifiers = statement.value
      }

      condition {
        test     = "StringEquals"
        variable = "kms:SigningAlgorithm"
        values   = ["ECDSA_SHA_256"]
      }
    }
  }

  # shared.N signs for tenants too. The keymaker leaves this statement out for the environment's other CAs (crates/kms has its Sid): KMS
  # accepts no aws:ResourceTag, kms:ResourceTag or kms:ResourceAliases in a key policy (developerguide/tag-authorization.html).
  dynamic "statement" {
    for_each = length(local.tenant_signer_arns[each.key]) > 0 ? [local.tenant_signer_arns[each.key]] : []
    content {
      sid       = "SignersSignForTenants"
      resources = ["*"]
      actions   = ["kms:Sign"]

      principals {
        type        = "AWS"
        identifiers = statement.value
      }

      condition {
        test     = "StringEquals"
        variable = "kms:SigningAlgorithm"
        values   = ["ECDSA_SHA_256"]
      }
    }
  }

  # Looking a key up by its alias, and checking what it is, comes before signing with any; bootstrap looks at the audit key too.
  dynamic "statement" {
    for_each = length(local.looker_arns[each.key]) > 0 ? [local.looker_arns[each.key]] : []
    content {
      sid       = "SignersLook"
      resources = ["*"]
      actions   = ["kms:DescribeKey", "kms:GetPublicKey"]

      principals {
        type        = "AWS"
        identifiers = statement.value
      }
    }
  }

  # Whoever makes the key must be able to change this policy, or KMS refuses it (CreateKey, "Policy"), and gives the key its name. Not by
  # IAM and the key's tags: AWS may take minutes to see new tags.
  dynamic "statement" {
    for_each = each.key == "tenant" && var.maker_role_arn != null ? [var.maker_role_arn] : []
    content {
      sid       = "MakerMakes"
      resources = ["*"]
      actions   = ["kms:CreateAlias", "kms:DescribeKey", "kms:GetPublicKey", "kms:PutKeyPolicy"]

      principals {
        type        = "AWS"
        identifiers = [statement.value]
      }
    }
  }

  # As far as IAM allows it (access.tf), which goes by tags. By its name, so that it is also true of a role that was made anew, which a key
  # policy that names the role is not.
  dynamic "statement" {
    for_each = each.key == "tenant" && var.maker_role_arn != null ? [var.maker_role_arn] : []
    content {
      sid       = "MakerSetsPolicyAndEnds"
      resources = ["*"]
      actions   = ["kms:DeleteAlias", "kms:GetKeyPolicy", "kms:PutKeyPolicy", "kms:ScheduleKeyDeletion"]

      principals {
        type        = "AWS"
        identifiers = [local.account_root]
      }

      condition {
        test     = "ArnEquals"
        variable = "aws:PrincipalArn"
        values   = [statement.value]
      }
    }
  }

  dynamic "statement" {
    for_each = contains(local.bootstrap_signs, each.key) ? [var.bootstrap] : []
    content {
      sid       = "BootstrapSigns"
      resources = ["*"]
      actions   = ["kms:Sign"]

      principals {
        type        = "AWS"
        identifiers = statement.value.role_arns
      }

      condition {
        test     = "StringEquals"
        variable = "kms:SigningAlgorithm"
        values   = ["ECDSA_SHA_256"]
      }

      condition {
        test     = "DateLessThan"
        variable = "aws:CurrentTime"
        values   = [statement.value.until]
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
