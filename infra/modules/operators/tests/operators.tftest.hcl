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
  name_prefix                  = "signet-test"
  administrator_principal_arns = ["arn:aws:iam::123456789012:role/developers"]
  break_glass_principal_arns   = ["arn:aws:iam::123456789012:user/ann"]
  read_only_principal_arns     = ["arn:aws:iam::210987654321:role/auditors"]
  control_plane                = { log_group_name = "/signet-test/control-plane", cluster_name = "signet-test", service_name = "signetd" }
  enroll                       = { log_group_name = "/signet-test/enroll", function_name = "signet-test-enroll" }
  keymaker                     = { log_group_name = "/signet-test/keymaker", function_name = "signet-test-keymaker" }
  rotate = {
    log_group_name        = "/signet-test/rotate"
    function_name         = "signet-test-rotate"
    dead_letter_queue_arn = "arn:aws:sqs:eu-central-1:123456789012:signet-test-rotate-dead-letters"
    server_secret_arn     = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:/signet/test/server-a1b2c3"
    parameter_arns        = { root = "arn:aws:ssm:eu-central-1:123456789012:parameter/signet/test/root" }
  }
  tables = {
    table_arns  = { audit = "arn:aws:dynamodb:eu-central-1:123456789012:table/signet-test-audit" }
    kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
    access      = { auditor = "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"dynamodb:GetItem\",\"Resource\":\"arn:aws:dynamodb:eu-central-1:123456789012:table/signet-test-audit\"}]}" }
  }
  publication = { bucket_arn = "arn:aws:s3:::signet-test-publication-123456789012" }
}

run "by_default" {
  command = plan

  # Each role is for those named.
  assert {
    condition = { for role, document in data.aws_iam_policy_document.trust : role => jsondecode(document.json).Statement[0].Principal.AWS } == {
      administrator = "arn:aws:iam::123456789012:role/developers"
      break-glass   = "arn:aws:iam::123456789012:user/ann"
      read-only     = "arn:aws:iam::210987654321:role/auditors"
    }
    error_message = "A role may be taken by those named for it, and by nobody else."
  }

  assert {
    condition     = aws_iam_role.this["break-glass"].name == "signet-test-break-glass" && aws_iam_role.this["break-glass"].max_session_duration == 3600
    error_message = "A session with break glass must end after an hour."
  }

  assert {
    condition = {
      for role in keys(aws_iam_role.this) : role => toset([for policy in aws_iam_role_policy.this : policy.name if policy.role == "signet-test-${role}"])
      } == {
      administrator = toset(["look", "operate"])
      break-glass   = toset(["look", "last-resort"])
      read-only     = toset(["look", "audit"])
    }
    error_message = "Each role must have its policies and no others."
  }

  # Break glass needs a fresh second factor.
  assert {
    condition = (
      jsondecode(data.aws_iam_policy_document.trust["break-glass"].json).Statement[0].Condition.Bool["aws:MultiFactorAuthPresent"] == "true" &&
      jsondecode(data.aws_iam_policy_document.trust["break-glass"].json).Statement[0].Condition.NumericLessThan["aws:MultiFactorAuthAge"] == "900"
    )
    error_message = "Break glass must demand a second factor of the last quarter of an hour."
  }

  # Nobody signs and nobody reads the server's key.
  assert {
    condition = length(setintersection(flatten([
      for document in [data.aws_iam_policy_document.look, data.aws_iam_policy_document.operate, data.aws_iam_policy_document.last_resort] : [
        for statement in jsondecode(document.json).Statement : statement.Action
      ]
      ]), [
      "kms:Sign", "kms:PutKeyPolicy", "kms:ScheduleKeyDeletion", "kms:DisableKey", "secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue",
      "dynamodb:DeleteTable", "iam:PassRole", "s3:PutObject",
    ])) == 0
    error_message = "No role for people may sign, read the server's key, delete a table, hand out roles or publish; ending a key comes from its own policy."
  }

  assert {
    condition = alltrue(flatten([
      for document in [data.aws_iam_policy_document.look, data.aws_iam_policy_document.operate, data.aws_iam_policy_document.last_resort] : [
        for statement in jsondecode(document.json).Statement : [
          for action in flatten([statement.Action]) : !strcontains(action, "*") || contains(["kms:GenerateDataKey*", "kms:ReEncrypt*"], action)
        ]
      ]
    ]))
    error_message = "Actions must be named one by one."
  }

  assert {
    condition = alltrue(flatten([
      for document in [data.aws_iam_policy_document.look, data.aws_iam_policy_document.operate, data.aws_iam_policy_document.last_resort] : [
        for statement in jsondecode(document.json).Statement : !contains(flatten([statement.Resource]), "*") if statement.Sid != "Everywhere"
      ]
    ]))
    error_message = "Only calls that take no resource may be allowed on all."
  }

  assert {
    condition = alltrue([
      for action in flatten([for statement in jsondecode(data.aws_iam_policy_document.look.json).Statement : statement.Action]) :
      can(regex(":(Describe|Filter|Get|List|Lookup|StartQuery|StopQuery)", action))
    ])
    error_message = "Looking must change nothing."
  }

  assert {
    condition = !anytrue([
      for statement in jsondecode(data.aws_iam_policy_document.operate.json).Statement : anytrue([for action in flatten([statement.Action]) : startswith(action, "dynamodb:")])
    ])
    error_message = "An administrator works on records through the API, not in tables."
  }
}

