variable "name_prefix" {
  description = "Prefix of every name, unique per environment, for example signet-prod."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}[a-z0-9]$", var.name_prefix))
    error_message = "name_prefix must be 3 to 22 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen."
  }
}

variable "package_path" {
  description = "Path of the Lambda's zip: dist/signet-enroll-ARCHITECTURE.zip, built by scripts/package."
  type        = string

  validation {
    condition     = endswith(var.package_path, ".zip") && fileexists(var.package_path)
    error_message = "package_path must be an existing zip: run scripts/package and use dist/signet-enroll-ARCHITECTURE.zip."
  }
}

variable "architecture" {
  description = "CPU architecture of the Lambda and its package: arm64 or x86_64."
  type        = string
  default     = "x86_64"
  nullable    = false

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "architecture must be arm64 or x86_64."
  }
}

variable "size" {
  description = "Maximum concurrent enrollments: tiny, small, medium or large; see sizes.tf."
  type        = string
  default     = "small"
  nullable    = false

  validation {
    condition     = contains(["tiny", "small", "medium", "large"], var.size)
    error_message = "size must be tiny, small, medium or large."
  }
}

variable "reserved_concurrency" {
  description = "Reserved concurrency, overriding the size's. -1 reserves none. N needs an account quota (L-B99A9384) of N + 100, which new accounts do not have."
  type        = number
  default     = null

  validation {
    condition     = var.reserved_concurrency == null || try(var.reserved_concurrency >= -1 && floor(var.reserved_concurrency) == var.reserved_concurrency, false)
    error_message = "reserved_concurrency must be a whole number. -1: no reservation; 0: enrollment is off."
  }
}

variable "settings" {
  description = "Environment variables of signetd and the Lambdas (SIGNET_SECTION__KEY)."
  type        = map(string)

  validation {
    condition     = alltrue([for name in keys(var.settings) : can(regex("^SIGNET_[A-Z_]+$", name))])
    error_message = "Names of settings must have the form SIGNET_SECTION__KEY."
  }
}

variable "access_policies" {
  description = "Name → IAM policy (JSON) of the Lambda's role, from the output access of the modules tables and ca-keys."
  type        = map(string)
}

variable "domain" {
  description = "Your own domain name, its ACM certificate (in this region), and its Route 53 zone if Terraform should create the record."
  type = object({
    name            = string
    certificate_arn = string
    zone_id         = optional(string)
  })
  default = null

  validation {
    condition     = var.domain == null || can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]{2,63}$", var.domain.name))
    error_message = "domain.name must be a lower-case DNS name, for example enroll.example.com."
  }

  validation {
    condition     = var.domain == null || can(regex("^arn:[a-z-]+:acm:[a-z0-9-]+:[0-9]{12}:certificate/", var.domain.certificate_arn))
    error_message = "domain.certificate_arn must be an ACM certificate (arn:aws:acm:REGION:ACCOUNT:certificate/ID)."
  }
}

variable "requests_per_address" {
  description = "Calls in five minutes that one address may make; beyond that a web ACL answers 429. Null: the size's. 0: no web ACL, so that whoever floods the API keeps others out. A fleet behind one NAT gateway is one address."
  type        = number
  default     = null

  validation {
    condition     = var.requests_per_address == null || try(contains([0], var.requests_per_address) || (var.requests_per_address >= 10 && floor(var.requests_per_address) == var.requests_per_address), false)
    error_message = "requests_per_address must be 0 or a whole number of at least 10 (an AWS WAF limit)."
  }
}

variable "web_acl_arn" {
  description = "ARN of a web ACL of yours for the API (scope REGIONAL), instead of our own with its limit per address."
  type        = string
  default     = null

  validation {
    condition     = var.web_acl_arn == null || can(regex("^arn:[a-z-]+:wafv2:[a-z0-9-]+:[0-9]{12}:regional/webacl/", var.web_acl_arn))
    error_message = "web_acl_arn must be a web ACL of scope REGIONAL (arn:aws:wafv2:REGION:ACCOUNT:regional/webacl/NAME/ID)."
  }
}

variable "access_log" {
  description = "Whether the API writes an access log. API Gateway needs a role for it in the account's settings of this region, which the module foundation makes."
  type        = bool
  default     = true
  nullable    = false
}

variable "log_retention_days" {
  description = "Log retention in days."
  type        = number
  default     = 365
  nullable    = false

  validation {
    condition     = contains([7, 14, 30, 60, 90, 180, 365, 400, 731, 1096, 1827, 3653], var.log_retention_days)
    error_message = "log_retention_days must be a value that CloudWatch supports: 7, 14, 30, 60, 90, 180, 365, 400, 731, 1096, 1827 or 3653."
  }
}

variable "logs_kms_key_arn" {
  description = "ARN of the KMS key that encrypts log groups."
  type        = string
}
