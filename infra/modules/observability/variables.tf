variable "name_prefix" {
  description = "Prefix of every name, unique per environment, for example signet-prod."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}[a-z0-9]$", var.name_prefix))
    error_message = "name_prefix must be 3 to 22 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen."
  }
}

variable "control_plane" {
  description = "Outputs of the module control-plane. Fewer healthy nodes than minimum_nodes raise an alarm."
  type = object({
    log_group_name           = string
    cluster_name             = string
    service_name             = string
    load_balancer_arn_suffix = string
    target_group_arn_suffix  = string
    minimum_nodes            = optional(number, 1)
  })
}

variable "enroll" {
  description = "Outputs of the module enroll."
  type = object({
    log_group_name = string
    function_name  = string
    api_name       = string
  })
}

variable "keymaker" {
  description = "Outputs of the module keymaker."
  type        = object({ log_group_name = string })
}

variable "rotate" {
  description = "Outputs of the module rotate."
  type = object({
    log_group_name         = string
    function_name          = string
    dead_letter_queue_name = string
  })
}

variable "tables" {
  description = "Table → its name and indexes: output of the module tables."
  type = map(object({
    name    = string
    indexes = list(string)
  }))

  validation {
    condition     = alltrue([for table in values(var.tables) : length(table.indexes) <= 4])
    error_message = "A CloudWatch alarm supports at most ten metrics: two for the table and two per index. So a table can have at most four indexes."
  }
}

variable "break_glass_role_arn" {
  description = "ARN of the break-glass role, whose use raises an alarm: output of the module operators."
  type        = string
}

variable "ca_key_arns" {
  description = "ARNs of the keys whose changes raise an alarm: the values of the output key_arns of the module ca-keys."
  type        = list(string)

  validation {
    condition     = length(var.ca_key_arns) > 0 && alltrue([for arn in var.ca_key_arns : can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/", arn))])
    error_message = "ca_key_arns must be ARNs of KMS keys (arn:aws:kms:REGION:ACCOUNT:key/ID)."
  }
}

variable "key_administrator_role_arns" {
  description = "ARNs of the roles that change the keys' policies as their work, first of all Terraform's: they may without an alarm."
  type        = list(string)
  default     = []
  nullable    = false
}

variable "email_addresses" {
  description = "Addresses to notify by email; each must confirm its subscription. Subscribe your paging service to the topic yourself."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for address in var.email_addresses : can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", address))])
    error_message = "email_addresses must be email addresses."
  }
}

variable "handshake_refusals" {
  description = "How many refused connections with certificates of our CAs in five minutes raise an alarm."
  type        = number
  default     = 100
  nullable    = false

  validation {
    condition     = var.handshake_refusals >= 1
    error_message = "handshake_refusals must be at least 1."
  }
}

variable "dashboard" {
  description = "Whether to create the dashboard, 3 USD a month beyond an account's first three."
  type        = bool
  default     = true
  nullable    = false
}

variable "log_retention_days" {
  description = "Event retention in days."
  type        = number
  default     = 365
  nullable    = false

  validation {
    condition     = contains([7, 14, 30, 60, 90, 180, 365, 400, 731, 1096, 1827, 3653], var.log_retention_days)
    error_message = "log_retention_days must be a value that CloudWatch supports: 7, 14, 30, 60, 90, 180, 365, 400, 731, 1096, 1827 or 3653."
  }
}
