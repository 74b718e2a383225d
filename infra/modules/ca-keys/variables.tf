variable "name_prefix" {
  description = "Prefix of every alias (alias/PREFIX-PURPOSE), unique per environment, for example signet-prod."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,46}[a-z0-9]$", var.name_prefix))
    error_message = "name_prefix must be 3 to 48 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen."
  }
}

variable "signer_role_arns" {
  description = "Process (control_plane, enroll, rotate) → ARN of its IAM role. access.tf defines which of them signs with which key."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = length(setsubtract(keys(var.signer_role_arns), ["control_plane", "enroll", "rotate"])) == 0
    error_message = "signer_role_arns has an unknown key; valid keys are control_plane, enroll and rotate."
  }

  validation {
    condition     = alltrue([for arn in values(var.signer_role_arns) : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:role/", arn))])
    error_message = "signer_role_arns must be ARNs of IAM roles (arn:aws:iam::ACCOUNT:role/NAME): no users, no account roots, no wildcards."
  }

  validation {
    condition     = length(distinct(values(var.signer_role_arns))) == length(var.signer_role_arns)
    error_message = "signer_role_arns contains a role twice. Each process needs its own, otherwise the enrollment API would have the control plane's permissions."
  }
}

variable "maker_role_arn" {
  description = "ARN of the keymaker's role, which creates tenants' keys. Null: keys are not created at run time."
  type        = string
  default     = null

  validation {
    condition     = var.maker_role_arn == null || can(regex("^arn:[a-z-]+:iam::[0-9]{12}:role/", var.maker_role_arn))
    error_message = "maker_role_arn must be the ARN of an IAM role (arn:aws:iam::ACCOUNT:role/NAME)."
  }

  validation {
    condition     = !contains(values(var.signer_role_arns), coalesce(var.maker_role_arn, "none"))
    error_message = "A role may either create keys or sign with them: maker_role_arn must not be in signer_role_arns."
  }
}

variable "break_glass_role_arns" {
  description = "ARNs of the IAM roles that may disable a CA key or schedule its deletion. Empty: nobody."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.break_glass_role_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:role/", arn))])
    error_message = "break_glass_role_arns must be ARNs of IAM roles (arn:aws:iam::ACCOUNT:role/NAME): no users, no account roots, no wildcards."
  }

  validation {
    condition     = length(setintersection(var.break_glass_role_arns, values(var.signer_role_arns))) == 0
    error_message = "A role may either sign or delete keys, not both: remove the signer roles from break_glass_role_arns."
  }
}

variable "administrator_role_arns" {
  description = "ARNs of the IAM roles that may change the policy, tags and alias of the environment's keys, including the role that Terraform runs with. Empty: whoever the account's IAM policies allow."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.administrator_role_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:role/", arn))])
    error_message = "administrator_role_arns must be ARNs of IAM roles (arn:aws:iam::ACCOUNT:role/NAME): no users, no account roots, no wildcards."
  }

  validation {
    condition     = length(setintersection(var.administrator_role_arns, values(var.signer_role_arns))) == 0
    error_message = "A role that signs must not be able to change the keys' policies: remove the signer roles from administrator_role_arns."
  }
}

variable "bootstrap" {
  description = "Roles that run `principal bootstrap`, and until when (RFC 3339, UTC) they may sign. Null or a past time: never."
  type = object({
    role_arns = list(string)
    until     = string
  })
  default = null

  validation {
    condition     = var.bootstrap == null || can(regex("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$", var.bootstrap.until))
    error_message = "bootstrap.until must be an RFC 3339 time in UTC, for example 2026-12-01T18:00:00Z."
  }

  validation {
    condition     = var.bootstrap == null || try(length(var.bootstrap.role_arns) > 0 && alltrue([for arn in var.bootstrap.role_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:role/", arn))]), false)
    error_message = "bootstrap.role_arns must be ARNs of IAM roles (arn:aws:iam::ACCOUNT:role/NAME), at least one."
  }
}

variable "deletion_protection" {
  description = "Only break_glass_role_arns may schedule a key's deletion. If false, administrators may too, so that `terraform destroy` works."
  type        = bool
  default     = true
  nullable    = false
}

variable "deletion_window_in_days" {
  description = "Waiting period of a key's deletion in days. Every certificate below a deleted key becomes useless."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.deletion_window_in_days >= 7 && var.deletion_window_in_days <= 30
    error_message = "deletion_window_in_days must be 7 to 30 (a KMS limit)."
  }
}

variable "tags" {
  description = "Tags for every key of this module."
  type        = map(string)
  default     = {}
  nullable    = false
}
