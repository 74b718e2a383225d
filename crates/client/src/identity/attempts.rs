//! Attempts to get the next certificate, by one process at a time, and what comes of them.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use signet_core::certificates::renewal::{ClockOffset, LONGEST_SLEEP};
use tokio::time::Instant;
use tonic::transport::Channel;

use super::{
    Origin, blocking,
    enrolling::{self, Fresh},
    keeper::{AT_ONCE, Keeper, State, first_notes},
    out_of_band,
    outcome::{RECORD_UNREADABLE, failure, is_for_good, passing, wrong_certificate},
    shared::Held,
};
use crate::{
    bundle::Bundle,
    calls::NextKey,
    credentials::{Credentials, CredentialsError},
    enrollment::Enrollment,
    error::ClientError,
    lock::StorageLock,
    retry::{Retry, random},
    storage::Notes,
};

/// One attempt: the schedule decides about the next.
const ONCE: Retry = Retry { attempts: 1, first_pause: Duration::ZERO, longest_pause: Duration::ZERO };

impl Keeper {
    pub(super) async fn renew(&mut self, out_of_band: bool) -> Duration {
        let lock = match self.turn().await {
            Ok(Some(lock)) => lock,
            Ok(None) => return AT_ONCE,
            Err(error) => return self.failed("renew", &error).await,
        };
        match self.next_certificate(out_of_band).await {
            Ok(next) => self.take_over(next, lock).await,
            Err(error) => {
                drop(lock);
                self.failed("renew", &error).await
            }
        }
    }

