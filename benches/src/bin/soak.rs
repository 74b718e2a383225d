//! A worker under load whose certificate is short: scripts/soak starts it, and meanwhile does to the control plane what
//! happens in a year.
//!
//! A call is one WhoAmI through the identity's channel, repeated as the SDK's default policy says while the control
//! plane is away. It has failed if it is not answered after that, or answered for somebody else. Calls that needed a
//! second attempt are counted, too.

use std::{
    collections::BTreeSet,
    error::Error,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use clap::Parser;
use serde::Serialize;
use signet_client::{
    ClientError, Directory, Enrollment, Identity, IdentitySettings, JoinToken, LiveChannel, Retry, Status,
};
use signet_proto::v1::{
    WatchTrustBundleRequest, WhoAmIRequest, WhoAmIResponse, principal_service_client::PrincipalServiceClient,
    trust_service_client::TrustServiceClient,
};
use signet_x509::pem;
use tokio::{task::JoinSet, time::sleep};

/// Pause between two calls of one caller: load, not an attack.
const PAUSE: Duration = Duration::from_millis(5);

/// Keeps a worker alive under load and reports as JSON; exit code 1 if a call failed.
#[derive(Debug, Parser)]
struct Arguments {
    /// The control plane
    #[arg(long)]
    server: String,
    /// Its root, PEM
    #[arg(long)]
    ca_file: PathBuf,
    /// A join token
    #[arg(long)]
    token_file: PathBuf,
    /// Folder for the worker's identity
    #[arg(long)]
    state: PathBuf,
    /// How long
    #[arg(long)]
    seconds: u64,
    /// Callers at once
    #[arg(long, default_value_t = 8)]
    callers: u32,
}

#[derive(Debug, Default, Serialize)]
struct Summary {
    seconds: u64,
    calls: u64,
    failed: u64,
    first_failure: String,
    repeated: u64,
    longest_call_ms: u128,
    certificates: usize,
    renewals: u64,
    failed_renewals: u64,
    least_validity_left_seconds: i64,
    streams_opened: u64,
    bundles: usize,
    #[serde(skip)]
    serials: BTreeSet<String>,
}

type Shared = Arc<Mutex<Summary>>;

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(summary) => {
            let text = serde_json::to_string_pretty(&summary).unwrap_or_default();
            let _ = writeln!(io::stdout(), "{text}");
            if summary.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "signet-soak: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: &Arguments) -> Result<Summary, Box<dyn Error>> {
    let roots = pem::decode_certificates(&std::fs::read_to_string(&arguments.ca_file)?).ok_or("no root")?;
    let mut settings = IdentitySettings::new(arguments.server.as_str(), roots);
    settings.storage = Arc::new(Directory::new(&arguments.state));
    let proof = Arc::new(JoinToken::read(&arguments.token_file)?);
    let enrollment = Enrollment { proof, tenant_id: None, principal_id: None };
    let identity = Identity::enroll(settings, &enrollment).await?;
    let spiffe_id = identity.status().borrow().spiffe_id.clone();

    let shared = Shared::default();
    let end = Instant::now().checked_add(Duration::from_secs(arguments.seconds)).ok_or("too long")?;
    let mut callers = JoinSet::new();
    for _ in 0..arguments.callers {
        let channel = identity.channel()?;
        callers.spawn(call_until(channel, end, spiffe_id.clone(), Arc::clone(&shared)));
    }
    let streams = tokio::spawn(keep_stream(identity.channel()?, Arc::clone(&shared)));
    let watch = tokio::spawn(watch(identity.clone(), Arc::clone(&shared)));
    while callers.join_next().await.is_some() {}
    streams.abort();
    watch.abort();
    let mut summary = std::mem::take(&mut *locked(&shared));
    summary.seconds = arguments.seconds;
    summary.certificates = summary.serials.len();
    summary.renewals = identity.status().borrow().renewals;
    Ok(summary)
}

async fn call_until(channel: LiveChannel, end: Instant, spiffe_id: String, shared: Shared) {
    while Instant::now() < end {
        let (started, mut attempts) = (Instant::now(), 0_u64);
        let answer = Retry::default()
            .run(|| {
                attempts = attempts.saturating_add(1);
                who_am_i(channel.clone())
            })
            .await;
        let problem = match &answer {
            Ok(answer) if answer.spiffe_id == spiffe_id => None,
            Ok(answer) => Some(format!("answered for {}", answer.spiffe_id)),
            Err(error) => Some(format!("{}: {error}", error.reason())),
        };
        note(&shared, started.elapsed(), attempts, problem, answer.map(|answer| answer.serial_number).ok());
        sleep(PAUSE).await;
    }
}

async fn who_am_i(channel: LiveChannel) -> Result<WhoAmIResponse, ClientError> {
    Ok(PrincipalServiceClient::new(channel).who_am_i(WhoAmIRequest {}).await?.into_inner())
}

fn note(shared: &Shared, took: Duration, attempts: u64, problem: Option<String>, serial: Option<String>) {
    let mut summary = locked(shared);
    summary.calls = summary.calls.saturating_add(1);
    summary.repeated = summary.repeated.saturating_add(u64::from(attempts > 1));
    summary.longest_call_ms = summary.longest_call_ms.max(took.as_millis());
    summary.serials.extend(serial);
    if let Some(problem) = problem {
        if summary.failed == 0 {
            summary.first_failure = problem;
        }
        summary.failed = summary.failed.saturating_add(1);
    }
}

/// A stream as a worker keeps one: opened again whenever it ends, with its certificate at the latest.
async fn keep_stream(channel: LiveChannel, shared: Shared) {
    loop {
        let mut client = TrustServiceClient::new(channel.clone());
        if let Ok(answer) = client.watch_trust_bundle(WatchTrustBundleRequest::default()).await {
            let opened = locked(&shared).streams_opened.saturating_add(1);
            locked(&shared).streams_opened = opened;
            let mut stream = answer.into_inner();
            while let Ok(Some(_)) = stream.message().await {}
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// What the identity says of itself.
async fn watch(identity: Identity, shared: Shared) {
    let (mut status, mut bundle) = (identity.status(), identity.bundle());
    let (mut before, mut failures): (Option<Status>, _) = (None, 0);
    loop {
        let now = status.borrow_and_update().clone();
        let anchors = bundle.borrow_and_update().anchors_der().len();
        {
            let mut summary = locked(&shared);
            summary.bundles = summary.bundles.max(anchors);
            if now.failures > failures {
                summary.failed_renewals = summary.failed_renewals.saturating_add(u64::from(now.failures - failures));
            }
            let renewed = before.as_ref().filter(|before| before.facts.serial_number != now.facts.serial_number);
            if let Some(before) = renewed {
                let left = (before.facts.not_after_unix_millis - signet_client::system_clock()().unix_millis()) / 1000;
                let least = Some(summary.least_validity_left_seconds).filter(|least| *least != 0);
                summary.least_validity_left_seconds = least.map_or(left, |least| least.min(left));
            }
        }
        failures = now.failures;
        before = Some(now);
        tokio::select! {
            Ok(()) = status.changed() => {}
            Ok(()) = bundle.changed() => {}
            else => return,
        }
    }
}

fn locked(shared: &Shared) -> std::sync::MutexGuard<'_, Summary> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
