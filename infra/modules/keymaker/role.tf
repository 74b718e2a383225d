resource "aws_iam_role" "this" {
  name               = "${var.name_prefix}-keymaker"
  description        = "The keymaker Lambda"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

resource "aws_iam_role_policy" "access" {
  for_each = var.access_policies

  name   = each.key
  role   = aws_iam_role.this.name
  policy = each.value
}

resource "aws_iam_role_policy" "log" {
  name   = "log"
  role   = aws_iam_role.this.name
  policy = data.aws_iam_policy_document.log.json
}

data "aws_iam_policy_document" "log" {
  statement {
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["arn:${local.partition}:logs:${local.region}:${local.account}:log-group:${local.log_group}:*"]
  }
}

# Who may have keys made. No resource policy on the function: within an account IAM is enough.
data "aws_iam_policy_document" "invoke" {
  statement {
    sid       = "HaveKeysMade"
    actions   = ["lambda:InvokeFunction"]
    resources = ["arn:${local.partition}:lambda:${local.region}:${local.account}:function:${var.name_prefix}-keymaker"]
  }
}
