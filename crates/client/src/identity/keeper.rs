//! The background work of one identity: look, act, sleep.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use signet_core::{
    Time,
    renewal::{Clock, LONGEST_SLEEP, Next, Schedule},
};
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;

use super::{
    Settings, Standing, Status, blocking, out_of_band,
    outcome::{failure, is_unknown_to_server, passing, wrong_certificate},
    shared::{Held, Shared},
    status::Problem,
};
use crate::{
    bundle::Bundle,
    calls::{NextKey, confirm, enroll_with, renewal_info},
    error::ClientError,
    retry::{Retry, random},
    storage::Notes,
};

/// Between two attempts to store, or to confirm.
const SETTLE_PAUSE: Duration = Duration::from_secs(5);
const AT_ONCE: Duration = Duration::ZERO;
/// One attempt: the schedule decides about the next.
const ONCE: Retry = Retry { attempts: 1, first_pause: Duration::ZERO, longest_pause: Duration::ZERO };

/// What is known of the certificate in use, and how it was come by.
pub(super) struct State {
    notes: Notes,
    stored: bool,
    renewals: u64,
    problem: Option<Problem>,
    /// The key and request of a renewal whose outcome is not known.
    next_key: Option<NextKey>,
    settle_at: Option<Instant>,
    hurried: bool,
}

impl State {
    pub(super) fn new(settings: &Settings, held: &Held, notes: Option<Notes>, stored: bool) -> Self {
        let noted = notes.is_some();
        let bundle = || Bundle::of_chain(&held.tenant, held.credentials.chain_der());
        let mut notes = notes.unwrap_or_else(|| first_notes((settings.clock)(), held, bundle()));
        notes.schedule.out_of_band = settings.out_of_band.is_some();
        // Who comes from elsewhere has used its certificate before: there is nothing to confirm.
        notes.confirmed |= stored && !noted;
        Self { notes, stored, renewals: 0, problem: None, next_key: None, settle_at: None, hurried: false }
    }

    pub(super) fn bundle(&self) -> Bundle {
        self.notes.bundle.clone()
    }

    /// Whether it has expired by the server's clock, as far as that is known: ours may be wrong.
    fn is_over(&self, held: &Held, now: Time) -> bool {
        self.notes.schedule.clock.server_time(now) >= held.not_after()
    }

    pub(super) fn status(&self, held: &Held, now: Time) -> Status {
        let schedule = &self.notes.schedule;
        let standing = match () {
            () if schedule.needs_enrollment(now) => Standing::Refused,
            () if self.is_over(held, now) => Standing::Expired,
            () if schedule.failures() > 0 || now >= schedule.clock.own_time(schedule.renew_at()) => Standing::Due,
            () => Standing::Fresh,
        };
        Status {
            spiffe_id: held.spiffe_id.clone(),
            facts: held.credentials.facts().clone(),
            standing,
            next_attempt: schedule.clock.own_time(schedule.attempt_at()),
            failures: schedule.failures(),
            renewals: self.renewals,
            stored: self.stored,
            confirmed: self.notes.confirmed,
            problem: self.problem.clone(),
        }
    }
}

fn first_notes(now: Time, held: &Held, bundle: Bundle) -> Notes {
    Notes {
        serial_number: held.credentials.facts().serial_number.clone(),
        schedule: Schedule::new(held.issued_at, held.not_after(), now, random()),
        confirmed: false,
        bundle,
    }
}