    async fn next_certificate(&mut self, out_of_band: bool) -> Result<Fresh<Held>, ClientError> {
        let held = self.shared.held();
        let now = self.shared.now();
        self.state.notes.schedule.attempted(now);
        let next_key = self.state.next_key.take().map_or_else(NextKey::generate, Ok)?;
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
            Ok(issued) => {
                let anchors_der = issued.trust_anchor_der.clone();
                self.accept(Fresh { held: next_key.certified(issued)?, anchors_der })
            }
            Err(error) => {
                // The same request finds an answer that was lost, or that a damaged record held up.
                let may_repeat = error.is_transient() || error.reason() == RECORD_UNREADABLE;
                self.state.next_key = may_repeat.then_some(next_key);
                Err(error)
            }
        }
    }

    /// A connection of its own for each thing to do: hours lie in between.
    pub(super) async fn connect(&self, held: &Held) -> Result<Channel, ClientError> {
        Ok(self.shared.connector(Some(held))?.connect().await?)
    }

    /// A certificate that is for us: verifiers and files of this identity know it by its name. It may end earlier than
    /// the present one: a tenant may shorten its lifetimes.
    fn accept(&self, fresh: Fresh<Credentials>) -> Result<Fresh<Held>, ClientError> {
        let held = Held::new(fresh.held, &self.shared.settings.oid_arc)?;
        if held.spiffe_id != self.shared.held().spiffe_id {
            return Err(wrong_certificate());
        }
        let present = self.shared.held();
        held.credentials.facts().may_replace(present.credentials.facts(), self.shared.now())?;
        Ok(Fresh { held, anchors_der: fresh.anchors_der })
    }

    /// First on disk, then in use, then confirmed.
    async fn take_over(&mut self, next: Fresh<Held>, lock: Arc<StorageLock>) -> Duration {
        let now = self.shared.now();
        let Fresh { held: next, anchors_der } = next;
        match Bundle::of_anchors(&next.tenant, &anchors_der) {
            Some(bundle) => self.shared.told(bundle),
            None => {
                let known = Bundle::clone(&self.shared.bundle.borrow());
                self.shared.trust(known.with_chain(next.credentials.chain_der()));
            }
        }
        let bundle = Bundle::clone(&self.shared.bundle.borrow());
        let mut notes = first_notes(now, &next, bundle);
        notes.schedule.out_of_band = true;
        if notes.schedule.clock == ClockOffset::default() {
            // The certificate says nothing else.
            notes.schedule.clock = self.state.notes.schedule.clock;
        }
        let next = Arc::new(next);
        let saved = self.save(Arc::clone(&next), notes.clone(), lock).await;
        tracing::info!(serial = %notes.serial_number, spiffe_id = %next.spiffe_id, "renewed");
        let state = &mut self.state;
        (state.notes, state.stored, state.problem) = (notes, saved.is_ok(), None);
        (state.next_key, state.settle_at, state.hopeless) = (None, None, false);
        state.came_at = Some(Instant::now());
        state.renewals = state.renewals.saturating_add(1);
        self.shared.adopt(next);
        self.calm();
        if let Err(error) = saved {
            self.trouble("store", &error.into());
        }
        AT_ONCE
    }

    /// Who was in a hurry meanwhile has got the next certificate.
    fn calm(&self) {
        let _ = self.shared.hurry.notified().now_or_never();
    }

    /// On disk; and the enrollment that it may have come by is over. The lock lasts as long as the work, even if we do
    /// not.
    pub(super) async fn save(
        &self,
        held: Arc<Held>,
        notes: Notes,
        lock: Arc<StorageLock>,
    ) -> Result<(), CredentialsError> {
        let storage = Arc::clone(&self.shared.settings.storage);
        blocking(move || {
            let saved = storage.save(&held.credentials, &notes).and_then(|()| storage.forget_pending());
            drop(lock);
            saved
        })
        .await
    }

    /// `lock` is not held: the notes are stored under it.
    pub(super) async fn failed(&mut self, action: &'static str, error: &ClientError) -> Duration {
        self.trouble(action, error);
        let now = self.shared.now();
        let mut schedule = self.state.notes.schedule.clone();
        let kind = if schedule.needs_enrollment(now) { passing(error) } else { failure(error, self.age()) };
        self.state.hopeless |= is_for_good(error);
        schedule.failed(now, kind, random());
        self.renote(schedule).await;
        AT_ONCE
    }

    /// Nothing but a new enrollment helps, as far as we know: what an operator can take back (a grace that is over, a
    /// tenant that was unknown) is asked for once more before a proof is used.
    pub(super) async fn enroll_again(&mut self) -> Duration {
        let lock = match self.turn().await {
            Ok(Some(lock)) => lock,
            Ok(None) => return AT_ONCE,
            Err(error) => return self.failed("enroll", &error).await,
        };
        let enrollment = self.shared.settings.enrollment.clone().filter(|enrollment| enrollment.proof.repeats());
        if !self.state.hopeless {
            let expired = self.state.is_over(&self.shared.held(), self.shared.now());
            match self.next_certificate(expired).await {
                Ok(next) => return self.take_over(next, lock).await,
                Err(error) if enrollment.is_none() => {
                    drop(lock);
                    return self.failed("renew", &error).await;
                }
                Err(error) => {
                    self.state.hopeless = is_for_good(&error);
                    self.trouble("renew", &error);
                }
            }
        }
        let Some(enrollment) = enrollment else {
            return Duration::from_millis(LONGEST_SLEEP.millis().unsigned_abs());
        };
        match self.enrolled(&enrollment).await {
            Ok(next) => self.take_over(next, lock).await,
            Err(error) => {
                drop(lock);
                self.failed("enroll", &error).await
            }
        }
    }

    async fn enrolled(&mut self, enrollment: &Enrollment) -> Result<Fresh<Held>, ClientError> {
        self.state.next_key = None;
        let fresh = enrolling::enroll(&self.shared.settings, enrollment, ONCE).await?;
        match self.accept(fresh) {
            Err(error) => {
                // The same request would bring the same certificate.
                enrolling::forget(&self.shared.settings.storage).await?;
                Err(error)
            }
            accepted => accepted,
        }
    }

    /// The lock, and with it the certainty that nobody has a newer certificate: asking for the successor of one that
    /// has been renewed already would look like a copied key. `None`: a newer one was found and is in use now, e.g.
    /// another process of this folder renewed it, or somebody enrolled by hand.
    pub(super) async fn turn(&mut self) -> Result<Option<Arc<StorageLock>>, ClientError> {
        let lock = enrolling::lock(&self.shared.settings.storage).await?;
        Ok((!self.taken_from_storage().await).then_some(lock))
    }

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
        self.state =
            State { renewals, ..State::new(&self.shared.settings, &found, Origin::Kept { notes, stored: true }) };
        self.shared.adopt(Arc::new(found));
        self.calm();
        true
    }
}
