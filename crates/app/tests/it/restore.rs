//! A restore brings records back, and nobody who was refused since: by handshake, renewal, out-of-band renewal, token,
//! proof or CRL, whatever the store has lost.

use std::sync::Arc;

use signet_app::{
    Call, CreatedToken, Follower, IssuedLeaf, PageRequest, PrincipalPatch, certificates,
    enrollment::{self, out_of_band, rules, tokens},
    principals::{self, deletion},
    restore::{self, EarlierStore, RestoreReport},
    tenants,
};
use signet_core::{
    Error, Identity, PrincipalType, Role, Store, Time,
    audit::{AuditEvent, SealHead},
    certificates::RevocationReason,
    enrollment::PrincipalTemplate,
    principals::PrincipalStatus,
    store::{
        Body, Query, Segment, Table,
        commit::{Commit, Write},
    },
    trust::{
        DEFAULT_STALENESS_LIMIT, Refusal, Trust, WhenStale,
        change::{ChangeHead, FEED_SHARDS},
    },
};
use signet_sqlite::SqliteStore;
use signet_testkit::{
    fixtures::{NOW, later, unique},
    memory_store::MemoryStore,
    uptime::TestUptime,
};
use signet_x509::KeyPair;

use crate::{
    attested::attested,
    attestor::{oidc, token},
    lineage::{confirm, renew_at, signed, worker},
    publication::{Bucket, publish},
    rules::oidc_rule,
    world::*,
};

/// Workers with their keys, and what else has a right.
struct Cast {
    suspended: (KeyPair, IssuedLeaf),
    deleted: (KeyPair, IssuedLeaf),
    revoked: (KeyPair, IssuedLeaf),
    cloned: (KeyPair, IssuedLeaf),
    good: (KeyPair, IssuedLeaf),
    used: CreatedToken,
    withdrawn: CreatedToken,
}

/// When the source was the state of the store, and when it is restored.
const RESTORED_AT: u32 = 1200;

impl Cast {
    async fn new(world: &World) -> Self {
        world.bootstrap().await.unwrap();
        world.tenant("acme").await;
        world.tenant("globex").await;
        let operator = new_principal("operator", PrincipalType::User, &["operator", "viewer"]);
        principals::create_principal(&world.app, &call("CreatePrincipal"), &acme(), operator).await.unwrap();
        world.rule(oidc_rule("ci")).await;
        world.rule(oidc_rule("zz-old")).await;
        Self {
            suspended: worker(world, "suspended").await,
            deleted: worker(world, "deleted").await,
            revoked: worker(world, "revoked").await,
            cloned: worker(world, "cloned").await,
            good: worker(world, "good").await,
            used: world.token(new_token()).await,
            withdrawn: world.token(new_token()).await,
        }
    }

    /// Everybody but the good one loses what they have. Returns the good one's present certificate.
    async fn refuse(&self, world: &World) -> IssuedLeaf {
        let (app, now) = (&world.app, later(300));
        let on = |operation| at(call(operation), now);
        principals::suspend_principal(app, &on("SuspendPrincipal"), &admin(), &acme(), &pid("suspended"))
            .await
            .unwrap();
        deletion::delete_principal(app, &on("DeletePrincipal"), &admin(), &acme(), &pid("deleted")).await.unwrap();
        let (issuer, serial) = place(&self.revoked.1);
        let reason = RevocationReason::PrivilegeWithdrawn;
        let call_of = on("RevokeCertificate");
        certificates::revoke_certificate(app, &call_of, &admin(), &acme(), &issuer, &serial, reason).await.unwrap();
        let copy = renew_at(world, &self.cloned.1, now).await.unwrap();
        confirm(world, &copy).await.unwrap();
        let caught = renew_at(world, &self.cloned.1, later(400)).await.unwrap_err();
        assert_eq!(caught.reason(), "CLONE_DETECTED");
        let patch = PrincipalPatch { roles: Some(roles(&["viewer"])), ..PrincipalPatch::default() };
        principals::update_principal(app, &on("UpdatePrincipal"), &acme(), &pid("operator"), patch).await.unwrap();
        tenants::suspend_tenant(app, &on("SuspendTenant"), &environment(), &tid("globex")).await.unwrap();
        rules::delete_rule(app, &on("DeleteEnrollmentRule"), &admin(), &acme(), &"zz-old".parse().unwrap())
            .await
            .unwrap();
        world.attestor.proves(oidc("ci-1"));
        enrollment::enroll(app, &at(anonymous("proof"), now), attested(token("head.claims.sig"), &csr()))
            .await
            .unwrap();
        enrollment::enroll(app, &at(anonymous("token"), now), enrollment(&self.used, "joined", &csr())).await.unwrap();
        tokens::revoke_token(app, &on("RevokeToken"), &admin(), &acme(), &self.withdrawn.token.id).await.unwrap();
        let good = renew_at(world, &self.good.1, now).await.unwrap();
        confirm(world, &good).await.unwrap();
        good
    }