/// See the module's words.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    state: State,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, state: State) -> Self {
        Self { shared, state }
    }

    /// Stores what is not stored yet, so that who made the identity finds it on disk.
    pub(super) async fn started(mut self) -> Self {
        if !self.state.stored {
            self.store().await;
        }
        self.publish();
        self
    }

    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut bundle = shared.bundle.subscribe();
        loop {
            let pause = self.step().await;
            self.publish();
            tokio::select! {
                () = sleep(pause) => {}
                // To be stored.
                Ok(()) = bundle.changed() => {}
                () = shared.hurry.notified() => self.state.hurried = true,
            }
        }
    }

    /// Does what is due, and says how long to sleep.
    async fn step(&mut self) -> Duration {
        let settle = self.settle().await;
        let now = self.shared.now();
        let mut schedule = self.state.notes.schedule.clone();
        if std::mem::take(&mut self.state.hurried) {
            schedule.hurry(now);
        }
        let next = schedule.next(now, random());
        self.renote(schedule).await;
        let pause = match next {
            Next::Wait { until } => {
                let millis = until.millis_since(now).clamp(1, LONGEST_SLEEP.millis());
                Duration::from_millis(millis.unsigned_abs())
            }
            Next::AskWindow => self.ask_window().await,
            Next::Renew => self.renew(false).await,
            Next::RenewOutOfBand => self.renew(true).await,
            Next::EnrollAgain => self.enroll_again().await,
        };
        pause.min(settle)
    }

    fn publish(&self) {
        let status = self.state.status(&self.shared.held(), self.shared.now());
        self.shared.status.send_if_modified(|known| {
            let changed = *known != status;
            *known = status;
            changed
        });
    }

    /// Stores and confirms what is not yet, and says when to try again.
    async fn settle(&mut self) -> Duration {
        let state = &self.state;
        let done = state.stored && state.notes.confirmed;
        let early = state.settle_at.is_some_and(|at| Instant::now() < at);
        if !done && !early {
            if !self.state.stored {
                self.store().await;
            }
            if self.state.stored && !self.state.notes.confirmed {
                self.confirm().await;
            }
            self.state.settle_at = Instant::now().checked_add(SETTLE_PAUSE);
        }
        if self.state.stored && self.state.notes.confirmed {
            self.state.settle_at = None;
            return Duration::MAX;
        }
        SETTLE_PAUSE
    }

    async fn store(&mut self) {
        let (storage, held, notes) =
            (Arc::clone(&self.shared.settings.storage), self.shared.held(), self.state.notes.clone());
        let saved = blocking(move || storage.save(&held.credentials, &notes)).await;
        self.state.stored = saved.is_ok();
        match saved {
            Ok(()) => self.solved("store"),
            Err(error) => self.trouble("store", &error.into()),
        }
    }

    async fn confirm(&mut self) {
        let held = self.shared.held();
        if self.state.is_over(&held, self.shared.now()) {
            return;
        }
        let told = match self.connect(&held).await {
            Ok(channel) => confirm(&channel).await,
            Err(error) => Err(error),
        };
        match told {
            Err(error) if !is_unknown_to_server(&error) => self.trouble("confirm", &error),
            _ => {
                self.solved("confirm");
                self.state.notes.confirmed = true;
                self.note().await;
            }
        }
    }

    async fn renote(&mut self, schedule: Schedule) {
        let bundle = Bundle::clone(&self.shared.bundle.borrow());
        if schedule != self.state.notes.schedule || bundle != self.state.notes.bundle {
            self.state.notes.schedule = schedule;
            self.state.notes.bundle = bundle;
            self.note().await;
        }
    }

    async fn note(&self) {
        if !self.state.stored {
            // They go with the certificate.
            return;
        }
        let (storage, held, notes) =
            (Arc::clone(&self.shared.settings.storage), self.shared.held(), self.state.notes.clone());
        if let Err(error) = blocking(move || storage.note(&held.credentials, &notes)).await {
            // What is lost is the renewal's instant after a restart, no more.
            tracing::warn!(%error, "the notes cannot be stored");
        }
    }

    async fn ask_window(&mut self) -> Duration {
        let held = self.shared.held();
        let sent = self.shared.now();
        let answer = match self.connect(&held).await {
            Ok(channel) => renewal_info(&channel).await,
            Err(error) => Err(error),
        };
        let now = self.shared.now();
        let mut schedule = self.state.notes.schedule.clone();
        match answer {
            Ok((advice, server_time)) => {
                if let Some(server_time) = server_time {
                    schedule.clock.learn(server_time, sent, now);
                }
                schedule.advised(now, Some(&advice), random());
            }
            Err(error) => {
                tracing::debug!(%error, "the control plane gave no renewal window; the present one stays");
                schedule.advised(now, None, random());
            }
        }
        self.renote(schedule).await;
        AT_ONCE
    }

    async fn renew(&mut self, out_of_band: bool) -> Duration {
        if self.taken_from_storage().await {
            return AT_ONCE;
        }
        let held = self.shared.held();
        let now = self.shared.now();
        self.state.notes.schedule.attempted(now);
        let next_key = match self.state.next_key.take().map_or_else(NextKey::generate, Ok) {
            Ok(next_key) => next_key,
            Err(error) => return self.failed("renew", &error).await,
        };
        let answer = if out_of_band {
            let server_time = self.state.notes.schedule.clock.server_time(now);
            out_of_band::renew(&self.shared.settings, &held, &next_key, server_time).await
        } else {
            match self.connect(&held).await {
                Ok(channel) => next_key.renew(&channel).await,
                Err(error) => Err(error),
            }
        };
        match answer {
            Ok(issued) => match self.accept(next_key.certified(issued), Some(&held)) {
                Ok(next) => self.take_over(next).await,
                Err(error) => self.failed("renew", &error).await,
            },
            Err(error) => {
                // The same request finds an answer that was lost.
                self.state.next_key = error.is_transient().then_some(next_key);
                self.failed("renew", &error).await
            }
        }
    }

    /// A connection of its own for each thing to do: hours lie in between.
    async fn connect(&self, held: &Held) -> Result<Channel, ClientError> {
        Ok(self.shared.connector(Some(held))?.connect().await?)
    }

    /// A certificate that is for us.
    fn accept(
        &self,
        credentials: Result<crate::Credentials, ClientError>,
        before: Option<&Held>,
    ) -> Result<Held, ClientError> {
        let next = Held::new(credentials?, &self.shared.settings.oid_arc)?;
        // It may end earlier than the present one: a tenant may shorten its lifetimes.
        let same = before.is_none_or(|before| before.spiffe_id == next.spiffe_id);
        if same { Ok(next) } else { Err(wrong_certificate()) }
    }

    /// First on disk, then in use, then confirmed.
    async fn take_over(&mut self, next: Held) -> Duration {
        let now = self.shared.now();
        let bundle = Bundle::clone(&self.shared.bundle.borrow());
        let mut notes = first_notes(now, &next, bundle);
        notes.schedule.out_of_band = self.shared.settings.out_of_band.is_some();
        if notes.schedule.clock == Clock::default() {
            // The certificate says nothing else.
            notes.schedule.clock = self.state.notes.schedule.clock;
        }
        let (next, storage) = (Arc::new(next), Arc::clone(&self.shared.settings.storage));
        let (to_save, with) = (Arc::clone(&next), notes.clone());
        let saved = blocking(move || storage.save(&to_save.credentials, &with)).await;
        tracing::info!(serial = %notes.serial_number, spiffe_id = %next.spiffe_id, "renewed");
        let state = &mut self.state;
        (state.notes, state.stored, state.problem) = (notes, saved.is_ok(), None);
        (state.next_key, state.settle_at) = (None, None);
        state.renewals = state.renewals.saturating_add(1);
        self.shared.adopt(next);
        // Who was in a hurry meanwhile has got it.
        let _ = self.shared.hurry.notified().now_or_never();
        if let Err(error) = saved {
            self.trouble("store", &error.into());
        }
        AT_ONCE
    }

    async fn failed(&mut self, action: &'static str, error: &ClientError) -> Duration {
        self.trouble(action, error);
        let now = self.shared.now();
        let expired = self.state.is_over(&self.shared.held(), now);
        let kind = if action == "enroll" { passing(error) } else { failure(error, expired) };
        let mut schedule = self.state.notes.schedule.clone();
        schedule.failed(now, kind, random());
        self.renote(schedule).await;
        AT_ONCE
    }

    async fn enroll_again(&mut self) -> Duration {
        if self.taken_from_storage().await {
            return AT_ONCE;
        }
        self.state.next_key = None;
        let Some(enrollment) = self.shared.settings.enrollment.clone().filter(|enrollment| enrollment.proof.repeats())
        else {
            return Duration::from_millis(LONGEST_SLEEP.millis().unsigned_abs());
        };
        let enrolled = match self.shared.connector(None) {
            Ok(connector) => enroll_with(&connector.channel(), &enrollment, ONCE).await,
            Err(error) => Err(error.into()),
        };
        match self.accept(enrolled, None) {
            // Verifiers and files of this identity know it by its name.
            Ok(next) if next.spiffe_id != self.shared.held().spiffe_id => {
                self.failed("enroll", &wrong_certificate()).await
            }
            Ok(next) => self.take_over(next).await,
            Err(error) => self.failed("enroll", &error).await,
        }
    }

    /// Somebody may have put a newer certificate there, e.g. by enrolling by hand: asking for the successor of one that
    /// has been renewed already would look like a copied key.
    async fn taken_from_storage(&mut self) -> bool {
        let storage = Arc::clone(&self.shared.settings.storage);
        let Ok(Some((credentials, notes))) = blocking(move || storage.load()).await else { return false };
        let held = self.shared.held();
        let Ok(found) = Held::new(credentials, &self.shared.settings.oid_arc) else { return false };
        if found.issued_at <= held.issued_at || found.spiffe_id != held.spiffe_id {
            return false;
        }
        tracing::info!(serial = %found.credentials.facts().serial_number, "found a newer certificate in the storage");
        let renewals = self.state.renewals;
        self.state = State { renewals, ..State::new(&self.shared.settings, &found, notes, true) };
        self.shared.adopt(Arc::new(found));
        true
    }

    fn trouble(&mut self, action: &'static str, error: &ClientError) {
        tracing::warn!(action, reason = error.reason(), %error, serial = %self.state.notes.serial_number, "failed; the present certificate stays in use");
        self.state.problem = Some(Problem::new(self.shared.now(), action, error));
    }

    fn solved(&mut self, action: &'static str) {
        self.state.problem = self.state.problem.take().filter(|problem| problem.action != action);
    }
}
