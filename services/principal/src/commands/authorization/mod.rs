//! `principal authz`.

mod check;
mod diff;
mod document;
mod matrix;
mod strict;
mod whose;

use std::path::PathBuf;

use clap::{Args, Subcommand, value_parser};
use document::Document;
use signet_proto::v1::{self, authorization_service_client::AuthorizationServiceClient as Client};
use strict::Strict;
use whose::{Whose, model};

use crate::{
    confirm::confirm,
    exit::Exit,
    failure::Failure,
    run::Run,
    session::{Page, Session, rpc},
    values::{ListArgs, Yes},
};

/// Who may do what, in your own services too.
#[derive(Debug, Subcommand)]
pub enum AuthzCommand {
    /// Show a tenant's rules, as a file that `apply` takes
    Get {
        /// An earlier version
        #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
        version: Option<u32>,
        /// Where from.
        #[command(flatten)]
        whose: Whose,
    },
    /// Replace a tenant's rules by those in a file
    Apply(ApplyArgs),
    /// Show what rules in a file, or an earlier version, would change, also of recent calls, and whether policies are
    /// proved
    ///
    /// Recent are the calls of the last 24 hours in the audit log (of its 1,000 latest events), and what the node that
    /// answers was asked by Check since it started (the 500 latest different questions): other nodes were asked others.
    /// Each is decided again for its principal as it is now.
    Diff(diff::DiffArgs),
    /// Prove the policies that hold now; exits with 7 if an invariant is broken, with 1 if the server has no solver
    Prove {
        /// Whose.
        #[command(flatten)]
        whose: Whose,
    },
    /// Show who may do what: a table of permissions by principal type, role and group
    Matrix(matrix::MatrixArgs),
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
        #[arg(value_name = "VERSION", value_parser = value_parser!(u32).range(1..))]
        version: u32,
        /// Why; for people
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        note: String,
        /// Also if a proof shows that they break an invariant, or if the present ones cannot be read
        #[arg(long)]
        force: bool,
        /// Whose.
        #[command(flatten)]
        whose: Whose,
        /// Instead of a question, where the environment's change.
        #[command(flatten)]
        yes: Yes,
    },
    /// Ask whether a principal may do something now; exits with 7 if not
    Check(check::CheckArgs),
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
    /// Also if a proof shows that they break an invariant, or if the present ones cannot be read
    #[arg(long)]
    force: bool,
    /// What counts as an error.
    #[command(flatten)]
    strict: Strict,
    /// Whose.
    #[command(flatten)]
    whose: Whose,
    /// Instead of a question, where the environment's change, or all are removed.
    #[command(flatten)]
    yes: Yes,
}

/// Carries out a command.
pub async fn run(run: &Run, command: AuthzCommand) -> Result<Exit, Failure> {
    let session = &Session::of(run)?;
    match command {
        AuthzCommand::Get { version, whose } => get(run, session, &whose.tenant(session), version).await,
        AuthzCommand::Apply(args) => apply(run, session, args).await,
        AuthzCommand::Diff(args) => diff::diff(run, session, args).await,
        AuthzCommand::Prove { whose } => diff::prove(run, session, whose).await,
        AuthzCommand::Matrix(args) => matrix::matrix(run, session, args).await,
        AuthzCommand::History { whose, list } => history(run, session, &whose.tenant(session), list).await,
        AuthzCommand::Rollback { version, note, force, whose, yes } => {
            let tenant = whose.tenant(session);
            ask(session, whose, yes)?;
            let earlier = model(session, &tenant, Some(version)).await?;
            let note = if note.is_empty() { format!("back to version {version}") } else { note };
            let present = present(session, &tenant, force).await?;
            set(run, session, earlier.rules.unwrap_or_default(), Setting::of(tenant, &present, note, force)).await
        }
        AuthzCommand::Check(args) => check::check(run, session, args).await,
    }
}

async fn get(run: &Run, session: &Session, tenant: &str, version: Option<u32>) -> Result<Exit, Failure> {
    let found = model(session, tenant, version).await?;
    if !run.printer.format.is_for_people() {
        return run.printer.one(&found).map(|()| Exit::Ok);
    }
    run.printer.note(&format!("version {}{}", found.version, described(&found)));
    let mut text = match found.rules.filter(|_| found.version > 0) {
        Some(rules) => Document::from(rules).text()?,
        None => document::beginning(),
    };
    if let Some(inherited) = found.inherited {
        text += "\n# The environment's rules, which hold here too:\n";
        text += &document::commented(&Document::from(inherited).text()?);
    }
    run.printer.text(&text).map(|()| Exit::Ok)
}

