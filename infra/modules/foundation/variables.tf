variable "name_prefix" {
  description = "First word of every name in the account. The environments' begin with it too, so it is signet unless you change their modules."
  type        = string
  default     = "signet"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,14}$", var.name_prefix))
    error_message = "name_prefix must be 2 to 15 lower-case letters and digits and begin with a letter."
  }
}

variable "terraform_principal_arns" {
  description = "ARNs of the roles or users that may assume Terraform's role."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.terraform_principal_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/[^*]+$", arn))])
    error_message = "terraform_principal_arns must be ARNs of IAM roles or users: no account roots, no wildcards."
  }
}

variable "ci" {
  description = "OIDC issuer of a CI whose jobs may assume Terraform's role, the audience of its tokens, and their subjects (with * for a part, after the organization). Name a branch or an environment, not a whole organization. An account has one provider per issuer: create_provider = false uses the one that is there, which must have the audience."
  type = object({
    issuer          = string
    audience        = optional(string, "sts.amazonaws.com")
    subjects        = list(string)
    create_provider = optional(bool, true)
  })
  default = null

  validation {
    condition     = var.ci == null || can(regex("^https://[a-z0-9.-]+(/[A-Za-z0-9._/-]+)?$", var.ci.issuer))
    error_message = "ci.issuer must be an HTTPS URL without a trailing slash, for example https://token.actions.githubusercontent.com."
  }

  validation {
    condition     = var.ci == null || try(length(var.ci.subjects) > 0 && alltrue([for subject in var.ci.subjects : can(regex("^[^*?]+$|^[^*?]+[:/][^*?:/]+[:/][^?]*$", subject))]), false)
    error_message = "ci.subjects must name who may, for example repo:acme/infra:ref:refs/heads/main: no ?, and * only after the organization, as in repo:acme/*; before it, it is everybody that the issuer knows."
  }
}

variable "create_trail" {
  description = "Create a CloudTrail trail. Set to false if the account or its organization has one that records management events of all regions, KMS's too: a second one costs 2 USD per 100,000 events."
  type        = bool
  default     = true
  nullable    = false
}

variable "create_api_logs_role" {
  description = "Create the role with which API Gateway writes access logs, and name it in the account's settings of this region, where there is one. Set to false if there is one already: the environments' access logs use it."
  type        = bool
  default     = true
  nullable    = false
}

variable "replica_regions" {
  description = "Further regions with environments: ECR copies each image that is pushed from now on to a repository of the same name there. Replaces the registry's replication configuration, of which there is one."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for region in var.replica_regions : can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", region))])
    error_message = "replica_regions must be names of regions, for example us-east-2."
  }
}

variable "force_destroy" {
  description = "Let `terraform destroy` delete the buckets with all that is in them, this module's own state and the trail's events too."
  type        = bool
  default     = false
  nullable    = false
}

variable "trail_retention_days" {
  description = "Days to keep the trail's events."
  type        = number
  default     = 400
  nullable    = false

  validation {
    condition     = var.trail_retention_days >= 30 && floor(var.trail_retention_days) == var.trail_retention_days
    error_message = "trail_retention_days must be a whole number of at least 30."
  }
}
