# ARNs are known after apply only, so this applies, to resources that are made up.
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

override_resource {
  target = aws_kms_key.this
  values = { arn = "arn:aws:kms:eu-central-1:123456789012:key/0c1d2e3f-0000-4000-8000-000000000000" }
}

override_resource {
  target = aws_kms_alias.this
}

override_resource {
  target = aws_dynamodb_table.this["tenants"]
  values = { arn = "arn:aws:dynamodb:eu-central-1:123456789012:table/signet-test-tenants" }
}

override_resource {
  target = aws_dynamodb_table.this["principals"]
  values = { arn = "arn:aws:dynamodb:eu-central-1:123456789012:table/signet-test-principals" }
}

override_resource {
  target = aws_dynamodb_table.this["certificates"]
  values = { arn = "arn:aws:dynamodb:eu-central-1:123456789012:table/signet-test-certificates" }
}

override_resource {
  target = aws_dynamodb_table.this["enrollments"]
  values = { arn = "arn:aws:dynamodb:eu-central-1:123456789012:table/signet-test-enrollments" }
}

override_resource {
  target = aws_dynamodb_table.this["requests"]
  values = { arn = "arn:aws:dynamodb:eu-central-1:123456789012:table/signet-test-requests" }
}

override_resource {
  target = aws_dynamodb_table.this["changes"]
  values = { arn = "arn:aws:dynamodb:eu-central-1:123456789012:table/signet-test-changes" }
}

override_resource {
  target = aws_dynamodb_table.this["audit"]
  values = { arn = "arn:aws:dynamodb:eu-central-1:123456789012:table/signet-test-audit" }
}

run "each_role_has_its_tables_and_actions" {
  command = apply

  variables {
    bootstrap_until = "2026-12-01T18:00:00Z"
  }

  assert {
    condition = {
      for role, document in data.aws_iam_policy_document.access : role => toset(flatten([
        for statement in jsondecode(document.json).Statement : [for arn in flatten([statement.Resource]) : regex("table/signet-test-([a-z]+)$", arn)[0] if !strcontains(arn, "/index/")]
        if contains(flatten([statement.Action]), "dynamodb:PutItem")
      ]))
      } == {
      control_plane = toset(["tenants", "principals", "certificates", "enrollments", "requests", "changes", "audit"])
      enroll        = toset(["principals", "certificates", "enrollments", "requests", "changes", "audit"])
      rotate        = toset(["tenants", "principals", "certificates", "requests", "changes", "audit"])
      bootstrap     = toset(["tenants", "principals", "certificates", "requests", "changes", "audit"])
      auditor       = toset([])
    }
    error_message = "A role may write the tables that it needs, and no others; what serves the internet never writes tenants."
  }

  assert {
    condition = toset([
      for role, document in data.aws_iam_policy_document.access : role if strcontains(document.json, "DeleteItem")
    ]) == toset(["control_plane", "rotate"])
    error_message = "Only the control plane and the rotate Lambda may delete."
  }

  assert {
    condition = {
      for role, document in data.aws_iam_policy_document.access : role => toset(flatten([
        for statement in jsondecode(document.json).Statement : [for arn in flatten([statement.Resource]) : split("/", arn)[1]] if contains(flatten([statement.Action]), "dynamodb:DeleteItem")
      ])) if strcontains(document.json, "DeleteItem")
    } == { control_plane = toset(["signet-test-tenants"]), rotate = toset(["signet-test-tenants", "signet-test-principals", "signet-test-requests"]) }
    error_message = "Nothing but a tenant's enrollment rules, a warning that was not sent, and what a purged tenant leaves may be deleted."
  }

  assert {
    condition = toset([
      for role, document in data.aws_iam_policy_document.access : role
      if anytrue([for statement in jsondecode(document.json).Statement : contains(flatten([statement.Action]), "dynamodb:GetItem") && contains(flatten([statement.Resource]), "arn:aws:dynamodb:eu-central-1:123456789012:table/signet-test-audit")])
    ]) == toset(["control_plane", "rotate", "auditor"])
    error_message = "Only the control plane, the rotate Lambda and auditors may read the audit log."
  }

  assert {
    condition = alltrue(flatten([
      for document in values(data.aws_iam_policy_document.access) : [
        for statement in jsondecode(document.json).Statement : [
          for action in flatten([statement.Action]) : startswith(action, "kms:") || contains([
            "dynamodb:BatchGetItem", "dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:ConditionCheckItem", "dynamodb:DeleteItem",
            "dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive", "dynamodb:Scan",
          ], action)
        ]
      ]
    ]))
    error_message = "No role may update, export, or change a table."
  }

  assert {
    condition = {
      for role, document in data.aws_iam_policy_document.access : role => one([
        for statement in jsondecode(document.json).Statement : split("/", statement.Resource)[1] if contains(flatten([statement.Action]), "dynamodb:Scan")
      ]) if strcontains(document.json, "dynamodb:Scan")
    } == { control_plane = "signet-test-tenants" }
    error_message = "Only a node that starts may read a whole table, and only that of the tenants."
  }

  assert {
    condition = alltrue(flatten([
      for document in values(data.aws_iam_policy_document.access) : [
        for statement in jsondecode(document.json).Statement : [for arn in flatten([statement.Resource]) : !strcontains(arn, "*")]
      ]
    ]))
    error_message = "Every statement must name its tables, indexes and key."
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(data.aws_iam_policy_document.access["bootstrap"].json).Statement :
      try(statement.Condition.DateLessThan["aws:CurrentTime"], "") == "2026-12-01T18:00:00Z"
      if length(setintersection(flatten([statement.Action]), ["dynamodb:PutItem", "dynamodb:GetItem"])) > 0
    ])
    error_message = "Bootstrap's rights must end."
  }
}
