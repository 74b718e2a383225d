//! `principal authz check`: may it, now?

use std::collections::HashMap;

use clap::Args;
use serde_json::json;
use signet_core::{PrincipalId, PrincipalType};
use signet_proto::v1::{
    self, authorization_service_client::AuthorizationServiceClient as Client, check_subject::By,
    trust_service_client::TrustServiceClient as Trust,
};

use crate::{
    exit::Exit,
    failure::Failure,
    run::Run,
    session::{Session, rpc},
};

/// Which question.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Who: TYPE/ID, a SPIFFE id, or a file with its certificate
    #[arg(value_name = "SUBJECT")]
    subject: String,
    /// What, e.g. jobs:submit
    #[arg(value_name = "PERMISSION")]
    action: String,
    /// To what, e.g. queue/default or device/sensor-1; default: the tenant
    #[arg(value_name = "TYPE/ID")]
    resource: Option<String>,
    /// ID of the principal that owns the resource, e.g. ann
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true, value_parser = owner)]
    owner: String,
    /// Property of the resource; may be repeated
    #[arg(long = "property", value_name = "NAME=VALUE", value_parser = pair)]
    properties: Vec<(String, String)>,
    /// Circumstance: source, method, path or host; may be repeated
    #[arg(long = "circumstance", value_name = "NAME=VALUE", value_parser = circumstance)]
    circumstances: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The server compares it with ids as it is.
fn owner(text: &str) -> Result<String, String> {
    match text.rsplit_once('/') {
        Some((_, id)) => Err(format!("must be a principal's ID without its type: {id}")),
        None => Ok(text.to_owned()),
    }
}

/// The server leaves out all others.
fn circumstance(text: &str) -> Result<(String, String), String> {
    let (name, value) = pair(text)?;
    match name.as_str() {
        "source" | "method" | "path" | "host" => Ok((name, value)),
        _ => Err("NAME must be source, method, path or host".to_owned()),
    }
}

/// `principal authz check`.
pub(super) async fn check(run: &Run, session: &Session, args: CheckArgs) -> Result<Exit, Failure> {
    let by = subject(session, &args.subject).await?;
    let resource = args.resource.as_deref().map(|resource| {
        let (of, id) = resource.split_once('/').unwrap_or((resource, ""));
        let (owner, properties) = (args.owner.clone(), HashMap::from_iter(args.properties.clone()));
        v1::CheckResource { r#type: of.to_owned(), id: id.to_owned(), owner, properties }
    });
    let request = v1::CheckRequest {
        tenant_id: session.tenant(),
        subject: Some(v1::CheckSubject { by: Some(by) }),
        action: args.action.clone(),
        resource,
        context: HashMap::from_iter(args.circumstances),
    };
    let answer = rpc!(session, "asking", Client.check(request)).await?;
    let exit = if answer.allowed { Exit::Ok } else { Exit::Found };
    if !run.printer.format.is_for_people() {
        let value = json!({
            "allowed": answer.allowed,
            "reason": answer.reason,
            "decided_by": answer.decided_by,
            "model_version": answer.model_version,
            "spiffe_id": answer.spiffe_id,
            "max_age_seconds": answer.max_age.map(|age| age.seconds),
        });
        let order = ["allowed", "reason", "decided_by", "model_version", "spiffe_id", "max_age_seconds"];
        return run.printer.record(&value, &order).map(|()| exit);
    }
    let verdict = if answer.allowed { "allowed" } else { "denied" };
    let by = if answer.decided_by.is_empty() { String::new() } else { format!(" by {}", answer.decided_by.join(", ")) };
    run.printer.text(&format!("{verdict}: {}{by}", answer.reason)).map(|()| exit)
}

async fn subject(session: &Session, text: &str) -> Result<By, Failure> {
    if text.starts_with("spiffe://") {
        return Ok(By::SpiffeId(text.to_owned()));
    }
    let path = std::path::Path::new(text);
    if path.is_file() {
        let pem = std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
        let first = signet_x509::pem::decode_certificates(&pem).and_then(|found| found.into_iter().next());
        let none = || Failure::usage(format!("{text} has no PEM certificate"));
        return first.map(By::CertificateDer).ok_or_else(none);
    }
    let wrong = || Failure::usage(format!("{text:?} is neither TYPE/ID, nor a SPIFFE id, nor a file"));
    let (of, id) = text.split_once('/').ok_or_else(wrong)?;
    let principal_type: PrincipalType = of.parse().map_err(|_| wrong())?;
    let principal: PrincipalId = id.parse().map_err(|_| wrong())?;
    // The trust domain is the server's to say; every type may read the bundle.
    let request = v1::GetTrustBundleRequest { tenant_id: session.tenant() };
    let bundle = rpc!(session, "reading the trust bundle", Trust.get_trust_bundle(request)).await?;
    Ok(By::SpiffeId(format!("spiffe://{}/{principal_type}/{principal}", bundle.trust_domain)))
}
