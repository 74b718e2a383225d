//! Three nodes, those who call them, and what happens to them.

use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use signet_app::{
    AuditWindow, Bootstrap, Call, CreateTenant, EnvironmentKeys, RotationAction, ServerNames, audit::events, bootstrap,
    principals, tenants,
};
use signet_core::{
    Error, Identity, Lifetime, PrincipalId, TenantId, Time,
    audit::Finding,
    certificates::RevocationReason,
    store::scope::Housekeeper,
    tenants::{Isolation, TenantStatus},
    trust::{Anchor, TenantTrust},
};
use signet_x509::{KeyAndCsr, verify_client};
use tokio::time::{advance, sleep, timeout};

use crate::{
    node::Node,
    request::{Request, scope, token, worker},
    site::{Site, Times},
};

const NODES: usize = 3;
const PRINCIPALS: u64 = 3;
/// How far a node's clock may be off, in milliseconds. With bad clocks two nodes differ by less than what revocations
/// are announced for; with fair ones, an event never comes later than seals look for it.
const BAD_CLOCKS: i64 = 25 * 60_000;
const FAIR_CLOCKS: i64 = 2 * 60_000;
/// Minutes.
const DAY: u64 = 24 * 60;
/// How often a caller tries before it gives up.
const TRIES: u32 = 6;

/// See the module's words.
pub(crate) struct Plane {
    pub(crate) site: Arc<Site>,
    nodes: Mutex<Vec<Arc<Node>>>,
    /// Who the chain check takes the holders of all released leaves for.
    leaves: Mutex<Vec<Identity>>,
    tenants: [TenantId; 2],
}

impl Plane {
    /// A bootstrapped environment with two tenants and some workers.
    pub(crate) async fn new(seed: u64) -> Result<Arc<Self>, Error> {
        let site = Site::new(seed);
        let maker = Node::start(&site, 0, 0);
        let tenants = ["acme", "globex"].map(|id| id.parse().unwrap());
        let (app, call) = (&maker.app, || Call::process("test", site.now()));
        bootstrap::bootstrap(app, &call(), &bootstrap_input()).await?;
        for id in &tenants {
            tenants::create_tenant(app, &call(), &Housekeeper::appoint().environment(), new_tenant(id)).await?;
            for number in 0..PRINCIPALS {
                principals::create_principal(app, &call(), &scope(id), worker(principal(number))).await?;
            }
        }
        maker.kill();
        let nodes = (0..NODES).map(|number| Node::start(&site, number, 1)).collect();
        site.calm.store(false, Ordering::SeqCst);
        Ok(Arc::new(Self { site, nodes: Mutex::new(nodes), leaves: Mutex::default(), tenants }))
    }

    fn skew(&self) -> i64 {
        match self.site.times {
            Times::Fair | Times::LongLeaps => FAIR_CLOCKS,
            Times::BadClocks | Times::BadClocksAndLeaps => BAD_CLOCKS,
        }
    }

    fn node(&self, number: usize) -> Arc<Node> {
        Arc::clone(&self.nodes.lock().unwrap()[number])
    }

    fn any_node(&self) -> Arc<Node> {
        self.node(self.site.draw(NODES as u64) as usize)
    }

    /// One thing happens, and a little time passes.
    pub(crate) async fn step(self: &Arc<Self>, number: u32) {
        let site = &self.site;
        match site.draw(100) {
            0..70 => self.begin(number).await,
            70..76 => self.restart(site.draw(NODES as u64) as usize),
            76..84 => {
                let node = self.any_node();
                let cut = !node.link.is_cut.fetch_xor(true, Ordering::SeqCst);
                site.note(&format!("node {} cut off: {cut}", node.link.node));
            }
            84..92 => {
                let node = self.any_node();
                let ahead = i64::try_from(site.draw(2 * self.skew().unsigned_abs())).unwrap() - self.skew();
                node.link.ahead.store(ahead, Ordering::SeqCst);
                site.note(&format!("node {} clock {ahead} ms ahead", node.link.node));
            }
            92..96 => self.leap().await,
            96 => site.back_up(),
            97 => self.restore(),
            98..100 => self.change_at_once(number),
            _ => {}
        }
        sleep(Duration::from_millis(site.draw(1500))).await;
        self.check();
    }

