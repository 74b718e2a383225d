//! Makes an environment on this machine or in AWS, and a context for its first admin. Every step looks first at what is
//! there, so that a second run changes nothing.

mod item;
pub mod local;
pub mod terraform;

use std::{fs, net::IpAddr, path::Path};

use secrecy::{ExposeSecret as _, SecretString};
use signet_app::{
    App, Bootstrap, BootstrapReport, Call, IssuedLeaf, PageRequest, authorities, bootstrap, certificates,
};
use signet_client::{CA_FILE, Credentials, KEY_FILE};
use signet_control_plane::{Config, PublicMaterial, ServerCredentials, config::Storage, wiring};
use signet_core::{
    PrincipalId, PrincipalType, TenantId, TenantScope, Time, certificates::CertificateState, spiffe::SpiffeId,
};
use signet_x509::{KeyPair, csr, pem};
use tonic::transport::Uri;

use crate::{
    certificate::{self, Held},
    context::{self, Context, Contexts, Lock, private},
    exit::Exit,
    failure::Failure,
    run::Run,
};

pub use item::Item;

/// What to make.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The configuration of signetd.
    pub config: Config,
    /// Id of the first admin.
    pub admin: PrincipalId,
    /// Name of the admin's context; default: the environment's name.
    pub context: Option<String>,
    /// How this machine reaches the server, where the configuration does not tell.
    pub endpoint: Option<String>,
    /// The same for health and public material.
    pub public_endpoint: Option<String>,
    /// What to do if something that must be there is not.
    pub remedy: String,
}

/// Makes what is missing.
pub async fn carry_out(run: &Run, wish: &Wish) -> Result<Vec<Item>, Failure> {
    let config = &wish.config;
    let name = wish.context.clone().unwrap_or_else(|| config.environment.name.clone());
    let contexts = Contexts::load(&run.home)?;
    let context = planned_context(config, wish, &name);
    let moved = contexts.contexts.get(&name).filter(|there| there.endpoint != context.endpoint);
    if moved.is_some() && is_new(config) {
        contexts.refuse_other_server(&name, &context)?;
    }
    let unready = |error: &dyn std::error::Error| Failure::other(error).hint(wish.remedy.clone());
    let wired = wiring::open(config).await.map_err(|error| unready(&error))?;
    let now = Time::from_unix_millis(run.printer.now.as_millisecond());
    wired.check_published_root(now).await.map_err(Failure::other)?;
    let present = wired.server_identity.get().await.map_err(|error| unready(&error))?;
    let server_key = match &present {
        Some(credentials) => KeyPair::from_pkcs8_pem(credentials.key_pem.expose_secret()),
        None => KeyPair::generate(),
    };
    let server_key = server_key.map_err(Failure::other)?;
    if let Some(there) = moved
        && !knows_root(&wired.app, &there.directory(&run.home), now).await?
    {
        contexts.refuse_other_server(&name, &context)?;
    }
    let directory = context.directory(&run.home);
    let _lock = Lock::wait(&directory, run.global.timeout, &run.printer).await?;
    let admin =
        SpiffeId { tenant: TenantId::system(), principal_type: PrincipalType::Admin, principal: wish.admin.clone() };
    refuse_others(&directory, &name, &admin.uri(wired.app.environment().suffix()))?;
    let call = Call::process("bootstrap", now);
    let admin_key = admin_key(&wired.app, &call, &directory, &wish.admin).await?;
    let input = Bootstrap {
        keys: wired.environment_keys.clone(),
        server: config.server.clone(),
        server_csr_der: csr::create(&server_key).map_err(Failure::other)?,
        admin: wish.admin.clone(),
        admin_csr_der: csr::create(&admin_key).map_err(Failure::other)?,
    };
    let report = bootstrap::bootstrap(&wired.app, &call, &input).await.map_err(|error| refused(error, wish))?;
    let mut items: Vec<Item> = report.items.iter().map(|item| Item::new(item.what.clone(), item.made)).collect();
    let revoked = report.revoked.iter().map(|name| Item {
        item: format!("certificate {name} of {}, to make room: it had as many as it may", wish.admin),
        status: "revoked",
    });
    items.extend(revoked);
    items.extend(publish(&wired, present, &server_key, &report).await?);
    let saved = save_credentials(&directory, report.admin, admin_key)?;
    items.push(Item::new(format!("credentials of {} in {}", wish.admin, directory.display()), saved));
    items.push(put_context(run, &name, context)?);
    // The file alone can be copied from here on.
    wired.app.store().settle().await.map_err(Failure::other)?;
    Ok(items)
}

