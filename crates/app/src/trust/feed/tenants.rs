//! Tenants as a node reads them: all at start, and each again when the feed says that it changed.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, future::join_all, stream};
use signet_core::{
    Error, Lifetime, TenantId, Time, Uptime,
    store::{Store, StoreError},
    trust::{KnownModel, Trust},
};

use crate::{
    tenant_records::{Part, SEGMENTS, TenantRecords, read_tenant},
    trust::feed::gaps::{GIVE_UP_AFTER_MILLIS, REST_MILLIS, age},
};

/// How often a tenant whose record cannot be read is read again: mending it by hand announces nothing.
const REREAD_EVERY: Lifetime = Lifetime::seconds(10);
/// How long after the load the table is read again, part by part, in milliseconds: what changed just before may be seen
/// late.
const LOOK_AGAIN_AFTER_MILLIS: [u64; 2] = [1_000, 60_000];
/// As many tenants as a node that loads reads one by one until their changes are over; more wait until it reads all
/// again.
const FEW: usize = 100;
/// How many tenants are read at once.
const CONCURRENT_READS: usize = 16;

/// What a node must read, or read again.
#[derive(Debug, Default)]
pub(super) struct Tenants {
    /// Those that changed. For as long as the change may be under way, a read may still show them as they were.
    changed: BTreeMap<TenantId, Changed>,
    /// Those whose record, or a CA's, cannot be read; what needs it is refused until it can.
    unreadable: BTreeSet<TenantId>,
    reread_at: Option<Time>,
    /// How far the table was read, by a node that loads.
    load: Option<Vec<Part>>,
    again: Option<Again>,
}

#[derive(Clone, Copy, Debug)]
struct Changed {
    /// When the change was seen.
    since: Uptime,
    /// `None`: it must be read before the node may say that it has heard.
    read_at: Option<Uptime>,
}

/// What is read again after a load: next this part, for the `round`-th time.
#[derive(Clone, Copy, Debug)]
struct Again {
    part: u32,
    round: usize,
    loaded_at: Uptime,
}

impl Tenants {
    /// These changed, as the feed says.
    pub(super) fn changed(&mut self, tenants: BTreeSet<TenantId>, seen_at: Uptime) {
        self.changed.extend(tenants.into_iter().map(|id| (id, Changed { since: seen_at, read_at: None })));
    }

    /// All must be read again.
    pub(super) fn start_over(&mut self) {
        (self.load, self.again) = (None, None);
    }

    /// Reads all tenants. After an error it goes on where it was: what changes meanwhile is in the feed.
    pub(super) async fn load(&mut self, store: &dyn Store, trust: &Trust, now: Time) -> Result<(), Error> {
        if self.load.is_none() && self.changed.len() > FEW {
            self.changed.clear();
        }
        let parts = self.load.get_or_insert_with(|| (0..SEGMENTS).map(Part::new).collect());
        let reads = join_all(parts.iter_mut().map(|part| part.read_on(store, now))).await;
        let found: Vec<_> = parts.iter_mut().filter_map(Part::take_whole).flatten().collect();
        for (id, found) in found {
            self.know(trust, &id, found);
        }
        reads.into_iter().collect::<Result<(), StoreError>>()?;
        self.again = Some(Again { part: 0, round: 0, loaded_at: trust.uptime() });
        Ok(())
    }

    /// Reads what changed, and now and then what may have been seen too early or cannot be read. `asked_at`: when the
    /// poll began.
    pub(super) async fn catch_up(
        &mut self,
        store: &dyn Store,
        trust: &Trust,
        asked_at: Uptime,
        now: Time,
    ) -> Result<(), Error> {
        self.look_again(store, trust, asked_at, now).await?;
        let mut due = self.due(asked_at);
        if self.reread_at.is_none_or(|at| now >= at) {
            due.extend(self.unreadable.iter().cloned());
            self.reread_at = Some(now.plus(REREAD_EVERY));
        }
        let reads = due.into_iter().map(|id| async move {
            let found = read_tenant(store, &id, now).await;
            (id, found)
        });
        let mut reads = stream::iter(reads).buffer_unordered(CONCURRENT_READS);
        while let Some((id, found)) = reads.next().await {
            self.know(trust, &id, found?);
            self.is_read(&id, asked_at);
        }
        Ok(())
    }

