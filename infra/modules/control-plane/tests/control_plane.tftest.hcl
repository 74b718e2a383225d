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
  target = data.aws_ec2_managed_prefix_list.gateway
  values = { id = "pl-00000000" }
}

# What AWS would say only after it made them.
override_resource {
  target          = aws_lb.this
  override_during = plan
  values          = { dns_name = "signet-test-1.elb.eu-central-1.amazonaws.com", zone_id = "Z0", arn = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/net/signet-test/0" }
}

override_resource {
  target          = aws_iam_role.task
  override_during = plan
  values          = { arn = "arn:aws:iam::123456789012:role/signet-test-control-plane" }
}

override_resource {
  target          = aws_iam_role.execution
  override_during = plan
  values          = { arn = "arn:aws:iam::123456789012:role/signet-test-control-plane-start" }
}

variables {
  name_prefix = "signet-test"
  image       = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/signet/signetd:1.2.3"
  network = {
    vpc_id                   = "vpc-0123456789abcdef0"
    vpc_cidrs                = ["10.0.0.0/16"]
    egress_cidrs             = ["10.0.0.0/16"]
    task_subnet_ids          = ["subnet-a", "subnet-b"]
    load_balancer_subnet_ids = ["subnet-a", "subnet-b"]
    load_balancer_cidrs      = ["10.0.0.0/20", "10.0.16.0/20"]
  }
  settings         = { SIGNET_STORAGE__PREFIX = "signet-test" }
  key_maker        = "signet-test-keymaker"
  access_policies  = { tables = "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"dynamodb:GetItem\",\"Resource\":\"arn:aws:dynamodb:eu-central-1:123456789012:table/signet-test-audit\"}]}" }
  logs_kms_key_arn = "arn:aws:kms:eu-central-1:123456789012:key/00000000-0000-0000-0000-000000000000"
}

run "by_default" {
  command = plan

  # Tasks are confined.
  assert {
    condition     = aws_ecs_service.this.network_configuration[0].assign_public_ip == false
    error_message = "Tasks must have no public address."
  }

  assert {
    condition     = aws_ecs_service.this.enable_execute_command == false
    error_message = "Nobody may open a shell in a task."
  }

  assert {
    condition = alltrue([
      for container in jsondecode(aws_ecs_task_definition.this.container_definitions) :
      container.readonlyRootFilesystem && !container.privileged && container.user == "65532:65532" && container.linuxParameters.capabilities.drop == ["ALL"]
    ])
    error_message = "The container must have a read-only root, no root user and no capabilities."
  }

  # A bad version is rolled back.
  assert {
    condition     = aws_ecs_service.this.deployment_circuit_breaker[0].enable && aws_ecs_service.this.deployment_circuit_breaker[0].rollback
    error_message = "The circuit breaker must be on, with rollback."
  }

  assert {
    condition     = aws_ecs_service.this.deployment_minimum_healthy_percent == 100
    error_message = "An old task may end only when a new one is ready."
  }

  assert {
    condition     = aws_ecs_service.this.availability_zone_rebalancing == "ENABLED"
    error_message = "Tasks must be spread again over zones that come back."
  }

  assert {
    condition     = alltrue([for group in aws_lb_target_group.this : group.health_check[0].path == "/readyz" && group.health_check[0].port == "8081" && group.health_check[0].protocol == "HTTP"])
    error_message = "Readiness must decide who gets connections, asked on a port that no client reaches."
  }

  # TLS passes through.
  assert {
    condition     = aws_lb.this.load_balancer_type == "network" && alltrue([for listener in aws_lb_listener.this : listener.protocol == "TCP"])
    error_message = "The load balancer must pass TCP on: client certificates are checked by signetd."
  }

  assert {
    condition     = { for name, listener in aws_lb_listener.this : name => listener.port } == { grpc = 443, public = 80 }
    error_message = "gRPC must be on 443 and public material on 80."
  }

  assert {
    condition     = alltrue([for group in aws_lb_target_group.this : group.proxy_protocol_v2])
    error_message = "Nodes must know clients by their own addresses on both ports."
  }

  assert {
    condition     = aws_lb.this.internal && aws_lb.this.enable_deletion_protection
    error_message = "By default the load balancer must be internal and protected."
  }

  assert {
    condition = one([
      for variable in jsondecode(aws_ecs_task_definition.this.container_definitions)[0].environment : variable.value if variable.name == "SIGNET_LISTEN__PROXY_PROTOCOL_FROM"
    ]) == jsonencode(["10.0.0.0/20", "10.0.16.0/20"])
    error_message = "signetd must believe PROXY headers from the load balancer's subnets only."
  }

  # Roles have what they need.
  assert {
    condition = {
      for statement in jsondecode(data.aws_iam_policy_document.execution.json).Statement : statement.Sid => statement.Resource
      } == {
      LogIn     = "*"
      PullImage = "arn:aws:ecr:eu-central-1:123456789012:repository/signet/signetd"
      WriteLog  = "arn:aws:logs:eu-central-1:123456789012:log-group:/signet-test/control-plane:*"
    }
    error_message = "Tasks may be started from this image's repository only, with this log."
  }

  assert {
    condition     = jsondecode(data.aws_iam_policy_document.trust.json).Statement[0].Condition.StringEquals["aws:SourceAccount"] == "123456789012"
    error_message = "ECS may take the roles for tasks of this account only."
  }

  assert {
    condition     = toset(keys(aws_iam_role_policy.access)) == toset(["tables"])
    error_message = "The task role must have the policies that it is given."
  }

  # Small scales with load.
  assert {
    condition     = aws_ecs_task_definition.this.cpu == "256" && aws_ecs_task_definition.this.memory == "512" && aws_ecs_service.this.desired_count == 2
    error_message = "small: a quarter of a core, 512 MiB, two tasks."
  }

  assert {
    condition     = aws_appautoscaling_target.this.min_capacity == 2 && aws_appautoscaling_target.this.max_capacity == 4 && length(aws_appautoscaling_policy.this) == 2
    error_message = "small: two to four tasks, by CPU and memory."
  }

  assert {
    condition     = aws_ecs_task_definition.this.runtime_platform[0].cpu_architecture == "X86_64"
    error_message = "x86_64 is the default."
  }

  # Logs are kept and encrypted.
  assert {
    condition     = aws_cloudwatch_log_group.this.retention_in_days == 365 && aws_cloudwatch_log_group.this.kms_key_id == var.logs_kms_key_arn
    error_message = "Logs must be kept for a year and encrypted with our key."
  }
}

run "traffic_is_limited" {
  command = plan

  variables {
    client_cidrs = ["10.20.0.0/16"]
    public_cidrs = ["10.30.0.0/16"]
  }

  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.client : "${rule.cidr_ipv4} ${rule.from_port}"]) == toset(["10.0.0.0/16 443", "10.0.0.0/16 80", "10.20.0.0/16 443", "10.30.0.0/16 80"])
    error_message = "Clients may come from the VPC and client_cidrs; to plain HTTP from the VPC and public_cidrs."
  }

  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.from_load_balancer : rule.from_port]) == toset([8443, 8080, 8081]) && length(aws_vpc_security_group_ingress_rule.metrics) == 0
    error_message = "Tasks may be reached through the load balancer only, and metrics by nobody by default."
  }

  assert {
    condition     = [for rule in aws_vpc_security_group_egress_rule.aws : "${rule.cidr_ipv4} ${rule.to_port}"] == ["10.0.0.0/16 443"] && alltrue([for rule in aws_vpc_security_group_egress_rule.gateway : rule.prefix_list_id == "pl-00000000"])
    error_message = "Tasks may speak to AWS's endpoints only."
  }
}

