
module "network" {
  source              = "../network"
  name_prefix         = local.name_prefix
  cidr                = var.network.cidr
  az_count            = var.network.az_count
  exclude_zone_ids    = var.network.exclude_zone_ids
  vpc                 = var.network.vpc
  gateway_endpoints   = var.network.gateway_endpoints
  interface_endpoints = var.network.interface_endpoints
  existing_endpoints  = var.network.existing_endpoints
  internet_facing     = var.network.internet_facing
  public_tasks        = local.tiny && var.network.vpc == null
  peer_cidrs          = var.network.internet_facing ? [] : var.network.client_cidrs
  log_retention_days  = var.log_retention_days
  logs_kms_key_arn    = module.observability.logs_kms_key_arn
}

module "tables" {
  source                = "../tables"
  name_prefix           = local.name_prefix
  deletion_protection   = var.deletion_protection
  break_glass_role_arns = [module.operators.break_glass_role_arn]
  bootstrap_until       = var.bootstrap_until
}

module "ca_keys" {
  source      = "../ca-keys"
  name_prefix = local.name_prefix
  signer_role_arns = {
    control_plane = module.control_plane.role_arn
    enroll        = module.enroll.role_arn
    rotate        = module.rotate.role_arn
  }
  maker_role_arn          = module.keymaker.role_arn
  administrator_role_arns = var.operators.key_administrator_role_arns
  break_glass_role_arns   = [module.operators.break_glass_role_arn]
  deletion_protection     = var.deletion_protection
  bootstrap               = local.bootstrap
}

check "trail" {
  assert {
    condition     = var.trail_arn != null
    error_message = "No CloudTrail trail is named (trail_arn): without one that records management events, KMS's too, nobody hears of the break-glass role's use or of a change to a CA key. The module foundation creates one."
  }
}

module "control_plane" {
  source              = "../control-plane"
  name_prefix         = local.name_prefix
  image               = var.image
  architecture        = var.architecture
  size                = var.size
  network             = module.network
  internet_facing     = var.network.internet_facing
  client_cidrs        = var.network.client_cidrs
  public_cidrs        = var.network.public_cidrs
  metrics_cidrs       = var.network.metrics_cidrs
  domain              = var.domain
  deletion_protection = var.deletion_protection
  settings            = local.settings
  key_maker           = module.keymaker.function_name
  access_policies = {
    tables = module.tables.access["control_plane"]
    keys   = module.ca_keys.access["control_plane"]
    make   = module.keymaker.access["control_plane"]
    server = module.rotate.access["control_plane"]
  }
  log_retention_days = var.log_retention_days
  logs_kms_key_arn   = module.observability.logs_kms_key_arn
}

module "enroll" {
  source               = "../enroll"
  name_prefix          = local.name_prefix
  package_path         = "${var.package_dir}/signet-enroll-${var.architecture}.zip"
  architecture         = var.architecture
  size                 = var.size
  reserved_concurrency = var.enroll.reserved_concurrency
  domain               = var.enroll.domain
  web_acl_arn          = var.enroll.web_acl_arn
  requests_per_address = var.enroll.requests_per_address
  access_log           = var.enroll.access_log
  settings             = local.settings
  access_policies = {
    tables = module.tables.access["enroll"]
  }
  log_retention_days = var.log_retention_days
  logs_kms_key_arn   = module.observability.logs_kms_key_arn
}

module "keymaker" {
  source             = "../keymaker"
  name_prefix        = local.name_prefix
  package_path       = "${var.package_dir}/signet-keymaker-${var.architecture}.zip"
  architecture       = var.architecture
  settings           = local.settings
  tenant_key_policy  = module.ca_keys.tenant_key_policy
  access_policies    = { keys = module.ca_keys.access["keymaker"] }
  log_retention_days = var.log_retention_days
  logs_kms_key_arn   = module.observability.logs_kms_key_arn
}

module "rotate" {
  source                  = "../rotate"
  name_prefix             = local.name_prefix
  package_path            = "${var.package_dir}/signet-rotate-${var.architecture}.zip"
  architecture            = var.architecture
  parameter_prefix        = local.parameter_prefix
  secret_reader_role_arns = [module.control_plane.role_arn]
  bootstrap               = local.bootstrap
  bucket_arn              = module.publication.bucket_arn
  event_bus_arn           = module.observability.event_bus_arn
  recovery_window_in_days = var.deletion_protection ? 7 : 0
  settings                = local.settings
  key_maker               = module.keymaker.function_name
  access_policies = {
    tables = module.tables.access["rotate"]
    keys   = module.ca_keys.access["rotate"]
    make   = module.keymaker.access["rotate"]
  }
  log_retention_days = var.log_retention_days
  logs_kms_key_arn   = module.observability.logs_kms_key_arn
}

module "publication" {
  source                  = "../publication"
  name_prefix             = local.name_prefix
  writer_role_arns        = [module.rotate.role_arn]
  reader_principal_arns   = var.publication.reader_principal_arns
  reader_vpc_endpoint_ids = var.publication.reader_vpc_endpoint_ids
  access_log_bucket       = var.publication.access_log_bucket
  force_destroy           = !var.deletion_protection
  log_retention_days      = var.log_retention_days
}

module "observability" {
  source               = "../observability"
  name_prefix          = local.name_prefix
  control_plane        = module.control_plane
  enroll               = module.enroll
  keymaker             = module.keymaker
  rotate               = module.rotate
  tables               = module.tables.tables
  ca_key_arns          = values(module.ca_keys.key_arns)
  break_glass_role_arn = module.operators.break_glass_role_arn
  email_addresses      = var.alarm_email_addresses
  dashboard            = !local.tiny

  key_administrator_role_arns = var.operators.key_administrator_role_arns
  log_retention_days          = var.log_retention_days
}

module "operators" {
  source                       = "../operators"
  name_prefix                  = local.name_prefix
  administrator_principal_arns = var.operators.administrators
  break_glass_principal_arns   = var.operators.break_glass
  break_glass_needs_mfa        = var.operators.break_glass_needs_mfa
  read_only_principal_arns     = var.operators.read_only
  control_plane                = module.control_plane
  enroll                       = module.enroll
  keymaker                     = module.keymaker
  rotate                       = module.rotate
  tables                       = module.tables
  publication                  = module.publication
  bootstrap_policies = local.bootstrap == null ? {} : {
    tables = module.tables.access["bootstrap"]
    server = module.rotate.access["bootstrap"]
  }
}
