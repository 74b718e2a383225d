data "aws_region" "current" {}

locals {
  region           = data.aws_region.current.id
  name_prefix      = "signet-${var.environment}"
  parameter_prefix = "/signet/${var.environment}"
  tiny             = var.size == "tiny"

  # Who may make the first certificates, and until when.
  bootstrap = var.bootstrap_until == null ? null : {
    role_arns = [module.operators.administrator_role_arn]
    until     = var.bootstrap_until
  }

  # The configuration of signetd and the Lambdas, as environment variables: the same names as in services/control-plane/signet.sample.toml.
  settings = merge({
    SIGNET_ENVIRONMENT__NAME                = var.environment
    SIGNET_ENVIRONMENT__TRUST_DOMAIN_SUFFIX = var.trust_domain_suffix
    SIGNET_STORAGE__KIND                    = "dynamodb"
    SIGNET_STORAGE__PREFIX                  = local.name_prefix
    SIGNET_KEYS__KIND                       = "kms"
    SIGNET_KEYS__PREFIX                     = local.name_prefix
    SIGNET_SERVER_IDENTITY__KIND            = "aws"
    SIGNET_SERVER_IDENTITY__PREFIX          = local.parameter_prefix
    SIGNET_SERVER__DNS_NAMES                = jsonencode(module.control_plane.dns_names)
    SIGNET_SERVER__IP_ADDRESSES             = jsonencode([])
    SIGNET_PUBLICATION__BUCKET              = module.publication.bucket_name
    SIGNET_EVENTS__BUS                      = module.observability.event_bus_name
    SIGNET_TELEMETRY__LOG                   = "json"
    SIGNET_AWS__REGION                      = local.region
  }, var.enroll.domain == null ? {} : { SIGNET_ENROLLMENT__API_DOMAIN = var.enroll.domain.name })
}
