//! The background work of one identity: look, act, sleep.

use std::{sync::Arc, time::Duration};

use signet_core::{
    Time,
    certificates::renewal::{Failure, LONGEST_SLEEP, Next, Schedule},
};
use tokio::time::{Instant, sleep};

use super::{
    outcome::{Age, failure, is_unknown_to_server},
    settings::IdentitySettings,
    shared::{Held, Shared},
    status::{LastFailure, RenewalState, Status},
};
use crate::{
    bundle::Bundle,
    calls::{NextKey, confirm, renewal_info},
    error::{ClientError, ConnectError},
    lock::StorageLock,
    retry::random,
    storage::{Notes, blocking},
};

/// Between two attempts to store, or to confirm.
const SETTLE_PAUSE: Duration = Duration::from_secs(5);
pub(super) const AT_ONCE: Duration = Duration::ZERO;

/// Where a certificate comes from.
pub(super) enum Origin {
    /// From the control plane or somebody else just now, with the CAs that were named with it.
    New { anchors_der: Vec<Vec<u8>> },
    /// From the storage; `stored`: every place of the storage has it.
    Kept { notes: Option<Notes>, stored: bool },
}

/// What is known of the certificate in use, and how it was come by.
pub(super) struct State {
    pub(super) notes: Notes,
    pub(super) stored: bool,
    pub(super) renewals: u64,
    pub(super) problem: Option<LastFailure>,
    /// The key and request of a renewal whose outcome is not known.
    pub(super) next_key: Option<NextKey>,
    pub(super) settle_at: Option<Instant>,
    /// When the present certificate came, if it did to this process.
    pub(super) came_at: Option<Instant>,
    /// The present certificate is refused, and nobody can take that back.
    pub(super) hopeless: bool,
    pub(super) hurried: bool,
    /// The control plane refused a connection for its certificate.
    pub(super) doubted: bool,
}

impl State {
    pub(super) fn new(settings: &IdentitySettings, held: &Held, origin: Origin) -> Self {
        let first = Bundle::of_chain(&held.tenant, held.credentials.chain_der());
        let came_at = matches!(origin, Origin::New { .. }).then(Instant::now);
        let (notes, stored, confirmed) = match origin {
            Origin::New { anchors_der } => {
                let bundle = Bundle::of_anchors(&held.tenant, &anchors_der).unwrap_or(first);
                (first_notes((settings.clock)(), held, bundle), false, false)
            }
            Origin::Kept { notes: Some(notes), stored } => (notes, stored, false),
            // Who comes from elsewhere has used its certificate before: there is nothing to confirm.
            Origin::Kept { notes: None, stored } => (first_notes((settings.clock)(), held, first), stored, true),
        };
        let mut notes = notes;
        notes.schedule.out_of_band = true;
        notes.confirmed |= confirmed;
        Self {
            notes,
            stored,
            renewals: 0,
            problem: None,
            next_key: None,
            settle_at: None,
            came_at,
            hopeless: false,
            hurried: false,
            doubted: false,
        }
    }

    pub(super) fn bundle(&self) -> Bundle {
        self.notes.bundle.clone()
    }

    /// Whether it has expired by the server's clock, as far as that is known: ours may be wrong.
    pub(super) fn is_over(&self, held: &Held, now: Time) -> bool {
        self.notes.schedule.clock.server_time(now) >= held.not_after()
    }

    pub(super) fn status(&self, held: &Held, now: Time, bundle_time: Option<Time>) -> Status {
        let schedule = &self.notes.schedule;
        let standing = match () {
            () if schedule.needs_enrollment(now) => RenewalState::Refused,
            () if self.is_over(held, now) => RenewalState::Expired,
            () if schedule.failures() > 0 || now >= schedule.clock.own_time(schedule.renew_at()) => RenewalState::Due,
            () => RenewalState::Fresh,
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
            bundle_time,
            problem: self.problem.clone(),
        }
    }
}

pub(super) fn first_notes(now: Time, held: &Held, bundle: Bundle) -> Notes {
    Notes {
        serial_number: held.credentials.facts().serial_number.clone(),
        schedule: Schedule::new(held.issued_at, held.not_after(), now, random()),
        confirmed: false,
        bundle,
    }
}

