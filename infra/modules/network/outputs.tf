output "vpc_id" {
  description = "Id of the VPC, created or existing."
  value       = local.vpc_id
}

output "vpc_cidrs" {
  description = "Address ranges of the VPC, secondary ones too."
  value       = local.vpc_cidrs
}

output "egress_cidrs" {
  description = "Where tasks reach AWS by HTTPS: the VPC, if it has all interface endpoints, else everywhere (by their own addresses, or a NAT gateway)."
  value       = local.private ? local.vpc_cidrs : ["0.0.0.0/0"]
}

output "task_subnet_ids" {
  description = "Subnets of the tasks."
  value       = local.task_subnet_ids
}

output "public_tasks" {
  description = "Whether those subnets are public, so that tasks need an address to reach AWS."
  value       = var.public_tasks
}

output "load_balancer_subnet_ids" {
  description = "Subnets of the load balancer: public if it is internet-facing or tasks are public, otherwise private."
  value       = [for subnet in values(local.load_balancer_subnets) : subnet.id]
}

output "load_balancer_cidrs" {
  description = "Address ranges of those subnets: the source of connections with a PROXY protocol header."
  value       = [for subnet in values(local.load_balancer_subnets) : subnet.cidr_block]
}
