//! `principal audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use signet_core::{PrincipalId, audit::checkpoint::Head};
use signet_proto::v1::{self, audit_service_client::AuditServiceClient as Client};

use crate::{
    audit_check::{self, Expected, Report, minute_start},
    audit_memory::{self, AuditMemory},
    exit::Exit,
    failure::{Failure, UNIMPLEMENTED},
    output::{event_summary, to_value},
    run::Run,
    session::{List, Page, Session, rpc},
    values::{self, ListArgs, Moment},
};

/// Audit log: list, follow and verify events.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List events, oldest first
    List(WindowArgs),
    /// Show events as they happen
    Tail(TailArgs),
    /// Verify that no sealed event was removed, changed, added or reordered
    Verify(VerifyArgs),
}

/// Which events.
#[derive(Debug, Args)]
pub struct WindowArgs {
    /// Start: RFC 3339, a date, today, yesterday, or a duration before now
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = values::moment)]
    since: Moment,
    /// End: RFC 3339, a date, today, yesterday, or a duration before now; default: now
    #[arg(long, value_name = "TIME", value_parser = values::moment)]
    until: Option<Moment>,
    /// Which of them.
    #[command(flatten)]
    only: Only,
    /// How many, and how.
    #[command(flatten)]
    list: ListArgs,
}

/// Which events.
#[derive(Debug, Args)]
struct Only {
    /// Only what this principal did
    #[arg(long, value_name = "PRINCIPAL")]
    actor: Option<PrincipalId>,
    /// Only what was done to or by this principal
    #[arg(long, value_name = "PRINCIPAL")]
    principal: Option<PrincipalId>,
    /// Only this operation, e.g. Enroll
    #[arg(long, value_name = "OPERATION")]
    operation: Option<String>,
    /// Only with this outcome: OK, or a reason such as TOKEN_EXPIRED; refused: all but OK
    #[arg(long, value_name = "OUTCOME")]
    outcome: Option<String>,
    /// Only of this severity or a higher one
    #[arg(long, value_enum, value_name = "SEVERITY")]
    severity: Option<Severity>,
    /// Only the events of one call, by the id in its error
    #[arg(long, value_name = "ID")]
    correlation_id: Option<String>,
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Severity {
    /// Carried out
    Info,
    /// Refused or failed
    Warning,
    /// Something was suspended, revoked or deleted, or a key was copied
    High,
}

impl Severity {
    /// Whether an event's is as high. An event in a form that the server does not know has none.
    fn is_reached(self, event: &v1::AuditEvent) -> bool {
        let least = match self {
            Self::Info => v1::AuditSeverity::Info,
            Self::Warning => v1::AuditSeverity::Warning,
            Self::High => v1::AuditSeverity::High,
        };
        event.entry.as_ref().is_some_and(|entry| entry.severity >= least.into())
    }
}

impl Only {
    const fn chooses(&self) -> bool {
        self.actor.is_some()
            || self.principal.is_some()
            || self.operation.is_some()
            || self.outcome.is_some()
            || self.severity.is_some()
            || self.correlation_id.is_some()
    }

    fn is_wanted(&self, event: &v1::AuditEvent) -> bool {
        let payload = serde_json::from_str::<Value>(&event.payload_json).unwrap_or_default();
        let text = |pointer: &str| payload.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let did = |id: &PrincipalId| text("/actor/principal") == id.as_str();
        let concerns = |id: &PrincipalId| {
            let is_resource = text("/resource/kind") == "principal" && text("/resource/id") == id.as_str();
            let presented = text("/details/presented").rsplit('/').next() == Some(id.as_str());
            did(id) || is_resource || presented || text("/details/principal") == id.as_str()
        };
        let ended = |outcome: &str| match outcome.to_ascii_uppercase().as_str() {
            "REFUSED" => text("/outcome") != "OK",
            outcome => text("/outcome") == outcome,
        };
        self.actor.as_ref().is_none_or(did)
            && self.principal.as_ref().is_none_or(concerns)
            && self.operation.as_ref().is_none_or(|name| text("/operation").eq_ignore_ascii_case(name))
            && self.outcome.as_deref().is_none_or(ended)
            && self.severity.is_none_or(|least| least.is_reached(event))
            && self.correlation_id.as_ref().is_none_or(|id| text("/correlation_id") == id)
    }
}

/// From when, and how long.
#[derive(Debug, Args)]
pub struct TailArgs {
    /// Start: RFC 3339, a date, today, yesterday, or a duration before now
    #[arg(long, value_name = "TIME", value_parser = values::moment)]
    since: Option<Moment>,
    /// Stop after this many events
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// What to check, against which key.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Start: RFC 3339, a date, today, yesterday, or a duration before now
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = values::moment, conflicts_with = "all")]
    since: Moment,
    /// Start at the oldest seal
    #[arg(long)]
    all: bool,
    /// Expected audit key: SHA-256 of its public key, 64 hexadecimal digits
    #[arg(long, value_name = "HEX", value_parser = values::sha256)]
    key_sha256: Option<String>,
    /// Published or saved head of the log (audit/head.json), which the log must still contain
    #[arg(long, value_name = "FILE")]
    head: Option<PathBuf>,
    /// Accept the current head although the log lacks events seen before, e.g. after a restore of your own
    #[arg(long)]
    accept_head: bool,
}

