data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

# One policy a purpose, and one more, "tenant", for the keys that signetd makes at run time.
data "aws_iam_policy_document" "key" {
  for_each = toset(concat(keys(local.purposes), ["tenant"]))

  # The account may administer the key by its IAM policies. What is left out is the point: Sign, CreateGrant (which could hand out Sign),
  # DisableKey and ScheduleKeyDeletion.
  statement {
    sid       = "AccountAdministers"
    resources = ["*"]
    actions = [
      "kms:CancelKeyDeletion",
      "kms:CreateAlias",
      "kms:DeleteAlias",
      "kms:DescribeKey",
      "kms:EnableKey",
      "kms:GetKeyPolicy",
      "kms:GetKeyRotationStatus",
      "kms:GetPublicKey",
      "kms:ListGrants",
      "kms:ListKeyPolicies",
      "kms:ListResourceTags",
      "kms:PutKeyPolicy",
      "kms:RevokeGrant",
      "kms:TagResource",
      "kms:UntagResource",
      "kms:UpdateAlias",
      "kms:UpdateKeyDescription",
    ]

    principals {
      type        = "AWS"
      identifiers = ["arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:root"]
    }
  }

  dynamic "statement" {
    for_each = length(lookup(var.signer_role_arns, each.key, [])) > 0 ? [var.signer_role_arns[each.key]] : []
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

  dynamic "statement" {
    for_each = length(lookup(var.signer_role_arns, each.key, [])) > 0 ? [var.signer_role_arns[each.key]] : []
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
