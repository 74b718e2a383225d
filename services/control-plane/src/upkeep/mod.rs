//! What a node does on its own: seals, sweeps, follows its certificate, tells its health.

mod alone;
pub(crate) mod certificate;
mod clock;
mod health;
pub(crate) mod lists;
pub(crate) mod ocsp;
mod steps;
pub(crate) mod suspensions;
pub(crate) mod tokens;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use clock::SharedClockWatch;
use metrics::{counter, gauge};
use signet_app::{App, Chore, audit::sealing, certificates::sweep, messages, purge::PURGE, restore};
use signet_core::{ClockWatch, Error, KeyRef, Time};
use signet_x509::server_anchors;
use steps::told;
use tokio::time::{MissedTickBehavior, interval_at};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{endpoint::Fault, node::Node};

pub(crate) use health::report;

/// How often a closed minute is looked for; every node does, one wins.
const SEAL_EVERY: Duration = Duration::from_secs(15);
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// How late an open stream may learn that the grant that it rests on has ended.
const GRANTS_EVERY: Duration = Duration::from_secs(1);
/// How late a key may follow its predecessor: a small part of the time for which it is published before.
const TOKEN_KEYS_EVERY: Duration = Duration::from_secs(60);
const TIDY_EVERY: Duration = Duration::from_secs(5);
const ROOTS_EVERY: Duration = Duration::from_secs(60);
/// How often a node looks whether its store is being restored.
const RESTORATION_EVERY: Duration = Duration::from_secs(15);
/// How often a client's connection is tried.
const PROBE_EVERY: Duration = Duration::from_secs(60);
/// Where no rotate Lambda does it.
const ALONE_EVERY: Duration = Duration::from_secs(600);
/// How often the log says how the node is.
const PULSE_EVERY: Duration = Duration::from_secs(30);

/// Starts the periodic work. It ends at `stop`.
/// On a node that stands alone, also what the rotate Lambda does elsewhere.
pub(crate) fn start(node: &Arc<Node>, audit_key: KeyRef, tasks: &TaskTracker, stop: &CancellationToken) {
    let alone = node.alone;
    let clock = Arc::new(SharedClockWatch::new(node));
    let watched = Arc::clone(&clock);
    let seal = move |node: Arc<Node>| {
        let (key, clock) = (audit_key.clone(), Arc::clone(&watched));
        async move { seal(&node, &key, alone, &clock).await }
    };
    tasks.spawn(repeat("seal", SEAL_EVERY, Arc::clone(node), stop.clone(), seal));
    tasks.spawn(repeat("sweep", SWEEP_EVERY, Arc::clone(node), stop.clone(), sweep));
    tasks.spawn(repeat("roots", ROOTS_EVERY, Arc::clone(node), stop.clone(), roots));
    tasks.spawn(repeat("restoration", RESTORATION_EVERY, Arc::clone(node), stop.clone(), restoration));
    tasks.spawn(repeat("grants", GRANTS_EVERY, Arc::clone(node), stop.clone(), end_grants));
    tasks.spawn(repeat("token-keys", TOKEN_KEYS_EVERY, Arc::clone(node), stop.clone(), tokens::rotate));
    tasks.spawn(repeat("tidy", TIDY_EVERY, Arc::clone(node), stop.clone(), tidy));
    let ahead = |node: Arc<Node>| async move { sealing::require_not_ahead(&node.app, node.now()) };
    tasks.spawn(repeat("sealed-ahead", ROOTS_EVERY, Arc::clone(node), stop.clone(), ahead));
    tasks.spawn(repeat("pulse", PULSE_EVERY, Arc::clone(node), stop.clone(), pulse));
    if node.endpoint.is_known() {
        tasks.spawn(repeat("probe", PROBE_EVERY, Arc::clone(node), stop.clone(), probe));
    }
    if alone {
        let watched = Arc::clone(&clock);
        let rotate = move |node| alone::rotate_cas(node, Arc::clone(&watched));
        tasks.spawn(repeat("rotate-cas", ALONE_EVERY, Arc::clone(node), stop.clone(), rotate));
        // At once, too: who was off for long has lists that are over, and whose last revocation may be on none.
        let (renewing, stopped, stopped_again) = (Arc::clone(node), stop.clone(), stop.clone());
        tasks.spawn(async move {
            let first = stopped.run_until_cancelled_owned(alone::renew_lists(Arc::clone(&renewing))).await;
            if let Some(Err(error)) = first {
                tracing::warn!(?error, "revocation lists cannot be renewed yet");
            }
            repeat("revocation-lists", ALONE_EVERY, renewing, stopped_again, alone::renew_lists).await;
        });
        let watched = Arc::clone(&clock);
        let purge = move |node| alone::purge_tenants(node, Arc::clone(&watched));
        tasks.spawn(repeat(PURGE, ALONE_EVERY, Arc::clone(node), stop.clone(), purge));
        let warn = move |node| alone::warn_expiries(node, Arc::clone(&clock));
        tasks.spawn(repeat("warn-expiry", ALONE_EVERY, Arc::clone(node), stop.clone(), warn));
        tasks.spawn(repeat("count-quotas", ALONE_EVERY, Arc::clone(node), stop.clone(), alone::recount_quotas));
    }
}

