variable "name_prefix" {
  description = "Prefix of every name, unique per environment, for example signet-prod."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,20}[a-z0-9]$", var.name_prefix))
    error_message = "name_prefix must be 3 to 22 lower-case letters, digits and hyphens, begin with a letter and not end with a hyphen; load balancers have short names."
  }
}

variable "cidr" {
  description = "Address range of the VPC to create, /16 to /22."
  type        = string
  default     = "10.0.0.0/16"
  nullable    = false

  validation {
    condition     = can(cidrnetmask(var.cidr)) && can(regex("/(1[6-9]|2[0-2])$", var.cidr))
    error_message = "cidr must be an IPv4 range of /16 to /22, for example 10.0.0.0/16."
  }

  validation {
    condition     = try(cidrhost(var.cidr, 0) == split("/", var.cidr)[0], false)
    error_message = "cidr must begin at its network's first address: ${try("${cidrhost(var.cidr, 0)}/${split("/", var.cidr)[1]}", "see the message above")}."
  }
}

variable "peer_cidrs" {
  description = "Address ranges that reach this VPC by peering, transit gateway or VPN. They must not overlap each other or the VPC's range."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for cidr in var.peer_cidrs : can(cidrnetmask(cidr))])
    error_message = "peer_cidrs must be IPv4 ranges, for example 10.20.0.0/16."
  }
}

variable "vpc" {
  description = "Existing VPC to use: private subnets in at least two zones for the tasks, the load balancer's subnets if they differ, and the private subnets' route tables."
  type = object({
    id                       = string
    private_subnet_ids       = list(string)
    private_route_table_ids  = list(string)
    load_balancer_subnet_ids = optional(list(string))
  })
  default = null

  validation {
    condition     = var.vpc == null || can(regex("^vpc-[0-9a-f]+$", var.vpc.id))
    error_message = "vpc.id must be the id of a VPC (vpc-…)."
  }

  validation {
    condition     = var.vpc == null || try(length(distinct(var.vpc.private_subnet_ids)) >= 2, false)
    error_message = "vpc.private_subnet_ids must have at least two subnets, in different availability zones."
  }
}

variable "az_count" {
  description = "Number of availability zones, 2 or 3. Each costs one network interface per endpoint."
  type        = number
  default     = 2
  nullable    = false

  validation {
    condition     = contains([2, 3], var.az_count)
    error_message = "az_count must be 2 or 3."
  }
}

# AWS documents the first two ("Supported Regions for Amazon ECS on AWS Fargate"). The third has Fargate, but not every interface endpoint.
variable "exclude_zone_ids" {
  description = "Ids of availability zones in which nothing is created. The default is where AWS does not offer Fargate or an interface endpoint that signetd needs; ids of other regions have no effect."
  type        = set(string)
  default     = ["usw1-az2", "apne1-az3", "use1-az3"]
  nullable    = false

  validation {
    condition     = alltrue([for id in var.exclude_zone_ids : can(regex("^[a-z0-9]+-az[0-9]+$", id))])
    error_message = "exclude_zone_ids must be zone ids, which are the same in all accounts (use1-az3), not zone names (us-east-1e)."
  }
}

variable "internet_facing" {
  description = "Create public subnets and an internet gateway for the load balancer."
  type        = bool
  default     = false
  nullable    = false
}

variable "public_tasks" {
  description = "Put the tasks into public subnets, with addresses of their own and no interface endpoints: cheap, and only their security group keeps the internet out."
  type        = bool
  default     = false
  nullable    = false

  validation {
    condition     = !(var.public_tasks && var.vpc != null)
    error_message = "public_tasks is for a VPC of our own: in an existing one tasks run in vpc.private_subnet_ids."
  }
}

variable "gateway_endpoints" {
  description = "Gateway endpoints to create. Null: both in a VPC of our own, none in an existing one, where an endpoint serves everything on its route tables."
  type        = set(string)
  default     = null

  validation {
    condition     = length(setsubtract(coalesce(var.gateway_endpoints, []), ["dynamodb", "s3"])) == 0
    error_message = "gateway_endpoints can hold dynamodb and s3."
  }
}

variable "interface_endpoints" {
  description = "Interface endpoints to create. Null: in a VPC of our own all that signetd needs without internet access; none for public tasks, nor in an existing one, where an endpoint serves everybody."
  type        = set(string)
  default     = null

  validation {
    condition     = length(setsubtract(coalesce(var.interface_endpoints, []), ["ecr.api", "ecr.dkr", "kms", "lambda", "logs", "monitoring", "secretsmanager", "sts"])) == 0
    error_message = "interface_endpoints can hold ecr.api, ecr.dkr, kms, lambda, logs, monitoring, secretsmanager and sts."
  }
}

variable "existing_endpoints" {
  description = "Interface endpoints that an existing VPC already has. If those of signetd are there or created, its tasks reach the VPC only; else they reach AWS by 443 to everywhere, through a NAT gateway of the VPC."
  type        = set(string)
  default     = []
  nullable    = false
}

variable "log_retention_days" {
  description = "Flow log retention in days."
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
