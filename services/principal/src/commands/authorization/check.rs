//! `principal authz check`: may it, now?

use std::collections::HashMap;

use clap::Args;
use serde_json::json;
use signet_core::{PrincipalId, PrincipalType};
use signet_proto::v1::{
    self, authorization_service_client::AuthorizationServiceClient as Client, check_subject::By,
    tenant_service_client::TenantServiceClient as Tenants,
};

use crate::{
    exit::Exit,
    failure::Failure,
    output::to_value,
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
    /// Owner of the resource, TYPE/ID
    #[arg(long, value_name = "TYPE/ID", default_value = "", hide_default_value = true)]
    owner: String,
    /// Property of the resource; may be repeated
    #[arg(long = "property", value_name = "NAME=VALUE", value_parser = pair)]
    properties: Vec<(String, String)>,
    /// Circumstance: source, method, path or host; may be repeated
    #[arg(long = "circumstance", value_name = "NAME=VALUE", value_parser = pair)]
    circumstances: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
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
        let value = to_value("signet.v1.CheckResponse", &answer)?;
        let value = json!({ "allowed": answer.allowed, "answer": value });
        return run.printer.record(&value, &["allowed", "answer"]).map(|()| exit);
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
    // The trust domain is the server's to say.
    let request = v1::GetTenantRequest { tenant_id: session.tenant() };
    let tenant = rpc!(session, "reading the tenant", Tenants.get_tenant(request)).await?;
    Ok(By::SpiffeId(format!("spiffe://{}/{principal_type}/{principal}", tenant.trust_domain)))
}