    /// Time passes at once.
    async fn leap(&self) {
        let site = &self.site;
        let minutes = match site.times {
            Times::BadClocks => return,
            Times::Fair | Times::BadClocksAndLeaps => site.draw(90),
            Times::LongLeaps => {
                // No call lasts for months.
                site.calm.store(true, Ordering::SeqCst);
                sleep(Duration::from_secs(15)).await;
                site.calm.store(false, Ordering::SeqCst);
                [site.draw(22 * 60), site.draw(22 * 60), 121 * DAY, 121 * DAY, 250 * DAY][site.draw(5) as usize]
            }
        };
        site.note(&format!("{minutes} minutes pass"));
        advance(Duration::from_secs(minutes * 60)).await;
    }

    /// As the runbook has it: no process runs while the store is taken back.
    fn restore(self: &Arc<Self>) {
        (0..NODES).for_each(|number| self.node(number).kill());
        if !self.site.restore() {
            self.site.note("nothing to restore");
        }
        (0..NODES).for_each(|number| self.restart(number));
    }

    /// Kill -9 and another process of the same node; the machine's clock stays as it is.
    fn restart(self: &Arc<Self>, number: usize) {
        let old = self.node(number);
        old.kill();
        self.site.note(&format!("node {number} killed"));
        let new = Node::start(&self.site, number, self.site.millis());
        new.link.ahead.store(old.link.ahead.load(Ordering::SeqCst), Ordering::SeqCst);
        self.nodes.lock().unwrap()[number] = new;
    }

    /// Somebody asks for something, and asks again until there is an answer.
    async fn begin(self: &Arc<Self>, number: u32) {
        let site = &self.site;
        let tenant = self.tenants[site.draw(2) as usize].clone();
        let id = principal(site.draw(PRINCIPALS));
        let leaf = {
            let leaves = self.leaves.lock().unwrap();
            let count = leaves.len() as u64;
            // The newest are the likeliest to be of use.
            (count > 0).then(|| leaves[(count - 1 - site.draw(count).min(site.draw(count))) as usize].clone())
        };
        let request = match (site.draw(100), leaf) {
            (0..25, Some(holder)) => Request::Renew { holder, csr_der: csr() },
            (25..32, Some(holder)) => Request::Confirm { holder },
            (32..38, Some(leaf)) => {
                let reasons = [RevocationReason::KeyCompromise, RevocationReason::Superseded];
                Request::Revoke { leaf, reason: reasons[site.draw(2) as usize] }
            }
            (38..43, _) if site.times == Times::LongLeaps => Request::Delete { tenant, id },
            (38..48, _) => Request::Suspend { tenant, id },
            (48..63, _) => Request::Activate { tenant, id },
            (63..64, _) => Request::Delete { tenant, id: principal(PRINCIPALS + site.draw(2)) },
            (64..67, _) => Request::Create { tenant, id: principal(site.draw(PRINCIPALS + 2)) },
            (67..72, _) => {
                let roles = ["operator", "viewer"].iter().take(site.draw(3) as usize);
                Request::SetRoles { tenant, id, roles: roles.map(|role| role.parse().unwrap()).collect() }
            }
            (72..73, _) => Request::SuspendTenant { tenant },
            (73..76, _) => Request::ActivateTenant { tenant },
            (76..78, _) => {
                let actions = [RotationAction::Prepare, RotationAction::Activate, RotationAction::Retire];
                Request::Rotate { tenant, action: actions[site.draw(3) as usize] }
            }
            _ => {
                tokio::spawn(Arc::clone(self).enroll(number, tenant, id));
                return;
            }
        };
        tokio::spawn(Arc::clone(self).carry_out(request, format!("request-{number}")));
    }

    /// Several operators change the same few principals through different nodes: entries of the feed follow closely.
    fn change_at_once(self: &Arc<Self>, number: u32) {
        let site = &self.site;
        let tenant = &self.tenants[site.draw(2) as usize];
        for operator in 0..8 {
            let (tenant, id) = (tenant.clone(), principal(site.draw(2)));
            let request = match site.draw(3) {
                0 => Request::Suspend { tenant, id },
                1 => Request::Activate { tenant, id },
                _ => {
                    let roles = ["operator", "viewer"].iter().take(site.draw(3) as usize);
                    Request::SetRoles { tenant, id, roles: roles.map(|role| role.parse().unwrap()).collect() }
                }
            };
            tokio::spawn(Arc::clone(self).carry_out(request, format!("request-{number}-{operator}")));
        }
    }

