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
  terraform_principal_arns = ["arn:aws:iam::123456789012:role/platform"]
}

run "by_default" {
  command = plan

  assert {
    condition     = aws_ecr_repository.this.image_tag_mutability == "IMMUTABLE" && aws_ecr_repository.this.name == "signet/signetd"
    error_message = "A tag must stay what was reviewed."
  }

  # The registry has one replication configuration, which may be somebody else's.
  assert {
    condition     = length(aws_ecr_replication_configuration.this) == 0
    error_message = "The registry's replication must stay as it is unless regions are named."
  }

  assert {
    condition = (
      aws_cloudtrail.this[0].is_multi_region_trail && aws_cloudtrail.this[0].enable_log_file_validation && aws_cloudtrail.this[0].include_global_service_events &&
      length(aws_cloudtrail.this[0].event_selector) == 0 && length(aws_cloudtrail.this[0].advanced_event_selector) == 0
    )
    error_message = "The trail must record all management events, KMS's too, of all regions."
  }

  assert {
    condition     = toset([for bucket in aws_s3_bucket_versioning.this : bucket.versioning_configuration[0].status]) == toset(["Enabled"]) && alltrue([for bucket in aws_s3_bucket_public_access_block.this : bucket.block_public_policy && bucket.restrict_public_buckets])
    error_message = "Buckets must keep versions, and be nobody else's."
  }

  assert {
    condition     = [for statement in jsondecode(data.aws_iam_policy_document.trust.json).Statement : statement.Principal.AWS] == ["arn:aws:iam::123456789012:role/platform"]
    error_message = "Terraform's role is for those named."
  }

  # It must not be able to read what an environment keeps, nor to give itself more.
  assert {
    condition = length(setsubtract(
      [
        "kms:Sign", "secretsmanager:GetSecretValue", "dynamodb:GetItem", "dynamodb:Scan",
        # what would carry them out, or let somebody else
        "dynamodb:Export*", "dynamodb:GetRecords", "dynamodb:EnableKinesis*", "dynamodb:PutResourcePolicy", "secretsmanager:PutResourcePolicy", "secretsmanager:Replicate*",
      ],
      jsondecode(data.aws_iam_policy_document.never.json).Statement[0].Action,
    )) == 0
    error_message = "Terraform's role must not sign or read secrets and records."
  }

  assert {
    condition = [
      for statement in jsondecode(data.aws_iam_policy_document.never.json).Statement : [toset(statement.Action), statement.Condition.Null]
      if try(statement.Sid == "TokenKeys", false)
    ] == [[toset(["kms:Decrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]), { "kms:EncryptionContext:signet:tenant" = "false" }]]
    error_message = "Terraform's role must not make or open a tenant's keys of tokens and message secrets."
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(data.aws_iam_policy_document.shared.json).Statement :
      try(toset(statement.Condition.StringLike["kms:ViaService"]) == toset(["dynamodb.*.amazonaws.com", "secretsmanager.*.amazonaws.com"]), false)
      if length(setintersection(flatten([statement.Action]), ["kms:*", "kms:Create*", "kms:CreateGrant", "kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"])) > 0
    ])
    error_message = "Terraform's role must use keys only through the services that try them as their caller."
  }

  # Whole settings of the bucket, and of the state bucket's objects only ours.
  assert {
    condition = alltrue(flatten([
      for statement in jsondecode(data.aws_iam_policy_document.never.json).Statement : [
        length(setsubtract(["s3:Delete*", "s3:Put*"], statement.Action)) == 0,
        contains(statement.Resource, "arn:aws:s3:::signet-state-123456789012"), contains(statement.Resource, "arn:aws:s3:::signet-trail-123456789012"),
        contains(statement.Resource, "arn:aws:s3:::signet-state-123456789012/signet/foundation.tfstate*"),
        !contains(statement.Resource, "arn:aws:s3:::signet-state-123456789012/*"),
      ] if statement.Sid == "Foundation"
    ]))
    error_message = "Terraform's role must change nothing of the foundation's buckets, but write the environments' states."
  }

  # Application Auto Scaling and EC2 ask whether their caller may do what they do for it.
  assert {
    condition = length(setsubtract(
      ["cloudwatch:DeleteAlarms", "cloudwatch:DescribeAlarms", "cloudwatch:PutMetricAlarm", "route53:AssociateVPCWithHostedZone", "route53:DisassociateVPCFromHostedZone"],
      flatten([for statement in jsondecode(data.aws_iam_policy_document.shared.json).Statement : statement.Action if statement.Resource == "*" && !can(statement.Condition)]),
    )) == 0
    error_message = "Terraform's role needs what scaling policies and interface endpoints do as their caller."
  }

  assert {
    condition = toset([
      for statement in jsondecode(data.aws_iam_policy_document.own.json).Statement : statement.Condition.StringEquals["iam:AWSServiceName"] if statement.Sid == "ServiceLinkedRoles"
      ][0]) == toset([
      "ecs.amazonaws.com", "ecs.application-autoscaling.amazonaws.com", "elasticloadbalancing.amazonaws.com", "ops.apigateway.amazonaws.com", "wafv2.amazonaws.com",
    ])
    error_message = "Terraform's role makes the service-linked roles that an environment needs, and no others."
  }

  assert {
    condition     = sum([for document in [data.aws_iam_policy_document.own, data.aws_iam_policy_document.shared, data.aws_iam_policy_document.never] : length(document.minified_json)]) <= 10240
    error_message = "IAM takes 10,240 characters for a role's inline policies."
  }
}

run "a_trail_that_is_there_is_left_alone" {
  command = plan
  variables { create_trail = false }

  assert {
    condition     = length(aws_cloudtrail.this) == 0 && keys(aws_s3_bucket.this) == ["state"] && output.trail_arn == null
    error_message = "Nothing of a trail may be made."
  }
}

run "a_role_for_access_logs_that_is_there_is_left_alone" {
  command = plan
  variables { create_api_logs_role = false }

  assert {
    condition     = length(aws_api_gateway_account.this) == 0 && length(aws_iam_role.api_logs) == 0 && length(aws_iam_role_policy_attachment.api_logs) == 0
    error_message = "API Gateway has one role for access logs per account and region: another's must stay."
  }
}

run "the_image_is_copied_to_the_regions_named" {
  command = plan
  variables { replica_regions = ["us-east-2", "eu-west-1"] }

  assert {
    condition = (
      toset([for destination in aws_ecr_replication_configuration.this[0].replication_configuration[0].rule[0].destination : "${destination.registry_id}/${destination.region}"]) == toset(["123456789012/us-east-2", "123456789012/eu-west-1"]) &&
      [for filter in aws_ecr_replication_configuration.this[0].replication_configuration[0].rule[0].repository_filter : filter.filter] == ["signet/signetd"]
    )
    error_message = "Each region named must get signetd's image, and no other."
  }
}

run "a_ci_is_bounded_by_its_subjects" {
  command = plan

  variables {
    terraform_principal_arns = []
    ci                       = { issuer = "https://token.actions.githubusercontent.com", subjects = ["repo:acme/infra:ref:refs/heads/main"] }
  }

  assert {
    condition = [for statement in jsondecode(data.aws_iam_policy_document.trust.json).Statement : statement.Condition] == [{
      StringEquals = { "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com" }
      StringLike   = { "token.actions.githubusercontent.com:sub" = "repo:acme/infra:ref:refs/heads/main" }
    }]
    error_message = "Only the named branch's jobs may take the role."
  }
}

run "a_provider_that_is_there_is_used" {
  command = plan

  variables {
    ci = { issuer = "https://token.actions.githubusercontent.com", subjects = ["repo:acme/infra:*", "repo:acme/infra:environment:prod"], create_provider = false }
  }

  assert {
    condition = length(aws_iam_openid_connect_provider.ci) == 0 && [
      for statement in jsondecode(data.aws_iam_policy_document.trust.json).Statement : statement.Principal.Federated if statement.Sid == "Ci"
    ] == ["arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"]
    error_message = "An account has one provider per issuer, which may be there already."
  }
}

# A subject for each way of naming everybody that the issuer knows.
run "any_repository_is_refused" {
  command = plan
  variables { ci = { issuer = "https://token.actions.githubusercontent.com", subjects = ["repo:*"] } }
  expect_failures = [var.ci]
}

run "any_repository_of_one_letter_and_more_is_refused" {
  command = plan
  variables { ci = { issuer = "https://token.actions.githubusercontent.com", subjects = ["repo:?*"] } }
  expect_failures = [var.ci]
}

run "any_repositorys_main_is_refused" {
  command = plan
  variables { ci = { issuer = "https://token.actions.githubusercontent.com", subjects = ["*:ref:refs/heads/main"] } }
  expect_failures = [var.ci]
}

run "organizations_that_begin_alike_are_refused" {
  command = plan
  variables { ci = { issuer = "https://token.actions.githubusercontent.com", subjects = ["repo:acme*/infra:ref:refs/heads/main"] } }
  expect_failures = [var.ci]
}

run "nobody_is_refused" {
  command = plan
  variables { terraform_principal_arns = [] }
  expect_failures = [aws_iam_role.terraform]
}

run "bad_input_is_refused" {
  command = plan

  variables {
    name_prefix              = "Signet"
    terraform_principal_arns = ["arn:aws:iam::123456789012:root"]
    ci                       = { issuer = "token.actions.githubusercontent.com", subjects = ["*"] }
    trail_retention_days     = 7
    replica_regions          = ["frankfurt"]
  }
  expect_failures = [var.name_prefix, var.terraform_principal_arns, var.ci, var.trail_retention_days, var.replica_regions]
}
