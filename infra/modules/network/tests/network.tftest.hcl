# Plans only, so no AWS account is needed.
provider "aws" {
  region                      = "eu-central-1"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}

override_data {
  target = data.aws_caller_identity.current
  values = { account_id = "123456789012" }
}

override_data {
  target = data.aws_availability_zones.available[0]
  values = { names = ["eu-central-1c", "eu-central-1a", "eu-central-1b"] }
}

override_data {
  target = data.aws_vpc.given[0]
  values = { cidr_block = "10.50.0.0/16", cidr_block_associations = [{ cidr_block = "10.50.0.0/16" }, { cidr_block = "100.64.0.0/16" }] }
}

override_data {
  target = data.aws_subnet.load_balancer["subnet-c"]
  values = { id = "subnet-c", cidr_block = "10.50.3.0/24" }
}

override_data {
  target = data.aws_subnet.load_balancer["subnet-d"]
  values = { id = "subnet-d", cidr_block = "10.50.4.0/24" }
}

variables {
  name_prefix      = "signet-test"
  logs_kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
}

run "by_default" {
  command = plan

  # Nothing reaches the internet.
  assert {
    condition     = length(aws_internet_gateway.this) == 0 && length(aws_route.internet) == 0 && length(aws_subnet.public) == 0
    error_message = "By default there must be no way to the internet."
  }

  assert {
    condition     = alltrue([for subnet in aws_subnet.private : coalesce(subnet.map_public_ip_on_launch, false) == false])
    error_message = "Private subnets must not hand out public addresses."
  }

  assert {
    condition     = toset(keys(aws_vpc_endpoint.interface)) == toset(["ecr.api", "ecr.dkr", "kms", "lambda", "logs", "secretsmanager", "sts"])
    error_message = "Every AWS service that signetd and Fargate use must have an interface endpoint."
  }

  assert {
    condition     = toset(keys(aws_vpc_endpoint.gateway)) == toset(["dynamodb", "s3"])
    error_message = "DynamoDB and S3 must have gateway endpoints."
  }

  assert {
    condition     = alltrue([for endpoint in aws_vpc_endpoint.interface : endpoint.private_dns_enabled])
    error_message = "SDKs find endpoints by their usual names only with private DNS."
  }

  assert {
    condition     = jsonencode(output.egress_cidrs) == jsonencode(["10.0.0.0/16"]) && alltrue([for endpoint in merge(aws_vpc_endpoint.gateway, aws_vpc_endpoint.interface) : endpoint.policy != null])
    error_message = "Tasks must reach the VPC only, and each endpoint of our own VPC must have its policy."
  }

  # Two zones in order.
  assert {
    condition     = { for zone, subnet in aws_subnet.private : zone => subnet.cidr_block } == { eu-central-1a = "10.0.0.0/20", eu-central-1b = "10.0.16.0/20" }
    error_message = "Two zones, each with a sixteenth of the range."
  }

  assert {
    condition     = output.load_balancer_cidrs == ["10.0.0.0/20", "10.0.16.0/20"]
    error_message = "An internal load balancer is in the private subnets."
  }

  # Unused security group allows nothing.
  assert {
    condition     = length(aws_default_security_group.this) == 1
    error_message = "The VPC's default security group must be ours, without rules."
  }

  assert {
    condition     = aws_vpc_security_group_ingress_rule.endpoints["10.0.0.0/16"].cidr_ipv4 == "10.0.0.0/16" && aws_vpc_security_group_ingress_rule.endpoints["10.0.0.0/16"].from_port == 443 && aws_vpc_security_group_ingress_rule.endpoints["10.0.0.0/16"].to_port == 443
    error_message = "Endpoints must take HTTPS from the VPC only."
  }

  # Endpoints let out what is ours.
  assert {
    condition     = jsondecode(data.aws_iam_policy_document.endpoint["dynamodb"].json).Statement[0].Resource == "arn:aws:dynamodb:eu-central-1:123456789012:table/signet-test-*"
    error_message = "DynamoDB's endpoint must lead to this environment's tables only."
  }

  assert {
    condition     = jsondecode(data.aws_iam_policy_document.endpoint["s3"].json).Statement[0].Action == "s3:GetObject" && endswith(jsondecode(data.aws_iam_policy_document.endpoint["s3"].json).Statement[0].Resource, ":s3:::prod-eu-central-1-starport-layer-bucket/*")
    error_message = "S3's endpoint must lead to ECR's layers only, for reading."
  }

  assert {
    condition     = jsondecode(data.aws_iam_policy_document.endpoint["lambda"].json).Statement[0].Resource == "arn:aws:lambda:eu-central-1:123456789012:function:signet-test-keymaker"
    error_message = "Lambda's endpoint must lead to the keymaker only."
  }

  assert {
    condition     = jsondecode(data.aws_iam_policy_document.endpoint["sts"].json).Statement[0].Action == "sts:GetCallerIdentity"
    error_message = "STS's endpoint must take nothing but GetCallerIdentity, which foreign accounts' proofs need."
  }

  assert {
    condition = alltrue([
      for service in ["dynamodb", "kms", "lambda", "logs", "secretsmanager"] :
      jsondecode(data.aws_iam_policy_document.endpoint[service].json).Statement[0].Condition.StringEquals["aws:PrincipalAccount"] == "123456789012"
    ])
    error_message = "Credentials of other accounts must not pass."
  }

  # Traffic is recorded.
  assert {
    condition     = aws_flow_log.this[0].traffic_type == "ALL" && aws_cloudwatch_log_group.flow[0].retention_in_days == 365
    error_message = "All traffic must be logged, for a year by default."
  }

  assert {
    condition     = aws_cloudwatch_log_group.flow[0].kms_key_id == var.logs_kms_key_arn
    error_message = "Flow logs must be encrypted with our key."
  }
}

