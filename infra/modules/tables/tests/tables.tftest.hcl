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
}

run "by_default" {
  command = plan

  # Every table is protected.
  assert {
    condition     = toset(keys(aws_dynamodb_table.this)) == toset(["tenants", "principals", "certificates", "enrollments", "requests", "changes", "audit"])
    error_message = "There must be exactly the seven tables."
  }

  assert {
    condition     = alltrue([for table, it in aws_dynamodb_table.this : it.name == "signet-test-${table}"])
    error_message = "A table's name must be PREFIX-TABLE."
  }

  assert {
    condition     = alltrue([for it in aws_dynamodb_table.this : it.hash_key == "pk" && it.range_key == "sk" && it.billing_mode == "PAY_PER_REQUEST"])
    error_message = "Every table is keyed by pk and sk and billed by request."
  }

  assert {
    condition     = alltrue([for it in aws_dynamodb_table.this : it.deletion_protection_enabled])
    error_message = "Deletion protection must be on by default."
  }

  assert {
    condition     = alltrue([for it in aws_dynamodb_table.this : it.point_in_time_recovery[0].enabled])
    error_message = "Point-in-time recovery must be on."
  }

  assert {
    condition     = alltrue([for it in aws_dynamodb_table.this : it.server_side_encryption[0].enabled])
    error_message = "Every table must be encrypted with a customer-managed key."
  }

  assert {
    condition     = alltrue([for it in aws_dynamodb_table.this : it.ttl[0].enabled && it.ttl[0].attribute_name == "expires_at"])
    error_message = "TTL must be on and read expires_at."
  }

  # Indexes are keyed by their own attributes.
  assert {
    condition = alltrue(flatten([
      for it in aws_dynamodb_table.this : [
        for index in it.global_secondary_index :
        index.hash_key == "${index.name}_pk" && index.range_key == "${index.name}_sk" && index.projection_type == "KEYS_ONLY"
      ]
    ]))
    error_message = "An index NAME must be keyed by NAME_pk and NAME_sk and project everything."
  }

  assert {
    condition     = toset([for index in aws_dynamodb_table.this["certificates"].global_secondary_index : index.name]) == toset(["by_principal", "by_deadline", "revoked"])
    error_message = "The certificates table must have the indexes by_principal, by_deadline and revoked."
  }

  assert {
    condition     = length(aws_dynamodb_table.this["changes"].global_secondary_index) == 0
    error_message = "The changes table must have no index: the feed is read strongly consistent."
  }

  # Only audit is streamed.
  assert {
    condition     = [for table, it in aws_dynamodb_table.this : table if it.stream_enabled] == ["audit"]
    error_message = "Only the audit table may have a stream."
  }

  assert {
    condition     = aws_dynamodb_table.this["audit"].stream_view_type == "NEW_IMAGE"
    error_message = "The audit stream must carry new images."
  }

  # Own key rotates and serves dynamodb only.
  assert {
    condition     = aws_kms_key.this[0].enable_key_rotation && aws_kms_key.this[0].deletion_window_in_days == 30
    error_message = "Our own key must rotate and have the longest deletion window."
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(data.aws_iam_policy_document.key.json).Statement :
      statement.Condition.StringEquals["kms:ViaService"] == "dynamodb.eu-central-1.amazonaws.com"
      if length(setintersection(flatten([statement.Action]), ["kms:Decrypt", "kms:GenerateDataKey*", "kms:CreateGrant", "kms:*"])) > 0
    ])
    error_message = "Using the key must be possible through DynamoDB only."
  }

  # No bootstrap unless asked for.
  assert {
    condition     = !contains(keys(output.access), "bootstrap")
    error_message = "Without bootstrap_until there must be no policy for bootstrap."
  }
}

run "only_break_glass_destroys_the_key" {
  command = plan

  variables {
    break_glass_role_arns = ["arn:aws:iam::123456789012:role/break-glass"]
  }

  assert {
    condition = [
      for statement in jsondecode(data.aws_iam_policy_document.key.json).Statement : statement.Principal.AWS
      if length(setintersection(flatten([statement.Action]), ["kms:DisableKey", "kms:ScheduleKeyDeletion", "kms:*"])) > 0
    ] == ["arn:aws:iam::123456789012:role/break-glass"]
    error_message = "Only break glass may disable the key or schedule its deletion."
  }
}

run "without_protection_destroy_ends_the_key" {
  command = plan

  variables { deletion_protection = false }

  assert {
    condition = [
      for statement in jsondecode(data.aws_iam_policy_document.key.json).Statement : statement.Sid if contains(flatten([statement.Action]), "kms:ScheduleKeyDeletion")
    ] == ["AccountAdministers"]
    error_message = "terraform destroy must be able to end the key."
  }
}

run "given_key_is_used" {
  command = plan

  variables {
    create_kms_key = false
    kms_key_arn    = "arn:aws:kms:eu-central-1:123456789012:key/0c1d2e3f-0000-4000-8000-000000000000"
  }

  assert {
    condition     = length(aws_kms_key.this) == 0
    error_message = "No key may be made when one is given."
  }

  assert {
    condition     = alltrue([for it in aws_dynamodb_table.this : it.server_side_encryption[0].kms_key_arn == var.kms_key_arn])
    error_message = "Every table must use the given key."
  }
}

run "bad_input_is_refused" {
  command = plan

  variables {
    # bad prefix
    name_prefix = "Signet_Prod"
    # bootstrap without end
    bootstrap_until = "tomorrow"
    # user as break glass
    break_glass_role_arns = ["arn:aws:iam::123456789012:user/ann"]
    # beside one of our own
    kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/0c1d2e3f-0000-4000-8000-000000000000"
  }
  expect_failures = [var.name_prefix, var.bootstrap_until, var.break_glass_role_arns, var.kms_key_arn]
}

run "alias_as_key_is_refused" {
  command = plan

  variables {
    create_kms_key = false
    kms_key_arn    = "arn:aws:kms:eu-central-1:123456789012:alias/tables"
  }
  expect_failures = [var.kms_key_arn]
}
