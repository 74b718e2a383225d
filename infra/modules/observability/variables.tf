variable "name_prefix" {
  description = "Start of every name. One environment, one prefix, for example signet-prod."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}[a-z0-9]$", var.name_prefix))
    error_message = "name_prefix must be 3 to 22 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen."
  }
}

variable "control_plane" {
  description = "Outputs of the module control-plane. minimum_nodes: fewer healthy ones than that are an alarm."
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
    api_id         = string
  })
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
    error_message = "An alarm takes ten metrics at most, two for the table and two for each index, so a table may have four indexes here."
  }
}

variable "break_glass_role_arn" {
  description = "ARN of the break-glass role, whose use is an alarm: output of the module operators."
  type        = string
}

variable "email_addresses" {
  description = "Who is notified by e-mail; each address has to confirm. What pages you subscribes to the topic by itself."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for address in var.email_addresses : can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", address))])
    error_message = "email_addresses must hold e-mail addresses."
  }
}

variable "handshake_refusals" {
  description = "How many connections with certificates of ours may be refused in five minutes before that is an alarm."
  type        = number
  default     = 100
  nullable    = false

  validation {
    condition     = var.handshake_refusals >= 1
    error_message = "handshake_refusals must be at least 1."
  }
}

variable "log_retention_days" {
  description = "How long events are kept, days."
  type        = number
  default     = 365
  nullable    = false

  validation {
    condition     = contains([7, 14, 30, 60, 90, 180, 365, 400, 731, 1096, 1827, 3653], var.log_retention_days)
    error_message = "log_retention_days must be one of CloudWatch's periods: 7, 14, 30, 60, 90, 180, 365, 400, 731, 1096, 1827 or 3653."
  }
}