    async fn assert_refused(&self, world: &World, what: &str) {
        let now = later(RESTORED_AT + 60);
        let uptime = TestUptime::default();
        let trust = Arc::new(Trust::new(DEFAULT_STALENESS_LIMIT, WhenStale::Refuse, uptime.clock()));
        uptime.follow(now);
        Follower::new(Arc::clone(&world.app), Arc::clone(&trust)).poll(now).await.unwrap();
        let admitted = |leaf: &IssuedLeaf| trust.admit(&holder(leaf), now).map(|roles| roles.to_vec());
        for ((key, leaf), id) in
            [(&self.suspended, "s"), (&self.deleted, "d"), (&self.revoked, "r"), (&self.cloned, "c")]
        {
            assert!(admitted(leaf).is_err(), "{what}: {id} by handshake");
            assert!(renew_at(world, leaf, now).await.is_err(), "{what}: {id} by renewal");
            let request = unique("request-");
            let input = signed(world, key, leaf, &request, now);
            let renewed = out_of_band::renew_out_of_band(&world.app, &at(anonymous(&request), now), &input).await;
            assert!(renewed.is_err(), "{what}: {id} by out-of-band renewal");
        }
        assert_eq!(admitted(&self.revoked.1), Err(Refusal::Revoked), "{what}");
        assert_eq!(world.get_principal("suspended").await.status, PrincipalStatus::Suspended, "{what}");
        assert_eq!(world.get_principal("operator").await.roles, roles(&["viewer"]), "{what}");
        let call = at(call("GetTenant"), now);
        let globex = tenants::get_tenant(&world.app, &call, &scope("globex")).await.unwrap();
        assert_eq!(globex.status, signet_core::tenants::TenantStatus::Suspended, "{what}");
        for (token, id) in [(&self.used, "again-1"), (&self.withdrawn, "again-2")] {
            let joined = enrollment::enroll(&world.app, &at(anonymous(id), now), enrollment(token, id, &csr())).await;
            assert!(joined.is_err(), "{what}: a token came back: {joined:?}");
        }
        world.attestor.proves(oidc("ci-2"));
        let replayed = attested(token("head.claims.sig"), &csr());
        let replayed = enrollment::enroll(&world.app, &at(anonymous("replay"), now), replayed).await;
        assert_eq!(replayed, Err(Error::ProofRefused { reason: "PROOF_REPLAYED" }), "{what}");
        let page = PageRequest { size: 10, token: String::new() };
        let listed = rules::list_rules(&world.app, &call, &acme(), &page).await.unwrap().items;
        assert_eq!(listed.iter().map(|rule| rule.id.to_string()).collect::<Vec<_>>(), ["ci"], "{what}");
        let bucket = Bucket::default();
        publish(world, &bucket, now).await;
        for leaf in [&self.revoked.1, &self.cloned.1] {
            assert!(bucket.lists("crl/acme.1.crl", &leaf.certificate.serial), "{what}: the CRL");
        }
    }
}

fn place(leaf: &IssuedLeaf) -> (signet_core::CaId, signet_core::Serial) {
    (leaf.certificate.issuer.clone(), leaf.certificate.serial)
}