/// See the module's words.
pub(super) struct Keeper {
    pub(super) shared: Arc<Shared>,
    pub(super) state: State,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, state: State) -> Self {
        Self { shared, state }
    }

    /// Stores what is not stored yet, so that who made the identity finds it on disk.
    pub(super) async fn started(mut self, lock: Option<Arc<StorageLock>>) -> Self {
        if !self.state.stored {
            self.store(lock).await;
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
                () = shared.doubt.notified() => self.state.doubted = true,
            }
        }
    }

    /// Does what is due, and says how long to sleep.
    async fn step(&mut self) -> Duration {
        let settle = self.settle().await;
        if std::mem::take(&mut self.state.doubted) && !self.is_refused() {
            self.ask_window().await;
        }
        let now = self.shared.now();
        let mut schedule = self.state.notes.schedule.clone();
        if std::mem::take(&mut self.state.hurried) {
            schedule.hurry(now);
            self.state.hopeless = false;
        }
        let next = schedule.next(now, random());
        if !self.renote(schedule).await {
            return AT_ONCE;
        }
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
        let status = self.state.status(&self.shared.held(), self.shared.now(), self.shared.told_at());
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
                self.store(None).await;
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

    /// `lock`: whoever has it already.
    async fn store(&mut self, lock: Option<Arc<StorageLock>>) {
        let turn = match lock {
            Some(lock) => Ok(Some(lock)),
            None => self.turn().await,
        };
        let lock = match turn {
            Ok(Some(lock)) => lock,
            Ok(None) => return,
            Err(error) => return self.trouble("store", &error),
        };
        match self.save(self.shared.held(), self.state.notes.clone(), lock).await {
            Ok(()) => {
                self.state.stored = true;
                self.solved("store");
            }
            Err(error) => self.trouble("store", &error.into()),
        }
    }

    async fn confirm(&mut self) {
        let held = self.shared.held();
        if self.state.is_over(&held, self.shared.now()) {
            return;
        }
        let told = match self.connect(&held).await {
            Ok(channel) => confirm(&channel, false).await,
            Err(error) => Err(error),
        };
        match told {
            Err(error) if !is_unknown_to_server(&error) => {
                self.doubt("confirm", &error).await;
            }
            _ => {
                self.solved("confirm");
                self.state.notes.confirmed = true;
                self.note().await;
            }
        }
    }

    /// Keeps a schedule; false: a newer certificate was found where it is kept, and is in use now.
    pub(super) async fn renote(&mut self, schedule: Schedule) -> bool {
        let bundle = Bundle::clone(&self.shared.bundle.borrow());
        if schedule == self.state.notes.schedule && bundle == self.state.notes.bundle {
            return true;
        }
        self.state.notes.schedule = schedule;
        self.state.notes.bundle = bundle;
        self.note().await
    }

    /// As [`Self::renote`]: notes on an older certificate must not replace what another process wrote.
    async fn note(&mut self) -> bool {
        if !self.state.stored {
            // They go with the certificate.
            return true;
        }
        let lock = match self.turn().await {
            Ok(Some(lock)) => lock,
            Ok(None) => return false,
            Err(error) => {
                self.unnoted(&error);
                return true;
            }
        };
        let (storage, held, notes) =
            (Arc::clone(&self.shared.settings.storage), self.shared.held(), self.state.notes.clone());
        let noted = blocking(move || {
            let noted = storage.note(&held.credentials, &notes);
            drop(lock);
            noted
        });
        if let Err(error) = noted.await {
            self.unnoted(&error);
        }
        true
    }

    /// What is lost is the renewal's instant after a restart, no more.
    fn unnoted(&self, error: &dyn std::fmt::Display) {
        tracing::warn!(%error, serial = %self.state.notes.serial_number, "the renewal state cannot be saved");
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
        match &answer {
            Ok(info) => {
                if let Some(server_time) = info.server_time {
                    schedule.clock.learn(server_time, sent, now);
                }
                schedule.advised(now, Some(&info.advice), random());
                if let Some(bundle) = Bundle::of_anchors(&held.tenant, &info.anchors_der) {
                    self.shared.told(bundle);
                }
                self.solved("connect");
            }
            Err(error) => {
                tracing::debug!(%error, "the control plane returned no renewal window; keeping the current one");
                schedule.advised(now, None, random());
            }
        }
        if self.renote(schedule).await
            && let Err(error) = answer
        {
            // Whatever else failed tells nothing of the certificate, and the window is asked for again.
            if matches!(error, ClientError::Connect(ConnectError::CertificateRefused { .. })) {
                self.doubt("connect", &error).await;
            }
        }
        AT_ONCE
    }

    /// Of the certificate in use, as far as the server's clock is known.
    pub(super) fn age(&self) -> Age {
        let (held, now) = (self.shared.held(), self.state.notes.schedule.clock.server_time(self.shared.now()));
        let here = self.state.came_at.map(|came_at| came_at.elapsed());
        Age::at(now, held.issued_at, held.not_after(), here)
    }

    fn is_refused(&self) -> bool {
        self.state.notes.schedule.needs_enrollment(self.shared.now())
    }

    /// What a failed call says about the certificate itself: that it is refused is known from then on, and not only
    /// when it is due.
    async fn doubt(&mut self, action: &'static str, error: &ClientError) {
        let refused = matches!(error, ClientError::Connect(ConnectError::CertificateRefused { .. }));
        match failure(error, self.age()) {
            Failure::Final if refused && !self.is_refused() => {
                self.failed(action, error).await;
            }
            _ => self.trouble(action, error),
        }
    }

    pub(super) fn trouble(&mut self, action: &'static str, error: &ClientError) {
        tracing::warn!(action, reason = error.reason(), %error, serial = %self.state.notes.serial_number, "failed; keeping the current certificate");
        self.state.problem = Some(LastFailure::new(self.shared.now(), action, error));
    }

    fn solved(&mut self, action: &'static str) {
        self.state.problem = self.state.problem.take().filter(|problem| problem.action != action);
    }
}
