//! The life of all CAs of an environment, as the plan has it.

use std::collections::BTreeMap;

use signet_core::{
    Error, TenantId, Time,
    authorities::{Ca, CaKind, plan_rotation},
};

use crate::{
    App, Chore, RotationAction,
    authorities::{self, longest_leaf},
    reads,
    task::{GoOn, TaskReport},
};

/// Takes every CA a step further whose time has come. Any number of processes may do this at once.
pub async fn rotate_due_cas(app: &App, chore: &Chore, go_on: GoOn<'_>) -> Result<TaskReport, Error> {
    let mut groups: BTreeMap<(u8, TenantId), (CaKind, Vec<Ca>)> = BTreeMap::new();
    let (cas, unreadable) = reads::all_cas(app, chore.keeper, chore.now).await?;
    let mut report = TaskReport::default();
    report.cannot_read(unreadable);
    for ca in cas {
        let group = groups.entry((rank(ca.kind), ca.tenant.clone()));
        group.or_insert_with(|| (ca.kind, Vec::new())).1.push(ca);
    }
    for ((_, tenant), (kind, cas)) in groups {
        // The listing may lag; the rotation itself reads the table.
        if plan_rotation(&cas, longest_leaf(kind).millis(), chore.now).is_empty() {
            continue;
        }
        let Some(now) = go_on() else {
            report.unfinished = true;
            break;
        };
        let scope = chore.keeper.tenant(&tenant);
        match authorities::rotate_ca(app, &chore.at(now), &scope, kind, RotationAction::Due).await {
            Ok(rotated) => report.done.extend(rotated.steps),
            Err(error) => report.failed.push((format!("{kind:?} of {tenant}"), error)),
        }
    }
    if let Err(error) = report_unnamed_keys(app, chore.now).await {
        report.failed.push(("the search for keys without an alias".into(), error));
    }
    Ok(report)
}

/// A key is made and named in two steps; what was lost between them costs money until somebody deletes it.
async fn report_unnamed_keys(app: &App, now: Time) -> Result<(), Error> {
    for key in app.keys.unnamed(now).await? {
        tracing::warn!(%key, "unused KMS key without an alias: delete it");
    }
    Ok(())
}

/// Has the keys that were made for CAs get the policy that such keys get now, where keys have one.
pub async fn apply_key_policies(app: &App, go_on: GoOn<'_>) -> Result<TaskReport, Error> {
    let (mut report, mut changed, mut from) = (TaskReport::default(), 0_usize, None);
    let failed = |(key, cause): (String, String)| (key, Error::Misconfigured { what: "a key's policy", cause });
    loop {
        let applied = app.keys.apply_policies(from.as_deref()).await?;
        changed = changed.saturating_add(applied.changed);
        report.failed.extend(applied.failed.into_iter().map(failed));
        report.unfinished = applied.unfinished;
        from = applied.next;
        if from.is_none() || go_on().is_none() {
            break;
        }
    }
    report.unfinished |= from.is_some();
    report.done = (changed > 0).then(|| format!("{changed} policies set")).into_iter().collect();
    Ok(report)
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
