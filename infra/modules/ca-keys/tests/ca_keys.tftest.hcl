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
    root   = ["arn:aws:iam::123456789012:role/rotate"]
    system = ["arn:aws:iam::123456789012:role/signetd", "arn:aws:iam::123456789012:role/rotate"]
    tenant = ["arn:aws:iam::123456789012:role/signetd"]
  }
  break_glass_role_arns = ["arn:aws:iam::123456789012:role/break-glass"]
}

run "keys_sign_and_nothing_else" {
  command = plan

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
}

run "only_signers_sign" {
  command = plan

  assert {
    condition = {
      for purpose, document in data.aws_iam_policy_document.key : purpose => toset(flatten([
        for statement in jsondecode(document.json).Statement : statement.Principal.AWS if contains(flatten([statement.Action]), "kms:Sign")
      ]))
      } == {
      root   = toset(["arn:aws:iam::123456789012:role/rotate"])
      system = toset(["arn:aws:iam::123456789012:role/rotate", "arn:aws:iam::123456789012:role/signetd"])
      tenant = toset(["arn:aws:iam::123456789012:role/signetd"])
      shared = toset([])
      server = toset([])
      audit  = toset([])
    }
    error_message = "kms:Sign must be allowed to the given roles of the key's own purpose, and to nobody else."
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
}

run "only_break_glass_destroys" {
  command = plan

  assert {
    condition = alltrue(flatten([
      for document in values(data.aws_iam_policy_document.key) : [
        for statement in jsondecode(document.json).Statement : statement.Principal.AWS == "arn:aws:iam::123456789012:role/break-glass"
        if length(setintersection(flatten([statement.Action]), ["kms:DisableKey", "kms:ScheduleKeyDeletion"])) > 0
      ]
    ]))
    error_message = "Only the break-glass roles may disable a key or schedule its deletion."
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

run "nobody_given_means_nobody_allowed" {
  command = plan

  variables {
    signer_role_arns      = {}
    break_glass_role_arns = []
  }

  assert {
    condition = alltrue([
      for document in values(data.aws_iam_policy_document.key) : [for statement in jsondecode(document.json).Statement : statement.Sid] == ["AccountAdministers"]
    ])
    error_message = "Without roles a key must have the administrators' statement only."
  }
}

run "unknown_purpose_is_refused" {
  command = plan

  variables {
    signer_role_arns = { leaf = ["arn:aws:iam::123456789012:role/signetd"] }
  }

  expect_failures = [var.signer_role_arns]
}

run "account_root_as_signer_is_refused" {
  command = plan

  variables {
    signer_role_arns = { root = ["arn:aws:iam::123456789012:root"] }
  }

  expect_failures = [var.signer_role_arns]
}

run "signer_that_may_destroy_is_refused" {
  command = plan

  variables {
    break_glass_role_arns = ["arn:aws:iam::123456789012:role/signetd"]
  }

  expect_failures = [var.break_glass_role_arns]
}

run "short_deletion_window_is_refused" {
  command = plan

  variables {
    deletion_window_in_days = 3
  }

  expect_failures = [var.deletion_window_in_days]
}