run "tiny_with_public_tasks" {
  command = plan

  variables {
    size = "tiny"
    network = {
      vpc_id                   = "vpc-0123456789abcdef0"
      vpc_cidrs                = ["10.0.0.0/16"]
      egress_cidrs             = ["0.0.0.0/0"]
      task_subnet_ids          = ["subnet-a", "subnet-b"]
      public_tasks             = true
      load_balancer_subnet_ids = ["subnet-a", "subnet-b"]
      load_balancer_cidrs      = ["10.0.0.0/20", "10.0.16.0/20"]
    }
  }

  assert {
    condition     = aws_ecs_task_definition.this.cpu == "256" && aws_appautoscaling_target.this.max_capacity == 1 && aws_ecs_service.this.network_configuration[0].assign_public_ip && one(aws_ecs_cluster.this.setting).value == "disabled"
    error_message = "tiny: one task, with an address, without Container Insights."
  }

  assert {
    condition     = alltrue([for rule in concat(values(aws_vpc_security_group_ingress_rule.from_load_balancer), values(aws_vpc_security_group_ingress_rule.metrics)) : rule.cidr_ipv4 == null])
    error_message = "A task with a public address may be reached by the load balancer only."
  }

  assert {
    condition     = [for rule in aws_vpc_security_group_egress_rule.aws : rule.to_port] == [443]
    error_message = "A task may reach the internet by HTTPS only."
  }
}

run "medium" {
  command = plan

  variables { size = "medium" }

  assert {
    condition     = !aws_ecs_service.this.network_configuration[0].assign_public_ip && aws_ecs_task_definition.this.cpu == "1024" && aws_ecs_task_definition.this.memory == "2048" && aws_appautoscaling_target.this.min_capacity == 2 && aws_appautoscaling_target.this.max_capacity == 12
    error_message = "medium: a core, 2 GiB, two to twelve tasks."
  }
}

