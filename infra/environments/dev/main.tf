# Development: small, and can be thrown away. Replace account, names and addresses with yours.
module "signet" {
  source = "../../modules/environment"

  environment         = "dev"
  trust_domain_suffix = "dev.example.com"

  image        = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/signet/signetd:0.2.0"
  package_dir  = "../../../dist"
  architecture = "x86_64"
  size         = "small"

  network = {
    cidr     = "10.20.0.0/16"
    az_count = 2
  }

  deletion_protection = false
  log_retention_days  = 30

  operators = {
    administrators = ["arn:aws:iam::123456789012:role/developers"]
    break_glass    = ["arn:aws:iam::123456789012:user/break-glass"]
  }

  # Until when administrators may run `principal bootstrap`, for example "2026-12-01T18:00:00Z".
  bootstrap_until = null
}