fn described(model: &v1::AuthorizationModel) -> String {
    let note = if model.note.is_empty() { String::new() } else { format!(": {}", model.note) };
    if model.set_by.is_empty() { String::new() } else { format!(", set by {}{note}", model.set_by) }
}

async fn apply(run: &Run, session: &Session, args: ApplyArgs) -> Result<Exit, Failure> {
    let rules = Document::read(&args.file)?.into_rules()?;
    let warning = args.strict.look_at(session, args.whose, &rules, run.printer.now)?;
    ask(session, args.whose, args.yes)?;
    let tenant = args.whose.tenant(session);
    let present = present(session, &tenant, args.force).await?;
    let nothing = v1::AuthorizationRules::default();
    if rules == nothing && present.rules.as_ref().is_some_and(|rules| *rules != nothing) {
        let path = args.file.display();
        confirm(&format!("{path} has no rules: remove all rules of tenant {}", session.tenant_name()), args.yes)?;
    }
    let mut setting = Setting::of(tenant, &present, args.note, args.force);
    setting.base_version = args.base.unwrap_or(setting.base_version);
    let exit = set(run, session, rules, setting).await?;
    if let Some(warning) = warning {
        run.printer.warn(&warning);
    }
    Ok(exit)
}

/// What changes in every tenant is asked for.
fn ask(session: &Session, whose: Whose, yes: Yes) -> Result<(), Failure> {
    let question = "replace the environment's rules, which hold in every tenant";
    if whose.is_environment(session) { confirm(question, yes) } else { Ok(()) }
}

/// The rules that hold. By force those that cannot be read count as none: the server takes no version then.
async fn present(session: &Session, tenant: &str, force: bool) -> Result<v1::AuthorizationModel, Failure> {
    match model(session, tenant, None).await {
        Err(failure) if force && failure.reason.as_deref() == Some("RECORD_UNREADABLE") => Ok(Default::default()),
        found => found,
    }
}

/// How rules are set.
struct Setting {
    tenant_id: String,
    base_version: u32,
    note: String,
    force: bool,
}

impl Setting {
    fn of(tenant_id: String, present: &v1::AuthorizationModel, note: String, force: bool) -> Self {
        Self { tenant_id, base_version: present.version, note, force }
    }
}

async fn set(run: &Run, session: &Session, rules: v1::AuthorizationRules, setting: Setting) -> Result<Exit, Failure> {
    let Setting { tenant_id, base_version, note, force } = setting;
    let request_id = session.request_id();
    let request =
        v1::SetAuthorizationModelRequest { tenant_id, rules: Some(rules), base_version, note, force, request_id };
    let made = rpc!(session, "setting the rules", Client.set_authorization_model(request)).await;
    let made = made.map_err(|failure| match failure.reason.as_deref() {
        Some("POLICY_REFUTED") => {
            failure.hint("`principal authz diff` shows it; --force sets them anyway, if the environment lets it")
        }
        _ => failure,
    })?;
    if !run.printer.format.is_for_people() {
        return run.printer.changed(&made).map(|()| Exit::Ok);
    }
    let (version, tenant, is_old) = (made.version, &made.tenant_id, made.version == base_version);
    let proof = match made.proof() {
        v1::AuthorizationProof::Proved => ", its policies proved",
        v1::AuthorizationProof::NotProved if is_old => ", its policies not proved when they were set",
        // By force it may have one that gave no answer.
        v1::AuthorizationProof::NotProved if force => ", its policies not proved",
        v1::AuthorizationProof::NotProved => ", its policies not proved: the server has no solver",
        v1::AuthorizationProof::Refuted => ", although a proof shows that its policies break an invariant",
        v1::AuthorizationProof::NotNeeded | v1::AuthorizationProof::Unspecified => "",
    };
    run.printer.note(&match is_old {
        true => format!("unchanged: version {version} holds in tenant {tenant}{proof}"),
        false => format!("version {version} holds now in tenant {tenant}{proof}"),
    });
    Ok(Exit::Ok)
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