    /// The operator makes a token, and two agents have it.
    async fn enroll(self: Arc<Self>, number: u32, tenant: TenantId, id: PrincipalId) {
        let node = self.any_node();
        if !node.is_ready() {
            return;
        }
        let made = token(&node.app, node.link.now(), &tenant, &id);
        let Ok(Ok(secret)) = timeout(Duration::from_secs(10), made).await else { return };
        for agent in 0..1 + self.site.draw(2) {
            let request = Request::Enroll { secret: secret.clone(), id: id.clone(), csr_der: csr() };
            tokio::spawn(Arc::clone(&self).carry_out(request, format!("request-{number}-{agent}")));
        }
    }

    /// Asks until there is an answer; some answers do not keep a caller from asking once more, much later.
    async fn carry_out(self: Arc<Self>, request: Request, id: String) {
        let began = self.site.millis();
        for _ in 0..TRIES {
            if self.ask_once(&request, &id).await {
                break;
            }
            sleep(Duration::from_millis(self.site.draw(2000))).await;
        }
        if self.site.draw(100) < 30 {
            sleep(Duration::from_millis(self.site.draw(60_000))).await;
            // After a day its id is forgotten.
            if self.site.millis() - began < 23 * 3_600_000 {
                self.ask_once(&request, &id).await;
            }
        }
    }

    /// Returns whether there was an answer that stands.
    async fn ask_once(&self, request: &Request, id: &str) -> bool {
        let node = self.any_node();
        let now = node.link.now();
        // The balancer sends nothing to a node that knows nothing yet.
        if !node.is_ready() || request.caller().is_some_and(|caller| node.trust.admit(caller, now).is_err()) {
            return false;
        }
        let has_record = request.caller().is_none_or(|caller| self.site.oracle.lock().unwrap().has_record(caller));
        let answer = tokio::select! {
            biased;
            () = node.link.dead.cancelled() => return false,
            answer = timeout(Duration::from_secs(10), request.ask(&node.app, now, id)) => answer,
        };
        let Ok(answer) = answer else { return false };
        let told = answer.as_ref().map(|leaf| leaf.as_ref().map(|leaf| leaf.certificate.serial.to_string()));
        let told = told.map_err(Error::reason);
        self.site.note(&format!("node {} answers {id} {}: {told:?}", node.link.node, request.name()));
        match answer {
            Ok(leaf) => {
                if !has_record {
                    self.site.accuse(format!("{} of a certificate without a record", request.name()));
                }
                self.site.oracle.lock().unwrap().answered(id, leaf.as_ref(), request.token());
                true
            }
            Err(Error::Unavailable { .. } | Error::Conflict(_)) => false,
            Err(error @ (Error::Internal { .. } | Error::Misconfigured { .. })) => {
                self.site.accuse(format!("{} ended with {error:?}", request.name()));
                true
            }
            Err(_) => true,
        }
    }

    fn check(&self) {
        self.look_at_leaves();
        let leaves = self.leaves.lock().unwrap();
        for node in self.nodes.lock().unwrap().iter().filter(|node| !node.is_dead()) {
            node.check(&leaves);
        }
    }

    /// Invariant 3: each new leaf counts in the tenant whose CA signed it, and in no other.
    fn look_at_leaves(&self) {
        let mut leaves = self.leaves.lock().unwrap();
        let oracle = self.site.oracle.lock().unwrap();
        let mut wrong = Vec::new();
        for leaf in oracle.released() {
            if leaf.tenant.is_system() || leaves.iter().any(|known| known.serial == leaf.serial) {
                continue;
            }
            let verify = |anchors_of: &TenantId| {
                let anchors: Arc<[Anchor]> = oracle.anchors(anchors_of).collect();
                let trust = TenantTrust { status: TenantStatus::Active, anchors };
                let environment = self.node(0).app.environment().clone();
                verify_client(&leaf.certificate_der, &environment, |_| Some(trust.clone()), leaf.not_before)
            };
            for tenant in &self.tenants {
                match verify(tenant) {
                    Ok(identity) if *tenant == leaf.tenant && identity.tenant == leaf.tenant => leaves.push(identity),
                    Err(_) if *tenant != leaf.tenant => {}
                    verdict => wrong.push(format!("invariant 3: {tenant} says {verdict:?} to {}", leaf.serial)),
                }
            }
        }
        drop(oracle);
        wrong.into_iter().for_each(|wrong| self.site.accuse(wrong));
    }

