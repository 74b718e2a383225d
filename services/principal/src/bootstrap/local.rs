//! The embedded default: one folder with a configuration, a database, encrypted keys and the server's certificate.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use signet_core::{TenantId, spiffe::TrustDomainSuffix};
use signet_x509::ServerName;

use super::Item;
use crate::{
    context::{Lock, private},
    failure::Failure,
};

/// What goes into the configuration.
#[derive(Clone, Debug)]
pub struct Local {
    /// The folder.
    pub dir: PathBuf,
    /// Short name of the environment; the same rule as a tenant's.
    pub environment: TenantId,
    /// A tenant's trust domain is `<tenant>.<suffix>`.
    pub suffix: TrustDomainSuffix,
    /// gRPC listener; port 0 takes a free one, now.
    pub grpc: SocketAddr,
    /// Public listener.
    pub public: SocketAddr,
    /// Metrics listener.
    pub metrics: SocketAddr,
    /// Names that clients connect to.
    pub names: Vec<ServerName>,
    /// Seconds from a minute's end to its seal.
    pub seal_delay_seconds: u32,
}

/// Writes configuration and passphrase where they are missing. Returns the configuration's path.
pub fn prepare(local: &Local) -> Result<(PathBuf, Vec<Item>), Failure> {
    // Two at once would encrypt keys with a passphrase that the other one replaces.
    let _lock = Lock::take(&local.dir)?;
    let (config, passphrase) = (local.dir.join("signet.toml"), local.dir.join("passphrase"));
    let items = vec![
        write_if_missing("passphrase file", &passphrase, || Ok(new_passphrase()))?,
        write_if_missing("configuration", &config, || configuration(local))?,
    ];
    Ok((config, items))
}

fn write_if_missing(what: &str, path: &Path, text: impl FnOnce() -> Result<String, Failure>) -> Result<Item, Failure> {
    let made = !path.exists();
    if made {
        private::write(path, text()?.as_bytes())?;
    }
    Ok(Item::new(format!("{what} {}", path.display()), made))
}

/// 244 random bits.
#[expect(clippy::disallowed_methods, reason = "the edge: a secret of this machine, from the system's randomness")]
fn new_passphrase() -> String {
    format!("{}{}\n", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

fn configuration(local: &Local) -> Result<String, Failure> {
    let [grpc, public, metrics] =
        listeners(local).map_err(|error| Failure::other(error).hint("give other addresses"))?;
    let list = |ip: bool| -> Vec<String> {
        let of_kind = local.names.iter().filter(|name| matches!(name, ServerName::Ip(_)) == ip);
        of_kind.map(|name| format!("{:?}", name.to_string())).collect()
    };
    let (dns_names, ip_addresses) = (list(false).join(", "), list(true).join(", "));
    let (environment, suffix, seal_delay) = (&local.environment, &local.suffix, local.seal_delay_seconds);
    Ok(format!(
        r#"# Created by `principal bootstrap --local`. Start the server: signetd --config <this file>
# signet.sample.toml explains every key. Relative paths start from this file's folder.

[environment]
name = "{environment}"
# Cannot change after certificates have been issued.
trust_domain_suffix = "{suffix}"

[storage]
kind = "sqlite"
path = "signet.db"

[keys]
kind = "softkey"
dir = "keys"
passphrase_file = "passphrase"

[server_identity]
kind = "files"
dir = "server"

[listen]
grpc = "{grpc}"
public = "{public}"
metrics = "{metrics}"

[server]
dns_names = [{dns_names}]
ip_addresses = [{ip_addresses}]

[audit]
seal_delay_seconds = {seal_delay}
"#
    ))
}

/// The three addresses, with free ports in place of 0. All are held until all are known.
fn listeners(local: &Local) -> io::Result<[SocketAddr; 3]> {
    let mut held = Vec::new();
    let mut resolve = |address: SocketAddr| {
        if address.port() != 0 {
            return Ok(address);
        }
        let listener = TcpListener::bind(address)?;
        let found = listener.local_addr()?;
        held.push(listener);
        Ok::<_, io::Error>(found)
    };
    Ok([resolve(local.grpc)?, resolve(local.public)?, resolve(local.metrics)?])
}
