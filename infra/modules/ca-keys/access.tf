# Who signs with what. The right to sign comes from the key policies (policy.tf) and from nothing else: an IAM policy alone gives none.
locals {
  signers = {
    root   = ["control_plane", "rotate"]           # a tenant's own CA when it is made; the lifecycle of all CAs
    system = ["control_plane", "rotate"]           # operators' certificates; never from the internet
    shared = ["control_plane", "enroll", "rotate"] # principals' certificates; their CRL
    server = ["rotate"]                            # the control plane does not issue its own certificate
    audit  = ["control_plane"]                     # seals
    tenant = ["control_plane", "enroll", "rotate"] # as shared, for tenants with a CA of their own
  }

  # Bootstrap makes the root and the CAs below it with their anchors, a server certificate and the first administrator's.
  bootstrap_signs = var.bootstrap == null ? [] : ["root", "system", "shared", "server"]

  # Bootstrap looks at the environment's keys. It has no business with tenants', whose policy the keymaker holds: opening bootstrap must
  # not change it, and with it every tenant's key.
  looker_arns = {
    for purpose in keys(local.signers) : purpose => concat(values(var.signer_role_arns), var.bootstrap == null || purpose == "tenant" ? [] : var.bootstrap.role_arns)
  }

  # Purpose → ARNs of those that may sign with any key of that purpose …
  signer_arns = {
    for purpose, roles in local.signers : purpose => [
      for role in roles : var.signer_role_arns[role]
      if contains(keys(var.signer_role_arns), role) && !(purpose == "tenant" && role == "enroll")
    ]
  }
  # … and of those that may sign with tenants' keys only: under `tenant` are the later generations of the environment's own CAs as well.
  tenant_signer_arns = {
    for purpose in keys(local.signers) : purpose => [
      for role, arn in var.signer_role_arns : arn if purpose == "tenant" && role == "enroll"
    ]
  }

  partition      = data.aws_partition.current.partition
  account        = data.aws_caller_identity.current.account_id
  region         = data.aws_region.current.id
  any_key        = "arn:${local.partition}:kms:${local.region}:${local.account}:key/*"
  tenant_aliases = "arn:${local.partition}:kms:${local.region}:${local.account}:alias/${var.name_prefix}-tenant-*"
  # Tags of a key made at run time; crates/kms has the same names.
  tenant_key_tags = ["signet:environment", "signet:tenant", "signet:ca"]
}

# What IAM has to allow beside the key policies. Attach the output `access` to the roles of its names. The enroll role needs none.
#
# Who has keys made: looks whether there is one already, and for those that were never named.
data "aws_iam_policy_document" "access" {
  # checkov:skip=CKV_AWS_356:The two listings take no resource.
  # To find keys that were made and never named. Names of keys and aliases, nothing of what they hold.
  statement {
    sid       = "FindUnnamedKeys"
    actions   = ["kms:ListAliases", "kms:ListKeys"]
    resources = ["*"]
  }

  # Before one is made its alias is looked up. Of what does not exist there is no key policy, and without this KMS says "denied", not "not found".
  statement {
    sid       = "LookForTenantKey"
    actions   = ["kms:DescribeKey"]
    resources = [local.tenant_aliases, local.any_key]
  }
}

