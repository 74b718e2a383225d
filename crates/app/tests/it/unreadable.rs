//! A record that cannot be read is the trouble of its tenant: nodes go on for all others, and so do the chores.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use signet_app::{
    App, Chore, Notifier, PageRequest, RotationAction, Settings, TaskReport,
    authorities::{self, lifecycle},
    certificates::{self, expiry, issuance, renewal, sweep},
    principals::{self, deletion},
    tenants, tokens,
    trust::publication,
};
use signet_core::{
    Error, Identity, Lifetime, PrincipalType, Store, Time,
    authorities::{Ca, CaKind},
    certificates::{Certificate, RevocationReason, expiry::ExpiryWarning},
    principals::{Principal, PrincipalStatus},
    store::{Entity, Key, request::RequestRecord},
    tenants::Tenant,
    tokens::{TokenKeys, TokenUse},
    trust::{
        Refusal,
        change::{ChangeEntry, ChangeHead},
    },
};
use signet_testkit::{
    faulty::FaultyStore,
    fixtures::{NOW, later},
};

use crate::{
    nodes::{Node, Site},
    publication::Bucket,
    world::{
        admin, at, call, call_with_id, csr, environment, identity, new_principal, new_tenant, operator, permit_of, pid,
        scope, tid,
    },
};

/// Two tenants that share a feed shard, each with a worker, on a store of which records can be damaged.
struct Pair {
    site: Site,
    flaky: Arc<FaultyStore>,
    acme: Identity,
    other: Identity,
}

impl Pair {
    async fn new() -> Self {
        let site = Site::new().await;
        let shard = ChangeHead::shard_of(&tid("acme"));
        let other = (0..).map(|n| format!("other-{n}")).find(|id| ChangeHead::shard_of(&tid(id)) == shard).unwrap();
        tenants::create_tenant(&site.app, &call("CreateTenant"), &environment(), new_tenant(&other)).await.unwrap();
        let (acme, other) = (enrolled(&site.app, "acme").await, enrolled(&site.app, &other).await);
        let flaky = FaultyStore::new(Arc::clone(&site.store));
        Self { site, flaky, acme, other }
    }

    fn node(&self) -> Node {
        self.site.node_on(&(Arc::clone(&self.flaky) as Arc<dyn Store>))
    }

    fn app(&self) -> Arc<App> {
        self.site.app_on(&(Arc::clone(&self.flaky) as Arc<dyn Store>), Settings::default())
    }

    /// Verdicts over both workers.
    fn verdicts(&self, node: &Node, now: Time) -> (Result<(), Refusal>, Result<(), Refusal>) {
        let verdict = |holder| node.trust.admit(holder, now).map(|_| ());
        (verdict(&self.acme), verdict(&self.other))
    }

    /// The key of acme's last entry in the feed.
    async fn last_change(&self) -> Key {
        let query = ChangeEntry::after(ChangeHead::shard_of(&tid("acme")), 0);
        let (entries, _) = environment().list::<ChangeEntry>(&*self.site.store, &query, NOW).await.unwrap();
        entries.into_iter().map(|entry| entry.value).rfind(|entry| entry.tenant == tid("acme")).unwrap().key()
    }
}

async fn enrolled(app: &App, tenant: &str) -> Identity {
    let input = new_principal("w", PrincipalType::Worker, &[]);
    principals::create_principal(app, &call("CreatePrincipal"), &scope(tenant), input).await.unwrap();
    let leaf =
        issuance::issue_certificate(app, &call("IssueCertificate"), &scope(tenant), &pid("w"), &csr()).await.unwrap();
    let (issuer, serial) = (leaf.certificate.issuer, leaf.certificate.serial);
    Identity { issuer, serial, ..identity(tenant, "w", PrincipalType::Worker, &[]) }
}

