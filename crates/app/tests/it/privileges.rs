//! What Terraform lets a role do with the tables (`infra/modules/tables/access.tf`) is enough for what the role's
//! process does: the emulators check no policy, so this is the only place where a right that is missing shows before
//! AWS refuses.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use async_trait::async_trait;
use signet_app::{
    Call, Chore, Notifier, Object, ObjectMeta, ObjectStore, Put, RotationAction, ServerNames, Settings,
    authorities::{self, lifecycle},
    bootstrap,
    certificates::{expiry, issuance, renewal, sweep},
    enrollment::{self, out_of_band, rules},
    tenants,
    trust::publication,
};
use signet_core::{
    Error, Lifetime, Store, StoreError, Time,
    authorities::CaKind,
    certificates::expiry::ExpiryWarning,
    enrollment::attestation::AttestationError,
    store::{Body, Key, Page, Query, Table, Transaction, Versioned, Write},
};
use signet_testkit::{
    entropy::SeededEntropy,
    faulty::{Fault, FaultyStore},
    fixtures::{NOW, later},
};

use crate::{
    attestor::{aws, presigned},
    lineage::{confirm, signed, worker},
    rules::aws_rule,
    world::*,
};

/// A store that a role may use only as its policy says.
#[derive(Debug)]
struct Policed {
    inner: Arc<FaultyStore>,
    role: &'static str,
    /// Table → the verbs of its line.
    allowed: BTreeMap<String, String>,
}

impl Policed {
    /// Reads the block of the role; Terraform's tests hold what the verbs stand for.
    fn new(inner: Arc<FaultyStore>, role: &'static str) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infra/modules/tables/access.tf");
        let hcl = std::fs::read_to_string(file).unwrap();
        let block = hcl.split(&format!("    {role} = {{\n")).nth(1).expect("access.tf has the role");
        let lines = block.lines().take_while(|line| *line != "    }").filter_map(|line| line.split_once('='));
        let allowed: BTreeMap<_, _> = lines.map(|(table, verbs)| (table.trim().into(), verbs.into())).collect();
        assert!(allowed.len() >= 5, "access.tf is not read rightly: {allowed:?}");
        Self { inner, role, allowed }
    }

    fn check(&self, verb: &str, table: Table) {
        let allowed = self.allowed.get(table.name()).is_some_and(|verbs| verbs.contains(&format!("\"{verb}\"")));
        assert!(allowed, "{} needs {verb} on {}: say so in access.tf and ROLES.md", self.role, table.name());
    }
}

#[async_trait]
impl Store for Policed {
    async fn get(&self, key: &Key, now: Time) -> Result<Option<Versioned<Body>>, StoreError> {
        self.check("read", key.table);
        self.inner.get(key, now).await
    }

    async fn query(&self, query: &Query, now: Time) -> Result<Page, StoreError> {
        self.check(if query.segment.is_some() { "scan" } else { "read" }, query.table);
        self.inner.query(query, now).await
    }

    async fn transact(&self, transaction: Transaction) -> Result<(), StoreError> {
        for write in transaction.writes() {
            self.check(if matches!(write, Write::Delete(..)) { "delete" } else { "write" }, write.key().table);
        }
        self.inner.transact(transaction).await
    }
}

impl World {
    /// From now on the application has the rights of `role` only.
    fn become_role(&mut self, role: &'static str) {
        let store = Arc::new(Policed::new(Arc::clone(&self.store), role));
        let (environment, entropy) = (self.app.environment().clone(), Arc::new(SeededEntropy::new(3)));
        let app = signet_app::App::new(store, self.keys.clone(), entropy, environment, Settings::default());
        self.app = Arc::new(app.with_attestor(self.attestor.clone()));
    }
}

/// Takes every object and keeps none.
#[derive(Debug)]
struct Floor;

#[async_trait]
impl ObjectStore for Floor {
    async fn look(&self, _: &str) -> Result<Option<ObjectMeta>, Error> {
        Ok(None)
    }

    async fn put(&self, _: Object, _: Option<&str>) -> Result<Put, Error> {
        Ok(Put::Done)
    }
}

/// Tells nothing on.
#[derive(Debug)]
struct Mute;

#[async_trait]
impl Notifier for Mute {
    async fn tell(&self, warnings: &[ExpiryWarning]) -> Vec<(usize, String)> {
        (0..warnings.len()).map(|index| (index, "mute".to_owned())).collect()
    }
}

#[tokio::test]
async fn bootstrap_can_do_its_work() {
    let mut world = World::empty();
    world.become_role("bootstrap");
    world.bootstrap().await.unwrap();
    world.bootstrap().await.unwrap();
}

