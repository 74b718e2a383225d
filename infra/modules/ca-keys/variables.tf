variable "name_prefix" {
  description = "Start of every alias: alias/PREFIX-PURPOSE. One environment, one prefix, for example signet-prod."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,46}[a-z0-9]$", var.name_prefix))
    error_message = "name_prefix must be 3 to 48 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen."
  }
}

variable "signer_role_arns" {
  description = "Who runs what signs: control_plane, enroll, rotate → ARN of the IAM role. Which of them signs with which key is decided in access.tf."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = length(setsubtract(keys(var.signer_role_arns), ["control_plane", "enroll", "rotate"])) == 0
    error_message = "signer_role_arns has an unknown role; known are control_plane, enroll and rotate."
  }

  validation {
    condition     = alltrue([for arn in values(var.signer_role_arns) : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:role/", arn))])
    error_message = "signer_role_arns must hold ARNs of IAM roles (arn:aws:iam::ACCOUNT:role/NAME): no users, no account roots, no wildcards."
  }

  validation {
    condition     = length(distinct(values(var.signer_role_arns))) == length(var.signer_role_arns)
    error_message = "signer_role_arns has one role twice; each must have its own, or the enrollment API could do what only the control plane may."
  }
}

variable "break_glass_role_arns" {
  description = "ARNs of the IAM roles that may disable a CA key or schedule its deletion. Empty: nobody may."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.break_glass_role_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:role/", arn))])
    error_message = "break_glass_role_arns must hold ARNs of IAM roles (arn:aws:iam::ACCOUNT:role/NAME): no users, no account roots, no wildcards."
  }

  validation {
    condition     = length(setintersection(var.break_glass_role_arns, values(var.signer_role_arns))) == 0
    error_message = "A role may either sign or destroy keys, not both: take the signer roles out of break_glass_role_arns."
  }
}

variable "administrator_role_arns" {
  description = "ARNs of the IAM roles that may change the policy, tags and alias of the environment's keys; the role that Terraform runs with must be one. Empty: whoever the account's IAM policies allow."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.administrator_role_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:role/", arn))])
    error_message = "administrator_role_arns must hold ARNs of IAM roles (arn:aws:iam::ACCOUNT:role/NAME): no users, no account roots, no wildcards."
  }

  validation {
    condition     = length(setintersection(var.administrator_role_arns, values(var.signer_role_arns))) == 0
    error_message = "A role that signs must not be able to change the keys' policies: take the signer roles out of administrator_role_arns."
  }
}

variable "bootstrap" {
  description = "Roles of the people who run `principal bootstrap`, and until when (RFC 3339, UTC) they may sign for it. Null, or a time that has passed: they may not."
  type = object({
    role_arns = list(string)
    until     = string
  })
  default = null

  validation {
    condition     = var.bootstrap == null || can(regex("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$", var.bootstrap.until))
    error_message = "bootstrap.until must be an instant in UTC as RFC 3339 writes it, for example 2026-12-01T18:00:00Z."
  }

  validation {
    condition     = var.bootstrap == null || try(length(var.bootstrap.role_arns) > 0 && alltrue([for arn in var.bootstrap.role_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:role/", arn))]), false)
    error_message = "bootstrap.role_arns must hold ARNs of IAM roles (arn:aws:iam::ACCOUNT:role/NAME), at least one."
  }
}

variable "deletion_window_in_days" {
  description = "Days between the request to delete a key and its end. Every certificate below a deleted key dies with it."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.deletion_window_in_days >= 7 && var.deletion_window_in_days <= 30
    error_message = "deletion_window_in_days must be 7 to 30, as KMS demands."
  }
}

variable "tags" {
  description = "Tags for every key of this module."
  type        = map(string)
  default     = {}
  nullable    = false
}