fn holder(leaf: &IssuedLeaf) -> Identity {
    let (issuer, serial) = place(leaf);
    let record = &leaf.certificate;
    Identity { issuer, serial, ..identity("acme", record.principal.as_str(), PrincipalType::Worker, &[]) }
}

async fn records(store: &dyn Store, table: Table) -> Vec<signet_core::store::Versioned<Body>> {
    let (mut found, mut query) = (Vec::new(), Query::segment(table, Segment { number: 0, of: 1 }));
    loop {
        let page = store.query(&query, NOW).await.unwrap();
        found.extend(page.records);
        query.after = page.next;
        if query.after.is_none() {
            return found;
        }
    }
}

/// The store as it is, all but the feed: what is restored beside the present tables.
pub(crate) async fn backup_of(store: &dyn Store) -> MemoryStore {
    let copy = MemoryStore::default();
    for table in restore::RESTORED {
        for record in records(store, table).await {
            let commit = Commit::bookkeeping(NOW).write(Write::Create(record.value));
            copy.transact(commit.to_transaction(None)).await.unwrap();
        }
    }
    copy
}

/// Somebody's hand in the tables.
pub(crate) async fn by_hand(store: &dyn Store, writes: Vec<Write>) {
    for piece in writes.chunks(50) {
        let payload = r#"{"operation":"hand","outcome":"OK"}"#.to_owned();
        let (id, keep_until) = (unique("")[..16].repeat(2), later(86_400));
        let event = AuditEvent { tenant: tid("system"), id, at: NOW, payload, keep_until };
        let commit = Commit::audited(event, NOW).writes(piece.iter().cloned());
        store.transact(commit.to_transaction(None)).await.unwrap();
    }
}

/// The audit log is sealed until then.
pub(crate) async fn sealed_through(store: &dyn Store, now: Time) {
    let found = store.get(&SealHead::key_of(), now).await.unwrap();
    let write = match found.map(|found| (found.value, found.version)) {
        Some((Body::SealHead(head), version)) => {
            Write::Replace(SealHead { minute: now.minute(), ..head }.into(), version)
        }
        _ => Write::Create(SealHead { tenant: tid("system"), minute: now.minute() }.into()),
    };
    by_hand(store, vec![write]).await;
}

pub(crate) async fn lose(store: &dyn Store, table: Table) {
    let all = records(store, table).await;
    by_hand(store, all.into_iter().map(|record| Write::Delete(record.value.key(), record.version)).collect()).await;
}

/// What the runbook said once: the old records over the new ones.
pub(crate) async fn overlay(store: &dyn Store, backup: &dyn Store) {
    for table in [Table::Tenants, Table::Principals, Table::Certificates, Table::Enrollments] {
        let mut writes = Vec::new();
        for old in records(backup, table).await {
            writes.push(match store.get(&old.value.key(), NOW).await.unwrap() {
                Some(now) => Write::Replace(old.value, now.version),
                None => Write::Create(old.value),
            });
        }
        by_hand(store, writes).await;
    }
}

pub(crate) fn earlier<'a>(name: &'a str, store: &'a dyn Store, published: &'a [Vec<u8>]) -> EarlierStore<'a> {
    EarlierStore { name, store, published, progress: &|_, _| {} }
}

pub(crate) async fn restored(world: &World, source: &dyn Store) -> Result<RestoreReport, Error> {
    restored_at(world, source, later(RESTORED_AT)).await
}

pub(crate) async fn restored_at(world: &World, source: &dyn Store, now: Time) -> Result<RestoreReport, Error> {
    let (call, source) = (Call::process("restore", now), earlier("backup", source, &[]));
    let survey = restore::survey(&world.app, &call, &source).await?;
    restore::restore(&world.app, &call, &source, &survey).await
}