/// Runs `work` again and again; a failure is logged and counted, and the next turn tries anew.
async fn repeat<F>(
    task: &'static str,
    every: Duration,
    node: Arc<Node>,
    stop: CancellationToken,
    work: impl Fn(Arc<Node>) -> F,
) where
    F: Future<Output = Result<(), Error>>,
{
    // An alert wants the first failure to be a rise.
    node.metrics.with(|| counter!("signet_task_failures_total", "task" => task).increment(0));
    let mut ticks = interval_at(tokio::time::Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let result = tokio::select! {
            () = stop.cancelled() => return,
            result = work(Arc::clone(&node)) => result,
        };
        if let Err(error) = result {
            signet_app::tell_operator(task, &error);
            node.metrics.count("signet_task_failures_total", "task", task);
            tracing::warn!(task, ?error, "periodic work failed; will retry");
        }
    }
}

async fn seal(node: &Node, key: &KeyRef, alone: bool, clock: &SharedClockWatch) -> Result<(), Error> {
    let is_unset = clock.look(node, ClockWatch::is_unset);
    let call = Chore::new("sealer", node.now());
    let sealed = if alone && is_unset {
        // Nobody's clock can be behind this one: there is nothing to wait for after a rest.
        sealing::seal_due(&node.app, &call, key).await?
    } else if alone {
        sealing::seal_near(&node.app, &call, key).await?
    } else {
        sealing::seal_beside_others(&node.app, &call, key, node.trust.uptime(), is_unset).await?
    };
    node.metrics.with(|| counter!("signet_sealed_minutes_total").increment(sealed.into()));
    Ok(())
}

async fn sweep(node: Arc<Node>) -> Result<(), Error> {
    messages::forget_messages(&node.app, node.now());
    let report = sweep::sweep_reservations(&node.app, &Chore::new("sweeper", node.now()), &|| Some(node.now())).await?;
    node.metrics.with(|| counter!("signet_reservations_closed_total").increment(report.done.len() as u64));
    told("sweep", report)
}

async fn roots(node: Arc<Node>) -> Result<(), Error> {
    node.bundles.refresh(&node.app, node.now()).await
}

/// What keeps a node from writing is told before somebody needs it to.
async fn restoration(node: Arc<Node>) -> Result<(), Error> {
    let found = restore::under_way(&node.app, node.now()).await;
    // A marker that cannot be read keeps everybody from writing too.
    let unreadable = matches!(&found, Err(Error::Unreadable { .. }));
    node.restoring.store(unreadable || found?.is_some(), Ordering::Release);
    Ok(())
}

