variable "name_prefix" {
  description = "Start of every table's name: PREFIX-TABLE. One environment, one prefix, for example signet-prod."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,46}[a-z0-9]$", var.name_prefix))
    error_message = "name_prefix must be 3 to 48 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen."
  }
}

variable "deletion_protection" {
  description = "Refuse to delete a table until this is set to false and applied. Turn it off for throw-away environments only."
  type        = bool
  default     = true
  nullable    = false
}

variable "create_kms_key" {
  description = "Make a KMS key of our own for the tables. Set to false to give one in kms_key_arn."
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
    error_message = "Give kms_key_arn exactly when create_kms_key is false."
  }

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a key (arn:aws:kms:REGION:ACCOUNT:key/ID), not of an alias."
  }
}

variable "tags" {
  description = "Tags for every resource of this module."
  type        = map(string)
  default     = {}
  nullable    = false
}
