//! Refusals in the audit log: counted all, written up to a limit per tenant and reason, and never waited for.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use signet_app::{App, AuditEntry, Call, audit::events};
use signet_core::{Actor, TenantId, authorization::Denial};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio_util::sync::CancellationToken;

use crate::{metrics::Metrics, waiting::Waiting};

/// Events that wait to be written; more are only counted.
const WAITING: usize = 1024;
/// Of these, one tenant's, so that its noise does not crowd out what others must know.
const WAITING_OF_TENANT: usize = WAITING / 8;

/// A refusal that shall be written.
struct Event {
    call: Call,
    tenant: TenantId,
    entry: AuditEntry,
}

/// What the limit is counted by: with the reason, so that noise of one kind does not hide another.
type Kind = (TenantId, &'static str);

/// Takes refusals from the paths that must not wait.
pub(crate) struct Refusals {
    queue: mpsc::Sender<Event>,
    rate: DefaultKeyedRateLimiter<Kind>,
    /// Per kind, how many were only counted since the last that was written.
    unwritten: Mutex<HashMap<Kind, u64>>,
    waiting: Arc<Waiting>,
    metrics: Arc<Metrics>,
}

/// Writes what [`Refusals`] took.
pub(crate) struct Writer {
    queue: mpsc::Receiver<Event>,
    waiting: Arc<Waiting>,
    metrics: Arc<Metrics>,
}

impl Refusals {
    pub(crate) fn new(per_minute: u32, metrics: Arc<Metrics>) -> (Self, Writer) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let quota = Quota::per_minute(NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN));
        let (rate, unwritten, waiting) =
            (RateLimiter::keyed(quota), Mutex::default(), Arc::new(Waiting::new(WAITING_OF_TENANT)));
        let writer = Writer { queue: receiver, waiting: Arc::clone(&waiting), metrics: Arc::clone(&metrics) };
        (Self { queue: sender, rate, unwritten, waiting, metrics }, writer)
    }

    /// Counts a refusal and, within the limit, has it written to `tenant`'s log.
    pub(crate) fn record(
        &self,
        call: Call,
        tenant: TenantId,
        reason: &'static str,
        details: Vec<(&'static str, String)>,
    ) {
        self.metrics.count("signet_refusals_total", "reason", reason);
        let kind = (tenant.clone(), reason);
        if self.rate.check_key(&kind).is_err() {
            return self.skip(kind);
        }
        if !self.waiting.enter(&tenant) {
            return self.skip(kind);
        }
        let mut entry = AuditEntry::refused(&call, reason);
        for (name, value) in details {
            entry = entry.detail(name, value);
        }
        if let Some(count) = self.unwritten().remove(&kind) {
            entry = entry.detail("unwritten_refusals_before", count);
        }
        if let Err(TrySendError::Full(event) | TrySendError::Closed(event)) =
            self.queue.try_send(Event { call, tenant, entry })
        {
            self.waiting.leave(&event.tenant);
            self.skip(kind);
        }
    }

    /// An operation behind the gate denied what its caller asked for.
    pub(crate) fn denied(&self, call: &Call, denial: Denial) {
        let tenant = match &call.actor {
            Actor::Principal { tenant, .. } => tenant.clone(),
            Actor::Anonymous | Actor::Process { .. } => TenantId::system(),
        };
        self.record(call.clone(), tenant, denial.reason(), Vec::new());
    }

    fn skip(&self, kind: Kind) {
        self.metrics.count("signet_refusals_unwritten_total", "cause", "limit");
        let mut unwritten = self.unwritten();
        let count = unwritten.entry(kind).or_insert(0);
        *count = count.saturating_add(1);
    }

    /// Forgets kinds whose buckets are full again; call it on a timer.
    pub(crate) fn forget_idle(&self) {
        self.rate.retain_recent();
    }

    fn unwritten(&self) -> std::sync::MutexGuard<'_, HashMap<Kind, u64>> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    /// Writes until `stop`, and then what still waits.
    pub(crate) async fn run(mut self, app: Arc<App>, stop: CancellationToken) {
        loop {
            let event = tokio::select! {
                biased;
                event = self.queue.recv() => event,
                () = stop.cancelled() => None,
            };
            let Some(Event { call, tenant, entry }) = event else { return };
            self.waiting.leave(&tenant);
            if let Err(error) = events::refuse(&app, &call, &tenant, &entry).await {
                self.metrics.count("signet_refusals_unwritten_total", "cause", "error");
                tracing::warn!(?error, tenant.id = %tenant, "a refusal was not written to the audit log");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use signet_core::{Time, authorization::Policy};

    use super::*;
    use crate::authorization::Table;

    #[test]
    fn a_tenants_noise_leaves_room_for_the_others_events() {
        let table = Table::from_descriptors(signet_proto::DESCRIPTORS, &Policy::new()).unwrap();
        let (refusals, mut writer) = Refusals::new(10_000, Arc::new(Metrics::new(&table).unwrap()));
        let record = |tenant: &str| {
            let call = Call::process("test", Time::from_unix_seconds(1));
            refusals.record(call, tenant.parse().unwrap(), "PERMISSION_MISSING", Vec::new());
        };
        (0..5000).for_each(|_| record("acme"));
        record("globex");
        let mut waiting = Vec::new();
        while let Ok(event) = writer.queue.try_recv() {
            writer.waiting.leave(&event.tenant);
            waiting.push(event.tenant.to_string());
        }
        assert_eq!((waiting.len(), waiting.last().map(String::as_str)), (WAITING_OF_TENANT + 1, Some("globex")));
        assert!(writer.waiting.is_empty());
        record("acme");
        assert!(writer.queue.try_recv().is_ok(), "there is room again");
    }
}
