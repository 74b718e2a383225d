//! Checks of settings that depend on each other.

use std::net::SocketAddr;

use signet_app::ServerNames;

use super::sections::{Config, Keys, Listen};

/// What is wrong with the settings together: the key and the problem.
pub(super) type Checked = Result<(), (String, String)>;

/// All of them. The error names a key and what is wrong.
pub(super) fn together(config: &Config) -> Checked {
    separate_listeners(&config.listen)?;
    named(&config.server)?;
    if let Keys::Kms { tenant_key_policy: Some(_), tenant_key_policy_file: Some(_), .. } = config.keys {
        return Err(bad("keys.tenant_key_policy", "must not be set together with tenant_key_policy_file"));
    }
    if let Keys::Kms { maker: Some(_), tenant_key_policy, tenant_key_policy_file, .. } = &config.keys
        && (tenant_key_policy.is_some() || tenant_key_policy_file.is_some())
    {
        return Err(bad("keys.maker", "must not be set together with a tenant_key_policy: the maker has it"));
    }
    if !config.authorization.grants.is_empty() {
        let moved = "must be empty: grants are data now; write them to a file and run `principal authz apply FILE --environment`";
        return Err(bad("authorization.grants", moved));
    }
    let proofs = config.enrollment.options().validate();
    proofs.map_err(|error| bad(&format!("enrollment.{}", error.key), &error.problem))
}

fn bad(key: &str, problem: &str) -> (String, String) {
    (key.to_owned(), problem.to_owned())
}

fn separate_listeners(listen: &Listen) -> Checked {
    let Listen { grpc, public, health, metrics, .. } = listen;
    let same = |a: &SocketAddr, b: &SocketAddr| a.port() != 0 && a == b;
    match () {
        () if same(public, grpc) => Err(bad("listen.public", "must differ from listen.grpc")),
        () if same(metrics, grpc) || same(metrics, public) => {
            Err(bad("listen.metrics", "must differ from the other listeners"))
        }
        () if health.is_some_and(|health| [grpc, public, metrics].iter().any(|other| same(&health, other))) => {
            Err(bad("listen.health", "must differ from the other listeners"))
        }
        () => Ok(()),
    }
}

fn named(server: &ServerNames) -> Checked {
    if server.dns.is_empty() && server.ip.is_empty() {
        return Err(bad("server.dns_names", "must contain at least one name that clients connect to"));
    }
    Ok(())
}