/// A store that is not there yet has no root.
fn is_new(config: &Config) -> bool {
    matches!(&config.storage, Storage::Sqlite { path } if !path.exists())
}

/// Whether the credentials in `directory` are for this environment.
async fn knows_root(app: &App, directory: &Path, now: Time) -> Result<bool, Failure> {
    let held = fs::read_to_string(directory.join(CA_FILE)).ok().and_then(|text| pem::decode_certificates(&text));
    let roots = authorities::roots(app, now).await?;
    Ok(held.unwrap_or_default().iter().any(|held| roots.iter().any(|root| root.certificate_der == *held)))
}

fn refused(error: signet_core::Error, wish: &Wish) -> Failure {
    let hint = match error.reason() {
        "PRINCIPAL_SUSPENDED" => {
            format!("another admin activates it: `principal activate {}`; or name a new one: --admin ID", wish.admin)
        }
        "PRINCIPAL_DELETED" => "name a new one: --admin ID".into(),
        _ => wish.remedy.clone(),
    };
    Failure::from(error).hint(hint)
}

/// Adds the context, or changes it where the server is elsewhere now.
fn put_context(run: &Run, name: &str, planned: Context) -> Result<Item, Failure> {
    Contexts::update(&run.home, |contexts| {
        let Some(there) = contexts.contexts.get_mut(name) else {
            contexts.put(name, planned);
            return Ok(Item::new(format!("context {name}"), true));
        };
        if there.endpoint == planned.endpoint {
            return Ok(Item::new(format!("context {name}"), false));
        }
        let item = format!("context {name}: {} instead of {}", planned.endpoint, there.endpoint);
        let Context { endpoint, server_name, public_endpoint, .. } = planned;
        *there = Context { endpoint, server_name, public_endpoint, ..there.clone() };
        Ok(Item { item, status: "changed" })
    })
}

/// Writes the admin's credentials unless they are there. Whether it did.
fn save_credentials(directory: &Path, leaf: IssuedLeaf, key: KeyPair) -> Result<bool, Failure> {
    let same = |held: Credentials| {
        let trusts_same = held.root_der() == leaf.root_der && directory.join(CA_FILE).exists();
        held.chain_der() == leaf.chain_der && trusts_same
    };
    if Credentials::load(directory).is_ok_and(same) {
        return Ok(false);
    }
    let credentials = Credentials::new(leaf.chain_der, leaf.root_der, key).map_err(Failure::other)?;
    credentials.save(directory).map_err(Failure::other)?;
    Ok(true)
}

/// Puts the server's certificate and what anybody may know where signetd looks for them.
async fn publish(
    wired: &wiring::Wired,
    present: Option<ServerCredentials>,
    server_key: &KeyPair,
    report: &BootstrapReport,
) -> Result<Vec<Item>, Failure> {
    let store = &wired.server_identity;
    let chain_pem = certificates_pem(&report.server_chain_der);
    let same = present.is_some_and(|there| there.chain_pem == chain_pem);
    if !same {
        let key_pem = SecretString::from(server_key.to_pkcs8_pem().as_str());
        store.put(&ServerCredentials { chain_pem, key_pem }).await.map_err(Failure::other)?;
    }
    let mut items = vec![Item::new("server credentials", !same)];
    let public = [
        (PublicMaterial::Root, "published root", certificates_pem(&report.admin.root_der)),
        (PublicMaterial::AdminChain, "published admin certificate", certificates_pem(&report.admin.chain_der)),
    ];
    for (what, text, pem) in public {
        let same = store.get_public(what).await.map_err(Failure::other)?.is_some_and(|there| there == pem);
        if !same {
            store.put_public(what, &pem).await.map_err(Failure::other)?;
        }
        items.push(Item::new(text, !same));
    }
    Ok(items)
}

