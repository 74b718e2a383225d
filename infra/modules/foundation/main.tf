data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  partition = data.aws_partition.current.partition
  account   = data.aws_caller_identity.current.account_id
  region    = data.aws_region.current.id

  # Bucket → its name. Names are the world's, so that the account's number makes them ours.
  buckets = merge(
    { state = "${var.name_prefix}-state-${local.account}" },
    var.create_trail ? { trail = "${var.name_prefix}-trail-${local.account}" } : {},
  )
  bucket_arns = { for bucket, name in local.buckets : bucket => "arn:${local.partition}:s3:::${name}" }
}

# Terraform's state, which has no secrets (infra/README.md), and what CloudTrail writes.
resource "aws_s3_bucket" "this" {
  # checkov:skip=CKV_AWS_144:The state says how things are in this region, and the trail is kept where it arises.
  # checkov:skip=CKV_AWS_145:The state has no secrets, and events of the trail no keys.
  # checkov:skip=CKV_AWS_18:The trail has the calls on the state bucket, if it is told to.
  # checkov:skip=CKV2_AWS_62:Nobody waits for a change of either.
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

# A state that was overwritten by mistake can be had back for a while; events are kept as long as one asks about them.
resource "aws_s3_bucket_lifecycle_configuration" "this" {
  for_each = local.buckets

  bucket = aws_s3_bucket.this[each.key].id

  rule {
    id     = "old"
    status = "Enabled"
    filter {}

    noncurrent_version_expiration {
      noncurrent_days = 90
    }

    dynamic "expiration" {
      for_each = each.key == "trail" ? [var.trail_retention_days] : []
      content {
        days = expiration.value
      }
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}

resource "aws_s3_bucket_policy" "this" {
  for_each = local.buckets

  bucket = aws_s3_bucket.this[each.key].id
  policy = data.aws_iam_policy_document.bucket[each.key].json

  depends_on = [aws_s3_bucket_public_access_block.this]
}

data "aws_iam_policy_document" "bucket" {
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

  dynamic "statement" {
    for_each = each.key == "trail" ? { GetBucketAcl = "", PutObject = "/AWSLogs/${local.account}/*" } : {}
    content {
      sid       = "CloudTrail${statement.key}"
      actions   = ["s3:${statement.key}"]
      resources = ["${local.bucket_arns[each.key]}${statement.value}"]

      principals {
        type        = "Service"
        identifiers = ["cloudtrail.amazonaws.com"]
      }

      condition {
        test     = "StringEquals"
        variable = "aws:SourceArn"
        values   = [local.trail_arn]
      }
    }
  }
}

# Tags cannot be pushed again, so that what was reviewed is what runs.
resource "aws_ecr_repository" "this" {
  # checkov:skip=CKV_AWS_136:The image has no secrets, and whoever pulls it would need the key.
  name                 = "${var.name_prefix}/signetd"
  image_tag_mutability = "IMMUTABLE"

  image_scanning_configuration {
    scan_on_push = true
  }
}

# An environment pulls the image in its own region. A registry has one such configuration, so that this takes another's place.
resource "aws_ecr_replication_configuration" "this" {
  count = length(var.replica_regions) > 0 ? 1 : 0

  replication_configuration {
    rule {
      dynamic "destination" {
        for_each = var.replica_regions
        content {
          region      = destination.value
          registry_id = local.account
        }
      }

      repository_filter {
        filter      = aws_ecr_repository.this.name
        filter_type = "PREFIX_MATCH"
      }
    }
  }
}
