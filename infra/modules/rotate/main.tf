data "aws_region" "current" {}
data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

locals {
  partition     = data.aws_partition.current.partition
  account       = data.aws_caller_identity.current.account_id
  region        = data.aws_region.current.id
  function_name = "${var.name_prefix}-rotate"
  # By name, since the function's role and its key are made before it.
  function_arn = "arn:${local.partition}:lambda:${local.region}:${local.account}:function:${local.function_name}"
  log_group    = "/${var.name_prefix}/rotate"
  variables    = merge(var.settings, { SIGNET_KEYS__MAKER = var.key_maker })
}

resource "aws_lambda_function" "this" {
  # checkov:skip=CKV_AWS_115:It runs a few times an hour, and new accounts have no concurrency to reserve.
  # checkov:skip=CKV_AWS_116:What fails goes to the queue by aws_lambda_function_event_invoke_config, with its cause.
  # checkov:skip=CKV_AWS_117:It calls AWS only, and no client can call it.
  # checkov:skip=CKV_AWS_173:The settings have no secrets.
  # checkov:skip=CKV_AWS_272:The package's digest is in Terraform's state and plan; signing profiles are the account's choice.
  # checkov:skip=CKV_AWS_50:Each run logs what it did; tracing would add a permission on everything.
  function_name    = local.function_name
  description      = "CA lifecycle, the server's certificate, CRLs and bundles, warnings"
  filename         = var.package_path
  source_code_hash = filebase64sha256(var.package_path)
  runtime          = "provided.al2023"
  handler          = "bootstrap"
  architectures    = [var.architecture]
  role             = aws_iam_role.this.arn
  memory_size      = 512
  timeout          = var.timeout_seconds

  environment {
    variables = local.variables
  }

  logging_config {
    log_format = "Text" # each line is JSON already
    log_group  = aws_cloudwatch_log_group.this.name
  }

  depends_on = [aws_iam_role_policy.this, aws_iam_role_policy.access]

  lifecycle {
    precondition {
      condition     = length(jsonencode(local.variables)) <= 4000
      error_message = "The environment of ${var.name_prefix}-rotate would have ${length(jsonencode(local.variables))} bytes of JSON; AWS takes 4 kB in all. Name fewer or shorter settings."
    }
  }
}

# The scheduler hands a task over and does not wait: what fails then is tried again and ends up in the queue.
resource "aws_lambda_function_event_invoke_config" "this" {
  function_name                = aws_lambda_function.this.function_name
  maximum_retry_attempts       = 2
  maximum_event_age_in_seconds = 3600

  destination_config {
    on_failure {
      destination = aws_sqs_queue.dead_letters.arn
    }
  }
}

resource "aws_cloudwatch_log_group" "this" {
  name              = local.log_group
  retention_in_days = var.log_retention_days
  kms_key_id        = var.logs_kms_key_arn
}
