//! `principal authz`.

mod document;

use std::{collections::HashMap, path::PathBuf};

use clap::{Args, Subcommand};
use document::Document;
use serde_json::json;
use signet_core::{PrincipalId, PrincipalType, TenantId};
use signet_proto::v1::{
    self, authorization_service_client::AuthorizationServiceClient as Client, check_subject::By,
    tenant_service_client::TenantServiceClient as Tenants,
};
use similar::TextDiff;

use crate::{
    exit::Exit,
    failure::Failure,
    output::to_value,
    run::Run,
    session::{Page, Session, rpc},
    values::ListArgs,
};

/// Who may do what, in your own services too.
#[derive(Debug, Subcommand)]
pub enum AuthzCommand {
    /// Show a tenant's rules, as a file that `apply` takes
    Get {
        /// An earlier version
        #[arg(long, value_name = "N")]
        version: Option<u32>,
        /// Where from.
        #[command(flatten)]
        whose: Whose,
    },
    /// Replace a tenant's rules by those in a file
    Apply(ApplyArgs),
    /// Show what rules in a file, or an earlier version, would change, and whether policies are proved
    Diff(DiffArgs),
    /// List the versions of a tenant's rules
    History {
        /// Whose.
        #[command(flatten)]
        whose: Whose,
        /// How many.
        #[command(flatten)]
        list: ListArgs,
    },
    /// Set the rules of an earlier version again, as a new version
    Rollback {
        /// Which
        #[arg(value_name = "VERSION")]
        version: u32,
        /// Why; for people
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        note: String,
        /// Also if a proof shows that they break an invariant
        #[arg(long)]
        force: bool,
        /// Whose.
        #[command(flatten)]
        whose: Whose,
    },
    /// Ask whether a principal may do something now; exits with 7 if not
    Check(CheckArgs),
}

/// Whose rules.
#[derive(Clone, Copy, Debug, Args)]
pub struct Whose {
    /// Those of the environment, which hold in every tenant
    #[arg(long)]
    environment: bool,
}

impl Whose {
    fn tenant(self, session: &Session) -> String {
        if self.environment { TenantId::system().to_string() } else { session.tenant() }
    }
}

/// Which rules.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The rules, TOML
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Why; for people
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
    /// Only if they take the place of this version; default: the present one
    #[arg(long, value_name = "N")]
    base: Option<u32>,
    /// Also if a proof shows that they break an invariant
    #[arg(long)]
    force: bool,
    /// Whose.
    #[command(flatten)]
    whose: Whose,
}

/// Which rules.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The rules, TOML
    #[arg(value_name = "FILE", required_unless_present = "version")]
    file: Option<PathBuf>,
    /// An earlier version instead
    #[arg(long, value_name = "N", conflicts_with = "file")]
    version: Option<u32>,
    /// Whose.
    #[command(flatten)]
    whose: Whose,
}

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

/// Carries out a command.
pub async fn run(run: &Run, command: AuthzCommand) -> Result<Exit, Failure> {
    let session = &Session::of(run)?;
    match command {
        AuthzCommand::Get { version, whose } => get(run, session, &whose.tenant(session), version).await,
        AuthzCommand::Apply(args) => apply(run, session, args).await,
        AuthzCommand::Diff(args) => diff(run, session, args).await,
        AuthzCommand::History { whose, list } => history(run, session, &whose.tenant(session), list).await,
        AuthzCommand::Rollback { version, note, force, whose } => {
            let tenant = whose.tenant(session);
            // 0: before there were any.
            let earlier = match version {
                0 => v1::AuthorizationModel::default(),
                _ => model(session, &tenant, Some(version)).await?,
            };
            let note = if note.is_empty() { format!("back to version {version}") } else { note };
            set(run, session, tenant, earlier.rules.unwrap_or_default(), (None, note, force)).await
        }
        AuthzCommand::Check(args) => check(run, session, args).await,
    }
}

async fn model(session: &Session, tenant: &str, version: Option<u32>) -> Result<v1::AuthorizationModel, Failure> {
    let request =
        v1::GetAuthorizationModelRequest { tenant_id: tenant.to_owned(), version: version.unwrap_or_default() };
    rpc!(session, "reading the rules", Client.get_authorization_model(request)).await
}

async fn get(run: &Run, session: &Session, tenant: &str, version: Option<u32>) -> Result<Exit, Failure> {
    let found = model(session, tenant, version).await?;
    if !run.printer.format.is_for_people() {
        return run.printer.one(&found).map(|()| Exit::Ok);
    }
    run.printer.note(&format!("version {}{}", found.version, described(&found)));
    run.printer.text(&Document::from(found.rules.unwrap_or_default()).text()?).map(|()| Exit::Ok)
}

