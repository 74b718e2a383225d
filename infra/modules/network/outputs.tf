output "vpc_id" {
  description = "The VPC, made or given."
  value       = local.vpc_id
}

output "vpc_cidr" {
  description = "Its address range."
  value       = local.vpc_cidr
}

output "private_subnet_ids" {
  description = "Subnets of the tasks."
  value       = local.private_subnet_ids
}

output "load_balancer_subnet_ids" {
  description = "Subnets of the load balancer: public ones if it faces the internet, else the private ones."
  value       = [for subnet in values(local.load_balancer_subnets) : subnet.id]
}

output "load_balancer_cidrs" {
  description = "Their ranges: where connections with a PROXY protocol header come from."
  value       = [for subnet in values(local.load_balancer_subnets) : subnet.cidr_block]
}
