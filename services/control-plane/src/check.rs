//! `signetd check`: everything a start needs, tried and printed.

use std::{error::Error, io::Write};

use secrecy::ExposeSecret;
use signet_app::authorities;
use signet_core::{Clock, authorities::Ca, authorization::Policy};
use signet_mtls::{ServerIdentity, provider};

use crate::{
    Config,
    authorization::Table,
    readiness::rfc3339,
    serve::Listeners,
    server_identity::judge::{Fault, judge},
    wiring::{self, Wired},
};

/// Opens what a start would open and writes to `out` what is there. The first thing that is wrong is the error.
pub(crate) async fn check(config: &Config, clock: &Clock, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    writeln!(out, "environment      {} ({})", config.environment.name, config.environment.trust_domain_suffix)?;
    let table = Table::from_descriptors(signet_proto::DESCRIPTORS, &Policy::new(config.authorization.grants.clone()))?;
    writeln!(out, "authorization    {} methods, each with a rule", table.iter().count())?;
    let wired = wiring::open(config).await?;
    writeln!(out, "store            {:?}", config.storage)?;
    writeln!(out, "keys             {:?}; audit key {}", config.keys, wired.audit_key)?;
    wired.check_published_root(clock()).await?;
    let has_root = wired.find_root(clock()).await?;
    let roots = authorities::roots(&wired.app, clock()).await.map_err(|error| format!("[storage]: {error}"))?;
    match roots.as_slice() {
        [] => writeln!(out, "root             none yet: run `principal bootstrap`")?,
        roots => {
            for root in roots {
                writeln!(out, "root             {}, until {}", root.id, rfc3339(root.not_after))?;
            }
        }
    }
    certificate(config, &wired, &roots, clock, out).await?;
    let listeners = Listeners::open(config).await?;
    drop(listeners);
    let listen = &config.listen;
    let health = listen.health.map(|health| format!(", health {health}")).unwrap_or_default();
    writeln!(
        out,
        "ports            grpc {}, public {}{health}, metrics {}",
        listen.grpc, listen.public, listen.metrics
    )?;
    if !has_root {
        return Err("the store has no root yet, so that a node would not get ready: run `principal bootstrap`".into());
    }
    Ok(())
}

async fn certificate(
    config: &Config,
    wired: &Wired,
    roots: &[Ca],
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
    let roots: Vec<_> = roots.iter().map(|root| root.certificate_der.as_slice()).collect();
    match judge(&found.chain_pem, &config.server, &roots, clock()) {
        // One of ours is renewed when signetd starts, and until then served.
        Ok(()) | Err((Fault::NotNow | Fault::LacksName, _)) => Ok(()),
        Err((fault, detail)) if detail.is_empty() => Err(format!("[server_identity]: {}", fault.message()).into()),
        Err((fault, detail)) => Err(format!("[server_identity]: {} ({detail})", fault.message()).into()),
    }
}
