# Who may do what with which table. read: GetItem, and Query with the BatchGetItem of what an index found; scan: Scan, of which a node that starts reads all tenants; write: what a transaction of ours is made of; delete: DeleteItem.
# Nobody may delete an audit event or a certificate's record: only TTL does, when its time is over.
locals {
  matrix = {
    control_plane = {
      tenants      = ["read", "scan", "write", "delete"] # enrollment rules are deleted
      principals   = ["read", "write"]
      certificates = ["read", "write"]
      enrollments  = ["read", "write"]
      requests     = ["read", "write"]
      changes      = ["read", "write"]
      audit        = ["read", "write"] # it seals the log and lists it
    }
    # Faces the internet.
    enroll = {
      tenants      = ["read"]
      principals   = ["read", "write"]
      certificates = ["read", "write"]
      enrollments  = ["read", "write"]
      requests     = ["read", "write"]
      changes      = ["read", "write"] # an instance that was cloned is locked
      audit        = ["write"]
    }
    rotate = {
      tenants      = ["read", "write", "delete"] # CAs; those and the rules of a deleted tenant are purged
      principals   = ["read", "write", "delete"] # reservations that are swept, and counts of principals; purged likewise
      certificates = ["read", "write"]
      requests     = ["read", "write", "delete"] # a warning that could not be sent is taken back
      changes      = ["read", "write"]
      audit        = ["read", "write"] # it publishes the end of the chain of checkpoints
    }
    bootstrap = {
      tenants      = ["read", "write"]
      principals   = ["read", "write"]
      certificates = ["read", "write"]
      requests     = ["read", "write"]
      changes      = ["read", "write"]
      audit        = ["write"]
    }
    auditor = {
      audit = ["read"]
    }
  }

  actions = {
    read   = ["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query"]
    scan   = ["dynamodb:Scan"]
    write  = ["dynamodb:ConditionCheckItem", "dynamodb:PutItem"]
    delete = ["dynamodb:DeleteItem"]
  }

  table_arns = { for table, resource in aws_dynamodb_table.this : table => resource.arn }
  # Queries go to indexes too.
  resources = {
    read = {
      for table, indexes in local.tables : table =>
      concat([local.table_arns[table]], [for index in indexes : "${local.table_arns[table]}/index/${index}"])
    }
    scan   = { for table, arn in local.table_arns : table => [arn] }
    write  = { for table, arn in local.table_arns : table => [arn] }
    delete = { for table, arn in local.table_arns : table => [arn] }
  }
}

data "aws_iam_policy_document" "access" {
  for_each = { for role, tables in local.matrix : role => tables if role != "bootstrap" || var.bootstrap_until != null }

  dynamic "statement" {
    for_each = { for verb in keys(local.actions) : verb => [for table, verbs in each.value : table if contains(verbs, verb)] if contains(flatten(values(each.value)), verb) }
    content {
      sid       = "Tables${title(statement.key)}"
      actions   = local.actions[statement.key]
      resources = flatten([for table in statement.value : local.resources[statement.key][table]])

      dynamic "condition" {
        for_each = each.key == "bootstrap" ? [var.bootstrap_until] : []
        content {
          test     = "DateLessThan"
          variable = "aws:CurrentTime"
          values   = [condition.value]
        }
      }
    }
  }

  # Asked at start: are the tables as this version needs them?
  statement {
    sid       = "TablesDescribe"
    actions   = ["dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive"]
    resources = each.key == "auditor" ? [local.table_arns["audit"]] : values(local.table_arns)
  }

  # DynamoDB uses the key with its caller's rights.
  statement {
    sid       = "TablesKey"
    actions   = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
    resources = [local.key_arn]

    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["dynamodb.${data.aws_region.current.id}.amazonaws.com"]
    }
  }
}