#[tokio::test]
async fn an_unreadable_tenant_is_refused_alone_at_start_and_later_until_it_is_mended() {
    let pair = Pair::new().await;
    let mut running = pair.node();
    running.poll(NOW).await.unwrap();
    pair.flaky.damage(Tenant::key_of(&tid("acme")));
    let mut started = pair.node();
    started.poll(NOW).await.unwrap();
    assert_eq!(pair.verdicts(&started, NOW), (Err(Refusal::TenantUnreadable), Ok(())));
    assert_eq!(pair.verdicts(&running, NOW), (Ok(()), Ok(())), "it has not read the record again");
    tenants::suspend_tenant(&pair.site.app, &call("SuspendTenant"), &environment(), &tid("acme")).await.unwrap();
    let epoch = running.trust.epoch();
    running.poll(later(1)).await.unwrap();
    assert!(running.trust.epoch() > epoch, "open sessions are looked at again");
    assert_eq!(pair.verdicts(&running, later(1)), (Err(Refusal::TenantUnreadable), Ok(())));
    assert_eq!(running.trust.staleness_millis(), Some(0), "it has heard");
    pair.flaky.mend_all();
    tenants::activate_tenant(&pair.site.app, &call("ActivateTenant"), &environment(), &tid("acme")).await.unwrap();
    running.poll(later(2)).await.unwrap();
    started.poll(later(2)).await.unwrap();
    assert_eq!(pair.verdicts(&running, later(2)), (Ok(()), Ok(())));
    assert_eq!(pair.verdicts(&started, later(2)), (Ok(()), Ok(())));
}

/// Who mends a record by hand announces nothing.
#[tokio::test]
async fn a_tenant_mended_by_hand_is_found_without_a_change() {
    let pair = Pair::new().await;
    pair.flaky.damage(Tenant::key_of(&tid("acme")));
    let mut node = pair.node();
    node.poll(NOW).await.unwrap();
    pair.flaky.mend_all();
    node.poll(later(20)).await.unwrap();
    assert_eq!(pair.verdicts(&node, later(20)), (Ok(()), Ok(())));
}

/// It is not told that its CA is none, for its holders would give up.
#[tokio::test]
async fn what_an_unreadable_ca_signed_is_refused_as_unreadable_until_it_is_mended_and_nothing_else() {
    let pair = Pair::new().await;
    pair.flaky.damage(Ca::key_of(&tid("acme"), &pair.acme.issuer));
    let mut node = pair.node();
    node.poll(NOW).await.unwrap();
    assert_eq!(pair.verdicts(&node, NOW), (Err(Refusal::TenantUnreadable), Ok(())));
    assert_eq!(node.trust.unreadable_len(), 1);
    pair.flaky.mend_all();
    node.poll(later(20)).await.unwrap();
    assert_eq!(pair.verdicts(&node, later(20)), (Ok(()), Ok(())));
    assert_eq!(node.trust.unreadable_len(), 0);
}

/// Nothing else of the tenant hangs on them.
#[tokio::test]
async fn keys_for_tokens_that_were_mended_by_hand_are_found_without_a_change() {
    let pair = Pair::new().await;
    let of = TokenUse::AccessToken;
    tokens::advance(&pair.site.app, &Chore::new("token-keys", NOW), &tid("acme"), of).await.unwrap();
    pair.flaky.damage(TokenKeys::key_of(&tid("acme"), of));
    let mut node = pair.node();
    node.poll(NOW).await.unwrap();
    assert_eq!(pair.verdicts(&node, NOW), (Ok(()), Ok(())));
    assert!(node.trust.token_keys(&tid("acme"), of).is_none());
    pair.flaky.mend_all();
    node.poll(later(20)).await.unwrap();
    assert!(node.trust.token_keys(&tid("acme"), of).is_some());
}

/// The number of one that cannot be read is not given again, and the root signs nothing for it.
#[tokio::test]
async fn a_ca_that_cannot_be_read_is_named_to_who_rotates_and_leaves_no_reservation() {
    let pair = Pair::new().await;
    let key = Ca::key_of(&tid("acme"), &pair.acme.issuer);
    pair.flaky.damage(key.clone());
    let before = pair.flaky.transactions();
    let prepare = RotationAction::Prepare;
    let refused = authorities::rotate_ca(&pair.app(), &call("Rotate"), &scope("acme"), CaKind::Tenant, prepare)
        .await
        .unwrap_err();
    assert_eq!(reason_of(&refused, &key), "RECORD_UNREADABLE");
    assert_eq!(pair.flaky.transactions(), before, "it wrote nothing");
}