run "calls_that_could_do_more_are_bounded" {
  command = plan

  assert {
    condition = {
      for statement in concat(jsondecode(data.aws_iam_policy_document.operate.json).Statement, jsondecode(data.aws_iam_policy_document.last_resort.json).Statement) :
      statement.Sid => statement.Condition.StringEqualsIfExists if can(statement.Condition.StringEqualsIfExists)
      } == {
      RestartNodes            = { "ecs:enable-execute-command" = "false" }
      RotateServerCertificate = { "secretsmanager:RotationLambdaARN" = "arn:aws:lambda:eu-central-1:123456789012:function:signet-test-rotate" }
      StopService             = { "ecs:enable-execute-command" = "false" }
    }
    error_message = "Nobody may open a shell in a node, or have another Lambda rotate the secret."
  }
}

run "bootstrap_is_beside_and_only_when_given" {
  command = plan

  variables {
    bootstrap_policies = { tables = "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"dynamodb:GetItem\",\"Resource\":\"arn:aws:dynamodb:eu-central-1:123456789012:table/signet-test-audit\"}]}" }
  }

  assert {
    condition     = [for policy in aws_iam_role_policy.this : policy.role if policy.name == "bootstrap-tables"] == ["signet-test-administrator"]
    error_message = "Bootstrap's rights are the administrator's."
  }
}

run "nobody_looks_without_being_named" {
  command = plan

  variables {
    read_only_principal_arns = []
  }

  assert {
    condition     = !contains(keys(aws_iam_role.this), "read-only") && output.read_only_role_arn == null
    error_message = "Without principals there must be no role that looks."
  }
}

run "identity_provider_may_ask_for_the_factor" {
  command = plan

  variables {
    break_glass_needs_mfa = false
  }

  assert {
    condition     = !can(jsondecode(data.aws_iam_policy_document.trust["break-glass"].json).Statement[0].Condition)
    error_message = "Without the demand there must be no condition."
  }
}

run "bad_input_is_refused" {
  command = plan

  variables {
    # account as administrator
    administrator_principal_arns = ["arn:aws:iam::123456789012:root"]
    # nobody as break glass
    break_glass_principal_arns = []
    # wildcard as reader
    read_only_principal_arns = ["arn:aws:iam::210987654321:role/*"]
    # tables without auditor
    tables = { table_arns = {}, kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/0", access = {} }
  }
  expect_failures = [var.administrator_principal_arns, var.break_glass_principal_arns, var.read_only_principal_arns, var.tables]
}

run "policies_beyond_iams_limit_are_refused" {
  command = plan

  variables {
    bootstrap_policies = { tables = "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"dynamodb:GetItem\",\"Resource\":\"arn:aws:dynamodb:eu-central-1:123456789012:table/${replace(format("%9000s", ""), " ", "x")}\"}]}" }
  }
  expect_failures = [aws_iam_role_policy.this["administrator/look"], aws_iam_role_policy.this["administrator/operate"], aws_iam_role_policy.this["administrator/bootstrap-tables"]]
}
