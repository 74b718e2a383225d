//! `principal restore`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use serde_json::{Value, json};
use signet_app::{
    App, Call, authorities,
    restore::{self, EarlierStore, RestoreReport},
};
use signet_control_plane::{
    Config, PublicMaterial,
    earlier::{Earlier, open_earlier},
    wiring::{self, Opened},
};
use signet_core::Time;
use signet_x509::pem;

use crate::{
    bootstrap::terraform,
    confirm::confirm,
    exit::Exit,
    failure::Failure,
    output::{
        Cell::{Field, Status},
        Column, View,
    },
    progress::{self, Progress},
    run::Run,
    values::Yes,
};

/// What to restore, and from where.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("environment").required(true).args(["config", "from_terraform"]))]
#[command(group = clap::ArgGroup::new("earlier").required(true).args(["from_file", "from_suffix", "give_up"]))]
pub struct RestoreArgs {
    /// Configuration of signetd, which names the store
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,
    /// Terraform's environment: its directory (runs `terraform output`), or a file with the output of
    /// `terraform output -json`, - for standard input
    #[arg(long, value_name = "DIR|FILE", value_hint = ValueHint::AnyPath)]
    from_terraform: Option<PathBuf>,
    /// A backup of the SQLite store; it is not changed
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    from_file: Option<PathBuf>,
    /// What follows the names of DynamoDB tables that were restored beside the present ones, e.g. restored-1
    #[arg(long, value_name = "TEXT", value_parser = suffix)]
    from_suffix: Option<String>,
    /// End a restore that was cut off and cannot be run again. What it has restored stays
    #[arg(long)]
    give_up: bool,
    /// Whether to ask.
    #[command(flatten)]
    yes: Yes,
}

/// The part of a table's name that the break-glass role may read.
fn suffix(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !text.is_empty() && text.len() <= 100 && text.chars().all(fits) {
        return Ok(text.to_owned());
    }
    Err("must be the end of a table's name: letters, digits, and - _ .".into())
}

/// What nobody can make good.
const AUDIT_LOST: &str =
    "the audit log is lost too, so nobody knows who was suspended or revoked since: repeat that from your own records";

const COLUMNS: &[Column] = &[Column::new("STATUS", Status("status")), Column::new("ITEM", Field("item"))];

/// Carries out the command.
pub async fn run(run: &Run, args: RestoreArgs) -> Result<Exit, Failure> {
    let config = configuration(run, &args).await?;
    let environment = config.environment.name.clone();
    let opened = wiring::open_lazily(&config, None).await.map_err(Failure::other)?;
    let call = Call::process("restore", Time::from_unix_millis(run.printer.now.as_millisecond()));
    let earlier = match (args.from_file, args.from_suffix) {
        (Some(file), _) => Earlier::File(file),
        (None, Some(suffix)) => Earlier::Suffix(suffix),
        (None, None) => return give_up(run, &opened.app, &call, &environment, args.yes).await,
    };
    let earlier = open_earlier(&config, &earlier).await.map_err(|error| Failure::usage(error.to_string()))?;
    let published = published_roots(&opened, call.now).await?;
    let (quiet, progress) = (run.printer.quiet, Progress::default());
    let tell = |part: &str, done| progress.tell(part, done);
    let source = EarlierStore { name: &earlier.name, store: &*earlier.store, published: &published, progress: &tell };
    let survey = restore::survey(&opened.app, &call, &source);
    let survey = progress.watch("comparing the records", quiet, survey).await?;
    let known = if survey.audit_lost {
        AUDIT_LOST.to_owned()
    } else {
        format!("keep {} refusals since then", survey.refusals_since)
    };
    let question = format!(
        "restore environment {environment} from {}: write {} records, {known}, and stop all other writers meanwhile",
        earlier.name,
        survey.written(),
    );
    confirm(&question, args.yes)?;
    // Whoever was asked may have thought for hours.
    let call = Call::process("restore", Time::from_unix_millis(jiff::Timestamp::now().as_millisecond()));
    let restored = restore::restore(&opened.app, &call, &source, &survey);
    let restored = progress.watch("restoring; other writers wait", quiet, restored).await.map_err(|error| {
        Failure::from(error).hint("fix that and run the same command again: until then nobody writes to the store")
    })?;
    opened.app.store().settle().await.map_err(Failure::other)?;
    print(run, &environment, &restored)?;
    if restored.audit_lost {
        run.printer.note(AUDIT_LOST);
    }
    Ok(Exit::Ok)
}

/// The roots that others know, where the store knows none; DER.
async fn published_roots(opened: &Opened, now: Time) -> Result<Vec<Vec<u8>>, Failure> {
    if !authorities::roots(&opened.app, now).await?.is_empty() {
        return Ok(Vec::new());
    }
    let published = opened.server_identity.get_public(PublicMaterial::Root).await.map_err(Failure::other)?;
    Ok(published.and_then(|text| pem::decode_certificates(&text)).unwrap_or_default())
}

async fn configuration(run: &Run, args: &RestoreArgs) -> Result<Config, Failure> {
    match (&args.from_terraform, &args.config) {
        (Some(source), _) => {
            progress::watch("running terraform output", run.printer.quiet, terraform::read(source)).await?.config()
        }
        (None, Some(file)) => Config::load(file).map_err(|error| Failure::usage(error.to_string())),
        // clap demands one of the two.
        (None, None) => Err(Failure::usage("name the environment: --config or --from-terraform")),
    }
}

async fn give_up(run: &Run, app: &App, call: &Call, environment: &str, yes: Yes) -> Result<Exit, Failure> {
    let Some(marker) = restore::under_way(app, call.now).await? else {
        run.printer.note("no restore is under way");
        return Ok(Exit::Ok);
    };
    let source = &marker.source;
    let question =
        format!("give up the restore of environment {environment} from {source}; what it has not restored stays lost");
    confirm(&question, yes)?;
    restore::give_up(app, call).await?;
    app.store().settle().await.map_err(Failure::other)?;
    run.printer.rows(
        COLUMNS,
        &["item"],
        vec![row("ended", format!("restore from {}", marker.source))],
        &View::default(),
    )?;
    Ok(Exit::Ok)
}

fn row(status: &str, item: String) -> Value {
    json!({ "status": status, "item": item })
}

fn print(run: &Run, environment: &str, report: &RestoreReport) -> Result<(), Failure> {
    if !run.printer.format.is_for_people() {
        return run.printer.record(&json!({ "environment": environment, "report": report }), &[]);
    }
    let tables = report.tables.iter().map(|table| {
        let item = format!(
            "{}: {} read, {} were missing, {} were different",
            table.table, table.read, table.missing, table.changed
        );
        row("restored", item)
    });
    let withheld = report.withheld.iter().map(|item| row("kept", item.clone()));
    let unreadable = report.unreadable.iter().map(|key| row("unreadable", key.clone()));
    let feed = report.feed_lost.then(|| row("renewed", "changes feed: every refusal was announced again".to_owned()));
    run.printer.rows(
        COLUMNS,
        &["item"],
        tables.chain(feed).chain(withheld).chain(unreadable).collect(),
        &View::default(),
    )
}
