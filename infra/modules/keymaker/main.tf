data "aws_region" "current" {}
data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

locals {
  partition = data.aws_partition.current.partition
  account   = data.aws_caller_identity.current.account_id
  region    = data.aws_region.current.id
  log_group = "/${var.name_prefix}/keymaker"
  variables = merge(var.settings, { SIGNET_KEYS__TENANT_KEY_POLICY = var.tenant_key_policy })
}

resource "aws_lambda_function" "this" {
  # checkov:skip=CKV_AWS_115:It runs when a tenant gets a CA, and new accounts have no concurrency to reserve.
  # checkov:skip=CKV_AWS_116:Its callers wait for the answer, so nothing is ever queued.
  # checkov:skip=CKV_AWS_117:It calls KMS only and no client can call it.
  # checkov:skip=CKV_AWS_173:The settings have no secrets.
  # checkov:skip=CKV_AWS_272:The package's digest is in Terraform's state and plan; signing profiles are the account's choice.
  # checkov:skip=CKV_AWS_50:Each run logs what it did; tracing would add a permission on everything.
  function_name    = "${var.name_prefix}-keymaker"
  description      = "Makes the keys of tenants' CAs, sets their policy and ends them"
  filename         = var.package_path
  source_code_hash = filebase64sha256(var.package_path)
  runtime          = "provided.al2023"
  handler          = "bootstrap"
  architectures    = [var.architecture]
  role             = aws_iam_role.this.arn
  memory_size      = 256
  # For a key, or the policies of one order (lambdas/keymaker).
  timeout = 25

  environment {
    variables = local.variables
  }

  logging_config {
    log_format = "Text" # each line is JSON already
    log_group  = aws_cloudwatch_log_group.this.name
  }

  depends_on = [aws_iam_role_policy.access, aws_iam_role_policy.log]

  lifecycle {
    precondition {
      condition     = length(jsonencode(local.variables)) <= 4000
      error_message = "The environment of ${var.name_prefix}-keymaker would have ${length(jsonencode(local.variables))} bytes of JSON; AWS takes 4 kB in all. Name fewer or shorter roles in ca-keys, or fewer settings."
    }
  }
}

resource "aws_cloudwatch_log_group" "this" {
  name              = local.log_group
  retention_in_days = var.log_retention_days
  kms_key_id        = var.logs_kms_key_arn
}
