//! `signetd check`: everything a start needs, tried and printed.

use std::{
    error::Error,
    io::{self, Write},
    net::SocketAddr,
    time::Duration,
};

use secrecy::ExposeSecret;
use signet_app::{authorities, restore};
use signet_core::{Clock, authorities::Ca, authorization::Policy};
use signet_mtls::{ServerIdentity, provider};
use signet_policy::Prover;
use signet_x509::pem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    Config,
    authorization::Table,
    bans,
    config::{Keys, Storage},
    issuer::TokenIssuer,
    readiness::rfc3339,
    serve::Listeners,
    server_identity::judge::{Fault, judge},
    wiring::{self, Wired},
};

/// How long a server that is running may take to say so, and how much it may say.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a solver may take for what is easy.
const SOLVING: Duration = Duration::from_secs(20);
const MAX_ANSWER: u64 = 64 * 1024;

/// Opens what a start would open and writes to `out` what is there. The first thing that is wrong is the error.
pub(crate) async fn check(config: &Config, clock: &Clock, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    writeln!(out, "environment      {} ({})", config.environment.name, config.environment.trust_domain_suffix)?;
    let table = Table::from_descriptors(signet_proto::DESCRIPTORS, &Policy::new())?;
    writeln!(out, "authorization    {} methods, each with a rule", table.iter().count())?;
    if let Some(solver) = &config.authorization.solver {
        let failed = |error| format!("authorization.solver = {solver:?}: {error}");
        Prover::new(solver).check(SOLVING).await.map_err(failed)?;
        writeln!(out, "solver           {}, which proves", solver.display())?;
    }
    if let Some(path) = &config.bans.log_file {
        bans::check(path)?;
        writeln!(out, "bans             written to {}", path.display())?;
    }
    let wired = wiring::open(config).await?;
    match &config.storage {
        Storage::Sqlite { path } => writeln!(out, "store            SQLite, {}", path.display())?,
        Storage::Dynamodb { prefix } => writeln!(out, "store            DynamoDB, tables {prefix}-…")?,
    }
    let keys = match &config.keys {
        Keys::Softkey { dir, .. } => format!("files in {}", dir.display()),
        Keys::Kms { prefix, .. } => format!("KMS, aliases {prefix}-…"),
    };
    writeln!(out, "keys             {keys}; audit key {}", wired.audit_key)?;
    match TokenIssuer::configured(config).base() {
        Some(base) => writeln!(out, "tokens           issuers at {base}/t/<tenant>")?,
        None => {
            writeln!(out, "tokens           none are given: set tokens.issuer to the https address that they name")?
        }
    }
    wired.check_published_root(clock()).await?;
    let has_root = wired.find_root(clock()).await?;
    restoration(&wired, clock, out).await?;
    let roots = authorities::roots(&wired.app, clock()).await.map_err(|error| format!("[storage]: {error}"))?;
    match roots.as_slice() {
        [] => writeln!(out, "root             none yet: run `principal bootstrap`")?,
        roots => {
            for root in roots {
                writeln!(out, "root             {}, until {}", root.id, rfc3339(root.not_after))?;
            }
        }
    }
    for warning in wired.tenants_around_servers(clock()).await.map_err(|error| format!("[storage]: {error}"))? {
        writeln!(out, "warning          {warning}")?;
    }
    let trusted =
        authorities::server_trust(&wired.app, clock()).await.map_err(|error| format!("[storage]: {error}"))?;
    certificate(config, &wired, &trusted, clock, out).await?;
    ports(config, &roots, out).await?;
    if !has_root {
        return Err("the store has no root yet, so that a node would not get ready: run `principal bootstrap`".into());
    }
    Ok(())
}

/// A node starts beside a restore, and cannot write until that has ended.
async fn restoration(wired: &Wired, clock: &Clock, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    match restore::under_way(&wired.app, clock()).await {
        Ok(None) => {}
        Ok(Some(marker)) => writeln!(
            out,
            "restore          from {}, begun {}: it is under way, or was cut off; until it has ended nothing is changed: \
             run it again, or end it with `principal restore --give-up`",
            marker.source,
            rfc3339(marker.started_at)
        )?,
        Err(error) => return Err(format!("[storage]: {error}").into()),
    }
    Ok(())
}

/// That they can be opened; or are, by a server of this environment.
async fn ports(config: &Config, roots: &[Ca], out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let listen = &config.listen;
    let health = listen.health.map(|health| format!(", health {health}")).unwrap_or_default();
    let ports = format!("grpc {}, public {}{health}, metrics {}", listen.grpc, listen.public, listen.metrics);
    let note = match Listeners::open(config).await {
        Ok(_) => "",
        Err(_) if serves(listen.public, roots).await => "; signetd is running here and has them open",
        Err(error) => return Err(error.into()),
    };
    Ok(writeln!(out, "ports            {ports}{note}")?)
}

/// Whether a server at `public` publishes one of `roots`.
async fn serves(public: SocketAddr, roots: &[Ca]) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(public).await?;
        stream.write_all(b"GET /v1/ca.pem HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.take(MAX_ANSWER).read_to_string(&mut answer).await?;
        Ok::<_, io::Error>(answer)
    };
    let Ok(Ok(answer)) = timeout(PATIENCE, ask).await else { return false };
    let published = answer.split_once("\r\n\r\n").and_then(|(_, body)| pem::decode_certificates(body));
    published.unwrap_or_default().iter().any(|der| roots.iter().any(|root| root.certificate_der == *der))
}

async fn certificate(
    config: &Config,
    wired: &Wired,
    trusted: &[Vec<u8>],
    clock: &Clock,
    out: &mut impl Write,
) -> Result<(), Box<dyn Error>> {
    let Some(found) = wired.server_identity.get().await? else {
        return Ok(writeln!(out, "server           no certificate yet: run `principal bootstrap`")?);
    };
    let key = found.key_pem.expose_secret().as_bytes();
    let identity = ServerIdentity::from_pem(&found.chain_pem, key, &provider())?;
    let until = rfc3339(identity.not_after);
    let expired = if clock() < identity.not_after { "" } else { " (expired)" };
    let renewed = if wired.server_identity.renewed_by_server() { "signetd" } else { "another component" };
    writeln!(out, "server           certificate until {until}{expired}; renewed by {renewed}")?;
    match judge(&found.chain_pem, &config.server, trusted, clock()) {
        // One of ours is renewed when signetd starts, and until then served.
        Ok(()) | Err((Fault::NotNow | Fault::LacksName, _)) => Ok(()),
        Err((fault, detail)) if detail.is_empty() => Err(format!("[server_identity]: {}", fault.message()).into()),
        Err((fault, detail)) => Err(format!("[server_identity]: {} ({detail})", fault.message()).into()),
    }
}
