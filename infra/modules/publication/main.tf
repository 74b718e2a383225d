data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

locals {
  account = data.aws_caller_identity.current.account_id
  # Bucket → its name. Names are the world's, so that the account's number makes them ours.
  buckets = merge(
    { publication = "${var.name_prefix}-publication-${local.account}" },
    var.access_log_bucket == null ? { logs = "${var.name_prefix}-publication-logs-${local.account}" } : {},
  )
  bucket_arns = { for bucket, name in local.buckets : bucket => "arn:${data.aws_partition.current.partition}:s3:::${name}" }

  # What the Lambda publishes; code has the same names, and a test compares both.
  objects = ["server-anchor.pem", "root.pem", "bundles/*", "crl/*"]
}

resource "aws_s3_bucket" "this" {
  # checkov:skip=CKV_AWS_144:All of it is made again within minutes, in any region.
  # checkov:skip=CKV2_AWS_62:Readers poll: CRLs say when the next one comes.
  # checkov:skip=CKV_AWS_145:What is published is public, and readers in other accounts would need the key.
  # checkov:skip=CKV_AWS_18:The publication bucket logs into the other one, which does not log into itself.
  for_each = local.buckets

  bucket        = each.value
  force_destroy = var.force_destroy
}

resource "aws_s3_bucket_public_access_block" "this" {
  for_each = local.buckets

  bucket                  = aws_s3_bucket.this[each.key].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "this" {
  for_each = local.buckets

  bucket = aws_s3_bucket.this[each.key].id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  for_each = local.buckets

  bucket = aws_s3_bucket.this[each.key].id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_versioning" "this" {
  for_each = local.buckets

  bucket = aws_s3_bucket.this[each.key].id

  versioning_configuration {
    status = "Enabled"
  }
}

# Published objects are replaced every few minutes when they change: keep what an investigation may ask for. Logs go after their time.
resource "aws_s3_bucket_lifecycle_configuration" "this" {
  for_each = local.buckets

  bucket = aws_s3_bucket.this[each.key].id

  rule {
    id     = "old-versions"
    status = "Enabled"
    filter {}

    noncurrent_version_expiration {
      noncurrent_days = each.key == "logs" ? 1 : 90
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }

  dynamic "rule" {
    for_each = each.key == "logs" ? [var.log_retention_days] : []
    content {
      id     = "logs"
      status = "Enabled"
      filter {}

      expiration {
        days = rule.value
      }
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}

resource "aws_s3_bucket_logging" "this" {
  bucket        = aws_s3_bucket.this["publication"].id
  target_bucket = var.access_log_bucket == null ? aws_s3_bucket.this["logs"].id : var.access_log_bucket
  target_prefix = "${local.buckets.publication}/"

  depends_on = [aws_s3_bucket_policy.this]
}

resource "aws_s3_bucket_policy" "this" {
  for_each = local.buckets

  bucket = aws_s3_bucket.this[each.key].id
  policy = data.aws_iam_policy_document.this[each.key].json

  depends_on = [aws_s3_bucket_public_access_block.this]
}
