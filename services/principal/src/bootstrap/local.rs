//! The embedded default: one folder with a configuration, a database, encrypted keys and the server's certificate.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use signet_client::LOCK_FILE;
use signet_control_plane::Config;
use signet_core::{TenantId, spiffe::TrustDomainSuffix};
use signet_x509::ServerName;

use super::item::Item;
use crate::{
    context::{Lock, private},
    exit::Exit,
    failure::Failure,
};

/// What the command line says of the configuration; `None`: the default in a new one, and what an existing one says.
#[derive(Clone, Debug)]
pub struct Local {
    /// The folder.
    pub dir: PathBuf,
    /// Short name of the environment; the same rule as a tenant's.
    pub environment: Option<TenantId>,
    /// A tenant's trust domain is `<tenant>.<suffix>`.
    pub suffix: Option<TrustDomainSuffix>,
    /// gRPC listener; port 0 takes a free one, now.
    pub grpc: Option<SocketAddr>,
    /// Public listener.
    pub public: Option<SocketAddr>,
    /// Metrics listener.
    pub metrics: Option<SocketAddr>,
    /// Names that clients connect to; empty: the default.
    pub names: Vec<ServerName>,
    /// Seconds from a minute's end to its seal.
    pub seal_delay_seconds: Option<u32>,
}

/// A folder with a configuration and a passphrase.
#[derive(Debug)]
pub struct Prepared {
    dir: PathBuf,
    /// The configuration's file.
    pub config: PathBuf,
    /// What was made or found.
    pub items: Vec<Item>,
    made: Vec<PathBuf>,
    // Two at once would undo each other's work. The second one waits until the first one is through.
    _lock: Lock,
}

const STORE: &str = "signet.db";

/// Writes configuration and passphrase where they are missing. An existing configuration must say what `local` says.
pub fn prepare(local: &Local) -> Result<Prepared, Failure> {
    let (dir, config) = (local.dir.clone(), local.dir.join("signet.toml"));
    let lock = Lock::take(&dir)?;
    let mut prepared = Prepared { dir, config, items: Vec::new(), made: Vec::new(), _lock: lock };
    let written = prepared.write(local);
    if written.is_err() {
        prepared.undo();
    }
    written.map(|()| prepared)
}

impl Prepared {
    fn write(&mut self, local: &Local) -> Result<(), Failure> {
        // Before anything is written.
        let text = if self.config.exists() {
            refuse_differences(&self.config, local)?;
            String::new()
        } else {
            configuration(local)?
        };
        let (passphrase, config) = (self.dir.join("passphrase"), self.config.clone());
        if !passphrase.exists() && self.dir.join(STORE).exists() {
            let message =
                format!("{} is missing: the keys of this environment are encrypted with it", passphrase.display());
            return Err(Failure::usage(message).hint("restore it from its backup: runbook RestoreStore"));
        }
        self.write_if_missing("passphrase file", &passphrase, &new_passphrase())?;
        self.write_if_missing("configuration", &config, &text)
    }

    fn write_if_missing(&mut self, what: &str, path: &Path, text: &str) -> Result<(), Failure> {
        let made = !path.exists();
        if made {
            private::write(path, text.as_bytes())?;
            self.made.push(path.to_owned());
        }
        self.items.push(Item::new(format!("{what} {}", path.display()), made));
        Ok(())
    }

    /// Removes what was made, so that a run with other options starts afresh; not once there is a store.
    pub fn undo(&self) {
        if self.dir.join(STORE).exists() {
            return;
        }
        let lock = self.dir.join(LOCK_FILE);
        // Last, since who waits for it looks whether it is still there.
        for file in self.made.iter().chain([&lock]) {
            // The failure that led here is told; what stays is found by the next run.
            let _: io::Result<()> = fs::remove_file(file);
        }
        let _: io::Result<()> = fs::remove_dir(&self.dir);
    }
}

