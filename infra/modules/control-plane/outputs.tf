output "role_arn" {
  description = "ARN of signetd's role."
  value       = aws_iam_role.task.arn
}

output "execution_role_arn" {
  description = "ARN of the role that starts tasks."
  value       = aws_iam_role.execution.arn
}

output "dns_names" {
  description = "DNS names for clients, the preferred one first; the server's certificate contains them."
  value       = local.dns_names
}

output "endpoint" {
  description = "URL of gRPC over mTLS."
  value       = "https://${local.address}"
}

output "probed" {
  description = "Whether tasks try the endpoint as clients do (alarm EndpointUnreachable). False if they cannot reach it: an internet-facing load balancer that admits some addresses only, or tasks without a way to the internet."
  value       = local.probed
}

output "public_url" {
  description = "URL of health checks and public material."
  value       = "http://${local.dns_names[0]}"
}

output "cluster_name" {
  description = "Name of the ECS cluster."
  value       = aws_ecs_cluster.this.name
}

output "service_name" {
  description = "Name of the ECS service."
  value       = aws_ecs_service.this.name
}

output "minimum_nodes" {
  description = "Minimum number of tasks."
  value       = local.size.min_tasks
}

output "security_group_id" {
  description = "Security group of the tasks."
  value       = aws_security_group.tasks.id
}

output "load_balancer_arn_suffix" {
  description = "Dimension of the load balancer in CloudWatch metrics."
  value       = aws_lb.this.arn_suffix
}

output "target_group_arn_suffix" {
  description = "Dimension of the gRPC target group in CloudWatch metrics."
  value       = aws_lb_target_group.this["grpc"].arn_suffix
}

output "log_group_name" {
  description = "Log group of signetd."
  value       = aws_cloudwatch_log_group.this.name
}
