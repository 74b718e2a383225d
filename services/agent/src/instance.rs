//! One identity: begun, followed, handed over.

use std::{fs, future::pending, path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use signet_client::{
    Access, ClientError, CredentialsError, Identity, IdentitySettings, Notes, RenewalState, RevocationLists, Status,
    Storage, replace_file,
};
use signet_core::{Lifetime, Time, audit::sha256_hex};
use tokio::{
    sync::{Notify, watch},
    task::spawn_blocking,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    advice::advice,
    canary::{Canary, Verdict},
    config::IdentityConfig,
    handover::{self, News},
    proof::{Seen, enrollment},
    publish::{Published, combine},
    report::{CanaryReport, HandoverReport, IdentityReport, ListsReport, ProblemReport, Report},
    workload_api::{self, Keeper, Offers},
};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How often it is looked at what has become late.
const LOOK_AT_AGES: Duration = Duration::from_secs(600);
/// A list is valid for 48 hours, and renewed when 24 of them are left.
const LISTS_ARE_LATE: Lifetime = Lifetime::hours(18);
/// Until a program that accepts the revoked is told the second time; then twice as long each time.
const ACCEPTED_PAUSE: Duration = Duration::from_secs(30);
/// What to do about it.
const ACCEPTED: &str = "it is told once more of its files; if this stays so, look at its log and its settings (crl.pem, no \
                        session resumption), or restart it";

/// See the module's words.
pub(crate) struct Instance {
    config: IdentityConfig,
    settings: IdentitySettings,
    /// Whether programs that ask by the socket get revocation lists.
    lists_for_workloads: bool,
    published: Arc<Published>,
    /// Remembers what the programs were told of.
    told_file: PathBuf,
    report: watch::Sender<Report>,
    /// Somebody wants the next certificate now.
    hurry: Arc<Notify>,
    offers: Offers,
    keeper: Keeper,
    /// The lists that the programs know, PEM; empty as long as they do not know the present files.
    told: watch::Sender<String>,
    /// The programs are to be told once more.
    again: Notify,
}

impl Instance {
    pub(crate) fn new(
        config: &IdentityConfig,
        control_plane: &IdentitySettings,
        state_dir: &std::path::Path,
        report: watch::Sender<Report>,
        hurry: Arc<Notify>,
        offers: Offers,
    ) -> Self {
        let published = Arc::new(Published::new(config.clone(), state_dir));
        let mut settings = control_plane.clone();
        settings.storage = Arc::clone(&published) as Arc<dyn Storage>;
        settings.follow_bundle = config.follow_bundle;
        let lists_for_workloads = control_plane.follow_revocations && !config.workloads.is_empty();
        settings.follow_revocations = lists_for_workloads || published.crl_file().is_some();
        let told_file = state_dir.join(format!("{}.told", config.name));
        let keeper = Keeper::default();
        offers.entrust(&config.name, Some(keeper.clone()));
        let config = config.clone();
        Self {
            config,
            settings,
            lists_for_workloads,
            published,
            told_file,
            report,
            hurry,
            offers,
            keeper,
            told: watch::channel(String::new()).0,
            again: Notify::new(),
        }
    }

    /// Until `stop`; an attempt to begin, or a command, that is under way is finished first.
    pub(crate) async fn run(self, stop: CancellationToken) {
        if let Some(begun) = self.begin(&stop).await {
            // Beside each other: programs that ask need not wait for those that are told.
            tokio::select! {
                () = self.follow(&begun, &stop) => {}
                () = self.offer(&begun) => {}
                () = self.watch_canary(&begun) => {}
            }
        }
    }

    async fn offer(&self, identity: &Identity) {
        workload_api::follow(&self.offers, &self.config.name, &self.keeper, identity, self.lists_for_workloads).await;
    }

    /// Looks whenever the programs know of new files, and from time to time.
    async fn watch_canary(&self, identity: &Identity) {
        let Some(target) = self.config.pem.as_ref().and_then(|pem| pem.canary.clone()) else { return pending().await };
        let canary = Canary::new(target, Arc::clone(&self.published));
        let (mut told, mut pause, mut tell_at) = (self.told.subscribe(), ACCEPTED_PAUSE, Instant::now());
        loop {
            let lists = told.borrow_and_update().clone();
            if lists.is_empty() {
                // The sender is ours.
                let _ = told.changed().await;
                continue;
            }
            let verdict = canary.look(identity, &lists, now()).await;
            let is_accepted = verdict == Verdict::Accepted;
            if !is_accepted {
                (pause, tell_at) = (ACCEPTED_PAUSE, Instant::now());
            } else if tell_at <= Instant::now() {
                tracing::error!(identity = %self.config.name, "the program accepts a certificate that was revoked on purpose: {ACCEPTED}");
                self.again.notify_one();
                tell_at = Instant::now().checked_add(pause).unwrap_or(tell_at);
                pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
            }
            let (state, message) = match verdict {
                Verdict::Proved => (CanaryReport::PROVED, String::new()),
                Verdict::NotProved(reason) => (CanaryReport::NOT_PROVED, reason),
                Verdict::Accepted => (CanaryReport::ACCEPTED, ACCEPTED.to_owned()),
            };
            let report = CanaryReport { state: state.into(), at: text(now()), message };
            self.tell_all(|known| known.canary = Some(report));
            tokio::select! {
                Ok(()) = told.changed() => {}
                () = sleep_until(tell_at), if is_accepted => {}
                () = sleep(LOOK_AT_AGES) => {}
            }
        }
    }

    /// Loads what is published, or enrolls; again and again until that succeeds, at once when the proof's files change.
    /// `None`: stopped.
    async fn begin(&self, stop: &CancellationToken) -> Option<Identity> {
        let (proof, mut pause) = (&self.config.enroll.proof, FIRST_PAUSE);
        loop {
            let seen = Seen::now(proof);
            let (action, error) = match self.try_begin().await {
                Ok(identity) => return Some(identity),
                Err(failed) => failed,
            };
            tracing::warn!(identity = %self.config.name, action, reason = error.reason(), %error, "not enrolled yet; retrying");
            let wait = signet_client::jittered(pause);
            self.tell_all(|report| {
                report.problem = Some(problem(now(), action, &error));
                report.advice = advice(&self.config, false, report.problem.as_ref());
                report.failures = report.failures.saturating_add(1);
                report.next_attempt = text(later(wait));
            });
            tokio::select! {
                () = stop.cancelled() => return None,
                () = sleep(wait) => pause = pause.saturating_mul(2).min(LONGEST_PAUSE),
                () = seen.change(proof) => pause = FIRST_PAUSE,
                () = self.hurry.notified() => {}
            }
        }
    }

    async fn try_begin(&self) -> Result<Identity, (&'static str, ClientError)> {
        let enrollment = enrollment(&self.config.enroll, &self.settings);
        let mut settings = self.settings.clone();
        settings.enrollment = Some(enrollment.clone());
        // Written again, since a changed configuration may ask for other places and other permissions.
        let found = Identity::load_and_store(settings.clone()).await;
        if let Some(identity) = found.map_err(|error| ("load", error))? {
            return Ok(identity);
        }
        // Before a proof is used up: is there a place for the certificate, and somebody to ask?
        let published = Arc::clone(&self.published);
        let prepared = spawn_blocking(move || published.prepare()).await.map_err(lost);
        prepared.and_then(|prepared| prepared).map_err(|error| ("store", error.into()))?;
        settings.reach().await.map_err(|error| ("enroll", error.into()))?;
        Identity::load_or_enroll(settings, &enrollment).await.map_err(|error| ("enroll", error))
    }

    async fn follow(&self, identity: &Identity, stop: &CancellationToken) {
        let (mut status, mut written) = (identity.status(), self.published.written());
        let mut lists = identity.revocation_lists();
        let (proof, mut seen) = (&self.config.enroll.proof, Seen::now(&self.config.enroll.proof));
        let mut handover = Handover::new(self);
        loop {
            let (present, notes) = (status.borrow_and_update().clone(), written.borrow_and_update().clone());
            let crl = self.published.write_lists(&lists.borrow_and_update(), now());
            handover.look(self, identity, &present, notes.as_ref(), crl).await;
            let (report, lists_report) = (handover.report(), self.lists_report(identity, &lists.borrow()));
            self.tell_all(|known| {
                let canary = known.canary.take();
                *known = IdentityReport { canary, ..self.described(&present, report, lists_report) };
            });
            let lost = present.standing == RenewalState::Refused;
            if !lost {
                seen = Seen::now(proof);
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.hurry.notified() => identity.renew_now(),
                () = seen.change(proof), if lost => {
                    seen = Seen::now(proof);
                    if status.borrow().standing == RenewalState::Refused {
                        identity.renew_now();
                    }
                }
                Ok(()) = status.changed() => {}
                Ok(()) = written.changed() => {}
                Ok(()) = lists.changed() => {}
                // What ages tells of no change.
                () = sleep(LOOK_AT_AGES), if self.settings.follow_revocations => {}
                () = sleep_until(handover.retry_at), if handover.is_due() => {}
                () = self.again.notified() => handover.tell_again(),
            }
        }
    }

    /// See [`Self::told`].
    fn programs_know(&self, lists: String) {
        self.told.send_if_modified(|known| {
            let before = std::mem::replace(known, lists);
            *known != before
        });
    }

    /// How the revocation lists are.
    fn lists_report(&self, identity: &Identity, lists: &RevocationLists) -> Option<ListsReport> {
        if !self.settings.follow_revocations {
            return None;
        }
        let covered = lists.cover(&identity.bundle().borrow(), now());
        let until = lists.iter().map(|list| list.next_update).min().filter(|_| covered);
        let late = until.is_none_or(|until| until < now().plus(LISTS_ARE_LATE));
        let until_seconds = until.map(Time::unix_seconds).unwrap_or_default();
        Some(ListsReport { until: until.map(text).unwrap_or_default(), until_seconds, late })
    }

    fn described(
        &self,
        status: &Status,
        handover: Option<HandoverReport>,
        lists: Option<ListsReport>,
    ) -> IdentityReport {
        let millis = status.facts.not_after_unix_millis;
        let problem = status.problem.as_ref().map(|problem| ProblemReport {
            at: text(problem.at),
            action: problem.action.into(),
            reason: problem.reason.clone(),
            message: problem.message.clone(),
        });
        IdentityReport {
            name: self.config.name.clone(),
            standing: status.standing.as_str().into(),
            spiffe_id: status.spiffe_id.clone(),
            serial_number: status.facts.serial_number.clone(),
            not_after: text(Time::from_unix_millis(millis)),
            not_after_seconds: millis / 1000,
            next_attempt: text(status.next_attempt),
            failures: status.failures,
            renewals: status.renewals,
            published: status.stored,
            confirmed: status.confirmed,
            bundle_time: status.bundle_time.map(text).unwrap_or_default(),
            files: self.published.files().into_iter().map(|(_, path)| path.display().to_string()).collect(),
            advice: match &lists {
                Some(lists) if lists.late && problem.is_none() => late_lists(lists),
                _ => advice(&self.config, status.standing == RenewalState::Refused, problem.as_ref()),
            },
            lists,
            problem,
            handover,
            canary: None,
        }
    }

    fn tell_all(&self, change: impl FnOnce(&mut IdentityReport)) {
        self.report.send_if_modified(|report| {
            let Some(one) = report.identities.iter_mut().find(|one| one.name == self.config.name) else { return false };
            let before = one.clone();
            change(one);
            *one != before
        });
    }
}

fn late_lists(lists: &ListsReport) -> String {
    let end = match lists.until.as_str() {
        "" => "programs that check revocation lists have none".to_owned(),
        until => format!("at {until} programs that check revocation lists begin to refuse everybody"),
    };
    format!("the control plane, of release 0.2 or later, does not send the tenant's revocation lists: {end}")
}

/// How far the programs that use the files are told.
struct Handover {
    wanted: bool,
    told: String,
    failures: u32,
    at: String,
    message: String,
    done: bool,
    retry_at: Instant,
}

impl Handover {
    fn new(instance: &Instance) -> Self {
        Self {
            wanted: handover::wanted(&instance.config),
            told: fs::read_to_string(&instance.told_file).unwrap_or_default(),
            failures: 0,
            at: String::new(),
            message: String::new(),
            done: false,
            retry_at: Instant::now(),
        }
    }

    fn is_due(&self) -> bool {
        self.wanted && !self.done && self.failures > 0
    }

    /// Tells the programs if what is written is new to them, and the last failure is some time ago. `crl`: what the
    /// file of revocation lists has.
    async fn look(
        &mut self,
        instance: &Instance,
        identity: &Identity,
        status: &Status,
        notes: Option<&Notes>,
        crl: Result<Option<String>, CredentialsError>,
    ) {
        let Some(notes) = notes.filter(|notes| notes.serial_number == status.facts.serial_number) else { return };
        let mut known = String::new();
        let mut news = format!("{} {}", notes.serial_number, sha256_hex(notes.bundle.anchors_pem.as_bytes()));
        match (crl, instance.published.crl_file()) {
            (Ok(None), None) => {}
            (Ok(Some(lists)), _) => {
                news += &format!(" {}", sha256_hex(lists.as_bytes()));
                known = lists;
            }
            // Some programs take a missing file for a list that revokes nobody.
            (Ok(None), Some(_)) => return self.not_yet("the revocation lists are not known yet"),
            (Err(error), _) => return self.failed(error.to_string()),
        }
        self.done = news == self.told || !self.wanted;
        if self.done {
            return instance.programs_know(known);
        }
        instance.programs_know(String::new());
        if Instant::now() < self.retry_at {
            return;
        }
        let files = instance.published.files();
        let credentials = identity.with_credentials(combine);
        let told = handover::tell(&instance.config, &News { status, files: &files, credentials }).await;
        self.at = text(now());
        match told {
            Ok(()) => {
                tracing::info!(identity = %instance.config.name, serial = %notes.serial_number, "programs notified");
                (self.done, self.failures, self.message) = (true, 0, String::new());
                self.told = news;
                instance.programs_know(known);
                let noted = replace_file(&instance.told_file, self.told.as_bytes(), Access::mode(0o600));
                if let Err(error) = noted {
                    tracing::warn!(%error, "cannot save this: programs are notified again after a restart");
                }
            }
            Err(message) => {
                tracing::warn!(identity = %instance.config.name, message, "programs not notified; retrying");
                self.failed(message);
            }
        }
    }

    /// What they were told of may not have reached them.
    fn tell_again(&mut self) {
        (self.told, self.done, self.retry_at) = (String::new(), false, Instant::now());
    }

    fn failed(&mut self, message: String) {
        self.failures = self.failures.saturating_add(1);
        (self.done, self.at, self.message) = (false, text(now()), message);
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(9)).min(LONGEST_PAUSE);
        self.retry_at = Instant::now().checked_add(pause).unwrap_or(self.retry_at);
    }

    /// Until something else comes.
    fn not_yet(&mut self, message: &str) {
        if self.message != message {
            (self.done, self.message, self.at) = (!self.wanted, message.to_owned(), text(now()));
        }
    }

    fn report(&self) -> Option<HandoverReport> {
        let (done, at, failures, message) = (self.done, self.at.clone(), self.failures, self.message.clone());
        self.wanted.then_some(HandoverReport { done, at, failures, message })
    }
}

fn lost(error: tokio::task::JoinError) -> CredentialsError {
    CredentialsError::File { action: "write", path: String::new(), reason: error.to_string() }
}

fn problem(at: Time, action: &str, error: &ClientError) -> ProblemReport {
    let (reason, message) = (error.reason().to_owned(), error.to_string());
    ProblemReport { at: text(at), action: action.into(), reason, message }
}

fn now() -> Time {
    (signet_client::system_clock())()
}

fn later(wait: Duration) -> Time {
    let millis = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
    Time::from_unix_millis(now().unix_millis().saturating_add(millis))
}

fn text(time: Time) -> String {
    Timestamp::from_second(time.unix_seconds()).map(|time| time.to_string()).unwrap_or_default()
}
