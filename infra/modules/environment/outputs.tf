output "signet" {
  description = "Input for `principal bootstrap --from-terraform`."
  value = {
    environment            = var.environment
    region                 = local.region
    name_prefix            = local.name_prefix
    trust_domain_suffix    = var.trust_domain_suffix
    storage_prefix         = local.name_prefix
    key_prefix             = local.name_prefix
    tenant_key_policy      = module.ca_keys.tenant_key_policy
    server_identity_prefix = local.parameter_prefix
    server_dns_names       = module.control_plane.dns_names
    endpoint               = module.control_plane.endpoint
    public_url             = module.control_plane.public_url
    enroll_url             = module.enroll.url
    enroll_api_id          = module.enroll.api_id
    publication_url        = module.publication.url
    publication_bucket     = module.publication.bucket_name
    event_bus              = module.observability.event_bus_name
    enroll_function        = module.enroll.function_name
    keymaker_function      = module.keymaker.function_name
    rotate_function        = module.rotate.function_name
    cluster                = module.control_plane.cluster_name
    service                = module.control_plane.service_name
  }
}

output "roles" {
  description = "ARNs of the roles for people and for processes."
  value = {
    administrator = module.operators.administrator_role_arn
    break_glass   = module.operators.break_glass_role_arn
    read_only     = module.operators.read_only_role_arn
    control_plane = module.control_plane.role_arn
    enroll        = module.enroll.role_arn
    keymaker      = module.keymaker.role_arn
    rotate        = module.rotate.role_arn
  }
}

output "next_steps" {
  description = "Next steps after an apply."
  value       = <<-TEXT
    ${var.bootstrap_until == null ? "Not bootstrapped yet? Set bootstrap_until to a few hours from now, and apply." : "1. By ${var.bootstrap_until}, as ${module.operators.administrator_role_arn}:"}
         terraform output -json >outputs.json    (as Terraform's role, which alone reads the state)
         principal bootstrap --from-terraform outputs.json
    2. Nodes become ready by themselves. If ECS has failed the first deployment:
         aws ecs update-service --region ${local.region} --cluster ${module.control_plane.cluster_name} --service ${module.control_plane.service_name} --force-new-deployment
    3. Check that it works:
         principal doctor
    4. Set bootstrap_until = null and apply. After that, only signetd and the Lambdas can sign.

    gRPC    ${module.control_plane.endpoint}
    public  ${module.control_plane.public_url}
    enroll  ${module.enroll.url}/v1/enroll
    trust   ${module.publication.url}
    ${var.domain == null || try(var.domain.zone_id, null) != null ? "" : "Point ${var.domain.name} at ${one([for name in module.control_plane.dns_names : name if name != var.domain.name])} (CNAME)."}
  TEXT
}
