# Plans only, so no AWS account is needed.
provider "aws" {
  region                      = "eu-central-1"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}

override_data {
  target = data.aws_caller_identity.current
  values = { account_id = "123456789012" }
}

variables {
  name_prefix = "signet-test"
  signer_role_arns = {
    control_plane = "arn:aws:iam::123456789012:role/control-plane"
    enroll        = "arn:aws:iam::123456789012:role/enroll"
    rotate        = "arn:aws:iam::123456789012:role/rotate"
  }
  maker_role_arn        = "arn:aws:iam::123456789012:role/keymaker"
  break_glass_role_arns = ["arn:aws:iam::123456789012:role/break-glass"]
}

run "by_default" {
  command = plan

  # Keys sign and nothing else.
  assert {
    condition     = toset(keys(aws_kms_key.this)) == toset(["root", "system", "shared", "server", "audit"])
    error_message = "There must be exactly the five keys."
  }

  assert {
    condition     = alltrue([for key in aws_kms_key.this : key.key_usage == "SIGN_VERIFY" && key.customer_master_key_spec == "ECC_NIST_P256"])
    error_message = "Every CA key must be ECC_NIST_P256 for SIGN_VERIFY."
  }

  assert {
    condition     = alltrue([for key in aws_kms_key.this : key.deletion_window_in_days == 30])
    error_message = "The deletion window must be 30 days by default."
  }

  assert {
    condition     = alltrue([for purpose, alias in aws_kms_alias.this : alias.name == "alias/signet-test-${purpose}"])
    error_message = "A key's alias must be alias/PREFIX-PURPOSE."
  }

  # Only nodes unwrap keys of tokens, and only with a context that says whose they are.
  assert {
    condition = alltrue(flatten([
      for statement in jsondecode(data.aws_iam_policy_document.tokens.json).Statement : [
        for action in flatten([statement.Action]) :
        statement.Principal.AWS == "arn:aws:iam::123456789012:role/control-plane" &&
        statement.Condition.StringEquals["kms:EncryptionContext:signet:environment"] == "signet-test" &&
        statement.Condition.Null["kms:EncryptionContext:signet:tenant"] == "false"
        if can(regex("Decrypt|Encrypt|DataKey|CreateGrant", action))
      ]
    ]))
    error_message = "The key of tokens must be used by the control plane alone, with the encryption context of this environment and a tenant."
  }

  # In clear nobody gets a data key from KMS, and one without plaintext is for message secrets only.
  assert {
    condition = [
      for statement in jsondecode(data.aws_iam_policy_document.tokens.json).Statement :
      [statement.Action, statement.Condition.StringEquals["kms:EncryptionContext:signet:use"]]
      if length([for action in flatten([statement.Action]) : action if startswith(action, "kms:GenerateDataKey") && !startswith(action, "kms:GenerateDataKeyPair")]) > 0
    ] == [["kms:GenerateDataKeyWithoutPlaintext", "message_secrets"]]
    error_message = "Nodes make data keys of message secrets without plaintext, and no others."
  }

  # Only signers sign.
  assert {
    condition = {
      for purpose, document in data.aws_iam_policy_document.key : purpose => toset(flatten([
        for statement in jsondecode(document.json).Statement : [for arn in flatten([statement.Principal.AWS]) : split("/", arn)[1]]
        if contains(flatten([statement.Action]), "kms:Sign")
      ]))
      } == {
      root   = toset(["control-plane", "rotate"])
      system = toset(["control-plane", "rotate"])
      shared = toset(["control-plane", "enroll", "rotate"])
      server = toset(["rotate"])
      audit  = toset(["control-plane"])
      tenant = toset(["control-plane", "enroll", "rotate"])
    }
    error_message = "kms:Sign must be allowed to the roles that need the purpose, and to nobody else."
  }

  assert {
    condition = alltrue(flatten([
      for document in values(data.aws_iam_policy_document.key) : [
        for statement in jsondecode(document.json).Statement : statement.Condition.StringEquals["kms:SigningAlgorithm"] == "ECDSA_SHA_256"
        if contains(flatten([statement.Action]), "kms:Sign")
      ]
    ]))
    error_message = "kms:Sign must be allowed with ECDSA_SHA_256 only."
  }

  assert {
    condition = [
      for statement in jsondecode(data.aws_iam_policy_document.key["tenant"].json).Statement :
      statement.Sid if statement.Principal.AWS == "arn:aws:iam::123456789012:role/enroll"
    ] == ["SignersSignForTenants"]
    error_message = "What serves the internet may sign by the one statement that the keymaker leaves out for the environment's own CAs."
  }

  # KMS developerguide/tag-authorization.html and alias-authorization.html: in IAM policies only.
  assert {
    condition = alltrue([
      for document in values(data.aws_iam_policy_document.key) :
      length(regexall("aws:ResourceTag|kms:ResourceTag|kms:ResourceAliases", document.json)) == 0
    ])
    error_message = "KMS rejects a key policy that goes by tags or aliases."
  }

  assert {
    condition     = alltrue([for json in values(output.access) : !strcontains(json, "kms:Sign\"")])
    error_message = "The right to sign must come from the key policies only."
  }

  # Run time makes tenant keys only.
  assert {
    condition     = { for role, json in output.access : role => strcontains(json, "kms:CreateKey") } == { control_plane = false, keymaker = true, rotate = false }
    error_message = "The keymaker makes keys, and nothing that serves or signs does."
  }

  assert {
    condition = [
      for statement in jsondecode(data.aws_iam_policy_document.maker.json).Statement : jsonencode(merge(
        statement.Condition.StringEquals,
        statement.Condition.Bool,
        statement.Condition.BoolIfExists,
        statement.Condition.Null,
        { "aws:TagKeys" = sort(statement.Condition["ForAllValues:StringEquals"]["aws:TagKeys"]) },
      )) if statement.Action == "kms:CreateKey"
      ] == [jsonencode({
        "aws:RequestTag/signet:ca"           = "false"
        "aws:RequestTag/signet:environment"  = "signet-test"
        "aws:RequestTag/signet:tenant"       = "false"
        "aws:TagKeys"                        = ["signet:ca", "signet:environment", "signet:tenant"]
        "kms:BypassPolicyLockoutSafetyCheck" = "false"
        "kms:KeyOrigin"                      = "AWS_KMS"
        "kms:KeySpec"                        = "ECC_NIST_P256"
        "kms:KeyUsage"                       = "SIGN_VERIFY"
        "kms:MultiRegion"                    = "false"
    })]
    error_message = "A key may be made only as a tenant's CA key: P-256, for signing, with all three tags."
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(data.aws_iam_policy_document.maker.json).Statement :
      statement.Effect == "Deny" || statement.Resource != "*" || contains(["kms:CreateKey", "kms:ListAliases"], statement.Action)
    ])
    error_message = "Only kms:CreateKey and the listing take no resource."
  }

  assert {
    condition = toset([
      for statement in jsondecode(data.aws_iam_policy_document.maker.json).Statement : statement.Resource if statement.Action == "kms:CreateAlias"
    ]) == toset(["arn:aws:kms:eu-central-1:123456789012:alias/signet-test-tenant-*"])
    error_message = "An alias made at run time must be a tenant's."
  }

  # KMS makes no key whose maker could not change its policy, and sees its tags too late to go by them.
  assert {
    condition = flatten([
      for purpose, document in data.aws_iam_policy_document.key : [
        for statement in jsondecode(document.json).Statement : [purpose, contains(statement.Action, "kms:PutKeyPolicy"), can(statement.Condition)]
        if statement.Principal.AWS == "arn:aws:iam::123456789012:role/keymaker"
      ]
    ]) == ["tenant", true, false]
    error_message = "The keymaker may set the policy of tenants' keys from the first moment on, and of no other."
  }

  assert {
    condition = [
      for statement in jsondecode(data.aws_iam_policy_document.maker.json).Statement :
      jsonencode(merge(statement.Condition.StringEquals, statement.Condition.Null, statement.Condition["ForAnyValue:StringLike"]))
      if contains(flatten([statement.Action]), "kms:PutKeyPolicy") && statement.Effect == "Allow"
      ] == [jsonencode({
        "aws:ResourceTag/signet:environment" = "signet-test"
        "aws:ResourceTag/signet:tenant"      = "false"
        "kms:ResourceAliases"                = "alias/signet-test-tenant-*"
    })]
    error_message = "By IAM the keymaker may set the policy of this environment's tenants' keys only: tags alone it could give to any key."
  }

  assert {
    condition = [
      for statement in jsondecode(data.aws_iam_policy_document.maker.json).Statement : jsonencode([sort(statement.Action), statement.Condition])
      if statement.Effect == "Deny"
    ] == [jsonencode([["kms:CreateKey", "kms:PutKeyPolicy"], { Bool = { "kms:BypassPolicyLockoutSafetyCheck" = "true" } }])]
    error_message = "The keymaker may give no key a policy that nobody can change."
  }

  # Tenant key policy fits into a lambdas environment.
  assert {
    condition     = length(output.tenant_key_policy) <= 2500
    error_message = "A Lambda's environment holds 4 kB, settings included; this is ${length(output.tenant_key_policy)} bytes."
  }

  # Only break glass destroys; and the keymaker, what was a tenant's.
  assert {
    condition = {
      for purpose, document in data.aws_iam_policy_document.key : purpose => [
        for statement in jsondecode(document.json).Statement : statement.Sid
        if length(setintersection(flatten([statement.Action]), ["kms:DisableKey", "kms:ScheduleKeyDeletion"])) > 0
      ]
      } == merge(
      { for purpose in ["root", "system", "shared", "server", "audit"] : purpose => ["BreakGlassDestroys"] },
      { tenant = ["MakerSetsPolicyAndEnds", "BreakGlassDestroys"] },
    )
    error_message = "Only the break-glass roles may disable a key or schedule its deletion, and only the keymaker end a tenant's."
  }

  assert {
    condition = [
      for statement in jsondecode(data.aws_iam_policy_document.key["tenant"].json).Statement : jsonencode([statement.Principal.AWS, sort(statement.Action), statement.Condition])
      if statement.Sid == "MakerSetsPolicyAndEnds"
      ] == [jsonencode([
        "arn:aws:iam::123456789012:root",
        ["kms:DeleteAlias", "kms:GetKeyPolicy", "kms:PutKeyPolicy", "kms:ScheduleKeyDeletion"],
        { ArnEquals = { "aws:PrincipalArn" = "arn:aws:iam::123456789012:role/keymaker" } },
    ])]
    error_message = "A tenant's key must leave it to the keymaker's IAM policy, and to nobody else's, who ends it."
  }

  assert {
    condition     = { for role, json in output.access : role => strcontains(json, "kms:ScheduleKeyDeletion\"") } == { control_plane = false, keymaker = true, rotate = false }
    error_message = "Nothing that serves or signs may end a key."
  }

  assert {
    condition = [
      for statement in jsondecode(data.aws_iam_policy_document.maker.json).Statement : jsonencode(statement.Condition)
      if statement.Action == "kms:ScheduleKeyDeletion"
      ] == [jsonencode({
        "ForAnyValue:StringLike" = { "kms:ResourceAliases" = "alias/signet-test-tenant-*" }
        Null                     = { "aws:ResourceTag/signet:tenant" = "false" }
        NumericEquals            = { "kms:ScheduleKeyDeletionPendingWindowInDays" = "30" }
        StringEquals             = { "aws:ResourceTag/signet:environment" = "signet-test" }
        StringNotEquals          = { "aws:ResourceTag/signet:tenant" = "system" }
    })]
    error_message = "The keymaker may end tenants' keys of this environment only, by their tags and alias, and with the longest waiting period."
  }

  assert {
    condition = alltrue(flatten([
      for document in values(data.aws_iam_policy_document.key) : [
        for statement in jsondecode(document.json).Statement : [
          for action in flatten([statement.Action]) : !strcontains(action, "*") && action != "kms:CreateGrant"
        ]
      ]
    ]))
    error_message = "No statement may have a wildcard action or kms:CreateGrant: both would hand out kms:Sign."
  }

  assert {
    condition = alltrue(flatten([
      for document in values(data.aws_iam_policy_document.key) : [
        for statement in jsondecode(document.json).Statement : statement.Effect == "Allow" && !contains(flatten([statement.Principal.AWS]), "*")
      ]
    ]))
    error_message = "No statement may speak to everybody."
  }
}