run "large_on_arm" {
  command = plan

  variables {
    size         = "large"
    architecture = "arm64"
  }

  assert {
    condition     = aws_ecs_task_definition.this.cpu == "4096" && aws_ecs_task_definition.this.memory == "8192" && aws_appautoscaling_target.this.min_capacity == 3 && aws_appautoscaling_target.this.max_capacity == 30
    error_message = "large: four cores, 8 GiB, three to thirty tasks."
  }

  assert {
    condition     = aws_ecs_task_definition.this.runtime_platform[0].cpu_architecture == "ARM64"
    error_message = "One variable must choose the processor."
  }
}

run "a_name_of_ones_own" {
  command = plan

  variables { domain = { name = "signet.example.com", zone_id = "Z123" } }

  assert {
    condition     = output.endpoint == "https://signet.example.com:443" && output.dns_names == ["signet.example.com", "signet-test-1.elb.eu-central-1.amazonaws.com"] && length(aws_route53_record.this) == 1
    error_message = "The given name must come first, and have a record."
  }
}

run "image_by_digest_is_taken" {
  command = plan
  variables { image = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/signetd@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" }

  assert {
    condition     = jsondecode(data.aws_iam_policy_document.execution.json).Statement[1].Resource == "arn:aws:ecr:eu-central-1:123456789012:repository/signetd"
    error_message = "The repository must be found in the image's name."
  }
}

run "bad_input_is_refused" {
  command = plan

  variables {
    # image from elsewhere
    image = "docker.io/signet/signetd:1.2.3"
    # unknown architecture
    architecture = "amd64"
    # unknown size
    size = "huge"
    # a domain that is none
    domain = { name = "https://signet.example.com" }
    # bad client ranges
    client_cidrs = ["10.20.0.0"]
    public_cidrs = ["everybody"]
    # metrics for everybody
    metrics_cidrs = ["0.0.0.0/0"]
    # foreign setting
    settings = { RUST_LOG = "debug" }
    # odd retention
    log_retention_days = 100
  }
  expect_failures = [var.image, var.architecture, var.size, var.domain, var.client_cidrs, var.public_cidrs, var.metrics_cidrs, var.settings, var.log_retention_days]
}

# Who cannot reach the endpoint must not say that nobody can.
run "an_internal_endpoint_is_probed" {
  command = plan

  assert {
    condition     = output.probed && strcontains(aws_ecs_task_definition.this.container_definitions, "{\"name\":\"SIGNET_PROBE__ENDPOINT\",\"value\":\"${output.dns_names[0]}:443\"}")
    error_message = "Tasks must probe the endpoint of an internal load balancer."
  }
}

run "an_endpoint_beyond_reach_is_not_probed" {
  command = plan

  variables {
    internet_facing = true
    client_cidrs    = ["203.0.113.10/32"]
  }

  assert {
    condition     = !output.probed && !strcontains(aws_ecs_task_definition.this.container_definitions, "SIGNET_PROBE")
    error_message = "Tasks must not probe an endpoint that does not admit them."
  }
}

run "an_endpoint_for_everybody_is_not_probed_by_tasks_that_reach_the_vpc_only" {
  command = plan

  variables {
    internet_facing = true
    client_cidrs    = ["0.0.0.0/0"]
  }

  assert {
    condition     = !output.probed
    error_message = "Tasks without a way to the internet must not probe public addresses."
  }
}

run "an_endpoint_for_everybody_is_probed_by_tasks_that_reach_the_internet" {
  command = plan

  variables {
    internet_facing = true
    client_cidrs    = ["0.0.0.0/0"]
    network = {
      vpc_id                   = "vpc-0123456789abcdef0"
      vpc_cidrs                = ["10.0.0.0/16"]
      egress_cidrs             = ["0.0.0.0/0"]
      task_subnet_ids          = ["subnet-a", "subnet-b"]
      load_balancer_subnet_ids = ["subnet-a", "subnet-b"]
      load_balancer_cidrs      = ["10.0.0.0/20", "10.0.16.0/20"]
    }
  }

  assert {
    condition     = output.probed
    error_message = "Tasks must probe an endpoint that admits everybody."
  }
}

run "image_of_another_region_is_refused" {
  command = plan

  variables {
    image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/signet/signetd:1.2.3"
  }
  expect_failures = [var.image]
}

run "latest_image_is_refused" {
  command = plan

  variables {
    image = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/signet/signetd:latest"
  }
  expect_failures = [var.image]
}
