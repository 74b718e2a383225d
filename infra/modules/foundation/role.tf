# What Terraform runs as: it makes and ends environments. Its own calls read neither a record nor a secret, nor sign. But whoever can make roles can
# give them anything, so this role is to be guarded like an administrator's.
resource "aws_iam_role" "terraform" {
  name                 = "${var.name_prefix}-terraform"
  description          = "Terraform: creates and destroys environments"
  assume_role_policy   = data.aws_iam_policy_document.trust.json
  max_session_duration = 7200

  depends_on = [aws_iam_openid_connect_provider.ci]

  lifecycle {
    precondition {
      condition     = length(var.terraform_principal_arns) > 0 || var.ci != null
      error_message = "Nobody could take Terraform's role: name roles or users in terraform_principal_arns, or the CI's issuer in ci."
    }
  }
}

resource "aws_iam_openid_connect_provider" "ci" {
  count = try(var.ci.create_provider, false) ? 1 : 0

  url            = var.ci.issuer
  client_id_list = [var.ci.audience]
}

data "aws_iam_policy_document" "trust" {
  dynamic "statement" {
    for_each = length(var.terraform_principal_arns) > 0 ? [var.terraform_principal_arns] : []
    content {
      sid     = "People"
      actions = ["sts:AssumeRole"]

      principals {
        type        = "AWS"
        identifiers = statement.value
      }
    }
  }

  dynamic "statement" {
    for_each = var.ci == null ? [] : [var.ci]
    content {
      sid     = "Ci"
      actions = ["sts:AssumeRoleWithWebIdentity"]

      principals {
        type        = "Federated"
        identifiers = ["arn:${local.partition}:iam::${local.account}:oidc-provider/${trimprefix(statement.value.issuer, "https://")}"]
      }

      condition {
        test     = "StringEquals"
        variable = "${trimprefix(statement.value.issuer, "https://")}:aud"
        values   = [statement.value.audience]
      }

      condition {
        test     = "StringLike"
        variable = "${trimprefix(statement.value.issuer, "https://")}:sub"
        values   = statement.value.subjects
      }
    }
  }
}

resource "aws_iam_role_policy" "terraform" {
  for_each = { own = data.aws_iam_policy_document.own.json, shared = data.aws_iam_policy_document.shared.json, never = data.aws_iam_policy_document.never.json }

  name   = each.key
  role   = aws_iam_role.terraform.name
  policy = each.value
}

locals {
  own = "${var.name_prefix}-*"
  # In all regions, for environments in several.
  own_arns = [
    for arn in [
      "cloudwatch:*:%s:alarm:${local.own}", "cloudwatch::%s:dashboard/${local.own}",
      "dynamodb:*:%s:table/${local.own}",
      "ecs:*:%s:cluster/${local.own}", "ecs:*:%s:service/${local.own}", "ecs:*:%s:task-definition/${local.own}",
      "elasticloadbalancing:*:%s:listener*/*/${local.own}", "elasticloadbalancing:*:%s:loadbalancer/*/${local.own}", "elasticloadbalancing:*:%s:targetgroup/${local.own}",
      "events:*:%s:event-bus/${local.own}", "events:*:%s:rule/${local.own}",
      "lambda:*:%s:function:${local.own}",
      "logs:*:%s:log-group:/${local.own}", "logs:*:%s:log-group:/aws/events/${local.own}",
      "scheduler:*:%s:schedule-group/${local.own}", "scheduler:*:%s:schedule/${local.own}",
      "secretsmanager:*:%s:secret:/${var.name_prefix}/*",
      "sns:*:%s:${local.own}", "sqs:*:%s:${local.own}",
      "ssm:*:%s:parameter/${var.name_prefix}/*",
      "wafv2:*:%s:regional/webacl/${local.own}/*",
    ] : "arn:${local.partition}:${format(arn, local.account)}"
  ]
  own_role_arns = ["arn:${local.partition}:iam::${local.account}:role/${local.own}"]
}

# By name.
data "aws_iam_policy_document" "own" {
  # checkov:skip=CKV_AWS_107:The policy `never` takes secrets out.
  # checkov:skip=CKV_AWS_108:The policy `never` takes records and secrets out.
  # checkov:skip=CKV_AWS_109:It makes the roles of environments; see the comment above.
  # checkov:skip=CKV_AWS_110:It makes the roles of environments; see the comment above.
  # checkov:skip=CKV_AWS_111:Resources are bounded by their names.
  # checkov:skip=CKV2_AWS_40:It makes the roles of environments, by name.
  statement {
    sid       = "Parts"
    actions   = ["cloudwatch:*", "dynamodb:*", "ecs:*", "elasticloadbalancing:*", "events:*", "lambda:*", "logs:*", "scheduler:*", "secretsmanager:*", "sns:*", "sqs:*", "ssm:*", "wafv2:*"]
    resources = local.own_arns
  }

  statement {
    sid       = "Buckets"
    actions   = ["s3:*"]
    resources = ["arn:${local.partition}:s3:::${local.own}", "arn:${local.partition}:s3:::${local.own}/*"]
  }

  statement {
    sid = "Roles"
    actions = [
      "iam:CreateRole", "iam:DeleteRole", "iam:DeleteRolePolicy", "iam:GetRole", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies",
      "iam:ListInstanceProfilesForRole", "iam:ListRolePolicies", "iam:ListRoleTags", "iam:PutRolePolicy", "iam:TagRole", "iam:UntagRole",
      "iam:UpdateAssumeRolePolicy", "iam:UpdateRole", "iam:UpdateRoleDescription",
    ]
    resources = local.own_role_arns
  }

  statement {
    sid       = "GiveRoles"
    actions   = ["iam:PassRole"]
    resources = local.own_role_arns

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["ecs-tasks.amazonaws.com", "lambda.amazonaws.com", "scheduler.amazonaws.com", "vpc-flow-logs.amazonaws.com"]
    }
  }

  # Roles that AWS's services make for themselves when first used in an account.
  statement {
    sid       = "ServiceLinkedRoles"
    actions   = ["iam:CreateServiceLinkedRole"]
    resources = ["arn:${local.partition}:iam::*:role/aws-service-role/*"]

    condition {
      test     = "StringEquals"
      variable = "iam:AWSServiceName"
      values   = ["ecs.amazonaws.com", "ecs.application-autoscaling.amazonaws.com", "elasticloadbalancing.amazonaws.com", "ops.apigateway.amazonaws.com", "wafv2.amazonaws.com"]
    }
  }
}