# The keymaker: makes the keys of tenants' CAs, the one resource that does not come from Terraform, sets their policy, and ends them.
data "aws_iam_policy_document" "maker" {
  # checkov:skip=CKV_AWS_109:PutKeyPolicy is for keys with the tags of a tenant's; the function's environment has the policy.
  # checkov:skip=CKV_AWS_111:PutKeyPolicy is for keys with the tags of a tenant's; the function's environment has the policy.
  # checkov:skip=CKV_AWS_356:kms:CreateKey takes no resource; its conditions say what may be made. Nor does the listing.
  statement {
    sid       = "MakeTenantKey"
    actions   = ["kms:CreateKey"]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "kms:KeySpec"
      values   = ["ECC_NIST_P256"]
    }

    condition {
      test     = "StringEquals"
      variable = "kms:KeyUsage"
      values   = ["SIGN_VERIFY"]
    }

    condition {
      test     = "StringEquals"
      variable = "kms:KeyOrigin"
      values   = ["AWS_KMS"]
    }

    condition {
      test     = "Bool"
      variable = "kms:MultiRegion"
      values   = ["false"]
    }

    # Or the maker could choose a policy that nobody can take back. A request without the parameter has no such key (KMS Developer Guide,
    # "AWS KMS condition keys").
    condition {
      test     = "BoolIfExists"
      variable = "kms:BypassPolicyLockoutSafetyCheck"
      values   = ["false"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/signet:environment"
      values   = [var.name_prefix]
    }

    condition {
      test     = "Null"
      variable = "aws:RequestTag/signet:tenant"
      values   = ["false"]
    }

    condition {
      test     = "Null"
      variable = "aws:RequestTag/signet:ca"
      values   = ["false"]
    }

    condition {
      test     = "ForAllValues:StringEquals"
      variable = "aws:TagKeys"
      values   = local.tenant_key_tags
    }
  }

  statement {
    sid       = "ListTenantKeys"
    actions   = ["kms:ListAliases"]
    resources = ["*"]
  }

  statement {
    sid       = "LookForTenantKey"
    actions   = ["kms:DescribeKey"]
    resources = [local.tenant_aliases, local.any_key]
  }

  # CreateKey with tags asks for this too. Never on a key that has our tags: who can sign with a key goes by them.
  statement {
    sid       = "TagTenantKeyWhenMade"
    actions   = ["kms:TagResource"]
    resources = [local.any_key]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/signet:environment"
      values   = [var.name_prefix]
    }

    condition {
      test     = "Null"
      variable = "aws:ResourceTag/signet:environment"
      values   = ["true"]
    }

    condition {
      test     = "ForAllValues:StringEquals"
      variable = "aws:TagKeys"
      values   = local.tenant_key_tags
    }
  }

  # CreateAlias is asked for twice: here for the alias, and in the key's policy for the key.
  statement {
    sid       = "NameTenantKey"
    actions   = ["kms:CreateAlias"]
    resources = [local.tenant_aliases]
  }

  # Of a key that is older than a few minutes. While one is made its own policy says so (MakerMakes): AWS does not see the tags yet.
  statement {
    sid       = "SetTenantKeyPolicy"
    actions   = ["kms:GetKeyPolicy", "kms:PutKeyPolicy"]
    resources = [local.any_key]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/signet:environment"
      values   = [var.name_prefix]
    }

    condition {
      test     = "Null"
      variable = "aws:ResourceTag/signet:tenant"
      values   = ["false"]
    }

    # Tags alone would do for any key of the account whose policy leaves tagging to IAM. An alias of ours it can give to its own keys only.
    condition {
      test     = "ForAnyValue:StringLike"
      variable = "kms:ResourceAliases"
      values   = ["alias/${var.name_prefix}-tenant-*"]
    }
  }

  # Of a tenant that is deleted, a step before the alias is taken away. Which tenant's key it is, the keymaker looks up in its tags.
  statement {
    sid       = "LookWhoseKeyItIs"
    actions   = ["kms:ListResourceTags"]
    resources = [local.any_key]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/signet:environment"
      values   = [var.name_prefix]
    }
  }

  statement {
    sid       = "EndTenantKey"
    actions   = ["kms:ScheduleKeyDeletion"]
    resources = [local.any_key]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/signet:environment"
      values   = [var.name_prefix]
    }

    # Not the later generations of the environment's own CAs. A key without the tag would pass StringNotEquals.
    condition {
      test     = "Null"
      variable = "aws:ResourceTag/signet:tenant"
      values   = ["false"]
    }

    condition {
      test     = "StringNotEquals"
      variable = "aws:ResourceTag/signet:tenant"
      values   = ["system"]
    }

    condition {
      test     = "ForAnyValue:StringLike"
      variable = "kms:ResourceAliases"
      values   = ["alias/${var.name_prefix}-tenant-*"]
    }

    # The longest that KMS takes: so long the deletion can be cancelled.
    condition {
      test     = "NumericEquals"
      variable = "kms:ScheduleKeyDeletionPendingWindowInDays"
      values   = ["30"]
    }
  }

  # DeleteAlias is asked for twice, as CreateAlias is: for the alias, and for the key.
  statement {
    sid       = "TakeNameOfEndedKey"
    actions   = ["kms:DeleteAlias"]
    resources = [local.tenant_aliases]
  }

  statement {
    sid       = "TakeEndedKeysName"
    actions   = ["kms:DeleteAlias"]
    resources = [local.any_key]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/signet:environment"
      values   = [var.name_prefix]
    }

    condition {
      test     = "Null"
      variable = "aws:ResourceTag/signet:tenant"
      values   = ["false"]
    }

    condition {
      test     = "StringNotEquals"
      variable = "aws:ResourceTag/signet:tenant"
      values   = ["system"]
    }
  }

  # Whatever a key's own policy allows it: no key may get a policy that nobody can change.
  statement {
    sid       = "NeverLockOut"
    effect    = "Deny"
    actions   = ["kms:CreateKey", "kms:PutKeyPolicy"]
    resources = ["*"]

    condition {
      test     = "Bool"
      variable = "kms:BypassPolicyLockoutSafetyCheck"
      values   = ["true"]
    }
  }
}