run "only_bootstrap_signs_beside_and_not_for_long" {
  command = plan

  variables {
    bootstrap = { role_arns = ["arn:aws:iam::123456789012:role/administrator"], until = "2026-12-01T18:00:00Z" }
  }

  assert {
    condition = toset([
      for purpose, document in data.aws_iam_policy_document.key : purpose
      if anytrue([
        for statement in jsondecode(document.json).Statement : strcontains(jsonencode(statement.Principal), "role/administrator")
        if contains(flatten([statement.Action]), "kms:Sign")
      ])
    ]) == toset(["root", "system", "shared", "server"])
    error_message = "Bootstrap signs with the keys of the environment's CAs only: not with the audit key, nor with tenants'."
  }

  assert {
    condition = alltrue(flatten([
      for document in values(data.aws_iam_policy_document.key) : [
        for statement in jsondecode(document.json).Statement : statement.Condition.DateLessThan["aws:CurrentTime"] == "2026-12-01T18:00:00Z"
        if statement.Principal.AWS == "arn:aws:iam::123456789012:role/administrator"
      ]
    ]))
    error_message = "Bootstrap must end."
  }

  # Or a change of bootstrap_until would change every tenant's key.
  assert {
    condition     = !strcontains(data.aws_iam_policy_document.key["tenant"].json, "role/administrator") && strcontains(data.aws_iam_policy_document.key["audit"].json, "role/administrator")
    error_message = "Opening bootstrap must not change the policy of tenants' keys."
  }
}

