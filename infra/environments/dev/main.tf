# Development: as cheap as can be, reached over the internet, and can be thrown away. Replace account, names and addresses with yours.
module "signet" {
  source = "../../modules/environment"

  environment         = "dev"
  trust_domain_suffix = "dev.example.com"

  image        = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/signet/signetd:0.2.0"
  package_dir  = "../../../dist"
  architecture = "x86_64"
  size         = "tiny"

  # Who may connect: your address, or your company's. Every connection still needs a certificate, or a token to get one.
  network = {
    cidr            = "10.20.0.0/16"
    internet_facing = true
    client_cidrs    = ["203.0.113.10/32"]
  }

  deletion_protection = false
  log_retention_days  = 30

  # Hears of break glass and of changes to CA keys; the module foundation creates one.
  trail_arn = "arn:aws:cloudtrail:eu-central-1:123456789012:trail/signet"

  # Roles and users that exist. To begin with, your own role will do as administrator.
  operators = {
    administrators = ["arn:aws:iam::123456789012:role/developers"]
    break_glass    = ["arn:aws:iam::123456789012:user/break-glass"]
  }

  # Until when administrators may run `principal bootstrap`, for example "2026-12-01T18:00:00Z".
  bootstrap_until = null
}
