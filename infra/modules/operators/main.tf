data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  partition = data.aws_partition.current.partition
  account   = data.aws_caller_identity.current.account_id
  region    = data.aws_region.current.id

  # Role → who may take it and for how long. read-only exists only if somebody may take it.
  roles = merge(
    {
      administrator = { principals = var.administrator_principal_arns, seconds = 14400, description = "Daily operations of ${var.name_prefix}, and bootstrap until bootstrap_until" }
      break-glass   = { principals = var.break_glass_principal_arns, seconds = 3600, description = "Disables or deletes CA keys and restores tables of ${var.name_prefix}; each use raises an alarm" }
    },
    length(var.read_only_principal_arns) == 0 ? {} : {
      read-only = { principals = var.read_only_principal_arns, seconds = 14400, description = "Reads ${var.name_prefix} and its audit log" }
    },
  )

  # Role → name → policy. What each is for stands in ROLES.md.
  policies = merge(
    { for role in keys(local.roles) : "${role}/look" => { role = role, json = data.aws_iam_policy_document.look.json } },
    length(var.read_only_principal_arns) == 0 ? {} : { "read-only/audit" = { role = "read-only", json = var.tables.access["auditor"] } },
    { "administrator/operate" = { role = "administrator", json = data.aws_iam_policy_document.operate.json } },
    { for name, json in var.bootstrap_policies : "administrator/bootstrap-${name}" => { role = "administrator", json = json } },
    { "break-glass/last-resort" = { role = "break-glass", json = data.aws_iam_policy_document.last_resort.json } },
  )
}

locals {
  # As IAM counts: without white space.
  policy_lengths = {
    for role in keys(local.roles) : role => sum([for policy in local.policies : length(replace(policy.json, "/\\s/", "")) if policy.role == role])
  }
}

resource "aws_iam_role" "this" {
  for_each = local.roles

  name                 = "${var.name_prefix}-${each.key}"
  description          = each.value.description
  assume_role_policy   = data.aws_iam_policy_document.trust[each.key].json
  max_session_duration = each.value.seconds
}

resource "aws_iam_role_policy" "this" {
  for_each = local.policies

  name   = split("/", each.key)[1]
  role   = aws_iam_role.this[each.value.role].name
  policy = each.value.json

  lifecycle {
    precondition {
      condition     = local.policy_lengths[each.value.role] <= 10240
      error_message = "The policies of ${var.name_prefix}-${each.value.role} have ${local.policy_lengths[each.value.role]} characters together; IAM takes 10,240 for a role's inline policies."
    }
  }
}

data "aws_iam_policy_document" "trust" {
  for_each = local.roles

  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "AWS"
      identifiers = each.value.principals
    }

    dynamic "condition" {
      for_each = each.key == "break-glass" && var.break_glass_needs_mfa ? [1] : []
      content {
        test     = "Bool"
        variable = "aws:MultiFactorAuthPresent"
        values   = ["true"]
      }
    }

    # A second factor of this morning is none.
    dynamic "condition" {
      for_each = each.key == "break-glass" && var.break_glass_needs_mfa ? [1] : []
      content {
        test     = "NumericLessThan"
        variable = "aws:MultiFactorAuthAge"
        values   = ["900"]
      }
    }
  }
}