run "administrators_end_keys_only_without_protection" {
  command = plan

  variables {
    administrator_role_arns = ["arn:aws:iam::123456789012:role/terraform"]
    deletion_protection     = false
  }

  assert {
    condition = alltrue([
      for document in values(data.aws_iam_policy_document.key) : [
        for statement in jsondecode(document.json).Statement : statement.Principal.AWS
        if contains(flatten([statement.Action]), "kms:ScheduleKeyDeletion") && !contains(["BreakGlassDestroys", "MakerSetsPolicyAndEnds"], statement.Sid)
      ] == ["arn:aws:iam::123456789012:role/terraform"]
    ])
    error_message = "Without protection terraform destroy must be able to end every key."
  }
}

run "administrators_can_be_named" {
  command = plan

  variables {
    administrator_role_arns = ["arn:aws:iam::123456789012:role/terraform"]
  }

  assert {
    condition = alltrue(flatten([
      for purpose, document in data.aws_iam_policy_document.key : [
        for statement in jsondecode(document.json).Statement :
        !contains(flatten([statement.Principal.AWS]), "arn:aws:iam::123456789012:root")
        if contains(flatten([statement.Action]), "kms:PutKeyPolicy")
      ] if purpose != "tenant"
    ]))
    error_message = "With administrators named the account as a whole may look at the environment's keys, and no more."
  }
}

