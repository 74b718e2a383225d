data "aws_region" "current" {}
data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

locals {
  log_groups = { function = "/${var.name_prefix}/enroll", api = "/${var.name_prefix}/enroll-api" }
  # The caller names the STS to be asked; of all regions' one that does not answer would keep the others' callers waiting.
  variables = merge({ SIGNET_ENROLLMENT__AWS_REGIONS = jsonencode([data.aws_region.current.id]) }, var.settings)
}

# Not in the VPC: it asks STS and OIDC issuers, which are on the internet, and reaches what it has rights to in AWS from anywhere.
# In the VPC it would need a NAT gateway, and what got into it would be next to the tasks.
resource "aws_lambda_function" "this" {
  # checkov:skip=CKV_AWS_116:API Gateway waits for the answer, so nothing is ever queued.
  # checkov:skip=CKV_AWS_117:It asks OIDC issuers on the internet; see the comment above.
  # checkov:skip=CKV_AWS_173:The settings have no secrets.
  # checkov:skip=CKV_AWS_272:The package's digest is in Terraform's state and plan; signing profiles are the account's choice.
  # checkov:skip=CKV_AWS_50:Access log and application log have the request's id; tracing would add a permission on everything.
  function_name    = "${var.name_prefix}-enroll"
  description      = "First certificates, and out-of-band renewals"
  filename         = var.package_path
  source_code_hash = filebase64sha256(var.package_path)
  runtime          = "provided.al2023"
  handler          = "bootstrap"
  architectures    = [var.architecture]
  role             = aws_iam_role.this.arn
  memory_size      = local.size.memory
  timeout          = 15

  reserved_concurrent_executions = coalesce(var.reserved_concurrency, local.size.concurrency)

  environment {
    variables = local.variables
  }

  logging_config {
    log_format = "Text" # each line is JSON already
    log_group  = aws_cloudwatch_log_group.this["function"].name
  }

  depends_on = [aws_iam_role_policy.access, aws_iam_role_policy.log]

  lifecycle {
    precondition {
      condition     = length(jsonencode(local.variables)) <= 4000
      error_message = "The environment of ${var.name_prefix}-enroll would have ${length(jsonencode(local.variables))} bytes of JSON; AWS takes 4 kB in all. Name fewer or shorter settings."
    }
  }
}

resource "aws_cloudwatch_log_group" "this" {
  for_each = local.log_groups

  name              = each.value
  retention_in_days = var.log_retention_days
  kms_key_id        = var.logs_kms_key_arn
}
