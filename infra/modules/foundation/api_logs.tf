# Without a role in the account's settings API Gateway takes no access log (apigateway/latest/developerguide/set-up-logging.html). It is one per
# account and region, so that this takes another's place.
resource "aws_iam_role" "api_logs" {
  count = var.create_api_logs_role ? 1 : 0

  name               = "${var.name_prefix}-api-logs"
  description        = "API Gateway: writes access logs"
  assume_role_policy = data.aws_iam_policy_document.api_trust.json
}

data "aws_iam_policy_document" "api_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["apigateway.amazonaws.com"]
    }
  }
}

resource "aws_iam_role_policy_attachment" "api_logs" {
  count = var.create_api_logs_role ? 1 : 0

  role       = aws_iam_role.api_logs[0].name
  policy_arn = "arn:${local.partition}:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"
}

resource "aws_api_gateway_account" "this" {
  count = var.create_api_logs_role ? 1 : 0

  cloudwatch_role_arn = aws_iam_role.api_logs[0].arn

  depends_on = [aws_iam_role_policy_attachment.api_logs]
}
