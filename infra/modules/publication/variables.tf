variable "name_prefix" {
  description = "Prefix of every name, unique per environment, for example signet-prod."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}[a-z0-9]$", var.name_prefix))
    error_message = "name_prefix must be 3 to 22 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen."
  }
}

variable "writer_role_arns" {
  description = "ARNs of the roles that may write: the rotate Lambda's. Nobody else may, regardless of IAM."
  type        = list(string)

  validation {
    condition     = length(var.writer_role_arns) > 0 && alltrue([for arn in var.writer_role_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:role/", arn))])
    error_message = "writer_role_arns must be ARNs of IAM roles (arn:aws:iam::ACCOUNT:role/NAME), at least one: no users, no account roots, no wildcards."
  }
}

variable "reader_principal_arns" {
  description = "ARNs of the accounts (arn:aws:iam::ACCOUNT:root) or roles that may read CRLs and bundles, besides this account through IAM."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.reader_principal_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(root|role/.+)$", arn))])
    error_message = "reader_principal_arns must be ARNs of accounts (arn:aws:iam::ACCOUNT:root) or roles, no wildcards. For public access use the control plane's public listener."
  }
}

variable "reader_vpc_endpoint_ids" {
  description = "Ids of S3 VPC endpoints through which anybody may read CRLs and bundles."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for id in var.reader_vpc_endpoint_ids : can(regex("^vpce-[0-9a-f]+$", id))])
    error_message = "reader_vpc_endpoint_ids must be ids of VPC endpoints (vpce-…)."
  }
}

variable "access_log_bucket" {
  description = "Name of a bucket for access logs. Null: create one."
  type        = string
  default     = null
}

variable "log_retention_days" {
  description = "Access log retention in our own bucket, in days."
  type        = number
  default     = 365
  nullable    = false

  validation {
    condition     = var.log_retention_days >= 1 && floor(var.log_retention_days) == var.log_retention_days
    error_message = "log_retention_days must be a whole number of days, at least 1."
  }
}

variable "force_destroy" {
  description = "Let terraform destroy delete the buckets with their contents. Only for disposable environments."
  type        = bool
  default     = false
  nullable    = false
}
