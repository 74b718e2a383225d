variable "name_prefix" {
  description = "Prefix of every table's name (PREFIX-TABLE), unique per environment, for example signet-prod."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,46}[a-z0-9]$", var.name_prefix))
    error_message = "name_prefix must be 3 to 48 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen."
  }
}

variable "deletion_protection" {
  description = "Protect the tables and their key from deletion until this is set to false and applied. Turn it off only for disposable environments."
  type        = bool
  default     = true
  nullable    = false
}

variable "create_kms_key" {
  description = "Create a KMS key for the tables. Set to false to use kms_key_arn."
  type        = bool
  default     = true
  nullable    = false
}

variable "kms_key_arn" {
  description = "ARN of the symmetric KMS key that encrypts the tables, when create_kms_key is false."
  type        = string
  default     = null

  validation {
    condition     = var.create_kms_key == (var.kms_key_arn == null)
    error_message = "Set kms_key_arn if and only if create_kms_key is false."
  }

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a key (arn:aws:kms:REGION:ACCOUNT:key/ID), not of an alias."
  }
}

variable "break_glass_role_arns" {
  description = "ARNs of the IAM roles that may disable our own key or schedule its deletion. Empty: nobody."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.break_glass_role_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:role/", arn))])
    error_message = "break_glass_role_arns must be ARNs of IAM roles (arn:aws:iam::ACCOUNT:role/NAME): no users, no account roots, no wildcards."
  }
}

variable "bootstrap_until" {
  description = "Until when (RFC 3339, UTC) the policy access.bootstrap allows the writes of `principal bootstrap`. Null: no such policy."
  type        = string
  default     = null

  validation {
    condition     = var.bootstrap_until == null || can(regex("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$", var.bootstrap_until))
    error_message = "bootstrap_until must be an RFC 3339 time in UTC, for example 2026-12-01T18:00:00Z."
  }
}

variable "tags" {
  description = "Tags for every resource of this module."
  type        = map(string)
  default     = {}
  nullable    = false
}
