//! A fleet: many devices at once, as fast as the server likes; stopped and run again, it goes on.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Value, json};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
};

use super::{
    device::Device,
    journal::{Entry, FILE, Journal},
    place::{Found, Place},
    provision::{self, Provisioned, Site},
};
use crate::{
    context::Lock,
    exit::Exit,
    failure::Failure,
    output::{
        Cell::{Field, Sentence},
        Column, View,
    },
    progress::Progress,
    run::Run,
};

/// So many failures one after the other are not the devices' fault.
const MOST_IN_A_ROW: usize = 10;
/// What the next devices would be refused for as well.
const OF_ALL: [&str; 3] = ["PRINCIPAL_QUOTA", "JOIN_TOKEN_QUOTA", "TENANT_SUSPENDED"];
/// How to go on.
const AGAIN: &str = "run the same command again: it goes on where this one stopped";

const COLUMNS: &[Column] = &[
    Column::new("PRINCIPAL", Field("principal_id")),
    Column::new("RESULT", Field("result")),
    Column::new("ERROR", Sentence("error")),
    Column::new("HINT", Sentence("hint")),
    Column::wide("SERIAL NUMBER", Field("serial_number")),
    Column::wide("EXPIRES", Field("not_after")),
    Column::wide("REPLACED", Field("replaced")),
    Column::wide("CREDENTIALS", Field("credentials")),
];

/// How a fleet is provisioned.
#[derive(Debug)]
pub(super) struct Bulk<'a> {
    pub(super) run: &'a Run,
    pub(super) site: Arc<Site>,
    /// A folder for each device is in it, and the log.
    pub(super) out: PathBuf,
    /// How many at once.
    pub(super) jobs: usize,
    pub(super) dry_run: bool,
}

/// What has come of the devices.
#[derive(Default)]
struct Tally {
    rows: Vec<Value>,
    provisioned: usize,
    /// Nothing had to be done.
    kept: usize,
    /// New principals.
    created: usize,
    failed: usize,
    failed_in_a_row: usize,
    /// Why the others are not tried.
    stopped: Option<Failure>,
}