async fn nobody_comes_back(store: Arc<dyn Store>, what: &str, lost: &[Table], overlaid: bool) {
    let world = World::on(store);
    let cast = Cast::new(&world).await;
    let backup = backup_of(&*world.ledger).await;
    let good = cast.refuse(&world).await;
    if overlaid {
        overlay(&*world.ledger, &backup).await;
    }
    for table in lost {
        lose(&*world.ledger, *table).await;
    }
    let heads = heads(&*world.ledger).await;
    let report = restored(&world, &backup).await.unwrap();
    assert_eq!(report.unreadable, Vec::<String>::new(), "{what}");
    assert_eq!(report.feed_lost, lost.contains(&Table::Changes), "{what}");
    let again = restored(&world, &backup).await.unwrap();
    assert_eq!(again.written(), 0, "{what}: {again:?}");
    let now = self::heads(&*world.ledger).await;
    assert!(heads.iter().zip(&now).all(|(before, now)| before <= now), "{what}: change numbers never go back");

    let world = world.restarted(7);
    cast.assert_refused(&world, what).await;
    assert_eq!(world.get_principal("good").await.status, PrincipalStatus::Active, "{what}");
    if !lost.contains(&Table::Certificates) {
        renew_at(&world, &good, later(RESTORED_AT + 120)).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    }
}

async fn heads(store: &dyn Store) -> Vec<u64> {
    let mut heads = Vec::new();
    for shard in 0..FEED_SHARDS {
        let head = environment().get::<ChangeHead>(store, &ChangeHead::key_of(shard), NOW).await.unwrap();
        heads.push(head.map_or(0, |head| head.value.last));
    }
    heads
}

const DAMAGES: [(&str, &[Table], bool); 8] = [
    ("nothing is lost", &[], false),
    ("old records over new ones", &[], true),
    ("principals", &[Table::Principals], false),
    ("certificates", &[Table::Certificates], false),
    ("enrollments", &[Table::Enrollments], false),
    ("tenants", &[Table::Tenants], false),
    ("the feed", &[Table::Changes], false),
    (
        "all but the audit log",
        &[Table::Tenants, Table::Principals, Table::Certificates, Table::Enrollments, Table::Requests, Table::Changes],
        false,
    ),
];

#[tokio::test(start_paused = true)]
async fn invariant_14_nobody_who_was_refused_comes_back_whatever_was_lost() {
    for (what, lost, overlaid) in DAMAGES {
        nobody_comes_back(Arc::new(MemoryStore::default()), what, lost, overlaid).await;
    }
}

#[tokio::test(start_paused = true)]
async fn invariant_14_nobody_who_was_refused_comes_back_whatever_was_lost_sqlite() {
    for (what, lost, overlaid) in DAMAGES {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("store")).unwrap());
        nobody_comes_back(store, what, lost, overlaid).await;
    }
}

/// A record that the source never had is lost for good; the refusal is not, nor if this machine's clock is behind.
#[tokio::test(start_paused = true)]
async fn invariant_14_who_was_refused_stays_refused_without_a_record() {
    let world = World::empty();
    Cast::new(&world).await;
    let backup = backup_of(&*world.ledger).await;
    let (suspended, revoked) = (worker(&world, "newer-1").await.1, worker(&world, "newer-2").await.1);
    let now = later(RESTORED_AT + 7200);
    let on = |operation| at(call(operation), now);
    principals::suspend_principal(&world.app, &on("SuspendPrincipal"), &admin(), &acme(), &pid("newer-1"))
        .await
        .unwrap();
    let (issuer, serial) = place(&revoked);
    let (order, reason) = (on("RevokeCertificate"), RevocationReason::KeyCompromise);
    certificates::revoke_certificate(&world.app, &order, &admin(), &acme(), &issuer, &serial, reason).await.unwrap();
    // One that the CA's key signed past us: its serial number is refused of that CA alone.
    let forged = Identity { serial: signet_core::Serial::new(NOW, [9; 10]), ..holder(&revoked) };
    let other = Identity { issuer: "acme.2".parse().unwrap(), ..forged.clone() };
    let (order, serial) = (on("RevokeCertificate"), forged.serial);
    certificates::revoke_recorded_or_not(&world.app, &order, &admin(), &acme(), &forged.issuer, &serial, reason)
        .await
        .unwrap();
    sealed_through(&*world.ledger, now).await;
    for table in [Table::Principals, Table::Certificates, Table::Changes] {
        lose(&*world.ledger, table).await;
    }

    let report = restored(&world, &backup).await.unwrap();

    assert!(report.feed_lost && !report.audit_lost, "{report:?}");
    let uptime = TestUptime::default();
    let trust = Arc::new(Trust::new(DEFAULT_STALENESS_LIMIT, WhenStale::Refuse, uptime.clock()));
    uptime.follow(now);
    Follower::new(Arc::clone(&world.app), Arc::clone(&trust)).poll(now).await.unwrap();
    for leaf in [&suspended, &revoked] {
        assert!(trust.admit(&holder(leaf), now).is_err(), "{} came back", leaf.certificate.principal);
    }
    assert_eq!(trust.admit(&forged, now), Err(Refusal::Revoked));
    assert_eq!(trust.admit(&other, now), Err(Refusal::IssuerRetired));
    assert!(!trust.is_revoked(&serial));
}