/// What a client feels: also while a balancer, a record or a security group that no node knows of is wrong.
async fn probe(node: Arc<Node>) -> Result<(), Error> {
    // Before the first bootstrap nobody is there, and everybody knows.
    if !node.readiness(node.now()).ready {
        node.endpoint.forget();
        return Ok(());
    }
    node.endpoint.probe(&server_anchors(&node.bundles.server_trust_der())).await;
    Ok(())
}

/// Calls look at the time themselves; open streams look again when the epoch moves.
async fn end_grants(node: Arc<Node>) -> Result<(), Error> {
    node.trust.end_grants(node.now());
    Ok(())
}

async fn tidy(node: Arc<Node>) -> Result<(), Error> {
    node.metrics.upkeep();
    node.refusals.forget_idle();
    node.strangers.forget_idle();
    node.shares.forget_idle(node.trust.uptime());
    node.ocsp.forget_idle();
    Ok(())
}

/// One line for those who watch the log and not the metrics: `infra/modules/observability` makes metrics and alarms of
/// it.
async fn pulse(node: Arc<Node>) -> Result<(), Error> {
    let now = node.now();
    let readiness = node.readiness(now);
    let certificate_seconds_left = node.certificate.not_after().map(|expires| expires.millis_since(now) / 1000);
    tracing::info!(
        target: "signet::health",
        ready = readiness.ready,
        stale = readiness.stale,
        staleness_ms = readiness.staleness_ms,
        refused_as_unreadable = node.trust.unreadable_len(),
        connections = node.connections.len(),
        full_refusals = node.full_refusals.swap(0, Ordering::Relaxed),
        unsealed_minutes = sealing::unsealed_minutes(&node.app, now),
        certificate_seconds_left,
        certificate_fault = readiness.server_certificate_fault,
        endpoint_fault = node.endpoint.fault().map(Fault::reason),
        "health"
    );
    Ok(())
}

/// Sets the gauges that are read rather than counted.
pub(crate) fn gauges(node: &Node) {
    let now = node.now();
    let readiness = node.readiness(now);
    node.metrics.with(|| {
        gauge!("signet_ready").set(if readiness.ready { 1.0 } else { 0.0 });
        gauge!("signet_trust_epoch").set(readiness.trust_epoch as f64);
        gauge!("signet_revoked_certificates").set(node.trust.revoked_len() as f64);
        gauge!("signet_unreadable_tenants").set(node.trust.unreadable_len() as f64);
        counter!("signet_unreadable_records_total").absolute(node.app.unreadable_records());
        counter!("signet_feed_missing_total").absolute(node.app.missing_changes());
        counter!("signet_feed_heads_mended_total").absolute(node.app.mended_heads());
        if let Some(minutes) = sealing::unsealed_minutes(&node.app, now) {
            gauge!("signet_unsealed_minutes").set(minutes as f64);
        }
        if let Some(age) = readiness.staleness_ms {
            gauge!("signet_feed_staleness_seconds").set(age as f64 / 1000.0);
        }
        if let Some(expires) = node.certificate.not_after() {
            let left = expires.millis_since(now) as f64 / 1000.0;
            gauge!("signet_server_certificate_expires_in_seconds").set(left);
        }
        let faulty = node.certificate.fault().is_some();
        gauge!("signet_server_certificate_faulty").set(if faulty { 1.0 } else { 0.0 });
        if node.endpoint.is_known() {
            let faulty = node.endpoint.fault().is_some();
            gauge!("signet_endpoint_faulty").set(if faulty { 1.0 } else { 0.0 });
        }
        gauge!("signet_connections_open").set(node.connections.len() as f64);
    });
}

/// Reads what a node needs once before it can be ready.
pub(crate) async fn first_roots(node: &Arc<Node>, app: &App, now: Time) {
    // Without it a warning comes later.
    let _ = restoration(Arc::clone(node)).await;
    if let Err(error) = node.bundles.refresh(app, now).await {
        tracing::warn!(?error, "the roots cannot be read yet; retrying every minute");
    }
}