    /// Reads a part of the table once more, if it is time.
    async fn look_again(&mut self, store: &dyn Store, trust: &Trust, asked_at: Uptime, now: Time) -> Result<(), Error> {
        let Some(again) = self.again else { return Ok(()) };
        let after = LOOK_AGAIN_AFTER_MILLIS.get(again.round);
        if after.is_some_and(|after| age(again.loaded_at, asked_at) < *after) {
            return Ok(());
        }
        let mut part = Part::new(again.part);
        part.read_on(store, now).await?;
        for (id, found) in part.found {
            self.know(trust, &id, found);
        }
        let next = match again.part.saturating_add(1) {
            SEGMENTS => Again { part: 0, round: again.round.saturating_add(1), ..again },
            part => Again { part, ..again },
        };
        self.again = Some(next).filter(|next| next.round < LOOK_AGAIN_AFTER_MILLIS.len());
        Ok(())
    }

    /// All that were not read since they changed, and the few of the others that have waited longest.
    fn due(&self, now: Uptime) -> BTreeSet<TenantId> {
        let waits = |changed: &Changed| match changed.read_at {
            None => Some(u64::MAX),
            Some(read_at) => {
                let (waited, seen) = (age(read_at, now), age(changed.since, now));
                (waited >= REST_MILLIS.max(seen / 4)).then_some(waited)
            }
        };
        let mut due: Vec<_> = self.changed.iter().filter_map(|(id, changed)| Some((waits(changed)?, id))).collect();
        due.sort_unstable_by(|a, b| b.cmp(a));
        let must = due.iter().take_while(|(waited, _)| *waited == u64::MAX).count();
        due.into_iter().take(must.saturating_add(FEW)).map(|(_, id)| id.clone()).collect()
    }

    /// The tenant was read after `asked_at`.
    fn is_read(&mut self, id: &TenantId, asked_at: Uptime) {
        if let Some(changed) = self.changed.get_mut(id) {
            changed.read_at = Some(asked_at);
            if age(changed.since, asked_at) >= GIVE_UP_AFTER_MILLIS {
                self.changed.remove(id);
            }
        }
    }

    /// Takes over what is known of a tenant.
    fn know(&mut self, trust: &Trust, id: &TenantId, found: TenantRecords) {
        let lacks_model = matches!(found.model, Some(KnownModel::Unreadable));
        let lacks_token_keys = found.lacks_token_keys;
        if found.tenant.is_some() {
            trust.set_model(id, found.model.clone());
            trust.set_token_keys(id, found.token_keys.clone());
        }
        match found {
            TenantRecords { tenant: Some(tenant), cas, lacks_cas, .. } => {
                // In this order, so that no moment takes what cannot be read for what is not there.
                if lacks_cas {
                    trust.set_lacks_cas(id, true);
                    trust.set_tenant(&tenant, &cas);
                    if self.unreadable.insert(id.clone()) {
                        tracing::error!(tenant.id = %id, "a CA of the tenant cannot be read; refusing what it signed");
                    }
                    return;
                }
                trust.set_tenant(&tenant, &cas);
                trust.set_lacks_cas(id, false);
                if lacks_model {
                    if self.unreadable.insert(id.clone()) {
                        tracing::error!(tenant.id = %id, "the tenant's authorization model cannot be read; it grants nothing");
                    }
                    return;
                }
                if lacks_token_keys {
                    if self.unreadable.insert(id.clone()) {
                        tracing::error!(tenant.id = %id, "keys for the tenant's tokens cannot be read; it gets none of these");
                    }
                    return;
                }
                if self.unreadable.remove(id) {
                    tracing::info!(tenant.id = %id, "the tenant and its CAs can be read again");
                }
            }
            TenantRecords { is_unreadable: true, .. } => {
                trust.deny_unreadable(id);
                if self.unreadable.insert(id.clone()) {
                    tracing::error!(tenant.id = %id, "the tenant cannot be read; refusing all its principals");
                }
            }
            _ => tracing::warn!(tenant.id = %id, "there is no record of the tenant"),
        }
    }
}