const REPORT: [&str; 6] = ["tenant_id", "findings", "seals", "sealed_events", "sealed_until", "head"];

/// Carries out a command.
pub async fn run(run: &Run, command: AuditCommand) -> Result<Exit, Failure> {
    match command {
        AuditCommand::List(args) => list(run, args).await,
        AuditCommand::Tail(args) => tail(run, args).await,
        AuditCommand::Verify(args) => verify(run, args).await,
    }
}

async fn list(run: &Run, args: WindowArgs) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    let now = run.printer.now;
    let start = args.since.resolve(now);
    // Where none is asked for, the server knows: a clock that was ahead may have it write in minutes that are to come.
    let end = args.until.map(|until| until.resolve(now));
    let is_wanted = |event: &v1::AuditEvent| args.only.is_wanted(event);
    let keep = args.only.chooses().then_some(&is_wanted as &dyn Fn(&_) -> bool);
    let found = fetch_events(&session, start, end, args.list.limit(&run.printer.format), keep).await?;
    let exit = found.print(&run.printer, &args.list)?;
    if found.cut_at.is_some() {
        run.printer.warn("later events follow: --sort -time shows the newest first, --since a later part");
    }
    Ok(exit)
}

async fn tail(run: &Run, args: TailArgs) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    let start_time = args.since.map(|since| values::to_proto(since.resolve(run.printer.now)));
    let request = v1::TailAuditEventsRequest { tenant_id: session.tenant(), start_time };
    let mut stream = session
        .open_stream("opening the stream", request, |channel, request| async move {
            Client::new(channel).tail_audit_events(request).await
        })
        .await?;
    let mut left = args.count;
    while left != Some(0) {
        let Some(event) = stream.message().await.map_err(|status| session.failure(status))? else {
            return Err(Failure::new(Exit::Unavailable, "the server ended the stream").hint("try again"));
        };
        let value = to_value("signet.v1.AuditEvent", &event)?;
        run.printer.streamed(&value, &event_summary(&value))?;
        left = left.map(|n| n.saturating_sub(1));
    }
    Ok(Exit::Ok)
}

async fn verify(run: &Run, args: VerifyArgs) -> Result<Exit, Failure> {
    let file = audit_memory::file(&run.context_directory()?);
    let memory = AuditMemory::load(&file)?;
    let noted = args.head.as_deref().map(audit_memory::load_head).transpose()?;
    let remembered = memory.as_ref().map(|memory| memory.head);
    let heads: Vec<Head> = remembered.filter(|_| !args.accept_head).into_iter().chain(noted).collect();
    let session = Session::of(run)?;
    let tenant = Some(session.tenant()).filter(|tenant| !tenant.is_empty()).map(|tenant| tenant.parse()).transpose()?;
    let pinned = args.key_sha256.clone().or(memory.map(|memory| memory.key_sha256));
    let expected = Expected { tenant: tenant.as_ref(), key_sha256: pinned.as_deref(), heads: &heads };
    let report = fetch_and_check(run, &session, &args, expected).await?;
    if args.accept_head && report.head.is_none() {
        return Err(Failure::new(Exit::Unavailable, "the log has no checkpoint yet, so there is no head to accept")
            .hint("retry when its first minute is sealed"));
    }
    let mut shown = report.to_value()?;
    if let (true, Value::Object(fields), true) =
        (run.printer.format.is_for_people(), &mut shown, report.findings.is_empty())
    {
        fields.insert("findings".into(), "none".into());
    }
    run.printer.record(&shown, &REPORT)?;
    let whole = report.findings.is_empty();
    let is_remembered = report.head.is_some() && (whole || args.accept_head);
    notes(run, &args, &report, pinned.is_some(), is_remembered);
    if let (true, Some(head), Some(key_sha256)) = (whole || args.accept_head, report.head, report.key_sha256) {
        AuditMemory { key_sha256, head }.save(&file)?;
        if let (true, Some(before)) = (args.accept_head, remembered) {
            run.printer.note(&format!(
                "note: saved checkpoint {} as the head of the log, replacing {}",
                head.sequence, before.sequence
            ));
        }
    }
    Ok(if whole { Exit::Ok } else { Exit::Found })
}

fn notes(run: &Run, args: &VerifyArgs, report: &Report, pinned: bool, is_remembered: bool) {
    let note = |text: &str| run.printer.note(&format!("note: {text}"));
    if report.seals == 0 {
        note("no seal in this period, so nothing was checked; a minute is sealed soon after its end");
    }
    if report.key_sha256.is_some() && !pinned {
        let remembered = if is_remembered { " and is remembered now" } else { "" };
        note(&format!("the audit key came from the server{remembered}; pin it with --key-sha256"));
    }
    if args.all && report.seals > 0 && !report.from_the_beginning {
        note("this is not the first seal ever; older ones have expired or were removed");
    }
    if report.head.is_none() {
        note("the server returns no checkpoints, so a truncated log cannot be detected");
    }
}