run "zones_without_fargate_are_left_out" {
  command = plan

  assert {
    condition     = data.aws_availability_zones.available[0].exclude_zone_ids == toset(["usw1-az2", "apne1-az3", "use1-az3"])
    error_message = "Zones without Fargate or an endpoint must be left out by their ids: their letters differ by account."
  }
}

run "a_region_with_too_few_zones_says_so" {
  command = plan
  variables { az_count = 3 }

  override_data {
    target = data.aws_availability_zones.available[0]
    values = { names = ["eu-central-1a", "eu-central-1b"] }
  }

  expect_failures = [aws_vpc.this]
}

run "zone_names_are_no_zone_ids" {
  command = plan
  variables { exclude_zone_ids = ["us-east-1e"] }
  expect_failures = [var.exclude_zone_ids]
}

run "internet_facing_in_three_zones" {
  command = plan

  variables {
    internet_facing = true
    az_count        = 3
  }

  assert {
    condition     = output.load_balancer_cidrs == ["10.0.128.0/20", "10.0.144.0/20", "10.0.160.0/20"]
    error_message = "The load balancer must be in the public subnets."
  }

  assert {
    condition     = alltrue([for subnet in aws_subnet.public : !subnet.map_public_ip_on_launch])
    error_message = "Public subnets must not give addresses to what starts there."
  }

  assert {
    condition     = toset(keys(aws_route_table_association.private)) == toset(keys(aws_subnet.private)) && length(aws_route.internet) == 1
    error_message = "Only the public route table may have a route to the internet."
  }
}

run "public_tasks_cost_no_endpoints" {
  command = plan

  variables { public_tasks = true }

  assert {
    condition     = length(aws_vpc_endpoint.interface) == 0 && length(aws_subnet.private) == 0 && length(aws_route_table.private) == 0
    error_message = "Nothing that costs by the hour may be made, nor subnets that nobody is in."
  }

  # They cost nothing, and keep tables and image layers off the internet.
  assert {
    condition     = toset(keys(aws_vpc_endpoint.gateway)) == toset(["dynamodb", "s3"])
    error_message = "Gateway endpoints must be there."
  }

  assert {
    condition     = length(aws_route.internet) == 1 && length(output.task_subnet_ids) == 2 && output.public_tasks && output.load_balancer_cidrs == ["10.0.128.0/20", "10.0.144.0/20"]
    error_message = "Tasks and load balancer must be in the public subnets."
  }

  assert {
    condition     = jsonencode(output.egress_cidrs) == jsonencode(["0.0.0.0/0"])
    error_message = "Tasks must reach AWS over the internet."
  }
}

run "public_tasks_in_a_given_vpc_are_refused" {
  command = plan

  variables {
    public_tasks = true
    vpc          = { id = "vpc-0123456789abcdef0", private_subnet_ids = ["subnet-a", "subnet-b"], private_route_table_ids = ["rtb-a"], load_balancer_subnet_ids = ["subnet-c", "subnet-d"] }
  }
  expect_failures = [var.public_tasks]
}

