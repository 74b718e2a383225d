# Policies name ARNs that are known after apply only, so this applies, to resources that are made up.
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

override_resource {
  target = aws_iam_role.this
  values = { arn = "arn:aws:iam::123456789012:role/signet-test-rotate" }
}

override_resource {
  target = aws_secretsmanager_secret.server
  values = { arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:/signet/test/server-a1b2c3" }
}

override_resource {
  target = aws_ssm_parameter.this["root"]
  values = { arn = "arn:aws:ssm:eu-central-1:123456789012:parameter/signet/test/root" }
}

override_resource {
  target = aws_ssm_parameter.this["admin/chain"]
  values = { arn = "arn:aws:ssm:eu-central-1:123456789012:parameter/signet/test/admin/chain" }
}

override_resource {
  target = aws_sqs_queue.dead_letters
  values = { arn = "arn:aws:sqs:eu-central-1:123456789012:signet-test-rotate-dead-letters" }
}

override_resource {
  target = aws_lambda_function.this
  values = { arn = "arn:aws:lambda:eu-central-1:123456789012:function:signet-test-rotate" }
}

override_resource {
  target = aws_kms_key.server
  values = { arn = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000001" }
}

override_resource {
  target = aws_kms_alias.server
}

override_resource {
  target = aws_lambda_function_event_invoke_config.this
}

override_resource {
  target = aws_lambda_permission.secrets_manager
}

override_resource {
  target = aws_cloudwatch_log_group.this
}

override_resource {
  target = aws_scheduler_schedule_group.this
}

override_resource {
  target = aws_scheduler_schedule.this
}

override_resource {
  target = aws_sqs_queue_policy.dead_letters
}

override_resource {
  target = aws_iam_role.scheduler
  values = { arn = "arn:aws:iam::123456789012:role/signet-test-schedules" }
}

override_resource {
  target = aws_iam_role_policy.scheduler
}

override_resource {
  target = aws_iam_role_policy.this
}

override_resource {
  target = aws_iam_role_policy.access
}

override_resource {
  target = aws_secretsmanager_secret_rotation.server
}

variables {
  name_prefix             = "signet-test"
  parameter_prefix        = "/signet/test"
  package_path            = "./tests/package.zip"
  settings                = { SIGNET_STORAGE__PREFIX = "signet-test" }
  key_maker               = "signet-test-keymaker"
  access_policies         = { tables = "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"dynamodb:GetItem\",\"Resource\":\"arn:aws:dynamodb:eu-central-1:123456789012:table/signet-test-audit\"}]}" }
  secret_reader_role_arns = ["arn:aws:iam::123456789012:role/signet-test-control-plane"]
  bucket_arn              = "arn:aws:s3:::signet-test-publication"
  event_bus_arn           = "arn:aws:events:eu-central-1:123456789012:event-bus/signet-test"
  logs_kms_key_arn        = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
}

run "applied" {
  command = apply

  # What fails ends in the queue.
  assert {
    condition     = alltrue([for schedule in aws_scheduler_schedule.this : schedule.target[0].dead_letter_config[0].arn == aws_sqs_queue.dead_letters.arn])
    error_message = "A task that cannot be started must end in the queue."
  }

  assert {
    condition     = aws_lambda_function_event_invoke_config.this.destination_config[0].on_failure[0].destination == aws_sqs_queue.dead_letters.arn
    error_message = "A run that fails must end in the queue."
  }

  assert {
    condition     = alltrue([for statement in jsondecode(data.aws_iam_policy_document.dead_letters.json).Statement : statement.Effect == "Deny" && statement.Condition.Bool["aws:SecureTransport"] == "false"])
    error_message = "The queue's policy must do nothing but refuse plain HTTP."
  }

  # Only the secret calls the lambda.
  assert {
    condition     = aws_lambda_permission.secrets_manager.source_arn == aws_secretsmanager_secret.server.arn && aws_lambda_permission.secrets_manager.source_account == "123456789012"
    error_message = "Only this secret's rotation may call the Lambda."
  }

  # Few can decrypt the secret.
  assert {
    condition = toset(flatten([
      for statement in jsondecode(data.aws_iam_policy_document.server_key.json).Statement : statement.Principal.AWS
      if length(setintersection(flatten([statement.Action]), ["kms:Decrypt", "kms:CreateGrant", "kms:*"])) > 0 && statement.Sid != "SecretIsMade"
    ])) == toset(["arn:aws:iam::123456789012:role/signet-test-rotate", "arn:aws:iam::123456789012:role/signet-test-control-plane"])
    error_message = "Only the Lambda and the control plane may decrypt the secret."
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(data.aws_iam_policy_document.server_key.json).Statement :
      statement.Condition.StringEquals["kms:ViaService"] == "secretsmanager.eu-central-1.amazonaws.com"
      if statement.Sid != "AccountAdministers"
    ])
    error_message = "The key must be usable through Secrets Manager only."
  }

  # CreateSecret asks KMS for both as its caller, with this context, and for nothing else.
  assert {
    condition = [
      for statement in jsondecode(data.aws_iam_policy_document.server_key.json).Statement : jsonencode([statement.Principal.AWS, sort(statement.Action), statement.Condition])
      if statement.Sid == "SecretIsMade"
      ] == [jsonencode(["arn:aws:iam::123456789012:root", ["kms:Decrypt", "kms:GenerateDataKey"], {
        StringEquals = {
          "kms:EncryptionContext:SecretVersionId" = "RequestToValidateKeyAccess"
          "kms:ViaService"                        = "secretsmanager.eu-central-1.amazonaws.com"
        }
    }])]
    error_message = "Whoever makes the secret must pass Secrets Manager's check of the key, which opens no secret."
  }

  assert {
    condition     = aws_kms_key.server.enable_key_rotation && aws_kms_key.server.deletion_window_in_days == 30
    error_message = "The key must rotate and have the longest deletion window."
  }

  # Nodes read the secret, and no parameter.
  assert {
    condition     = [for statement in jsondecode(output.access.control_plane).Statement : statement.Action] == ["secretsmanager:GetSecretValue"]
    error_message = "The control plane may read the server's secret, and no more."
  }

  # Role has what it needs and no more.
  assert {
    condition = alltrue([
      for statement in jsondecode(data.aws_iam_policy_document.this.json).Statement : [for action in flatten([statement.Action]) : strcontains(action, "*")] == [for action in flatten([statement.Action]) : false] && !contains(flatten([statement.Resource]), "*")
    ])
    error_message = "No statement may have a wildcard action or every resource."
  }

  assert {
    condition = toset([
      for statement in jsondecode(data.aws_iam_policy_document.this.json).Statement : jsonencode(statement.Resource) if statement.Sid == "Publish"
    ]) == toset([jsonencode(["arn:aws:s3:::signet-test-publication/server-anchor.pem", "arn:aws:s3:::signet-test-publication/root.pem", "arn:aws:s3:::signet-test-publication/crl/*", "arn:aws:s3:::signet-test-publication/bundles/*", "arn:aws:s3:::signet-test-publication/audit/head.json"])])
    error_message = "The Lambda may write what it publishes, and nothing else in the bucket."
  }

  assert {
    condition     = !strcontains(data.aws_iam_policy_document.this.json, "Delete") && !strcontains(data.aws_iam_policy_document.this.json, "admin/chain")
    error_message = "The Lambda deletes nothing, and the administrator's chain is not its business."
  }

  assert {
    condition = [
      for statement in jsondecode(data.aws_iam_policy_document.scheduler.json).Statement : statement.Resource
    ] == ["arn:aws:lambda:eu-central-1:123456789012:function:signet-test-rotate", "arn:aws:sqs:eu-central-1:123456789012:signet-test-rotate-dead-letters"]
    error_message = "The scheduler may run this Lambda and fill this queue."
  }

  assert {
    condition     = jsondecode(data.aws_iam_policy_document.scheduler_trust.json).Statement[0].Condition.StringEquals["aws:SourceAccount"] == "123456789012"
    error_message = "Only this account's scheduler may take the role."
  }
}

run "bootstrap_is_allowed_for_a_while" {
  command = apply

  variables {
    bootstrap = { role_arns = ["arn:aws:iam::123456789012:role/administrator"], until = "2026-12-01T18:00:00Z" }
  }

  assert {
    condition = alltrue(concat(
      [for statement in jsondecode(output.access.bootstrap).Statement : statement.Condition.DateLessThan["aws:CurrentTime"] == "2026-12-01T18:00:00Z"],
      [for statement in jsondecode(data.aws_iam_policy_document.server_key.json).Statement : statement.Condition.DateLessThan["aws:CurrentTime"] == "2026-12-01T18:00:00Z" if statement.Sid == "BootstrapWrites"],
    ))
    error_message = "Bootstrap must end."
  }
}