    /// All faults end: every node hears of everything within the promise, and the audit log proves itself.
    pub(crate) async fn settle(self: &Arc<Self>) {
        self.site.calm.store(true, Ordering::SeqCst);
        for number in 0..NODES {
            let node = self.node(number);
            node.link.is_cut.store(false, Ordering::SeqCst);
            node.link.ahead.store(0, Ordering::SeqCst);
        }
        sleep(Duration::from_secs(40)).await;
        self.check();
        for number in 0..NODES {
            if self.node(number).heard_ago().is_none_or(|ago| ago > 1000) {
                self.site.accuse(format!("node {number} has not heard for a second"));
            }
        }
        if self.site.times == Times::LongLeaps {
            self.check_cas();
            return;
        }
        // What a clock that was ahead has written is sealed by then, and each node knows that the others seal nothing.
        advance(Duration::from_secs(45 * 60)).await;
        sleep(Duration::from_secs(250)).await;
        self.check();
        self.verify_audit().await;
    }

    /// The life of the tenants' CAs went on by itself.
    fn check_cas(&self) {
        for tenant in &self.tenants {
            let signing = self.site.oracle.lock().unwrap().signing(tenant, self.site.now());
            if signing != 1 {
                self.site.accuse(format!("{signing} CAs sign for {tenant}"));
            }
        }
    }

    async fn verify_audit(&self) {
        let (app, site, key) = (&self.node(0).app, &self.site, self.site.make_key("audit"));
        let check = |message: &[u8], signature: &[u8]| site.check_signature(&key, message, signature);
        let window = AuditWindow { start: signet_testkit::fixtures::NOW, end: Time::from_unix_millis(i64::MAX) };
        for tenant in &self.tenants {
            let call = Call::process("test", site.now());
            let report = events::verify_audit(app, &call, &scope(tenant), &window, &check).await.unwrap();
            site.note(&format!("{tenant}: {} events, {} seals", report.events, report.seals));
            if report.to + 10 < site.now().minute() {
                site.accuse(format!("{tenant} is sealed up to {} at {}", report.to, site.now().minute()));
            }
            // Where all nodes were away for an hour, one writes into what another seals at once.
            let by_clock =
                |finding: &Finding| matches!(finding, Finding::EventAdded { .. } | Finding::SealMissing { .. });
            let explained = |finding: &Finding| site.times == Times::BadClocksAndLeaps && by_clock(finding);
            if !(report.findings.iter().all(explained) && report.chain.is_empty()) {
                site.accuse(format!("audit verify finds {:?} {:?}", report.findings, report.chain));
            }
        }
    }
}

fn principal(number: u64) -> PrincipalId {
    format!("worker-{number}").parse().unwrap()
}

fn csr() -> Vec<u8> {
    KeyAndCsr::generate().unwrap().csr_der
}

fn new_tenant(id: &TenantId) -> CreateTenant {
    CreateTenant {
        id: id.clone(),
        display_name: String::new(),
        isolation: Isolation::Dedicated,
        lifetimes: Default::default(),
        subjects: Default::default(),
        max_certificates: 0,
        renewal_grace: Lifetime::default(),
        quotas: Default::default(),
        failure_limit: None,
    }
}

fn bootstrap_input() -> Bootstrap {
    Bootstrap {
        keys: EnvironmentKeys { root: None, system: None, shared: None, server: None },
        server: ServerNames { dns: vec!["localhost".into()], ip: Vec::new() },
        server_csr_der: csr(),
        admin: "root".parse().unwrap(),
        admin_csr_der: csr(),
    }
}