fn certificates_pem(certificates_der: &[Vec<u8>]) -> String {
    certificates_der.iter().map(|der| pem::encode_certificate(der)).collect()
}

/// What somebody else has there stays.
fn refuse_others(directory: &Path, name: &str, admin: &str) -> Result<(), Failure> {
    match Held::load(directory).ok().and_then(|held| held.spiffe_id) {
        Some(whose) if whose != admin => {
            let message = format!("context {name} has the key of {whose}, not of {admin}");
            Err(Failure::new(Exit::Conflict, message).hint("choose another name for the admin's: --context-name NAME"))
        }
        _ => Ok(()),
    }
}

/// The admin's key is on disk before its certificate is made, so that a run that was cut off is taken up again. One
/// that had certificates, of which none is good any more, is replaced: somebody else may have it.
async fn admin_key(app: &App, call: &Call, directory: &Path, admin: &PrincipalId) -> Result<KeyPair, Failure> {
    let path = directory.join(KEY_FILE);
    if path.exists() {
        let key = certificate::load_key(directory)?;
        if !is_used_up(app, call, admin, &key).await? {
            return Ok(key);
        }
    }
    let key = KeyPair::generate().map_err(Failure::other)?;
    private::write(&path, key.to_pkcs8_pem().as_bytes())?;
    Ok(key)
}

async fn is_used_up(app: &App, call: &Call, admin: &PrincipalId, key: &KeyPair) -> Result<bool, Failure> {
    let (scope, spki) = (TenantScope::system(), hex::encode(key.public_key().spki_sha256()));
    let mut page = PageRequest { size: 0, token: String::new() };
    let mut had_some = false;
    loop {
        let found = match certificates::list_certificates(app, call, &scope, admin, &page).await {
            Ok(found) => found,
            // The first run has no admin yet.
            Err(signet_core::Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        for record in found.items.iter().filter(|record| record.spki_sha256 == spki) {
            if record.state == CertificateState::Issued && call.now < record.not_after {
                return Ok(false);
            }
            had_some = true;
        }
        if found.next_page_token.is_empty() {
            return Ok(had_some);
        }
        page.token = found.next_page_token;
    }
}

fn planned_context(config: &Config, wish: &Wish, name: &str) -> Context {
    let dns = config.server.dns.first().cloned();
    let host = dns.or_else(|| config.server.ip.first().map(|ip| host(*ip)));
    let host = host.unwrap_or_else(|| "localhost".into());
    let usual = || format!("https://{host}:{}", config.listen.grpc.port());
    let endpoint = wish.endpoint.clone().unwrap_or_else(usual);
    let loopback = config.listen.public.ip().is_loopback();
    let public = || loopback.then(|| format!("http://{}", config.listen.public));
    Context {
        server_name: server_name(config, &endpoint),
        endpoint,
        public_endpoint: wish.public_endpoint.clone().or_else(public),
        tenant: None,
        credentials: context::default_directory(name),
        login: None,
    }
}

/// An address as URLs have it.
fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// A name in the server's certificate, where the endpoint's host is none: it leads through a tunnel.
fn server_name(config: &Config, endpoint: &str) -> Option<String> {
    let uri: Uri = endpoint.parse().ok()?;
    let reached = uri.host()?;
    let mut names = config.server.dns.iter().cloned().chain(config.server.ip.iter().map(|ip| host(*ip)));
    if names.any(|name| name == reached) { None } else { config.server.dns.first().cloned() }
}
