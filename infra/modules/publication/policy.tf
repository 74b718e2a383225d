data "aws_iam_policy_document" "this" {
  for_each = local.buckets

  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [local.bucket_arns[each.key], "${local.bucket_arns[each.key]}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }

  # Bundles say whom to trust, and nobody signs them: whoever can write here can pass for anybody.
  dynamic "statement" {
    for_each = each.key == "publication" ? [1] : []
    content {
      sid       = "OnlyRotateWrites"
      effect    = "Deny"
      actions   = concat(["s3:PutObject"], var.force_destroy ? [] : ["s3:DeleteObject", "s3:DeleteObjectVersion"])
      resources = ["${local.bucket_arns[each.key]}/*"]

      principals {
        type        = "*"
        identifiers = ["*"]
      }

      condition {
        test     = "ArnNotEquals"
        variable = "aws:PrincipalArn"
        values   = var.writer_role_arns
      }
    }
  }

  dynamic "statement" {
    for_each = each.key == "publication" && length(var.reader_principal_arns) > 0 ? [1] : []
    content {
      sid       = "ReadersRead"
      actions   = ["s3:GetObject"]
      resources = [for object in local.objects : "${local.bucket_arns[each.key]}/${object}"]

      principals {
        type        = "AWS"
        identifiers = var.reader_principal_arns
      }
    }
  }

  # Not public in the sense of S3's block: the condition names fixed endpoints.
  dynamic "statement" {
    for_each = each.key == "publication" && length(var.reader_vpc_endpoint_ids) > 0 ? [1] : []
    content {
      sid       = "NetworksRead"
      actions   = ["s3:GetObject"]
      resources = [for object in local.objects : "${local.bucket_arns[each.key]}/${object}"]

      principals {
        type        = "*"
        identifiers = ["*"]
      }

      condition {
        test     = "StringEquals"
        variable = "aws:SourceVpce"
        values   = var.reader_vpc_endpoint_ids
      }
    }
  }

  dynamic "statement" {
    for_each = each.key == "logs" ? [1] : []
    content {
      sid       = "AccessLogs"
      actions   = ["s3:PutObject"]
      resources = ["${local.bucket_arns[each.key]}/${local.buckets.publication}/*"]

      principals {
        type        = "Service"
        identifiers = ["logging.s3.amazonaws.com"]
      }

      condition {
        test     = "ArnEquals"
        variable = "aws:SourceArn"
        values   = [local.bucket_arns.publication]
      }

      condition {
        test     = "StringEquals"
        variable = "aws:SourceAccount"
        values   = [local.account]
      }
    }
  }
}
