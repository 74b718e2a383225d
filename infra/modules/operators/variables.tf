variable "name_prefix" {
  description = "Prefix of every name, unique per environment, for example signet-prod."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}[a-z0-9]$", var.name_prefix))
    error_message = "name_prefix must be 3 to 22 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen."
  }
}

variable "administrator_principal_arns" {
  description = "ARNs of the roles or users that may assume the administrator role."
  type        = list(string)

  validation {
    condition     = length(var.administrator_principal_arns) > 0 && alltrue([for arn in var.administrator_principal_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/[^*]+$", arn))])
    error_message = "administrator_principal_arns must be ARNs of IAM roles or users, at least one: no account roots, no wildcards."
  }
}

variable "break_glass_principal_arns" {
  description = "ARNs of the roles or users that may assume the break-glass role."
  type        = list(string)

  validation {
    condition     = length(var.break_glass_principal_arns) > 0 && alltrue([for arn in var.break_glass_principal_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/[^*]+$", arn))])
    error_message = "break_glass_principal_arns must be ARNs of IAM roles or users, at least one: no account roots, no wildcards."
  }
}

variable "read_only_principal_arns" {
  description = "ARNs of the roles or users that may assume the read-only role. Empty: do not create it."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.read_only_principal_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/[^*]+$", arn))])
    error_message = "read_only_principal_arns must be ARNs of IAM roles or users: no account roots, no wildcards."
  }
}

variable "break_glass_needs_mfa" {
  description = "Require MFA within the last 15 minutes. Sessions assumed from another role (IAM Identity Center, federation) carry no MFA: set this to false only if the identity provider enforces MFA."
  type        = bool
  default     = true
  nullable    = false
}

variable "bootstrap_policies" {
  description = "Name → additional IAM policy (JSON) of the administrator during bootstrap: access.bootstrap of the modules tables and rotate."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "control_plane" {
  description = "Outputs of the module control-plane."
  type = object({
    log_group_name = string
    cluster_name   = string
    service_name   = string
  })
}

variable "enroll" {
  description = "Outputs of the module enroll."
  type = object({
    log_group_name = string
    function_name  = string
  })
}

variable "keymaker" {
  description = "Outputs of the module keymaker."
  type = object({
    log_group_name = string
    function_name  = string
  })
}

variable "rotate" {
  description = "Outputs of the module rotate."
  type = object({
    log_group_name        = string
    function_name         = string
    dead_letter_queue_arn = string
    server_secret_arn     = string
    parameter_arns        = map(string)
  })
}

variable "tables" {
  description = "Outputs of the module tables."
  type = object({
    table_arns  = map(string)
    kms_key_arn = string
    access      = map(string)
  })

  validation {
    condition     = contains(keys(var.tables.access), "auditor")
    error_message = "tables.access lacks the policy auditor: pass the outputs of the module tables."
  }
}

variable "publication" {
  description = "Outputs of the module publication."
  type = object({
    bucket_arn = string
  })
}
