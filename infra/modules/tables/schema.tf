# The one place that names tables and indexes. crates/dynamodb has the same names as constants, and a test compares both:
# keep one table on a line.
#
# Every table has the string keys `pk` and `sk`, and `expires_at` (unix seconds) as its TTL attribute. An index INDEX is keyed by the
# string attributes INDEX_pk and INDEX_sk and has nothing else; an item without them is not in the index.
locals {
  tables = {
    tenants      = ["listing"]
    principals   = ["listing"]
    certificates = ["by_principal", "by_deadline", "revoked"]
    enrollments  = ["listing"]
    requests     = []
    changes      = []
    audit        = ["listing"]
  }

  # Streamed to the archive of audit events. Only new images: an item that TTL removes has been archived long before.
  streamed_tables = ["audit"]
}
