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
  name_prefix      = "signet-test"
  writer_role_arns = ["arn:aws:iam::123456789012:role/signet-test-rotate"]
}

run "by_default" {
  command = plan

  # Buckets are closed.
  assert {
    condition     = { for key, bucket in aws_s3_bucket.this : key => bucket.bucket } == { publication = "signet-test-publication-123456789012", logs = "signet-test-publication-logs-123456789012" }
    error_message = "There must be a bucket for what is published and one for its access log."
  }

  assert {
    condition = alltrue([
      for key in ["publication", "logs"] : alltrue([
        aws_s3_bucket_public_access_block.this[key].block_public_acls,
        aws_s3_bucket_public_access_block.this[key].block_public_policy,
        aws_s3_bucket_public_access_block.this[key].ignore_public_acls,
        aws_s3_bucket_public_access_block.this[key].restrict_public_buckets,
        one(aws_s3_bucket_ownership_controls.this[key].rule).object_ownership == "BucketOwnerEnforced",
        one(one(aws_s3_bucket_server_side_encryption_configuration.this[key].rule).apply_server_side_encryption_by_default).sse_algorithm == "AES256",
        one(aws_s3_bucket_versioning.this[key].versioning_configuration).status == "Enabled",
        !aws_s3_bucket.this[key].force_destroy,
      ])
    ])
    error_message = "Both buckets must block public access, have no ACLs, be encrypted and versioned, and not be deleted with their content."
  }

  assert {
    condition = alltrue([
      for document in values(data.aws_iam_policy_document.this) :
      length([for statement in jsondecode(document.json).Statement : 1 if statement.Effect == "Deny" && try(statement.Condition.Bool["aws:SecureTransport"], "") == "false" && statement.Action == "s3:*"]) == 1
    ])
    error_message = "Both buckets must refuse plain HTTP."
  }

  assert {
    condition     = aws_s3_bucket_lifecycle_configuration.this["publication"].rule[0].noncurrent_version_expiration[0].noncurrent_days == 90
    error_message = "Old versions must go after 90 days."
  }

  # Only rotate writes.
  assert {
    condition = [
      for statement in jsondecode(data.aws_iam_policy_document.this["publication"].json).Statement : jsonencode([sort(statement.Action), statement.Principal, statement.Condition])
      if statement.Sid == "OnlyRotateWrites"
    ] == [jsonencode([["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:PutObject"], "*", { ArnNotEquals = { "aws:PrincipalArn" = "arn:aws:iam::123456789012:role/signet-test-rotate" } }])]
    error_message = "Everybody but the rotate Lambda must be refused to write and delete."
  }

  assert {
    condition     = [for statement in jsondecode(data.aws_iam_policy_document.this["publication"].json).Statement : statement.Sid if statement.Effect == "Allow"] == []
    error_message = "Without readers the policy must allow nothing."
  }
}

run "readers_read_what_is_published" {
  command = plan

  variables {
    reader_principal_arns   = ["arn:aws:iam::210987654321:root"]
    reader_vpc_endpoint_ids = ["vpce-0123456789abcdef0"]
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(data.aws_iam_policy_document.this["publication"].json).Statement :
      statement.Action == "s3:GetObject" && toset(statement.Resource) == toset([for path in ["server-anchor.pem", "root.pem", "bundles/*", "crl/*"] : "arn:aws:s3:::signet-test-publication-123456789012/${path}"])
      if statement.Effect == "Allow"
    ])
    error_message = "Readers may get objects that are published, and no more."
  }

  assert {
    condition = [
      for statement in jsondecode(data.aws_iam_policy_document.this["publication"].json).Statement : statement.Condition.StringEquals["aws:SourceVpce"]
      if statement.Effect == "Allow" && statement.Principal == "*"
    ] == ["vpce-0123456789abcdef0"]
    error_message = "Everybody may read from the given networks only."
  }
}

run "given_log_bucket_is_used" {
  command = plan

  variables {
    access_log_bucket = "central-logs"
  }

  assert {
    condition     = keys(aws_s3_bucket.this) == ["publication"] && aws_s3_bucket_logging.this.target_bucket == "central-logs"
    error_message = "With a log bucket given none must be made."
  }
}

run "bad_input_is_refused" {
  command = plan

  variables {
    # everybody as reader
    reader_principal_arns = ["*"]
    # nobody as writer
    writer_role_arns = []
    # vpc instead of endpoint
    reader_vpc_endpoint_ids = ["vpc-0123456789abcdef0"]
    # bad prefix
    name_prefix = "Signet_Test"
  }
  expect_failures = [var.reader_principal_arns, var.writer_role_arns, var.reader_vpc_endpoint_ids, var.name_prefix]
}