#[tokio::test]
async fn the_enroll_lambda_can_do_its_work() {
    let mut world = World::new().await;
    let token = world.token(new_token()).await;
    world.rule(aws_rule("workers")).await;
    let (key, leaf) = worker(&world, "renewing").await;
    let (stolen, copied) = worker(&world, "copied").await;
    let shared = signet_app::CreateTenant { isolation: signet_core::tenants::Isolation::Shared, ..new_tenant("small") };
    tenants::create_tenant(&world.app, &call("CreateTenant"), &environment(), shared).await.unwrap();
    world.become_role("enroll");

    let csr_der = csr();
    for _ in 0..2 {
        enrollment::enroll(&world.app, &anonymous("token"), enrollment(&token, "new", &csr_der)).await.unwrap();
    }
    enrollment::enroll(&world.app, &anonymous("again"), enrollment(&token, "other", &csr())).await.unwrap_err();
    world.attestor.proves(aws("i-0abc"));
    let proof = || signet_app::Proof::Attested { tenant: tid("acme"), evidence: presigned() };
    let ask = || signet_app::Enroll { proof: proof(), principal: None, csr_der: csr() };
    enrollment::enroll(&world.app, &anonymous("rule"), ask()).await.unwrap();
    world.attestor.answers(Err(AttestationError::Refused { reason: "AWS_OTHER_KEY", detail: String::new() }));
    enrollment::enroll(&world.app, &anonymous("refused"), ask()).await.unwrap_err();

    let renew = |id| Call { operation: "RenewOutOfBand", ..anonymous(id) };
    let input = signed(&world, &key, &leaf, "renewal", NOW);
    out_of_band::renew_out_of_band(&world.app, &renew("renewal"), &input).await.unwrap();
    // A copied key: renewed and used by one, and shown again by the other.
    let input = signed(&world, &stolen, &copied, "first", NOW);
    let next = out_of_band::renew_out_of_band(&world.app, &renew("first"), &input).await.unwrap();
    let node = world.other_node();
    let policed = std::mem::replace(&mut world.app, node);
    confirm(&world, &next).await.unwrap();
    world.app = policed;
    let input = signed(&world, &stolen, &copied, "second", NOW);
    let error = out_of_band::renew_out_of_band(&world.app, &renew("second"), &input).await.unwrap_err();
    assert_eq!(error.reason(), "CLONE_DETECTED");
}

#[tokio::test]
async fn the_rotate_lambda_can_do_its_work() {
    let mut world = World::new().await;
    world.principal("late").await;
    let leaf = world.issue("late").await.certificate;
    world.store.arm(1, Fault::CrashBefore);
    issuance::issue_certificate(&world.app, &call_with_id("Issue", "one"), &acme(), &pid("late"), &csr())
        .await
        .unwrap_err();
    world.store.restart();
    world.become_role("rotate");

    let names = ServerNames { dns: vec!["localhost".into()], ip: Vec::new() };
    bootstrap::issue_server_certificate(&world.app, &Chore::new("server", NOW), &names, &csr()).await.unwrap();
    assert_eq!(
        sweep::sweep_reservations(&world.app, &Chore::new("sweep", later(400)), &|| Some(later(400)))
            .await
            .unwrap()
            .done
            .len(),
        1
    );
    let soon = leaf.not_after.minus(Lifetime::minutes(30));
    let report =
        expiry::warn_expiries(&world.app, &Chore::new("warn-expiry", soon), &Mute, &|| Some(soon)).await.unwrap();
    assert!(!report.failed.is_empty(), "nothing was warned of, so nothing was taken back");
    // Half of a CA's life, and five sixths.
    for days in [370, 620] {
        let due = Chore::new("rotate-cas", NOW.plus(Lifetime::days(days)));
        let report = lifecycle::rotate_due_cas(&world.app, &due, &|| Some(due.now)).await.unwrap();
        assert!(report.failed.is_empty() && !report.done.is_empty(), "{days}: {report:?}");
    }
    let report = publication::publish(&world.app, &Chore::new("publish", NOW), &Floor, &|| Some(NOW)).await.unwrap();
    assert!(report.failed.is_empty() && !report.done.is_empty(), "{report:?}");
}

#[tokio::test]
async fn the_control_plane_can_do_its_work() {
    let mut world = World::new().await;
    world.become_role("control_plane");
    world.rule(aws_rule("workers")).await;
    let workers = "workers".parse().unwrap();
    rules::delete_rule(&world.app, &call("DeleteEnrollmentRule"), &admin(), &acme(), &workers).await.unwrap();
    let token = world.token(new_token()).await;
    let leaf = enrollment::enroll(&world.app, &anonymous("one"), enrollment(&token, "new", &csr())).await.unwrap();
    renewal::renew_certificate(&world.app, &call("RenewCertificate"), &renewal_of(&leaf), &acme(), &csr())
        .await
        .unwrap();
    authorities::rotate_ca(&world.app, &call("RotateCa"), &acme(), CaKind::Tenant, RotationAction::Prepare)
        .await
        .unwrap();
    sweep::sweep_reservations(&world.app, &Chore::new("sweeper", later(400)), &|| Some(later(400))).await.unwrap();
}
