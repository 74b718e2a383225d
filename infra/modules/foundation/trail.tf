locals {
  trail_arn = "arn:${local.partition}:cloudtrail:${local.region}:${local.account}:trail/${var.name_prefix}"
}

# Management events of all regions, reads and writes, KMS's too: EventBridge passes on only what a trail records ("Receiving CloudTrail events").
resource "aws_cloudtrail" "this" {
  # checkov:skip=CKV_AWS_35:The bucket encrypts, and an event has nothing that a reader of the bucket may not see.
  # checkov:skip=CKV_AWS_252:The alarms come from EventBridge, not from files.
  # checkov:skip=CKV2_AWS_10:The alarms come from EventBridge, not from a log group.
  count = var.create_trail ? 1 : 0

  name                          = var.name_prefix
  s3_bucket_name                = aws_s3_bucket.this["trail"].id
  is_multi_region_trail         = true
  include_global_service_events = true
  enable_log_file_validation    = true

  depends_on = [aws_s3_bucket_policy.this]
}
