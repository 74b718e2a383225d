# The aliases are alias/PREFIX-PURPOSE. crates/kms has the same purposes as constants, and a test compares both: keep one on a line.
locals {
  purposes = {
    root   = "signs issuing CAs"
    system = "issuing CA of the operator's own tenant"
    shared = "issuing CA of all tenants without one of their own"
    server = "issuing CA of server certificates"
    audit  = "signs the seals of audit minutes"
  }
}

resource "aws_kms_key" "this" {
  for_each = local.purposes

  description              = "${var.name_prefix}: ${each.value}"
  key_usage                = "SIGN_VERIFY"
  customer_master_key_spec = "ECC_NIST_P256"
  deletion_window_in_days  = var.deletion_window_in_days
  policy                   = data.aws_iam_policy_document.key[each.key].json

  tags = merge(var.tags, {
    Name                 = "${var.name_prefix}-${each.key}"
    "signet:environment" = var.name_prefix
    "signet:purpose"     = each.key
  })
}

resource "aws_kms_alias" "this" {
  for_each = local.purposes

  name          = "alias/${var.name_prefix}-${each.key}"
  target_key_id = aws_kms_key.this[each.key].key_id
}
