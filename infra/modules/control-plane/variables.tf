variable "name_prefix" {
  description = "Prefix of every name, unique per environment, for example signet-prod."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}[a-z0-9]$", var.name_prefix))
    error_message = "name_prefix must be 3 to 22 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen; load balancers have short names."
  }
}

variable "image" {
  description = "Image of signetd in this region's ECR: REPOSITORY:TAG, or preferably REPOSITORY@sha256:DIGEST."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}\\.dkr\\.ecr\\.[a-z0-9-]+\\.amazonaws\\.com(\\.cn)?/[a-z0-9/._-]+(:[A-Za-z0-9._-]+|@sha256:[0-9a-f]{64})$", var.image)) && !endswith(var.image, ":latest")
    error_message = "image must be in ECR (tasks cannot reach other registries) and have a version: ACCOUNT.dkr.ecr.REGION.amazonaws.com/REPOSITORY@sha256:DIGEST or :TAG, but not :latest."
  }

  validation {
    condition     = strcontains(var.image, ".ecr.${data.aws_region.current.id}.")
    error_message = "image must be in this region's ECR (${data.aws_region.current.id}); tasks reach no other."
  }
}

variable "architecture" {
  description = "CPU architecture of the tasks and the image: arm64 or x86_64."
  type        = string
  default     = "x86_64"
  nullable    = false

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "architecture must be arm64 or x86_64."
  }
}

variable "size" {
  description = "Size and number of tasks: tiny (one task, no Container Insights), small, medium or large; see sizes.tf."
  type        = string
  default     = "small"
  nullable    = false

  validation {
    condition     = contains(["tiny", "small", "medium", "large"], var.size)
    error_message = "size must be tiny, small, medium or large."
  }
}

variable "network" {
  description = "Outputs of the module network."
  type = object({
    vpc_id                   = string
    vpc_cidrs                = list(string)
    egress_cidrs             = list(string)
    task_subnet_ids          = list(string)
    public_tasks             = optional(bool, false)
    load_balancer_subnet_ids = list(string)
    load_balancer_cidrs      = list(string)
  })
}

variable "internet_facing" {
  description = "Give the load balancer public addresses; its subnets must be public."
  type        = bool
  default     = false
  nullable    = false
}

variable "client_cidrs" {
  description = "Address ranges of clients, besides the VPC itself."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for cidr in var.client_cidrs : can(cidrnetmask(cidr))])
    error_message = "client_cidrs must be IPv4 ranges, for example 10.20.0.0/16; 0.0.0.0/0 means everybody."
  }
}

variable "public_cidrs" {
  description = "Address ranges, besides the VPC, that may read public material over plain HTTP (port 80): roots, bundles, CRLs. CRLs are signed; whoever reads roots and bundles there trusts the network."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for cidr in var.public_cidrs : can(cidrnetmask(cidr))])
    error_message = "public_cidrs must be IPv4 ranges, for example 10.20.0.0/16."
  }
}

variable "metrics_cidrs" {
  description = "Address ranges from which Prometheus may scrape metrics (port 9464). Empty: none."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for cidr in var.metrics_cidrs : can(cidrnetmask(cidr)) && !endswith(cidr, "/0")])
    error_message = "metrics_cidrs must be IPv4 ranges other than 0.0.0.0/0: metrics must not be public."
  }
}

variable "domain" {
  description = "Your own domain name for the load balancer, and its Route 53 zone if Terraform should create the record."
  type = object({
    name    = string
    zone_id = optional(string)
  })
  default = null

  validation {
    condition     = var.domain == null || can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]{2,63}$", var.domain.name))
    error_message = "domain.name must be a lower-case DNS name, for example signet.example.com."
  }
}

variable "deletion_protection" {
  description = "Protect the load balancer, and the DNS name that clients use, from deletion."
  type        = bool
  default     = true
  nullable    = false
}

variable "settings" {
  description = "Environment variables of signetd and the Lambdas (SIGNET_SECTION__KEY)."
  type        = map(string)

  validation {
    condition     = alltrue([for name in keys(var.settings) : can(regex("^SIGNET_[A-Z_]+$", name))])
    error_message = "Names of settings must have the form SIGNET_SECTION__KEY."
  }
}

variable "key_maker" {
  description = "Name of the Lambda that creates tenants' keys: output function_name of the module keymaker."
  type        = string
}

variable "access_policies" {
  description = "Name → IAM policy (JSON) of the task role, from the output access of the modules tables, ca-keys and rotate."
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
