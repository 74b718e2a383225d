//! `principal authz diff` and `prove`: what rules would change, and what a solver shows of them.

use std::path::PathBuf;

use clap::{Args, value_parser};
use serde_json::{Value, json};
use signet_proto::v1::{self, authorization_service_client::AuthorizationServiceClient as Client};
use similar::TextDiff;

use super::{
    document::Document,
    strict::Strict,
    whose::{Whose, model},
};
use crate::{
    exit::Exit,
    failure::Failure,
    output::{
        Cell::{Age, Field, Sentence},
        Column, Format, View, to_value,
    },
    run::Run,
    session::{Session, rpc},
};

/// Which rules.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The rules, TOML
    #[arg(value_name = "FILE", required_unless_present = "version")]
    file: Option<PathBuf>,
    /// An earlier version instead
    #[arg(long, value_name = "N", conflicts_with = "file", value_parser = value_parser!(u32).range(1..))]
    version: Option<u32>,
    /// What counts as an error.
    #[command(flatten)]
    strict: Strict,
    /// Whose.
    #[command(flatten)]
    whose: Whose,
}

const COLUMNS: &[Column] = &[
    Column::new("WHEN", Age("time")),
    Column::new("PRINCIPAL", Field("principal")),
    Column::new("ACTION", Field("action")),
    Column::new("RESOURCE", Field("resource")),
    Column::new("CHANGE", Field("change")),
    Column::new("WHY", Sentence("why")),
];

/// `principal authz diff`.
pub(super) async fn diff(run: &Run, session: &Session, args: DiffArgs) -> Result<Exit, Failure> {
    refuse_csv(run)?;
    let tenant_id = args.whose.tenant(session);
    let present = model(session, &tenant_id, None).await?;
    let rules = match (&args.file, args.version) {
        (Some(file), _) => Document::read(file)?.into_rules()?,
        (None, version) => model(session, &tenant_id, version).await?.rules.unwrap_or_default(),
    };
    let warning = args.strict.look_at(session, args.whose, &rules, run.printer.now)?;
    let test = tested(session, tenant_id, rules.clone()).await?;
    if let Some(warning) = warning {
        run.printer.warn(&warning);
    }
    let exit = if is_refuted(&test) { Exit::Found } else { Exit::Ok };
    let (before, after) = (Document::from(present.rules.unwrap_or_default()).text()?, Document::from(rules).text()?);
    let changes = changes(&before, &after, present.version);
    if !run.printer.format.is_for_people() {
        return record(run, &test, Some(&changes)).map(|()| exit);
    }
    if changes.is_empty() {
        run.printer.note(&format!("the same as version {}", present.version));
        return Ok(Exit::Ok);
    }
    run.printer.text(&changes)?;
    run.printer.text(&told(&test))?;
    replays(run, &test)?;
    Ok(exit)
}

/// As a unified diff; empty: they are the same.
fn changes(before: &str, after: &str, version: u32) -> String {
    let diff = TextDiff::from_lines(before, after);
    let text = diff.unified_diff().header(&format!("version {version}"), "new").to_string();
    text.trim_end().to_owned()
}

/// `principal authz prove`.
pub(super) async fn prove(run: &Run, session: &Session, whose: Whose) -> Result<Exit, Failure> {
    refuse_csv(run)?;
    let tenant_id = whose.tenant(session);
    let present = model(session, &tenant_id, None).await?;
    let test = tested(session, tenant_id, present.rules.unwrap_or_default()).await?;
    let exit = match test.proof() {
        v1::AuthorizationProof::Refuted => Exit::Found,
        v1::AuthorizationProof::NotProved => Exit::Other,
        _ => Exit::Ok,
    };
    if !run.printer.format.is_for_people() {
        return record(run, &test, None).map(|()| exit);
    }
    let text = told(&test);
    if !text.is_empty() {
        run.printer.text(&text)?;
    }
    let held = test.invariants.iter().filter(|shown| shown.counterexample.is_empty()).count();
    match test.proof() {
        v1::AuthorizationProof::NotNeeded => run.printer.text("nothing to prove: there are no policies")?,
        v1::AuthorizationProof::NotProved => {}
        _ => {
            let all = test.invariants.len();
            let of = if held == all { String::new() } else { format!(" of {all}") };
            run.printer.text(&format!("{held}{of} invariants hold in version {}", present.version))?;
        }
    }
    Ok(exit)
}

async fn tested(
    session: &Session,
    tenant_id: String,
    rules: v1::AuthorizationRules,
) -> Result<v1::TestAuthorizationModelResponse, Failure> {
    let request = v1::TestAuthorizationModelRequest { tenant_id, rules: Some(rules) };
    rpc!(session, "testing the rules", Client.test_authorization_model(request)).await
}

fn is_refuted(test: &v1::TestAuthorizationModelResponse) -> bool {
    test.invariants.iter().any(|shown| !shown.counterexample.is_empty())
}

fn refuse_csv(run: &Run) -> Result<(), Failure> {
    let refused = || Failure::usage("the answer is no table, which -o csv needs").hint("use -o json or -o yaml");
    if run.printer.format == Format::Csv { Err(refused()) } else { Ok(()) }
}

/// For programs; with how the rules themselves change, where they do.
fn record(run: &Run, test: &v1::TestAuthorizationModelResponse, changes: Option<&str>) -> Result<(), Failure> {
    let mut value = to_value("signet.v1.TestAuthorizationModelResponse", test)?;
    if let (Some(changes), Some(fields)) = (changes, value.as_object_mut()) {
        fields.insert("changed".to_owned(), (!changes.is_empty()).into());
        fields.insert("rules_diff".to_owned(), changes.into());
    }
    run.printer.record(&value, &["proof"])
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

/// What the rules would have changed lately.
fn replays(run: &Run, test: &v1::TestAuthorizationModelResponse) -> Result<(), Failure> {
    let (calls, questions) = (test.replayed_calls, test.replayed_questions);
    let taken = test.replays.iter().filter(|replay| replay.allowed_before).count();
    let given = test.replays.len().saturating_sub(taken);
    run.printer.text(&format!(
        "tried on {calls} calls of the last 24 hours and {questions} questions to this node: {given} would be allowed that \
         are not, {taken} denied that are allowed"
    ))?;
    let values = test.replays.iter().map(row).collect::<Result<Vec<_>, _>>()?;
    if values.is_empty() { Ok(()) } else { run.printer.rows(COLUMNS, &["action"], values, &View::default()) }
}

fn row(replay: &v1::AuthorizationReplay) -> Result<Value, Failure> {
    let word = |allowed| if allowed { "allowed" } else { "denied" };
    let by = |reason: &str, names: &[String]| match names {
        [] => reason.to_owned(),
        names => format!("{reason} ({})", names.join(", ")),
    };
    let before = by(&replay.reason_before, &replay.decided_by_before);
    let after = by(&replay.reason_after, &replay.decided_by_after);
    let all = to_value("signet.v1.AuthorizationReplay", replay)?;
    Ok(json!({
        "time": all.get("time").cloned().unwrap_or_default(),
        "principal": replay.principal,
        "action": replay.action,
        "resource": replay.resource,
        "change": format!("{} → {}", word(replay.allowed_before), word(replay.allowed_after)),
        "why": format!("{before} → {after}"),
    }))
}