#[tokio::test]
async fn a_change_that_cannot_be_read_refuses_its_tenant_alone() {
    let pair = Pair::new().await;
    let mut running = pair.node();
    running.poll(NOW).await.unwrap();
    let suspend = at(call("SuspendPrincipal"), later(1));
    principals::suspend_principal(&pair.site.app, &suspend, &admin(), &scope("acme"), &pid("w")).await.unwrap();
    pair.flaky.damage(pair.last_change().await);
    let mut started = pair.node();
    for node in [&mut running, &mut started] {
        node.poll(later(2)).await.unwrap();
        assert_eq!(pair.verdicts(node, later(2)), (Err(Refusal::TenantUnreadable), Ok(())));
        assert_eq!(node.trust.staleness_millis(), Some(0), "it has heard");
    }
    let later_change = at(call("SuspendTenant"), later(3));
    tenants::suspend_tenant(&pair.site.app, &later_change, &environment(), &pair.other.tenant).await.unwrap();
    running.poll(later(3)).await.unwrap();
    let expected = (Err(Refusal::TenantUnreadable), Err(Refusal::TenantSuspended));
    assert_eq!(pair.verdicts(&running, later(3)), expected, "the entries after it are applied");
}

/// Hears everything, and remembers its keys.
#[derive(Debug, Default)]
struct Ear(Mutex<Vec<Key>>);

#[async_trait]
impl Notifier for Ear {
    async fn tell(&self, warnings: &[ExpiryWarning]) -> Vec<(usize, String)> {
        self.0.lock().unwrap().extend(warnings.iter().map(Entity::key));
        Vec::new()
    }
}

/// All chores, each over everything, half a CA's life on; and what they report.
async fn chores(app: &App, now: Time) -> Vec<(&'static str, TaskReport)> {
    let bucket = Bucket::default();
    vec![
        ("rotate-cas", lifecycle::rotate_due_cas(app, &Chore::new("rotate-cas", now), &|| Some(now)).await.unwrap()),
        ("publish", publication::publish(app, &Chore::new("publish", now), &bucket, &|| Some(now)).await.unwrap()),
        (
            "warn-expiry",
            expiry::warn_expiries(app, &Chore::new("warn-expiry", now), &Ear::default(), &|| Some(now)).await.unwrap(),
        ),
        ("sweep", sweep::sweep_reservations(app, &Chore::new("sweep", now), &|| Some(now)).await.unwrap()),
    ]
}

