//! OCSP responders: certified by the CA that they answer for, on record before that, and told in the audit log.

use signet_app::{
    Chore,
    authorities::ocsp::{certify_responder, status},
    certificates::{issuance, sweep},
};
use signet_core::{
    CaId, Serial,
    certificates::{Certificate, CertificateKind, CertificateState, DEADLINE_SHARDS, RevocationReason},
    store::{Index, Query, Table},
};
use signet_testkit::{
    faulty::Fault,
    fixtures::{NOW, later},
};
use signet_x509::{CertificateView, ocsp::CertStatus};

use crate::{publication::revoke_one, world::*};

fn chore() -> Chore {
    Chore::new("ocsp-responder", NOW)
}

fn acme_1() -> CaId {
    "acme.1".parse().unwrap()
}

async fn in_index(world: &World, index: Index, partition: String) -> Vec<Certificate> {
    let query = Query::index(Table::Certificates, index, partition);
    let (found, _) = environment().list::<Certificate>(&*world.store, &query, NOW).await.unwrap();
    found.into_iter().map(|found| found.value).collect()
}

async fn reserved(world: &World) -> Vec<Serial> {
    let mut found = Vec::new();
    for shard in 0..DEADLINE_SHARDS {
        found.extend(in_index(world, Index::ByDeadline, Certificate::reserved(shard)).await);
    }
    found.into_iter().map(|certificate| certificate.serial).collect()
}

#[tokio::test]
async fn a_responder_is_certified_by_its_ca_and_on_record() {
    let world = World::new().await;
    for (ca, owner, events) in [("acme.1", "acme", 1), ("shared.1", "system", 2)] {
        let signed = world.keys.signatures();
        let certified = certify_responder(&world.app, &chore(), &ca.parse().unwrap()).await.unwrap().unwrap();
        assert_eq!(world.keys.signatures(), signed + 1);
        assert_eq!(world.outcomes("ocsp-responder").len(), events);
        let records =
            in_index(&world, Index::ByPrincipal, Certificate::by_kind(&tid(owner), CertificateKind::Ca)).await;
        let record = records.iter().find(|record| record.principal == pid("ocsp")).unwrap();
        assert_eq!((record.issuer.as_str(), &record.state), (ca, &CertificateState::Issued));
        assert_eq!((record.not_before, record.not_after), (certified.not_before, certified.not_after));
        let view = CertificateView::from_der(&record.certificate_der).unwrap();
        assert!(world.keys.signed().iter().any(|signed| signed == view.tbs_der));
        assert_eq!(status(&world.app, &record.issuer, &record.serial, NOW).await.unwrap(), CertStatus::Good);
    }
    // Of the certificates among which bootstrap looks for the server's, none is a responder's.
    let servers = Certificate::by_kind(&tid("system"), CertificateKind::Server);
    let servers = in_index(&world, Index::ByPrincipal, servers).await;
    assert!(servers.iter().all(|record| record.principal == pid("server")));
}

#[tokio::test]
async fn who_signs_for_no_principal_has_no_responder() {
    let world = World::new().await;
    let signed = world.keys.signatures();
    for ca in ["root.1", "server.1", "acme.2", "nobody.1"] {
        assert!(certify_responder(&world.app, &chore(), &ca.parse().unwrap()).await.unwrap().is_none(), "{ca}");
    }
    assert_eq!((world.keys.signatures(), world.outcomes("ocsp-responder").len()), (signed, 0));
}

/// The store and the keys of these tests check at each write and signature that it was audited and recorded.
#[tokio::test]
async fn invariant_1_a_fault_at_any_write_leaves_no_responder_without_a_record() {
    let world = World::new().await;
    let before = world.store.transactions();
    certify_responder(&world.app, &chore(), &acme_1()).await.unwrap().unwrap();
    let points = world.store.transactions() - before;
    for (point, fault) in (0..points).flat_map(|point| Fault::of_writes().map(|fault| (point, fault))) {
        let events = world.outcomes("ocsp-responder").len();
        world.store.arm(point, fault.clone());
        let made = certify_responder(&world.app, &chore(), &acme_1()).await;
        assert!(world.store.restart(), "{point} {fault:?}: the fault did not happen");
        let written = world.outcomes("ocsp-responder").len() - events;
        assert!(made.is_err() || written == 1, "{point} {fault:?}");
    }
    assert!(!reserved(&world).await.is_empty());
    let chore = Chore::new("sweeper", later(600));
    sweep::sweep_reservations(&world.app, &chore, &|| Some(later(600))).await.unwrap();
    assert!(reserved(&world).await.is_empty());
}

#[tokio::test]
async fn what_was_never_released_was_never_issued() {
    let world = World::new().await;
    let revoked = revoke_one(&world, "bad", NOW).await;
    world.principal("w-1").await;
    let good = world.issue("w-1").await.certificate;
    world.store.arm(1, Fault::CrashBefore);
    issuance::issue_certificate(&world.app, &call_with_id("Issue", "one"), &acme(), &pid("w-1"), &csr())
        .await
        .unwrap_err();
    world.store.restart();
    let [never] = reserved(&world).await[..] else { panic!("one reservation") };
    let is = async |ca: &CaId, serial: &Serial| status(&world.app, ca, serial, NOW).await.unwrap();
    assert_eq!(is(&acme_1(), &good.serial).await, CertStatus::Good);
    let told = CertStatus::Revoked { revoked_at: NOW, reason: RevocationReason::KeyCompromise };
    assert_eq!(is(&acme_1(), &revoked.serial).await, told);
    assert_eq!(is(&acme_1(), &never).await, CertStatus::Unknown);
    let chore = Chore::new("sweeper", later(600));
    sweep::sweep_reservations(&world.app, &chore, &|| Some(later(600))).await.unwrap();
    assert_eq!(is(&acme_1(), &never).await, CertStatus::Unknown);
    let other = "shared.1".parse().unwrap();
    assert_eq!(is(&other, &good.serial).await, CertStatus::Unknown, "another CA's");
}
