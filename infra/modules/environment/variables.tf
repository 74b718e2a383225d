variable "environment" {
  description = "Short name of the environment; every name starts with signet-ENVIRONMENT."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,14}$", var.environment))
    error_message = "environment must be 2 to 15 lower-case letters and digits and begin with a letter, for example prod."
  }
}

variable "trust_domain_suffix" {
  description = "A tenant's SPIFFE trust domain is TENANT.SUFFIX. Use a domain that you own, unique per environment. It cannot change after certificates have been issued."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]{2,63}$", var.trust_domain_suffix)) && length(var.trust_domain_suffix) <= 190
    error_message = "trust_domain_suffix must be a lower-case DNS name of at most 190 characters, for example prod.example.com: no scheme, no slash, no trailing dot."
  }
}

variable "image" {
  description = "Image of signetd in this region's ECR: REPOSITORY@sha256:DIGEST, or :TAG."
  type        = string
}

variable "architecture" {
  description = "CPU architecture of tasks, Lambdas, image and packages: arm64 or x86_64."
  type        = string
  default     = "x86_64"
}

variable "size" {
  description = "tiny, small, medium or large, as defined in sizes.tf of the modules control-plane and enroll. tiny is for trying out: one node with a public address, no interface endpoints, no dashboard (see README)."
  type        = string
  default     = "small"
}

variable "package_dir" {
  description = "Folder with the Lambda packages that scripts/package builds."
  type        = string
}

variable "network" {
  description = "VPC: the address range of a new one, or an existing one (vpc; see modules/network). client_cidrs: who may connect, besides the VPC itself; public_cidrs: who else may read public material over plain HTTP; metrics_cidrs: where Prometheus runs."
  type = object({
    cidr                = optional(string)
    az_count            = optional(number)
    exclude_zone_ids    = optional(set(string))
    internet_facing     = optional(bool, false)
    client_cidrs        = optional(list(string), [])
    public_cidrs        = optional(list(string), [])
    metrics_cidrs       = optional(list(string), [])
    gateway_endpoints   = optional(set(string))
    interface_endpoints = optional(set(string))
    existing_endpoints  = optional(set(string))
    vpc = optional(object({
      id                       = string
      private_subnet_ids       = list(string)
      private_route_table_ids  = list(string)
      load_balancer_subnet_ids = optional(list(string))
    }))
  })
  default = {}

  validation {
    condition     = var.network.internet_facing || !contains(var.network.client_cidrs, "0.0.0.0/0")
    error_message = "network.client_cidrs allows everybody (0.0.0.0/0), but the load balancer is internal: list the networks that reach it, or set internet_facing = true."
  }

  validation {
    condition     = !(var.network.internet_facing && var.network.vpc != null) || try(var.network.vpc.load_balancer_subnet_ids, null) != null
    error_message = "network.internet_facing in an existing VPC needs public subnets: list them in network.vpc.load_balancer_subnet_ids."
  }
}

variable "domain" {
  description = "Your own domain name for the control plane, and its Route 53 zone if Terraform should create the record."
  type = object({
    name    = string
    zone_id = optional(string)
  })
  default = null
}

variable "enroll" {
  description = "Enrollment API: its own domain name, a web ACL of yours, a limit per address and a reserved concurrency that override the size's, and whether it writes an access log (see modules/enroll)."
  type = object({
    domain = optional(object({
      name            = string
      certificate_arn = string
      zone_id         = optional(string)
    }))
    web_acl_arn          = optional(string)
    requests_per_address = optional(number)
    access_log           = optional(bool, true)
    reserved_concurrency = optional(number)
  })
  default = {}
}

variable "publication" {
  description = "Who may read CRLs and bundles from their bucket, besides this account through IAM, and the bucket for its access log (see modules/publication)."
  type = object({
    reader_principal_arns   = optional(list(string))
    reader_vpc_endpoint_ids = optional(list(string))
    access_log_bucket       = optional(string)
  })
  default = {}
}

variable "deletion_protection" {
  description = "Protect tables, keys, load balancer and published files from deletion. To destroy an environment, first set this to false and apply."
  type        = bool
  default     = true
  nullable    = false

  validation {
    condition     = var.deletion_protection || var.environment != "prod"
    error_message = "prod always has deletion_protection = true. To destroy a production environment, first remove this validation in a reviewed change."
  }
}

variable "operators" {
  description = "ARNs of the IAM roles or users that may assume the administrator, break-glass and read-only roles; and of the roles (including Terraform's) that may change the CA keys' policies."
  type = object({
    administrators              = list(string)
    break_glass                 = list(string)
    break_glass_needs_mfa       = optional(bool)
    read_only                   = optional(list(string), [])
    key_administrator_role_arns = optional(list(string), [])
  })
}

variable "alarm_email_addresses" {
  description = "Email addresses to notify of alarms."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = length(var.alarm_email_addresses) > 0 || var.environment != "prod"
    error_message = "prod needs somebody to receive alarms: set at least one address in alarm_email_addresses."
  }
}

variable "trail_arn" {
  description = "ARN of the CloudTrail trail that records management events of this region, reads and writes, KMS's too: the alarms BreakGlassUsed and CaKeyChanged hear through it. Null: a warning in each plan."
  type        = string
  default     = null

  validation {
    condition     = var.trail_arn == null || can(regex("^arn:[a-z-]+:cloudtrail:[a-z0-9-]+:[0-9]{12}:trail/", var.trail_arn))
    error_message = "trail_arn must be the ARN of a trail (arn:aws:cloudtrail:REGION:ACCOUNT:trail/NAME); an organization's trail is in the management account."
  }

  validation {
    condition     = var.trail_arn != null || var.environment != "prod"
    error_message = "prod needs a trail: without one nobody hears of the break-glass role's use or of a change to a CA key. Name it in trail_arn."
  }
}

variable "bootstrap_until" {
  description = "Until when administrators may run `principal bootstrap` (RFC 3339, UTC). Null: never."
  type        = string
  default     = null
}

variable "log_retention_days" {
  description = "Log retention in days; one of the values that CloudWatch supports."
  type        = number
  default     = 365
}
