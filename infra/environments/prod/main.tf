# Production. Replace account, names and addresses with yours.
module "signet" {
  source = "../../modules/environment"

  environment         = "prod"
  trust_domain_suffix = "prod.example.com"

  image        = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/signet/signetd:0.2.0" # better: @sha256:…
  package_dir  = "../../../dist"
  architecture = "arm64"
  size         = "medium"

  network = {
    cidr     = "10.40.0.0/16"
    az_count = 3
  }

  domain = { name = "signet.prod.example.com" }

  deletion_protection   = true
  alarm_email_addresses = ["platform@example.com"]

  # Hears of break glass and of changes to CA keys; the module foundation creates one.
  trail_arn = "arn:aws:cloudtrail:eu-central-1:123456789012:trail/signet"

  # Roles and users that exist. To begin with, your own role will do as administrator.
  operators = {
    administrators = ["arn:aws:iam::123456789012:role/platform"]
    # A user, who can show a second factor. For roles of an identity provider, which demands one itself, set break_glass_needs_mfa = false.
    break_glass = ["arn:aws:iam::123456789012:user/break-glass"]
    read_only   = ["arn:aws:iam::123456789012:role/developers"]
    # What Terraform runs as: nobody else may change the CA keys' policies.
    key_administrator_role_arns = ["arn:aws:iam::123456789012:role/signet-terraform"]
  }

  # Until when administrators may run `principal bootstrap`, for example "2026-12-01T18:00:00Z".
  bootstrap_until = null
}