/// What was damaged comes back as it was.
#[tokio::test(start_paused = true)]
async fn data_that_was_lost_or_changed_comes_back() {
    let world = World::empty();
    Cast::new(&world).await;
    let backup = backup_of(&*world.ledger).await;
    let patch = PrincipalPatch { display_name: Some("wrong".into()), ..PrincipalPatch::default() };
    principals::update_principal(&world.app, &at(call("UpdatePrincipal"), later(5)), &acme(), &pid("good"), patch)
        .await
        .unwrap();
    let newer = new_principal("newer", PrincipalType::Worker, &[]);
    principals::create_principal(&world.app, &at(call("CreatePrincipal"), later(5)), &acme(), newer).await.unwrap();
    let report = restored(&world, &backup).await.unwrap();
    assert_eq!(world.get_principal("good").await.display_name, "");
    assert_eq!(world.get_principal("newer").await.status, PrincipalStatus::Active, "what is newer stays");
    assert_eq!((report.written(), report.withheld.as_slice()), (1, &[][..]), "{report:?}");
    let told: Vec<_> = report.tables.iter().map(|table| (table.table, table.missing, table.changed)).collect();
    assert!(told.contains(&("principals", 0, 1)), "{told:?}");
}

/// What was given since is nothing that was kept from coming back.
#[tokio::test(start_paused = true)]
async fn who_was_activated_since_is_not_told_as_kept() {
    let world = World::empty();
    Cast::new(&world).await;
    let (app, on) = (&world.app, |operation: &'static str, seconds| at(call(operation), later(seconds)));
    let suspend = on("SuspendPrincipal", 5);
    principals::suspend_principal(app, &suspend, &admin(), &acme(), &pid("good")).await.unwrap();
    tenants::suspend_tenant(app, &on("SuspendTenant", 5), &environment(), &tid("globex")).await.unwrap();
    let backup = backup_of(&*world.ledger).await;
    principals::activate_principal(app, &on("ActivatePrincipal", 9), &admin(), &acme(), &pid("good")).await.unwrap();
    tenants::activate_tenant(app, &on("ActivateTenant", 9), &environment(), &tid("globex")).await.unwrap();
    lose(&*world.ledger, Table::Principals).await;
    lose(&*world.ledger, Table::Tenants).await;
    let report = restored(&world, &backup).await.unwrap();
    assert_eq!(world.get_principal("good").await.status, PrincipalStatus::Active);
    assert_eq!(report.withheld, Vec::<String>::new());
}

/// A template with an id is for one principal only.
#[tokio::test(start_paused = true)]
async fn a_token_whose_use_nobody_knows_comes_back_revoked() {
    let world = World::empty();
    Cast::new(&world).await;
    let template =
        PrincipalTemplate { principal_type: PrincipalType::Worker, id: Some(pid("good")), roles: Vec::<Role>::new() };
    let open = world.token(signet_app::CreateToken { template, ..new_token() }).await;
    let backup = backup_of(&*world.ledger).await;
    lose(&*world.ledger, Table::Enrollments).await;
    restored(&world, &backup).await.unwrap();
    let now: Time = later(RESTORED_AT + 60);
    let joined = enrollment::enroll(&world.app, &at(anonymous("late"), now), enrollment(&open, "good", &csr())).await;
    assert_eq!(joined, Err(Error::ProofRefused { reason: "TOKEN_REVOKED" }));
}
