variable "environment" {
  description = "Short name of the environment; every name begins with signet-ENVIRONMENT."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,14}$", var.environment))
    error_message = "environment must be 2 to 15 lower-case letters and digits and begin with a letter, for example prod."
  }
}

variable "region" {
  description = "AWS region."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must be an AWS region, for example eu-central-1."
  }
}

variable "trust_domain_suffix" {
  description = "A tenant's SPIFFE trust domain is TENANT.SUFFIX. A name that is yours, other than every other environment's; it cannot change once certificates are out."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]{2,63}$", var.trust_domain_suffix)) && length(var.trust_domain_suffix) <= 190
    error_message = "trust_domain_suffix must be a DNS name in lower case of at most 190 characters, for example prod.example.com: no scheme, no slash, no dot at its end."
  }
}

variable "image" {
  description = "Image of signetd in this region's ECR: REPOSITORY@sha256:DIGEST, or :TAG."
  type        = string
}

variable "architecture" {
  description = "Processor of tasks and Lambdas, of the image and of the packages: arm64 or x86_64."
  type        = string
  default     = "x86_64"
}

variable "size" {
  description = "small, medium or large: sizes.tf of the modules control-plane and enroll says what that is."
  type        = string
  default     = "small"
}

variable "package_dir" {
  description = "Folder with the Lambdas' packages, as scripts/package fills it."
  type        = string
  default     = "../../../dist"
}

variable "network" {
  description = "VPC: the address range of one of our own, or one that exists (vpc; see modules/network). client_cidrs: who may connect, beside the VPC itself; metrics_cidrs: where a Prometheus is."
  type = object({
    cidr                = optional(string)
    az_count            = optional(number)
    internet_facing     = optional(bool, false)
    client_cidrs        = optional(list(string), [])
    metrics_cidrs       = optional(list(string), [])
    gateway_endpoints   = optional(set(string))
    interface_endpoints = optional(set(string))
    vpc = optional(object({
      id                       = string
      private_subnet_ids       = list(string)
      private_route_table_ids  = list(string)
      load_balancer_subnet_ids = optional(list(string))
    }))
  })
  default = {}

  validation {
    condition     = var.network.internet_facing || !contains(var.network.client_cidrs, "0.0.0.0/0")
    error_message = "network.client_cidrs has everybody (0.0.0.0/0), but the load balancer is internal: name the networks that reach it, or set internet_facing = true."
  }

  validation {
    condition     = !(var.network.internet_facing && var.network.vpc != null) || try(var.network.vpc.load_balancer_subnet_ids, null) != null
    error_message = "network.internet_facing in a VPC that exists needs public subnets: name them in network.vpc.load_balancer_subnet_ids."
  }
}

variable "domain" {
  description = "A name of your own for the control plane, and its Route 53 zone if the record shall be made here."
  type = object({
    name    = string
    zone_id = optional(string)
  })
  default = null
}

variable "enroll" {
  description = "The enrollment API: a name of its own, a web ACL before it, instances at once instead of the size's (see modules/enroll)."
  type = object({
    domain = optional(object({
      name            = string
      certificate_arn = string
      zone_id         = optional(string)
    }))
    web_acl_arn          = optional(string)
    reserved_concurrency = optional(number)
  })
  default = {}
}

variable "publication" {
  description = "Who reads CRLs and bundles from their bucket, beside this account by its IAM policies, and where its access log goes (see modules/publication)."
  type = object({
    reader_principal_arns   = optional(list(string))
    reader_vpc_endpoint_ids = optional(list(string))
    access_log_bucket       = optional(string)
  })
  default = {}
}

variable "deletion_protection" {
  description = "Refuse to delete tables, load balancer and published files. To destroy an environment set it to false and apply first."
  type        = bool
  default     = true
  nullable    = false

  validation {
    condition     = var.deletion_protection || var.environment != "prod"
    error_message = "prod has deletion_protection = true, always. To take a production environment down, remove this validation in a reviewed change first."
  }
}

variable "operators" {
  description = "ARNs of the IAM roles or users of people: who administers, who may break the glass, who may look; and the roles, Terraform's among them, that may change the CA keys' policies."
  type = object({
    administrators              = list(string)
    break_glass                 = list(string)
    break_glass_needs_mfa       = optional(bool)
    read_only                   = optional(list(string), [])
    key_administrator_role_arns = optional(list(string), [])
  })
}

variable "alarm_email_addresses" {
  description = "Who is told of alarms."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = length(var.alarm_email_addresses) > 0 || var.environment != "prod"
    error_message = "prod needs somebody who hears alarms: name at least one address in alarm_email_addresses."
  }
}

variable "bootstrap_until" {
  description = "Until when the administrators may run `principal bootstrap` (RFC 3339, UTC). Null: bootstrap is over."
  type        = string
  default     = null
}

variable "log_retention_days" {
  description = "How long logs are kept, days; one of CloudWatch's periods."
  type        = number
  default     = 365
}

variable "tags" {
  description = "Tags for everything, beside our own."
  type        = map(string)
  default     = {}
  nullable    = false
}