/// Reads what the arguments ask for, the events of doubtful minutes once more, and judges it.
async fn fetch_and_check(
    run: &Run,
    session: &Session,
    args: &VerifyArgs,
    expected: Expected<'_>,
) -> Result<Report, Failure> {
    let now = run.printer.now;
    let start = if args.all { Timestamp::UNIX_EPOCH } else { args.since.resolve(now) };
    // Before the seals, of which there may be more by then, but not fewer.
    let checkpoints = fetch_checkpoints(session, start, expected.heads).await?;
    let mut seals = fetch_seals(session, start).await?;
    seals.checkpoints = checkpoints;
    let first = seals.seals.first().map_or_else(|| day_before(now), |seal| minute_start(seal.minute));
    // Whole minutes, since seals cover whole minutes; days without any seal need not be read.
    seals.from = if args.all { first } else { start }.as_second().div_euclid(60);
    let end = minute_start(seals.sealed_through.saturating_add(1)).max(now);
    let mut events = fetch_events(session, minute_start(seals.from), Some(end), 0, None).await?.items;
    let report = audit_check::check(&seals, &events, expected)?;
    if report.read_again.is_empty() {
        return Ok(report);
    }
    for minute in &report.read_again {
        let (start, end) = (minute_start(*minute), minute_start(minute.saturating_add(1)));
        let within = |event: &v1::AuditEvent| {
            let second = event.event_time.unwrap_or_default().seconds;
            (start.as_second()..end.as_second()).contains(&second)
        };
        events.retain(|event| !within(event));
        events.extend(fetch_events(session, start, Some(end), 0, None).await?.items);
    }
    audit_check::check(&seals, &events, expected)
}

/// Where to look for events of a log without a seal.
fn day_before(time: Timestamp) -> Timestamp {
    time.saturating_sub(SignedDuration::from_hours(24)).unwrap_or(time).max(Timestamp::UNIX_EPOCH)
}

async fn fetch_events(
    session: &Session,
    start: Timestamp,
    end: Option<Timestamp>,
    limit: u32,
    keep: Option<&dyn Fn(&v1::AuditEvent) -> bool>,
) -> Result<List<v1::AuditEvent>, Failure> {
    session
        .matching(limit, keep, |page_size, page_token| async move {
            let request = v1::ListAuditEventsRequest {
                tenant_id: session.tenant(),
                start_time: Some(values::to_proto(start)),
                end_time: end.map(values::to_proto),
                page_size,
                page_token,
            };
            let page = rpc!(session, "reading events", Client.list_audit_events(request)).await?;
            Ok(Page { items: page.events, next_page_token: page.next_page_token, unreadable: Vec::new() })
        })
        .await
}

/// The checkpoints from `start` on, oldest first, and back to the oldest of `heads`. An old server has none.
async fn fetch_checkpoints(
    session: &Session,
    start: Timestamp,
    heads: &[Head],
) -> Result<Vec<v1::AuditCheckpoint>, Failure> {
    let minute = start.as_second().div_euclid(60);
    let sequence = heads.iter().map(|head| head.sequence).min().unwrap_or(u64::MAX);
    let mut chain: Vec<v1::AuditCheckpoint> = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListAuditCheckpointsRequest { tenant_id: session.tenant(), page_size: 1000, page_token };
        let page = match rpc!(session, "reading checkpoints", Client.list_audit_checkpoints(request)).await {
            Err(failure) if failure.reason.as_deref() == Some(UNIMPLEMENTED) => break,
            page => page?,
        };
        chain.extend(page.checkpoints);
        page_token = page.next_page_token;
        let far = chain.last().is_some_and(|oldest| oldest.minute < minute && oldest.sequence <= sequence);
        if far || page_token.is_empty() {
            break;
        }
    }
    chain.reverse();
    Ok(chain)
}

/// All seals from `start` to the last there is.
async fn fetch_seals(session: &Session, start: Timestamp) -> Result<audit_check::Seals, Failure> {
    let mut seals = audit_check::Seals::default();
    let mut page_token = String::new();
    loop {
        let request = v1::ListAuditSealsRequest {
            tenant_id: session.tenant(),
            start_time: Some(values::to_proto(start)),
            end_time: None,
            page_size: 0,
            page_token,
        };
        let page = rpc!(session, "reading seals", Client.list_audit_seals(request)).await?;
        seals.seals.extend(page.seals);
        seals.sealed_through = page.sealed_through_minute;
        seals.key_spki_der = page.audit_key_spki_der;
        seals.before = seals.before.or(page.before);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(seals);
        }
    }
}
