variable "name_prefix" {
  description = "Start of every name. One environment, one prefix, for example signet-prod."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}[a-z0-9]$", var.name_prefix))
    error_message = "name_prefix must be 3 to 22 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen."
  }
}

variable "package_path" {
  description = "The Lambda's zip: dist/signet-enroll-ARCHITECTURE.zip, made by scripts/package."
  type        = string

  validation {
    condition     = endswith(var.package_path, ".zip") && fileexists(var.package_path)
    error_message = "package_path must be a zip that exists: run scripts/package and name dist/signet-enroll-ARCHITECTURE.zip."
  }
}

variable "architecture" {
  description = "Processor of the Lambda, and of its package: arm64 or x86_64."
  type        = string
  default     = "x86_64"
  nullable    = false

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "architecture must be arm64 or x86_64."
  }
}

variable "size" {
  description = "How much is enrolled at once at most: small, medium or large; see sizes.tf."
  type        = string
  default     = "small"
  nullable    = false

  validation {
    condition     = contains(["small", "medium", "large"], var.size)
    error_message = "size must be small, medium or large."
  }
}

variable "reserved_concurrency" {
  description = "Instances at once, instead of the size's; -1 reserves none, which new accounts with a small quota need."
  type        = number
  default     = null

  validation {
    condition     = var.reserved_concurrency == null || try(var.reserved_concurrency >= -1 && floor(var.reserved_concurrency) == var.reserved_concurrency, false)
    error_message = "reserved_concurrency must be a whole number, -1 for no reservation; 0 switches enrollment off."
  }
}

variable "settings" {
  description = "Environment variables of signetd and the Lambdas (SIGNET_SECTION__KEY)."
  type        = map(string)

  validation {
    condition     = alltrue([for name in keys(var.settings) : can(regex("^SIGNET_[A-Z_]+$", name))])
    error_message = "settings must be named SIGNET_SECTION__KEY."
  }
}

variable "access_policies" {
  description = "Name → IAM policy (JSON) of the Lambda's role: what the modules tables and ca-keys give in their output access."
  type        = map(string)
}

variable "domain" {
  description = "A name of your own, its ACM certificate (of this region; with web_acl_arn of us-east-1, where CloudFront looks) and its Route 53 zone if the record shall be made here."
  type = object({
    name            = string
    certificate_arn = string
    zone_id         = optional(string)
  })
  default = null

  validation {
    condition     = var.domain == null || can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]{2,63}$", var.domain.name))
    error_message = "domain.name must be a DNS name in lower case, for example enroll.example.com."
  }

  validation {
    condition     = var.domain == null || can(regex("^arn:[a-z-]+:acm:${var.web_acl_arn == null ? "[a-z0-9-]+" : "us-east-1"}:[0-9]{12}:certificate/", var.domain.certificate_arn))
    error_message = "domain.certificate_arn must be an ACM certificate (arn:aws:acm:REGION:ACCOUNT:certificate/ID), and with web_acl_arn one of us-east-1."
  }
}

variable "web_acl_arn" {
  description = "ARN of a WAF web ACL for CloudFront (in us-east-1): puts a distribution with it before the API. Null: none."
  type        = string
  default     = null

  validation {
    condition     = var.web_acl_arn == null || can(regex("^arn:[a-z-]+:wafv2:us-east-1:[0-9]{12}:global/webacl/", var.web_acl_arn))
    error_message = "web_acl_arn must be a web ACL of scope CLOUDFRONT (arn:aws:wafv2:us-east-1:ACCOUNT:global/webacl/NAME/ID): AWS lets none be attached to an HTTP API itself."
  }
}

variable "log_retention_days" {
  description = "How long logs are kept, days."
  type        = number
  default     = 365
  nullable    = false

  validation {
    condition     = contains([7, 14, 30, 60, 90, 180, 365, 400, 731, 1096, 1827, 3653], var.log_retention_days)
    error_message = "log_retention_days must be one of CloudWatch's periods: 7, 14, 30, 60, 90, 180, 365, 400, 731, 1096, 1827 or 3653."
  }
}

variable "logs_kms_key_arn" {
  description = "ARN of the KMS key that encrypts log groups."
  type        = string
}