# What has no name before it is there, and listings.
data "aws_iam_policy_document" "shared" {
  # checkov:skip=CKV_AWS_107:A key's own policy says who may use it.
  # checkov:skip=CKV_AWS_108:A key's own policy says who may use it.
  # checkov:skip=CKV_AWS_109:A key's own policy says who may change it.
  # checkov:skip=CKV_AWS_111:Networks, keys and APIs have no names to bound them by; use an account of its own for a production environment.
  # checkov:skip=CKV_AWS_356:Networks, keys and APIs have no names to bound them by; use an account of its own for a production environment.
  statement {
    sid       = "Network"
    resources = ["*"]
    actions = concat(
      ["ec2:Describe*", "ec2:Get*", "ec2:CreateTags", "ec2:DeleteTags", "ec2:ModifyVpcAttribute", "ec2:ModifySubnetAttribute"],
      flatten([for thing in ["FlowLogs", "InternetGateway", "Route", "RouteTable", "SecurityGroup", "Subnet", "Vpc"] : ["ec2:Create${thing}", "ec2:Delete${thing}"]]),
      ["ec2:AssociateRouteTable", "ec2:DisassociateRouteTable", "ec2:ReplaceRoute*", "ec2:AttachInternetGateway", "ec2:DetachInternetGateway"],
      ["ec2:CreateVpcEndpoint", "ec2:DeleteVpcEndpoints", "ec2:ModifyVpcEndpoint", "ec2:ModifySecurityGroupRules"],
      ["ec2:AuthorizeSecurityGroup*", "ec2:RevokeSecurityGroup*", "ec2:UpdateSecurityGroupRuleDescriptions*"],
    )
  }

  statement {
    sid       = "Keys"
    resources = ["*"]
    actions = [
      "kms:CancelKeyDeletion", "kms:CreateAlias", "kms:CreateKey", "kms:DeleteAlias", "kms:DescribeKey", "kms:EnableKey*", "kms:Get*", "kms:List*",
      "kms:PutKeyPolicy", "kms:RevokeGrant", "kms:ScheduleKeyDeletion", "kms:TagResource", "kms:UntagResource", "kms:Update*",
    ]
  }

  # DynamoDB and Secrets Manager try a key as whoever makes a table or a secret with it. By itself a grant could hand out Sign, and Decrypt opens what
  # others of the account keep: a key's usual policy leaves both to IAM.
  statement {
    sid       = "KeysThroughServices"
    actions   = ["kms:CreateGrant", "kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
    resources = ["*"]

    condition {
      test     = "StringLike"
      variable = "kms:ViaService"
      values   = ["dynamodb.*.amazonaws.com", "secretsmanager.*.amazonaws.com"]
    }
  }

  statement {
    sid       = "Apis"
    actions   = ["apigateway:*"]
    resources = ["arn:${local.partition}:apigateway:*::/*"]
  }

  statement {
    sid       = "Scaling"
    actions   = ["application-autoscaling:*"]
    resources = ["*"]

    condition {
      test     = "StringEqualsIfExists"
      variable = "application-autoscaling:service-namespace"
      values   = ["ecs"]
    }
  }

  # An own name for the control plane or the API. CreateVpcEndpoint with private DNS needs AssociateVPCWithHostedZone (Service Authorization Reference, EC2).
  statement {
    sid       = "Names"
    resources = ["*"]
    actions = [
      "acm:DescribeCertificate", "route53:AssociateVPCWithHostedZone", "route53:ChangeResourceRecordSets", "route53:DisassociateVPCFromHostedZone",
      "route53:GetChange", "route53:GetHostedZone", "route53:ListResourceRecordSets",
    ]
  }

  # Calls that take no resource, and alarms (TargetTracking-…) that Application Auto Scaling makes and ends with a policy, if its caller may
  # (AmazonECS/latest/developerguide/auto-scaling-IAM.html).
  statement {
    sid       = "Everywhere"
    resources = ["*"]
    actions = [
      "cloudwatch:DeleteAlarms", "cloudwatch:DescribeAlarms", "cloudwatch:PutMetricAlarm", "ecs:CreateCluster", "ecs:DeregisterTaskDefinition", "ecs:DescribeTaskDefinition", "ecs:ListTaskDefinitions", "ecs:RegisterTaskDefinition",
      "elasticloadbalancing:Describe*", "events:ListEventBuses", "lambda:GetAccountSettings", "logs:*LogDeliver*", "logs:*ResourcePolic*", "logs:DescribeLogGroups",
      "logs:ListTagsForResource", "secretsmanager:GetRandomPassword", "sns:ListTopics", "sns:Unsubscribe", "ssm:DescribeParameters", "sqs:ListQueues", "sts:GetCallerIdentity",
      "wafv2:AssociateWebACL", "wafv2:DisassociateWebACL", "wafv2:GetWebACLForResource", "wafv2:ListTagsForResource",
    ]
  }
}

# Nothing else takes these back: what an environment keeps is not Terraform's to read, and neither are its own rights, the foundation or the trail its to change.
data "aws_iam_policy_document" "never" {
  statement {
    sid       = "Data"
    effect    = "Deny"
    resources = ["*"]
    actions = [
      "dynamodb:BatchGetItem", "dynamodb:BatchWriteItem", "dynamodb:ConditionCheckItem", "dynamodb:DeleteItem", "dynamodb:EnableKinesis*", "dynamodb:Export*",
      "dynamodb:GetItem", "dynamodb:GetRecords", "dynamodb:PartiQL*", "dynamodb:PutItem", "dynamodb:PutResourcePolicy", "dynamodb:Query", "dynamodb:Scan",
      "dynamodb:UpdateItem", "kms:Sign", "secretsmanager:BatchGetSecretValue", "secretsmanager:GetSecretValue", "secretsmanager:PutResourcePolicy",
      "secretsmanager:PutSecretValue", "secretsmanager:Replicate*",
    ]
  }

  # As an administrator of keys it could give itself their use. What services encrypt for it has no tenant in its context.
  statement {
    sid       = "TokenKeys"
    effect    = "Deny"
    resources = ["*"]
    actions   = ["kms:Decrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
    condition {
      test     = "Null"
      variable = "kms:EncryptionContext:signet:tenant"
      values   = ["false"]
    }
  }

  statement {
    sid    = "Foundation"
    effect = "Deny"
    actions = [
      "iam:DeleteRole*", "iam:PutRolePolicy", "iam:UpdateAssumeRolePolicy", "iam:UpdateRole*",
      "s3:Delete*", "s3:Put*",
    ]
    # Of the state bucket its settings and our own state; environments' states are written, and their locks deleted, as objects.
    resources = [
      "arn:${local.partition}:iam::${local.account}:role/${var.name_prefix}-terraform",
      "arn:${local.partition}:s3:::${var.name_prefix}-trail-${local.account}",
      "arn:${local.partition}:s3:::${var.name_prefix}-trail-${local.account}/*",
      "arn:${local.partition}:s3:::${var.name_prefix}-state-${local.account}",
      "arn:${local.partition}:s3:::${var.name_prefix}-state-${local.account}/${var.name_prefix}/foundation.tfstate*",
    ]
  }
}
