//! One process of a node: the real operations, the real feed reader, and the tasks that run beside them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64},
    },
    time::Duration,
};

use signet_app::{App, Chore, Follower, Settings, audit::sealing, authorities::lifecycle, certificates::sweep};
use signet_core::{
    Error, Identity, Uptime,
    trust::{DEFAULT_STALENESS_LIMIT, Trust, WhenStale},
};
use signet_testkit::entropy::SeededEntropy;
use signet_x509::Environment;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    link::Link,
    site::{Keys, Site, Times},
};

pub(crate) struct Node {
    pub(crate) app: Arc<App>,
    pub(crate) link: Arc<Link>,
    pub(crate) trust: Arc<Trust>,
}

impl Node {
    /// Starts process number `process` of the node `number`.
    pub(crate) fn start(site: &Arc<Site>, number: usize, process: u64) -> Arc<Self> {
        let link = Arc::new(Link {
            node: number,
            site: Arc::clone(site),
            is_later_release: number == 0,
            is_cut: AtomicBool::new(false),
            ahead: AtomicI64::new(0),
            dead: CancellationToken::new(),
        });
        let environment = Environment::with_default_arc("test.example.com".parse().unwrap()).unwrap();
        let entropy = Arc::new(SeededEntropy::new(site.draw(u64::MAX) ^ process));
        let keys = Arc::new(Keys(Arc::clone(site)));
        let app = Arc::new(App::new(Arc::<Link>::clone(&link), keys, entropy, environment, Settings::default()));
        let clock = Arc::clone(site);
        let uptime = move || Uptime::from_millis(clock.millis() + 86_400_000);
        let trust = Arc::new(Trust::new(DEFAULT_STALENESS_LIMIT, WhenStale::Refuse, uptime));
        let node = Arc::new(Self { app, link, trust });
        for task in [Task::Follow, Task::Seal, Task::Sweep, Task::RotateCas] {
            tokio::spawn(Arc::clone(&node).run(task));
        }
        node
    }

    async fn run(self: Arc<Self>, task: Task) {
        let dead = self.link.dead.clone();
        let work = async {
            match task {
                Task::Follow => self.follow().await,
                Task::Seal => self.seal().await,
                Task::Sweep => self.sweep().await,
                Task::RotateCas => self.rotate_cas().await,
            }
        };
        tokio::select! {
            biased;
            () = dead.cancelled() => {}
            () = work => {}
        }
    }

    async fn follow(&self) {
        let link = Arc::clone(&self.link);
        let follower = Follower::new(Arc::clone(&self.app), Arc::clone(&self.trust));
        follower.run(move || link.now(), self.link.dead.clone()).await;
    }

    async fn seal(&self) {
        let key = self.link.site.make_key("audit");
        loop {
            sleep(Duration::from_secs(20)).await;
            if self.link.site.times == Times::LongLeaps {
                continue;
            }
            let call = Chore::new("sealer", self.link.now());
            if let Err(error) = sealing::seal_beside_others(&self.app, &call, &key, self.trust.uptime(), true).await
                && error.reason() == "AUDIT_LOG_CUT_OFF"
            {
                self.link.site.accuse(format!("a log that is whole is called cut off: {error}"));
            }
        }
    }

    async fn sweep(&self) {
        loop {
            sleep(Duration::from_secs(45)).await;
            let go_on = || Some(self.link.now());
            // What fails is tried again by the next sweep.
            let _ = sweep::sweep_reservations(&self.app, &Chore::new("sweeper", self.link.now()), &go_on).await;
        }
    }

    async fn rotate_cas(&self) {
        loop {
            sleep(Duration::from_secs(30)).await;
            let go_on = || Some(self.link.now());
            let done = lifecycle::rotate_due_cas(&self.app, &Chore::new("rotate-cas", self.link.now()), &go_on).await;
            let failed = done.map_or_else(|_| Vec::new(), |report| report.failed);
            let ours = |error: &Error| matches!(error, Error::Internal { .. } | Error::Misconfigured { .. });
            for (what, error) in failed.into_iter().filter(|(_, error)| ours(error)) {
                self.link.site.accuse(format!("the life of CAs: {what}: {error:?}"));
            }
        }
    }

    /// Ends the process without a word: its futures are dropped or never go on.
    pub(crate) fn kill(&self) {
        self.link.dead.cancel();
    }

    /// Whether it has read the feed and the tenants.
    pub(crate) fn is_ready(&self) -> bool {
        self.heard_ago().is_some()
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.link.dead.is_cancelled()
    }

    /// How long ago, in true milliseconds, the last poll that succeeded began.
    pub(crate) fn heard_ago(&self) -> Option<u64> {
        self.trust.staleness_millis()
    }

    /// Invariants 4 and 14: whom this node admits, against what is true.
    pub(crate) fn check(&self, leaves: &[Identity]) {
        let (site, now) = (&self.link.site, self.link.now());
        let too_long = u64::from(DEFAULT_STALENESS_LIMIT.as_seconds()) * 1000 + 1000;
        for leaf in leaves {
            let admitted = self.trust.admit(leaf, now);
            let heard_at = self.heard_ago().map(|ago| site.millis() - ago);
            if admitted.is_ok() && self.heard_ago().is_none_or(|ago| ago > too_long) {
                site.accuse(format!("invariant 4: node {} admits {} and is stale", self.link.node, leaf.serial));
            }
            let wrong = {
                let oracle = site.oracle.lock().unwrap();
                let Some((roles, since)) = oracle.verdict(leaf) else { continue };
                let knows = heard_at.is_some_and(|at| at > since) && !self.trust.is_stale();
                let valid = leaf.not_before <= now && now < leaf.not_after;
                let expected = roles.filter(|_| valid);
                (knows && admitted.as_deref().ok() != expected).then(|| format!("{admitted:?} instead of {expected:?}"))
            };
            if let Some(wrong) = wrong {
                let (node, id) = (self.link.node, &leaf.principal);
                site.accuse(format!("invariant 4: node {node} says {wrong} to {id} with {}", leaf.serial));
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Task {
    Follow,
    Seal,
    Sweep,
    RotateCas,
}
