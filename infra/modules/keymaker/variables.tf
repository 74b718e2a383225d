variable "name_prefix" {
  description = "Prefix of every name, unique per environment, for example signet-prod."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}[a-z0-9]$", var.name_prefix))
    error_message = "name_prefix must be 3 to 22 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen."
  }
}

variable "package_path" {
  description = "Path of the Lambda's zip: dist/signet-keymaker-ARCHITECTURE.zip, built by scripts/package."
  type        = string

  validation {
    condition     = endswith(var.package_path, ".zip") && fileexists(var.package_path)
    error_message = "package_path must be an existing zip: run scripts/package and use dist/signet-keymaker-ARCHITECTURE.zip."
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

variable "settings" {
  description = "Environment variables of signetd and the Lambdas (SIGNET_SECTION__KEY)."
  type        = map(string)

  validation {
    condition     = alltrue([for name in keys(var.settings) : can(regex("^SIGNET_[A-Z_]+$", name))])
    error_message = "Names of settings must have the form SIGNET_SECTION__KEY."
  }
}

variable "tenant_key_policy" {
  description = "Key policy (JSON) for the keys of tenants' CAs: output of the module ca-keys."
  type        = string

  validation {
    condition     = length(var.tenant_key_policy) <= 3000
    error_message = "tenant_key_policy is longer than 3,000 bytes. With the settings, it must fit into a Lambda's environment (4 kB). Name fewer roles in ca-keys."
  }
}

variable "access_policies" {
  description = "Name → IAM policy (JSON) of the Lambda's role, from the output access of the module ca-keys."
  type        = map(string)
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