run "nobody_given_means_nobody_allowed" {
  command = plan

  variables {
    signer_role_arns      = {}
    maker_role_arn        = null
    break_glass_role_arns = []
  }

  assert {
    condition = alltrue([
      for document in values(data.aws_iam_policy_document.key) : [for statement in jsondecode(document.json).Statement : statement.Sid] == ["AccountLooks", "AdministratorsAdminister"]
    ])
    error_message = "Without roles a key must have the administrators' statements only."
  }
}

run "bad_input_is_refused" {
  command = plan

  variables {
    # a role that is none of ours
    signer_role_arns = { agent = "arn:aws:iam::123456789012:role/agent" }
    # no end
    bootstrap = { role_arns = ["arn:aws:iam::123456789012:role/administrator"], until = "never" }
    # too short
    deletion_window_in_days = 3
  }
  expect_failures = [var.signer_role_arns, var.bootstrap, var.deletion_window_in_days]
}

run "signer_that_may_destroy_or_administer_is_refused" {
  command = plan

  variables {
    break_glass_role_arns   = ["arn:aws:iam::123456789012:role/rotate"]
    administrator_role_arns = ["arn:aws:iam::123456789012:role/rotate"]
  }
  expect_failures = [var.break_glass_role_arns, var.administrator_role_arns]
}

run "signer_that_makes_keys_is_refused" {
  command = plan

  variables {
    maker_role_arn = "arn:aws:iam::123456789012:role/rotate"
  }
  expect_failures = [var.maker_role_arn]
}

run "account_root_as_signer_is_refused" {
  command = plan

  variables {
    signer_role_arns = { rotate = "arn:aws:iam::123456789012:root" }
  }
  expect_failures = [var.signer_role_arns]
}

run "shared_role_is_refused" {
  command = plan

  variables {
    signer_role_arns = {
      control_plane = "arn:aws:iam::123456789012:role/signet"
      enroll        = "arn:aws:iam::123456789012:role/signet"
    }
  }
  expect_failures = [var.signer_role_arns]
}
