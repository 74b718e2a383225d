//! The life of all CAs of an environment, as the plan has it.

use std::collections::BTreeMap;

use signet_core::{
    Error, StoreError, TenantId, TenantScope, Time,
    ca::{Ca, CaKind, plan_rotation},
    scope::EnvironmentScope,
    store::{Index, LISTING_SHARDS, Query, Table, Unreadable},
};

use crate::{App, Call, RotationAction, cas::longest_leaf, paging};

/// Whether a long task may begin its next piece, and at what time that begins: asked between pieces, so that each piece's
/// audit event says when it was done and not when the task began. `None`: no more in this run.
pub type GoOn<'a> = &'a (dyn Fn() -> Option<Time> + Send + Sync);

/// What a task over many tenants did. What failed for one did not stop the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskReport {
    /// What was done, in words.
    pub done: Vec<String>,
    /// What it was about, and why it failed.
    pub failed: Vec<(String, Error)>,
    /// That time was over before all of it was looked at; the next run goes on.
    pub unfinished: bool,
}

impl TaskReport {
    /// Names the records that the task had to go on without.
    pub(crate) fn cannot_read(&mut self, unreadable: impl IntoIterator<Item = Unreadable>) {
        self.failed.extend(unreadable.into_iter().map(|record| {
            let key = record.key.to_string();
            (key, Error::from(StoreError::from(record)))
        }));
    }
}

impl App {
    /// Takes every CA a step further whose time has come. Any number of processes may do this at once.
    pub async fn rotate_due_cas(&self, call: &Call, go_on: GoOn<'_>) -> Result<TaskReport, Error> {
        let mut groups: BTreeMap<(u8, TenantId), (CaKind, Vec<Ca>)> = BTreeMap::new();
        let (cas, unreadable) = self.all_cas(call.now).await?;
        let mut report = TaskReport::default();
        report.cannot_read(unreadable);
        for ca in cas {
            let group = groups.entry((rank(ca.kind), ca.tenant.clone()));
            group.or_insert_with(|| (ca.kind, Vec::new())).1.push(ca);
        }
        for ((_, tenant), (kind, cas)) in groups {
            // The listing may lag; the rotation itself reads the table.
            if plan_rotation(&cas, longest_leaf(kind).millis(), call.now).is_empty() {
                continue;
            }
            let Some(now) = go_on() else {
                report.unfinished = true;
                break;
            };
            let scope = TenantScope::housekeeping(tenant.clone());
            match self.rotate_ca(&call.at(now), &scope, kind, RotationAction::Due).await {
                Ok(rotated) => report.done.extend(rotated.steps),
                Err(error) => report.failed.push((format!("{kind:?} of {tenant}"), error)),
            }
        }
        if let Err(error) = self.report_unnamed_keys(call.now).await {
            report.failed.push(("the look for keys without a name".into(), error));
        }
        Ok(report)
    }

    /// A key is made and named in two steps; what was lost between them costs money until somebody deletes it.
    async fn report_unnamed_keys(&self, now: Time) -> Result<(), Error> {
        for key in self.keys.unnamed(now).await? {
            tracing::warn!(%key, "a key was made and never named: delete it");
        }
        Ok(())
    }

    /// The CAs of all tenants, from the index, and those that cannot be read.
    pub(crate) async fn all_cas(&self, now: Time) -> Result<(Vec<Ca>, Vec<Unreadable>), Error> {
        let query = |shard| Query::index(Table::Tenants, Index::Listing, Ca::listing(shard));
        let read = |query| async move { EnvironmentScope::housekeeping().page::<Ca>(&*self.store, &query, now).await };
        paging::all(LISTING_SHARDS, query, read).await
    }
}

/// The root first: what it signs must not outlive it.
fn rank(kind: CaKind) -> u8 {
    match kind {
        CaKind::Root => 0,
        CaKind::Server => 1,
        CaKind::Shared => 2,
        CaKind::Tenant => 3,
    }
}