/// Options that an existing configuration contradicts would otherwise be ignored.
fn refuse_differences(file: &Path, local: &Local) -> Result<(), Failure> {
    let config = Config::load(file).map_err(|error| Failure::usage(error.to_string()))?;
    let (listen, server) = (&config.listen, &config.server);
    let there = server.dns.iter().cloned().chain(server.ip.iter().map(ToString::to_string));
    let (mut there, mut named): (Vec<String>, Vec<String>) =
        (there.collect(), local.names.iter().map(ToString::to_string).collect());
    there.sort();
    named.sort();
    let named = (!named.is_empty()).then(|| named.join(", "));
    let (name, suffix) = (config.environment.name.clone(), config.environment.trust_domain_suffix.as_str().to_owned());
    let seconds = config.audit.seal_delay.as_seconds().to_string();
    // Port 0 is any.
    let address = |key: &'static str, there: SocketAddr, wanted: Option<SocketAddr>| {
        let wanted = wanted.filter(|wanted| wanted.port() != 0 || wanted.ip() != there.ip());
        (key, there.to_string(), wanted.map(|wanted| wanted.to_string()))
    };
    let all = [
        ("environment.name", name, local.environment.as_ref().map(ToString::to_string)),
        ("environment.trust_domain_suffix", suffix, local.suffix.as_ref().map(|suffix| suffix.as_str().to_owned())),
        address("listen.grpc", listen.grpc, local.grpc),
        address("listen.public", listen.public, local.public),
        address("listen.metrics", listen.metrics, local.metrics),
        ("server.dns_names, server.ip_addresses", there.join(", "), named),
        ("audit.seal_delay_seconds", seconds, local.seal_delay_seconds.map(|seconds| seconds.to_string())),
    ];
    for (key, there, wanted) in all {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != there) {
            let message = format!("{} exists and says {key} = {there}, not {wanted}", file.display());
            return Err(Failure::new(Exit::Conflict, message)
                .hint("change it in that file and run this again without the option, or choose another folder"));
        }
    }
    Ok(())
}

/// 244 random bits.
#[expect(clippy::disallowed_methods, reason = "the edge: a secret of this machine, from the system's randomness")]
fn new_passphrase() -> String {
    format!("{}{}\n", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

fn configuration(local: &Local) -> Result<String, Failure> {
    let [grpc, public, metrics] =
        listeners(local).map_err(|error| Failure::other(error).hint("give other addresses"))?;
    let names = match local.names.as_slice() {
        [] => vec![ServerName::Dns("localhost".into()), ServerName::Ip(Ipv4Addr::LOCALHOST.into())],
        names => names.to_vec(),
    };
    let list = |ip: bool| -> Vec<String> {
        let of_kind = names.iter().filter(|name| matches!(name, ServerName::Ip(_)) == ip);
        of_kind.map(|name| format!("{:?}", name.to_string())).collect()
    };
    let (dns_names, ip_addresses) = (list(false).join(", "), list(true).join(", "));
    let environment = local.environment.as_ref().map_or("local", TenantId::as_str);
    let suffix = local.suffix.as_ref().map_or("signet.internal", TrustDomainSuffix::as_str);
    let seal_delay = local.seal_delay_seconds.unwrap_or(10);
    // The first name may be this machine's own, as `localhost` is.
    let host = names.iter().rfind(|name| matches!(name, ServerName::Dns(_))).or(names.first());
    let issuer = match host {
        Some(ServerName::Ip(IpAddr::V6(ip))) => format!("https://[{ip}]:{}", grpc.port()),
        Some(name) => format!("https://{name}:{}", grpc.port()),
        None => return Err(Failure::usage("the server needs a name")),
    };
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

[tokens]
# What access tokens and SVIDs name as their issuer. Change it, if you must, before anything trusts them.
issuer = "{issuer}"
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
    let usual = |given: Option<SocketAddr>, port| given.unwrap_or((Ipv4Addr::LOCALHOST, port).into());
    Ok([resolve(usual(local.grpc, 8443))?, resolve(usual(local.public, 8080))?, resolve(usual(local.metrics, 9464))?])
}