/// What is damaged, where it is, and which chores name it.
type Case = (&'static str, fn(&Pair) -> Key, &'static [&'static str]);

#[tokio::test]
async fn every_chore_names_the_bad_record_and_goes_on_with_all_others() {
    let half = NOW.plus(Lifetime::days(366));
    let cases: [Case; 4] = [
        ("tenant", |pair| Tenant::key_of(&pair.acme.tenant), &["publish"]),
        ("ca", |pair| Ca::key_of(&pair.acme.tenant, &pair.acme.issuer), &["rotate-cas", "publish", "warn-expiry"]),
        ("principal", |pair| Principal::key_of(&pair.acme.tenant, &pid("w")), &[]),
        ("certificate", |pair| Certificate::key_of(&pair.acme.issuer, &pair.acme.serial), &[]),
    ];
    for (what, key, naming) in cases {
        let pair = Pair::new().await;
        let key = key(&pair);
        pair.flaky.damage(key.clone());
        let app = pair.app();
        for (chore, report) in chores(&app, half).await {
            let named = report.failed.iter().any(|(name, _)| *name == key.to_string());
            assert_eq!(named, naming.contains(&chore), "{what}: {chore}: {report:?}");
            let other = pair.other.tenant.as_str();
            let about_others = report.failed.iter().any(|(name, _)| name.contains(other));
            assert!(!about_others && !report.unfinished, "{what}: {chore}: {report:?}");
            if chore == "rotate-cas" {
                assert!(report.done.iter().any(|done| done.contains(other)), "{what}: {report:?}");
            }
        }
        assert_eq!(app.unreadable_records() > 0, !naming.is_empty(), "{what}");
    }
}

#[tokio::test]
async fn a_note_of_a_warning_that_cannot_be_read_stops_no_other_warning() {
    let pair = Pair::new().await;
    let (app, ear) = (pair.app(), Ear::default());
    let warn =
        async |now| expiry::warn_expiries(&app, &Chore::new("warn-expiry", now), &ear, &|| Some(now)).await.unwrap();
    let days = |days| NOW.plus(Lifetime::days(days));
    assert_eq!(warn(days(710)).await.failed, []);
    let told = std::mem::take(&mut *ear.0.lock().unwrap());
    assert!(told.len() >= 2, "{told:?}");
    told.iter().for_each(|note| pair.flaky.damage(note.clone()));
    let failed = warn(days(710)).await.failed;
    assert_eq!(failed.len(), told.len(), "each is named: {failed:?}");
    assert_eq!(*ear.0.lock().unwrap(), []);
}

#[tokio::test]
async fn listings_leave_out_what_cannot_be_read_and_say_where_it_is() {
    let pair = Pair::new().await;
    let app = pair.app();
    let all = PageRequest::default();
    pair.flaky.damage(Tenant::key_of(&tid("acme")));
    let tenants = tenants::list_tenants(&app, &call("ListTenants"), &environment(), false, &all).await.unwrap();
    assert_eq!(tenants.unreadable, [Tenant::key_of(&tid("acme")).to_string()]);
    let ids: Vec<String> = tenants.items.iter().map(|tenant| tenant.id.to_string()).collect();
    assert!(ids.contains(&pair.other.tenant.to_string()) && !ids.contains(&"acme".to_owned()), "{ids:?}");
    let error = tenants::get_tenant(&app, &call("GetTenant"), &scope("acme")).await.unwrap_err();
    assert!(matches!(&error, Error::Unreadable { key, .. } if key.contains("tenants/acme/tenant")), "{error:?}");
    let (acme, call) = (scope("acme"), call("List"));
    let damaged = [
        Principal::key_of(&pair.acme.tenant, &pid("w")),
        Certificate::key_of(&pair.acme.issuer, &pair.acme.serial),
        Ca::key_of(&pair.acme.tenant, &pair.acme.issuer),
    ];
    let certificates = async || certificates::list_certificates(&app, &call, &acme, &pid("w"), &all).await.unwrap();
    pair.flaky.damage(damaged[1].clone());
    assert_eq!(certificates().await.unreadable, [damaged[1].to_string()]);
    damaged.iter().for_each(|key| pair.flaky.damage(key.clone()));
    // That the tenant's own record is damaged, too, makes it no tenant that does not exist.
    let principals = principals::list_principals(&app, &call, &acme, &all).await.unwrap();
    assert_eq!((principals.items.len(), principals.unreadable), (0, vec![damaged[0].to_string()]));
    let cas = authorities::list_certificate_authorities(&app, &call, &acme, &all).await.unwrap();
    assert_eq!((cas.items.len(), cas.unreadable), (0, vec![damaged[2].to_string()]));
}

/// The index says that it was revoked, its key which one it is: a list without it would let it in.
#[tokio::test]
async fn a_revoked_certificate_that_cannot_be_read_stays_on_the_revocation_list() {
    let pair = Pair::new().await;
    let reason = RevocationReason::KeyCompromise;
    let (issuer, serial) = (&pair.acme.issuer, &pair.acme.serial);
    let revoke = call_with_id("RevokeCertificate", "r");
    certificates::revoke_certificate(&pair.site.app, &revoke, &admin(), &scope("acme"), issuer, serial, reason)
        .await
        .unwrap();
    pair.flaky.damage(Certificate::key_of(issuer, serial));
    let bucket = Bucket::default();
    let report = publication::publish(&pair.app(), &Chore::new("publish", NOW), &bucket, &|| Some(NOW)).await.unwrap();
    assert_eq!(report.failed, []);
    let crl = bucket.content(&format!("crl/{issuer}.crl"));
    assert!(crl.windows(16).any(|window| window == serial.as_bytes()), "the list has its serial number");
}

fn reason_of(error: &Error, key: &Key) -> &'static str {
    assert!(error.to_string().contains(&key.to_string()), "it names the record: {error}");
    error.reason()
}

#[tokio::test]
async fn a_principal_that_cannot_be_read_can_be_stopped_by_who_may_stop_any() {
    let pair = Pair::new().await;
    let key = Principal::key_of(&tid("acme"), &pid("w"));
    pair.flaky.damage(key.clone());
    let (app, mut node) = (pair.app(), pair.node());
    node.poll(NOW).await.unwrap();
    assert_eq!(pair.verdicts(&node, NOW), (Ok(()), Ok(())));
    let suspend = async |permit, id| {
        let call = call_with_id("SuspendPrincipal", id);
        principals::suspend_principal(&app, &call, &permit, &scope("acme"), &pid("w")).await.unwrap_err()
    };
    assert_eq!(reason_of(&suspend(operator(), "by-operator").await, &key), "RECORD_UNREADABLE");
    node.poll(later(1)).await.unwrap();
    assert_eq!(pair.verdicts(&node, later(1)), (Ok(()), Ok(())), "it may have roles that an operator may not take");
    for _ in 0..2 {
        let told = suspend(admin(), "by-admin").await;
        assert_eq!(reason_of(&told, &key), "RECORD_UNREADABLE");
        assert!(told.to_string().contains("refused everywhere"), "{told}");
    }
    node.poll(later(2)).await.unwrap();
    assert_eq!(pair.verdicts(&node, later(2)), (Err(Refusal::PrincipalDenied), Ok(())));
    pair.flaky.mend_all();
    let now = principals::get_principal(&app, &call("GetPrincipal"), &scope("acme"), &pid("w")).await.unwrap();
    assert_eq!(now.status, PrincipalStatus::Active, "its record was left alone");
}

/// What cannot be read is not the principal: a late repetition must not undo what was decided since.
#[tokio::test]
async fn a_suspension_whose_request_cannot_be_read_changes_nothing() {
    let pair = Pair::new().await;
    let (app, mut node) = (pair.app(), pair.node());
    let suspend = call_with_id("SuspendPrincipal", "late");
    principals::suspend_principal(&app, &suspend, &admin(), &scope("acme"), &pid("w")).await.unwrap();
    let activate = call_with_id("ActivatePrincipal", "since");
    principals::activate_principal(&app, &activate, &admin(), &scope("acme"), &pid("w")).await.unwrap();
    let key = RequestRecord::key_of(&tid("acme"), &suspend.actor.key(), suspend.request_id.as_ref().unwrap());
    pair.flaky.damage(key.clone());
    let told = principals::suspend_principal(&app, &suspend, &admin(), &scope("acme"), &pid("w")).await.unwrap_err();
    assert!(reason_of(&told, &key) == "RECORD_UNREADABLE" && !told.to_string().contains("nevertheless"), "{told}");
    node.poll(later(1)).await.unwrap();
    assert_eq!(pair.verdicts(&node, later(1)), (Ok(()), Ok(())));
}

#[tokio::test]
async fn errors_name_the_principal_that_cannot_be_read() {
    let pair = Pair::new().await;
    let key = Principal::key_of(&tid("acme"), &pid("w"));
    pair.flaky.damage(key.clone());
    let app = pair.app();
    let get = principals::get_principal(&app, &call("GetPrincipal"), &scope("acme"), &pid("w")).await;
    let delete = deletion::delete_principal(&app, &call("DeletePrincipal"), &admin(), &scope("acme"), &pid("w")).await;
    let activate =
        principals::activate_principal(&app, &call("ActivatePrincipal"), &admin(), &scope("acme"), &pid("w")).await;
    for refused in [get, delete, activate] {
        assert_eq!(reason_of(&refused.unwrap_err(), &key), "RECORD_UNREADABLE");
    }
}

#[tokio::test]
async fn a_certificate_whose_holder_cannot_be_read_can_be_revoked_by_who_may_revoke_any() {
    for reason in [RevocationReason::Superseded, RevocationReason::KeyCompromise] {
        let pair = Pair::new().await;
        let key = Principal::key_of(&tid("acme"), &pid("w"));
        pair.flaky.damage(key.clone());
        let (app, mut node) = (pair.app(), pair.node());
        let revoke = async |permit| {
            let (issuer, serial) = (&pair.acme.issuer, &pair.acme.serial);
            certificates::revoke_certificate(
                &app,
                &call("RevokeCertificate"),
                &permit,
                &scope("acme"),
                issuer,
                serial,
                reason,
            )
            .await
        };
        let refused = revoke(operator()).await.unwrap_err();
        assert_eq!(reason_of(&refused, &key), "RECORD_UNREADABLE");
        node.poll(NOW).await.unwrap();
        assert_eq!(pair.verdicts(&node, NOW), (Ok(()), Ok(())));
        revoke(admin()).await.unwrap();
        node.poll(later(1)).await.unwrap();
        assert_eq!(pair.verdicts(&node, later(1)), (Err(Refusal::Revoked), Ok(())), "{reason:?}");
    }
}

#[tokio::test]
async fn one_certificate_that_cannot_be_read_keeps_nobody_from_deleting_its_holder() {
    let pair = Pair::new().await;
    let issue = call("IssueCertificate");
    let other = issuance::issue_certificate(&pair.site.app, &issue, &scope("acme"), &pid("w"), &csr())
        .await
        .unwrap()
        .certificate;
    pair.flaky.damage(Certificate::key_of(&pair.acme.issuer, &pair.acme.serial));
    let (app, mut node) = (pair.app(), pair.node());
    deletion::delete_principal(&app, &call("DeletePrincipal"), &admin(), &scope("acme"), &pid("w")).await.unwrap();
    node.poll(later(1)).await.unwrap();
    assert_eq!(pair.verdicts(&node, later(1)), (Err(Refusal::Revoked), Ok(())));
    assert!(node.trust.is_revoked(&other.serial), "what can be read is revoked");
    assert!(node.trust.is_revoked(&pair.acme.serial), "what cannot is announced");
}

#[tokio::test]
async fn a_member_that_cannot_be_read_keeps_nobody_from_ending_its_instance() {
    let pair = Pair::new().await;
    let (issuer, serial) = (&pair.acme.issuer, &pair.acme.serial);
    let leaf =
        certificates::get_certificate(&pair.site.app, &call("Get"), &scope("acme"), issuer, serial).await.unwrap();
    let mut presented = identity("acme", "w", PrincipalType::Worker, &[]);
    hex::decode_to_slice(&leaf.spki_sha256, &mut presented.spki_sha256).unwrap();
    (presented.issuer, presented.serial) = (leaf.issuer, leaf.serial);
    let (renew, permit) = (at(call("RenewCertificate"), later(60)), permit_of(presented, "certificates.renew"));
    let next =
        renewal::renew_certificate(&pair.site.app, &renew, &permit, &scope("acme"), &csr()).await.unwrap().certificate;
    let (app, mut node) = (pair.app(), pair.node());
    pair.flaky.damage(Certificate::key_of(&next.issuer, &next.serial));
    let (revoke, reason) = (at(call("RevokeCertificate"), later(61)), RevocationReason::KeyCompromise);
    certificates::revoke_certificate(&app, &revoke, &admin(), &scope("acme"), issuer, serial, reason).await.unwrap();
    node.poll(later(62)).await.unwrap();
    assert!(node.trust.is_revoked(serial) && node.trust.is_revoked(&next.serial), "also what cannot be read");
}

/// All that announces in the shard would fail: a quarter of the tenants could stop nobody.
#[tokio::test]
async fn an_unreadable_head_of_the_feed_is_written_anew_behind_the_last_entry() {
    let pair = Pair::new().await;
    let key = ChangeHead::key_of(ChangeHead::shard_of(&tid("acme")));
    pair.flaky.damage(key.clone());
    let (app, mut node) = (pair.app(), pair.node());
    node.poll(NOW).await.unwrap();
    let last =
        async || environment().get::<ChangeHead>(&*pair.site.store, &key, NOW).await.unwrap().unwrap().value.last;
    let before = last().await;
    principals::suspend_principal(&app, &call("SuspendPrincipal"), &admin(), &scope("acme"), &pid("w")).await.unwrap();
    assert_eq!(last().await, before + 1);
    for second in 1..30 {
        node.poll(later(second)).await.unwrap();
    }
    assert_eq!(pair.verdicts(&node, later(30)), (Err(Refusal::PrincipalDenied), Ok(())));
}