impl Bulk<'_> {
    pub(super) async fn carry_out(&self, devices: Vec<Device>) -> Result<Exit, Failure> {
        let printer = &self.run.printer;
        if self.dry_run {
            let tally = self.each(devices, None, Tally::default()).await?;
            return self.finish(tally);
        }
        let _lock = Lock::wait(&self.out, self.run.global.timeout, printer).await?;
        let mut journal = Journal::open(&self.out)?;
        let mut tally = Tally::default();
        let mut open = Vec::new();
        for device in devices {
            match self.done_before(&journal, &device) {
                Some(done) => {
                    tally.kept = tally.kept.saturating_add(1);
                    tally.rows.push(done.to_json());
                }
                None => open.push(device),
            }
        }
        if tally.kept > 0 {
            printer.note(&format!("{} were done by an earlier run", tally.kept));
        }
        let tally = self.each(open, Some(&mut journal), tally).await?;
        self.finish(tally)
    }

    fn folder(&self, device: &Device) -> PathBuf {
        self.out.join(device.id.as_str())
    }

    /// What the log says, if the files are there and good. A device of which the file says what it is to be is looked
    /// at again.
    fn done_before(&self, journal: &Journal, device: &Device) -> Option<Provisioned> {
        if device.says_more_than_its_id() {
            return None;
        }
        let (wanted, directory) = (self.site.spiffe_id(&device.id), self.folder(device));
        let place = Place::new(&directory);
        if journal.done(device.id.as_str()) != Some(wanted.as_str()) || !matches!(place.pending(), Ok(None)) {
            return None;
        }
        let Found::Identity(found) = place.look() else { return None };
        let is_its_own = found.held.spiffe_id.as_deref() == Some(wanted.as_str());
        let is_good = is_its_own && found.is_complete && found.held.state(self.run.printer.now) == "valid";
        let (id, held) = (device.id.clone(), Some(found.held));
        is_good.then_some(Provisioned { id, directory, is_new: false, result: "kept", held, replaced: None, others: 0 })
    }

    /// Provisions the devices, some at once. Who stops us lets those that were begun come to their end, and ends them
    /// at the second time.
    async fn each(&self, devices: Vec<Device>, journal: Option<&mut Journal>, tally: Tally) -> Result<Tally, Failure> {
        let progress = Progress::of(devices.len() as u64);
        let what = if self.dry_run { "checking" } else { "provisioning" };
        let work = self.all(devices, journal, tally, &progress);
        progress.clone().watch(what, self.run.printer.quiet, work).await
    }

    async fn all(
        &self,
        devices: Vec<Device>,
        mut journal: Option<&mut Journal>,
        mut tally: Tally,
        progress: &Progress,
    ) -> Result<Tally, Failure> {
        let mut interrupts = signal(SignalKind::interrupt()).map_err(Failure::other)?;
        let (mut waiting, mut running) = (devices.into_iter(), JoinSet::new());
        loop {
            while tally.stopped.is_none() && running.len() < self.jobs {
                let Some(device) = waiting.next() else { break };
                running.spawn(one(Arc::clone(&self.site), device.clone(), self.folder(&device)));
            }
            let (device, outcome) = tokio::select! {
                ended = running.join_next() => match ended {
                    Some(ended) => ended.map_err(Failure::other)?,
                    None => break,
                },
                () = interrupted(&mut interrupts) => {
                    if tally.stopped.is_some() {
                        break;
                    }
                    self.run.printer.warn("interrupted: finishing the devices that were begun; once more ends them, too");
                    tally.stopped = Some(Failure::new(Exit::Partial, "interrupted"));
                    continue;
                }
            };
            progress.advance();
            let logged = journal.as_mut().map_or(Ok(()), |journal| journal.add(self.entry(&device, &outcome)));
            tally.count(&device, outcome);
            if let Err(failure) = logged {
                tally.stopped.get_or_insert(failure);
            }
        }
        tally.rows.extend(waiting.map(|device| json!({ "principal_id": device.id.as_str(), "result": "not_started" })));
        Ok(tally)
    }

    fn entry(&self, device: &Device, outcome: &Result<Provisioned, Failure>) -> Entry {
        let (time, principal_id) = (self.run.printer.clock(), device.id.to_string());
        let done = outcome.as_ref().ok();
        let held = done.and_then(|done| done.held.as_ref());
        Entry {
            time,
            principal_id,
            result: done.map_or("failed", |done| done.result).to_owned(),
            spiffe_id: held.and_then(|held| held.spiffe_id.clone()),
            serial_number: held.map(|held| held.serial.clone()),
            error: outcome.as_ref().err().map(|failure| failure.message.clone()),
        }
    }

    fn finish(&self, tally: Tally) -> Result<Exit, Failure> {
        let printer = &self.run.printer;
        let is_failed = |row: &Value| row.get("result").is_some_and(|result| result == "failed");
        let not_started = tally.rows.iter().filter(|row| row.get("result").is_some_and(|r| r == "not_started")).count();
        let shown = if printer.format.is_for_people() {
            tally.rows.into_iter().filter(is_failed).collect()
        } else {
            tally.rows
        };
        if !shown.is_empty() {
            printer.rows(COLUMNS, &["principal_id"], shown, &View::default())?;
        }
        let (provisioned, kept, created, failed) = (tally.provisioned, tally.kept, tally.created, tally.failed);
        let counts = match self.dry_run {
            true => format!(
                "would provision {provisioned} devices ({created} new principals); {kept} are done; {failed} would be refused; \
                 nothing was changed"
            ),
            false => {
                format!("{provisioned} provisioned ({created} new principals), {kept} done before, {failed} failed")
            }
        };
        let counts = if not_started > 0 { format!("{counts}, {not_started} not started") } else { counts };
        match tally.stopped {
            Some(stopped) => {
                let message = format!("stopped: {}\n{counts}", stopped.message);
                let hint = stopped.hint.map_or_else(|| AGAIN.to_owned(), |hint| format!("{hint}; then {AGAIN}"));
                Err(Failure { message, hint: Some(hint), ..stopped })
            }
            None if failed > 0 => Err(Failure::new(Exit::Partial, counts).hint(format!("correct that, then {AGAIN}"))),
            None => {
                printer.note(&counts);
                if !self.dry_run {
                    printer.note(&format!(
                        "next: copy each folder in {} to its device, where signet-agent keeps it fresh (runbook \
                         ProvisionDevices); then delete it here, and keep {FILE}",
                        self.out.display()
                    ));
                }
                Ok(Exit::Ok)
            }
        }
    }
}

impl Tally {
    fn count(&mut self, device: &Device, outcome: Result<Provisioned, Failure>) {
        match outcome {
            Ok(done) => {
                self.failed_in_a_row = 0;
                self.created = self.created.saturating_add(usize::from(done.is_new));
                let count = if done.result == "kept" { &mut self.kept } else { &mut self.provisioned };
                *count = count.saturating_add(1);
                self.rows.push(done.to_json());
            }
            Err(failure) => {
                self.failed = self.failed.saturating_add(1);
                self.failed_in_a_row = self.failed_in_a_row.saturating_add(1);
                let is_of_all = failure.exit == Exit::Unavailable
                    || failure.reason.as_deref().is_some_and(|reason| OF_ALL.contains(&reason));
                self.rows.push(json!({
                    "principal_id": device.id.as_str(),
                    "result": "failed",
                    "error": failure.message,
                    "reason": failure.reason,
                    "hint": failure.hint,
                }));
                if is_of_all || (self.failed_in_a_row >= MOST_IN_A_ROW && failure.exit != Exit::Conflict) {
                    self.stopped.get_or_insert(failure);
                }
            }
        }
    }
}

/// The device comes back with its outcome.
async fn one(site: Arc<Site>, device: Device, directory: PathBuf) -> (Device, Result<Provisioned, Failure>) {
    let outcome = provision::provision(&site, &device, Path::new(&directory)).await;
    (device, outcome)
}

/// Ctrl-C.
async fn interrupted(interrupts: &mut Signal) {
    if interrupts.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}
