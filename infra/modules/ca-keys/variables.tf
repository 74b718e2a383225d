variable "name_prefix" {
  description = "Start of every alias: alias/PREFIX-PURPOSE. One environment, one prefix, for example signet-prod."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,46}[a-z0-9]$", var.name_prefix))
    error_message = "name_prefix must be 3 to 48 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen."
  }
}

variable "signer_role_arns" {
  description = "Purpose (root, system, shared, server, audit, or tenant for the keys made at run time) → ARNs of the IAM roles that may sign with it. Nobody else may."
  type        = map(set(string))
  default     = {}
  nullable    = false

  validation {
    condition     = length(setsubtract(keys(var.signer_role_arns), ["root", "system", "shared", "server", "audit", "tenant"])) == 0
    error_message = "signer_role_arns has an unknown purpose; known are root, system, shared, server, audit and tenant."
  }

  validation {
    condition     = alltrue([for arn in flatten([for arns in var.signer_role_arns : tolist(arns)]) : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:role/", arn))])
    error_message = "signer_role_arns must hold ARNs of IAM roles (arn:aws:iam::ACCOUNT:role/NAME): no users, no account roots, no wildcards."
  }
}

variable "break_glass_role_arns" {
  description = "ARNs of the IAM roles that may disable a CA key or schedule its deletion. Empty: nobody may."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.break_glass_role_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:role/", arn))])
    error_message = "break_glass_role_arns must hold ARNs of IAM roles (arn:aws:iam::ACCOUNT:role/NAME): no users, no account roots, no wildcards."
  }

  validation {
    condition     = length(setintersection(var.break_glass_role_arns, flatten([for arns in var.signer_role_arns : tolist(arns)]))) == 0
    error_message = "A role may either sign or destroy keys, not both: take the signer roles out of break_glass_role_arns."
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