run "a_given_vpc_is_used" {
  command = plan

  variables {
    vpc = {
      id                       = "vpc-0123456789abcdef0"
      private_subnet_ids       = ["subnet-a", "subnet-b"]
      private_route_table_ids  = ["rtb-a"]
      load_balancer_subnet_ids = ["subnet-c", "subnet-d"]
    }
    gateway_endpoints   = []
    interface_endpoints = ["kms"]
  }

  assert {
    condition     = length(aws_vpc.this) == 0 && length(aws_subnet.private) == 0 && length(aws_flow_log.this) == 0 && length(aws_default_security_group.this) == 0
    error_message = "Nothing of a given VPC may be made or changed."
  }

  assert {
    condition     = toset(keys(aws_vpc_security_group_ingress_rule.endpoints)) == toset(output.vpc_cidrs)
    error_message = "All ranges of the VPC must reach the endpoints."
  }

  assert {
    condition     = toset(output.vpc_cidrs) == toset(["10.50.0.0/16", "100.64.0.0/16"]) && output.task_subnet_ids == tolist(["subnet-a", "subnet-b"]) && toset(output.load_balancer_cidrs) == toset(["10.50.3.0/24", "10.50.4.0/24"])
    error_message = "The given subnets must be used."
  }

  assert {
    condition     = keys(aws_vpc_endpoint.interface) == ["kms"] && length(aws_vpc_endpoint.gateway) == 0
    error_message = "Only the endpoints asked for may be made."
  }
}

run "a_given_vpc_keeps_its_neighbours_working" {
  command = plan

  variables {
    vpc = {
      id                       = "vpc-0123456789abcdef0"
      private_subnet_ids       = ["subnet-a", "subnet-b"]
      private_route_table_ids  = ["rtb-a"]
      load_balancer_subnet_ids = ["subnet-c", "subnet-d"]
    }
  }

  assert {
    condition     = length(aws_vpc_endpoint.interface) == 0 && length(aws_vpc_endpoint.gateway) == 0
    error_message = "Without being asked nothing may be put before what else is in the VPC."
  }

  assert {
    condition     = jsonencode(output.egress_cidrs) == jsonencode(["0.0.0.0/0"])
    error_message = "Without endpoints tasks must get out, to a NAT gateway."
  }
}

run "endpoints_of_a_given_vpc_serve_everybody" {
  command = plan

  variables {
    vpc = {
      id                       = "vpc-0123456789abcdef0"
      private_subnet_ids       = ["subnet-a", "subnet-b"]
      private_route_table_ids  = ["rtb-a"]
      load_balancer_subnet_ids = ["subnet-c", "subnet-d"]
    }
    interface_endpoints = ["kms", "lambda"]
    existing_endpoints  = ["ecr.api", "ecr.dkr", "logs", "secretsmanager"]
  }

  assert {
    condition     = keys(local.endpoint_policy) == ["kms", "lambda"] && alltrue([for policy in local.endpoint_policy : policy == null])
    error_message = "An endpoint in a VPC that is not ours must have AWS's default policy."
  }

  assert {
    condition     = jsonencode(output.egress_cidrs) == jsonencode(["10.50.0.0/16", "100.64.0.0/16"])
    error_message = "With all endpoints there tasks reach the VPC only, all of its ranges."
  }
}

run "peers_beside_each_other_are_taken" {
  command = plan
  variables { peer_cidrs = ["10.1.0.0/16", "10.8.0.0/17", "10.8.128.0/17", "192.168.0.0/16"] }
}

run "bad_input_is_refused" {
  command = plan

  variables {
    cidr       = "10.0.0/16"
    peer_cidrs = ["everybody"]
    az_count   = 1
    # not one that we know
    interface_endpoints = ["kms", "sqs"]
    # one subnet
    vpc = { id = "vpc-0123456789abcdef0", private_subnet_ids = ["subnet-c"], private_route_table_ids = ["rtb-a"] }
    # none of CloudWatch's periods
    log_retention_days = 100
    name_prefix        = "signet-with-a-name-beyond-all-measure"
  }
  expect_failures = [var.cidr, var.peer_cidrs, var.az_count, var.interface_endpoints, var.vpc, var.log_retention_days, var.name_prefix]
}

run "too_small_cidr_is_refused" {
  command = plan
  variables { cidr = "10.0.0.0/24" }
  expect_failures = [var.cidr]
}

run "cidr_with_host_bits_is_refused" {
  command = plan
  variables { cidr = "10.0.3.0/16" }
  expect_failures = [var.cidr]
}

run "peer_inside_the_vpc_is_refused" {
  command = plan
  variables { peer_cidrs = ["10.0.64.0/24"] }
  expect_failures = [aws_vpc.this]
}

run "vpc_inside_a_peer_is_refused" {
  command = plan
  variables { peer_cidrs = ["10.0.0.0/8"] }
  expect_failures = [aws_vpc.this]
}

run "overlapping_peers_are_refused" {
  command = plan
  variables { peer_cidrs = ["10.8.0.0/16", "10.8.128.0/17"] }
  expect_failures = [aws_vpc.this]
}
