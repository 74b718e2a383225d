# What may go through an endpoint at all, whatever a caller's own policy says: this environment's tables, the layers of its image,
# and otherwise this account's principals. So credentials from elsewhere cannot carry anything out of here.
locals {
  account = data.aws_caller_identity.current.account_id

  endpoint_policies = {
    dynamodb = {
      actions   = ["dynamodb:*"]
      resources = ["arn:${data.aws_partition.current.partition}:dynamodb:${local.region}:${local.account}:table/${var.name_prefix}-*"]
      accounts  = [local.account]
    }
    s3 = {
      # Where ECR keeps layers; AWS names this bucket.
      actions   = ["s3:GetObject"]
      resources = ["arn:${data.aws_partition.current.partition}:s3:::prod-${local.region}-starport-layer-bucket/*"]
      accounts  = []
    }
    "ecr.api" = { actions = local.pull, resources = ["*"], accounts = [] }
    "ecr.dkr" = { actions = local.pull, resources = ["*"], accounts = [] }
    # A presigned GetCallerIdentity, the proof of AWS IAM enrollment, comes from whichever account the caller is in.
    sts = { actions = ["sts:GetCallerIdentity"], resources = ["*"], accounts = [] }
    kms = { actions = ["kms:*"], resources = ["*"], accounts = [local.account] }
    lambda = {
      actions   = ["lambda:InvokeFunction"]
      resources = ["arn:${data.aws_partition.current.partition}:lambda:${local.region}:${local.account}:function:${var.name_prefix}-keymaker"]
      accounts  = [local.account]
    }
    logs           = { actions = ["logs:CreateLogStream", "logs:PutLogEvents"], resources = ["*"], accounts = [local.account] }
    monitoring     = { actions = ["cloudwatch:PutMetricData"], resources = ["*"], accounts = [local.account] }
    secretsmanager = { actions = ["secretsmanager:*"], resources = ["*"], accounts = [local.account] }
  }

  # In a VPC that is not ours an endpoint's policy would stand before all its neighbours: AWS's default lets them work as before.
  endpoint_policy = { for name, document in data.aws_iam_policy_document.endpoint : name => local.own == 1 ? document.json : null }

  pull = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetAuthorizationToken", "ecr:GetDownloadUrlForLayer"]
}

data "aws_iam_policy_document" "endpoint" {
  # checkov:skip=CKV_AWS_283:An endpoint's policy says whom the network lets through; each bounds actions, resources or the account.
  for_each = setunion(local.gateway_endpoints, local.interface_endpoints)

  statement {
    actions   = local.endpoint_policies[each.value].actions
    resources = local.endpoint_policies[each.value].resources

    principals {
      type        = "AWS"
      identifiers = ["*"]
    }

    dynamic "condition" {
      for_each = length(local.endpoint_policies[each.value].accounts) > 0 ? [1] : []
      content {
        test     = "StringEquals"
        variable = "aws:PrincipalAccount"
        values   = local.endpoint_policies[each.value].accounts
      }
    }
  }
}
