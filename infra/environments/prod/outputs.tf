output "signet" {
  description = "Input for `principal bootstrap --from-terraform`."
  value       = module.signet.signet
}

output "roles" {
  description = "ARNs of the roles for people and for processes."
  value       = module.signet.roles
}

output "next_steps" {
  description = "Next steps after an apply."
  value       = module.signet.next_steps
}