fn described(model: &v1::AuthorizationModel) -> String {
    let note = if model.note.is_empty() { String::new() } else { format!(": {}", model.note) };
    if model.set_by.is_empty() { String::new() } else { format!(", set by {}{note}", model.set_by) }
}

async fn apply(run: &Run, session: &Session, args: ApplyArgs) -> Result<Exit, Failure> {
    let rules = Document::read(&args.file)?.into_rules()?;
    set(run, session, args.whose.tenant(session), rules, (args.base, args.note, args.force)).await
}

async fn set(
    run: &Run,
    session: &Session,
    tenant_id: String,
    rules: v1::AuthorizationRules,
    (base, note, force): (Option<u32>, String, bool),
) -> Result<Exit, Failure> {
    let base_version = match base {
        Some(base) => base,
        None => model(session, &tenant_id, None).await?.version,
    };
    let request_id = session.request_id();
    let request =
        v1::SetAuthorizationModelRequest { tenant_id, rules: Some(rules), base_version, note, force, request_id };
    let made = rpc!(session, "setting the rules", Client.set_authorization_model(request)).await?;
    if !run.printer.format.is_for_people() {
        return run.printer.changed(&made).map(|()| Exit::Ok);
    }
    let proof = match made.proof() {
        v1::AuthorizationProof::Proved => ", its policies proved",
        v1::AuthorizationProof::NotProved => ", its policies not proved: the server has no solver",
        v1::AuthorizationProof::Refuted => ", although a proof shows that its policies break an invariant",
        v1::AuthorizationProof::NotNeeded | v1::AuthorizationProof::Unspecified => "",
    };
    run.printer.note(&format!("version {} holds now in tenant {}{proof}", made.version, made.tenant_id));
    Ok(Exit::Ok)
}

async fn diff(run: &Run, session: &Session, args: DiffArgs) -> Result<Exit, Failure> {
    let tenant_id = args.whose.tenant(session);
    let present = model(session, &tenant_id, None).await?;
    let rules = match (&args.file, args.version) {
        (Some(file), _) => Document::read(file)?.into_rules()?,
        (None, version) => model(session, &tenant_id, version).await?.rules.unwrap_or_default(),
    };
    let request = v1::TestAuthorizationModelRequest { tenant_id, rules: Some(rules.clone()) };
    let test = rpc!(session, "testing the rules", Client.test_authorization_model(request)).await?;
    let refuted = test.invariants.iter().any(|shown| !shown.counterexample.is_empty());
    let exit = if refuted { Exit::Found } else { Exit::Ok };
    if !run.printer.format.is_for_people() {
        let value = to_value("signet.v1.TestAuthorizationModelResponse", &test)?;
        return run.printer.record(&value, &["proof", "invariants", "differences"]).map(|()| exit);
    }
    let (before, after) = (Document::from(present.rules.unwrap_or_default()).text()?, Document::from(rules).text()?);
    if before == after {
        run.printer.note(&format!("the same as version {}", present.version));
        return Ok(Exit::Ok);
    }
    let text = TextDiff::from_lines(&before, &after)
        .unified_diff()
        .header(&format!("version {}", present.version), "new")
        .to_string();
    run.printer.text(text.trim_end())?;
    run.printer.text(&told(&test))?;
    Ok(exit)
}

/// What a solver says, for people.
fn told(test: &v1::TestAuthorizationModelResponse) -> String {
    let indented = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let mut text = String::new();
    for shown in &test.invariants {
        let holds = shown.counterexample.is_empty();
        text += &format!("{} {}\n", if holds { "proved: " } else { "REFUTED:" }, shown.description);
        text += &indented(&shown.counterexample);
    }
    for change in &test.differences {
        let verb = if change.widens { "gives" } else { "takes" };
        text += &format!("{verb}    {} {} {}, for example\n", change.principal, change.action, change.resource);
        text += &indented(&change.example);
    }
    if test.proof() == v1::AuthorizationProof::NotProved {
        text += "not proved: the server has no solver\n";
    }
    text.trim_end().to_owned()
}

async fn history(run: &Run, session: &Session, tenant: &str, list: ListArgs) -> Result<Exit, Failure> {
    let found = session
        .pages(list.limit(&run.printer.format), |page_size, page_token| async move {
            let request = v1::ListAuthorizationModelsRequest { tenant_id: tenant.to_owned(), page_size, page_token };
            let page = rpc!(session, "listing versions", Client.list_authorization_models(request)).await?;
            Ok(Page { items: page.models, next_page_token: page.next_page_token, unreadable: page.unreadable })
        })
        .await?;
    found.print(&run.printer, &list)
}

async fn check(run: &Run, session: &Session, args: CheckArgs) -> Result<Exit, Failure> {
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
