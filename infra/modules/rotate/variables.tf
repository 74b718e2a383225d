variable "name_prefix" {
  description = "Prefix of every name, unique per environment, for example signet-prod."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}[a-z0-9]$", var.name_prefix))
    error_message = "name_prefix must be 3 to 22 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen."
  }
}

variable "parameter_prefix" {
  description = "Prefix of the secret's and the parameters' names, for example /signet/prod; signetd's server_identity.prefix."
  type        = string

  validation {
    condition     = can(regex("^(/[a-z0-9-]+){1,5}$", var.parameter_prefix)) && !startswith(var.parameter_prefix, "/aws") && !startswith(var.parameter_prefix, "/ssm")
    error_message = "parameter_prefix must be a lower-case path without a trailing slash, for example /signet/prod; /aws and /ssm are reserved by AWS."
  }
}

variable "package_path" {
  description = "Path of the Lambda's zip: dist/signet-rotate-ARCHITECTURE.zip, built by scripts/package."
  type        = string

  validation {
    condition     = endswith(var.package_path, ".zip") && fileexists(var.package_path)
    error_message = "package_path must be an existing zip: run scripts/package and use dist/signet-rotate-ARCHITECTURE.zip."
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

variable "timeout_seconds" {
  description = "Timeout of a run in seconds. Publishing takes longest: it grows with the number of CAs."
  type        = number
  default     = 300
  nullable    = false

  validation {
    condition     = var.timeout_seconds >= 30 && var.timeout_seconds <= 900
    error_message = "timeout_seconds must be 30 to 900 (the maximum for a Lambda)."
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

variable "key_maker" {
  description = "Name of the Lambda that creates tenants' keys: output function_name of the module keymaker."
  type        = string
}

variable "access_policies" {
  description = "Name → IAM policy (JSON) of the Lambda's role, from the output access of the modules tables and ca-keys."
  type        = map(string)
}

variable "secret_reader_role_arns" {
  description = "ARNs of the roles that may decrypt the server's secret, besides the Lambda: the control plane's."
  type        = list(string)

  validation {
    condition     = alltrue([for arn in var.secret_reader_role_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:role/", arn))])
    error_message = "secret_reader_role_arns must be ARNs of IAM roles (arn:aws:iam::ACCOUNT:role/NAME): no users, no account roots, no wildcards."
  }
}

variable "bootstrap" {
  description = "Roles that run `principal bootstrap`, and until when (RFC 3339, UTC) they may write the first secret. Null or a past time: never."
  type = object({
    role_arns = list(string)
    until     = string
  })
  default = null

  validation {
    condition     = var.bootstrap == null || can(regex("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$", var.bootstrap.until))
    error_message = "bootstrap.until must be an RFC 3339 time in UTC, for example 2026-12-01T18:00:00Z."
  }
}

variable "server_certificate_days" {
  description = "Days between two server certificates. They are valid for seven days, and signetd warns when a third of that is left."
  type        = number
  default     = 2
  nullable    = false

  validation {
    condition     = var.server_certificate_days >= 1 && var.server_certificate_days <= 4 && floor(var.server_certificate_days) == var.server_certificate_days
    error_message = "server_certificate_days must be 1 to 4: a certificate is valid for seven days, and a retry needs time."
  }
}

variable "recovery_window_in_days" {
  description = "Days in which a deleted secret can be restored. 0: delete at once, so that its name can be reused. Bootstrap can always create another."
  type        = number
  default     = 7
  nullable    = false

  validation {
    condition     = var.recovery_window_in_days == 0 || (var.recovery_window_in_days >= 7 && var.recovery_window_in_days <= 30)
    error_message = "recovery_window_in_days must be 0 or 7 to 30 (a Secrets Manager limit)."
  }
}

variable "schedules_enabled" {
  description = "Whether to run the scheduled tasks. Turn them off while you restore tables."
  type        = bool
  default     = true
  nullable    = false
}

variable "bucket_arn" {
  description = "ARN of the publication bucket."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:s3:::[a-z0-9.-]+$", var.bucket_arn))
    error_message = "bucket_arn must be the ARN of a bucket (arn:aws:s3:::NAME)."
  }
}

variable "event_bus_arn" {
  description = "ARN of the event bus for warnings: output of the module observability."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:events:[a-z0-9-]+:[0-9]{12}:event-bus/", var.event_bus_arn))
    error_message = "event_bus_arn must be the ARN of an event bus (arn:aws:events:REGION:ACCOUNT:event-bus/NAME)."
  }
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
