//! Invariants 1, 5, 6 and 9 under faults: every operation × write point × kind of fault.

use std::sync::Arc;

use signet_app::{RotationAction, authorities, bootstrap, certificates::issuance};
use signet_core::{Error, StoreError, authorities::CaKind};

use signet_testkit::faulty::Fault;
use signet_x509::CertificateView;

use crate::{
    operations::{ALL, Answer, Operation, prepare},
    world::*,
};

/// Wherever a transaction fails, before or after it took effect, the same request completes the operation, once, and
/// answers the same from then on. (The store and the keys of these tests check at each write and signature that it was
/// audited and recorded.)
#[tokio::test]
async fn invariant_1_5_9_every_operation_survives_a_fault_at_every_write() {
    let world = Arc::new(World::new().await);
    let mut number = 0;
    for operation in ALL {
        number += 1;
        let points = write_points(&world, operation, number).await;
        assert!(points > 0, "{} writes nothing", operation.name);
        for (point, fault) in (0..points).flat_map(|point| Fault::of_writes().map(|fault| (point, fault))) {
            number += 1;
            let case = format!("{} write {point} {fault:?}", operation.name);
            one_case(&world, operation, number, point, fault, &case).await;
        }
    }
}

async fn write_points(world: &Arc<World>, operation: &Operation, number: usize) -> usize {
    let run = prepare(world, operation.name, number).await;
    let before = world.store.transactions();
    run().await.unwrap();
    world.store.transactions() - before
}

async fn one_case(
    world: &Arc<World>,
    operation: &Operation,
    number: usize,
    point: usize,
    fault: Fault<StoreError>,
    case: &str,
) {
    let run = prepare(world, operation.name, number).await;
    let events = world.outcomes(operation.name).len();
    world.store.arm(point, fault.clone());
    let first = run().await;
    assert!(world.store.restart(), "{case}: the fault did not happen");
    let crashed = matches!(fault, Fault::CrashBefore | Fault::CrashAfter);
    assert_eq!(first.is_err(), crashed, "{case}: {first:?}");
    let second = run().await;
    let third = run().await;
    assert!(completes(&second, operation, &first), "{case}: {second:?}");
    if operation.name != "CreateToken" {
        assert_eq!(second, third, "{case}");
        assert!(crashed || first == second, "{case}");
    }
    let written = world.outcomes(operation.name).len() - events;
    assert_eq!(written, operation.events, "{case}");
}

/// A token's secret is not kept, so a request that made one before says so.
pub(crate) fn completes(answer: &Answer, operation: &Operation, first: &Answer) -> bool {
    match answer {
        Ok(_) => true,
        Err(Error::Precondition { reason: "SECRET_NOT_KEPT", .. }) => operation.name == "CreateToken" || first.is_ok(),
        Err(_) => false,
    }
}

/// A signature that fails leaves a reservation; the same request signs the same bytes later.
#[tokio::test]
async fn invariant_1_an_unavailable_key_delays_an_issuance_and_nothing_else() {
    let world = World::new().await;
    world.principal("worker").await;
    let (csr, call) = (csr(), call_with_id("IssueCertificate", "one"));
    world.key_faults.set_down(true);
    let refused = issuance::issue_certificate(&world.app, &call, &acme(), &pid("worker"), &csr).await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable { what: "the signing key", .. }), "{refused:?}");
    assert!(world.get_principal("worker").await.certificates.is_empty());
    let signed = world.keys.signatures();
    world.key_faults.set_down(false);
    let leaf = issuance::issue_certificate(&world.app, &call, &acme(), &pid("worker"), &csr).await.unwrap();
    let view = CertificateView::from_der(&leaf.certificate.certificate_der).unwrap();
    assert_eq!(world.keys.signed()[signed..], [view.tbs_der], "one signature, over the recorded bytes");
}

/// However often its commit is tried: no CA certificate is signed that nobody uses.
#[tokio::test]
async fn a_call_certifies_a_ca_once() {
    let world = World::new().await;
    for (case, call) in ["CreateTenant", "PrepareCa"].into_iter().zip([0, 1]) {
        let (signed, reserved) = (world.keys.signatures(), world.ledger.reservations().len());
        // The records of the certificate, its anchor and its list, then the commit: no answer, not applied.
        world.store.arm(3, Fault::lost_request());
        if call == 0 {
            world.tenant("globex").await;
        } else {
            let prepare = RotationAction::Prepare;
            authorities::rotate_ca(&world.app, &crate::world::call(case), &acme(), CaKind::Tenant, prepare)
                .await
                .unwrap();
        }
        assert!(world.store.restart(), "{case}: the fault did not happen");
        assert_eq!(world.keys.signatures() - signed, 3, "{case}");
        assert_eq!(world.ledger.reservations().len() - reserved, 2, "{case}");
    }
}

/// Somebody has put another key in its place, or the reference is wrong: no client mends that by trying again.
#[tokio::test]
async fn a_key_that_is_not_the_cas_is_the_operators_to_mend() {
    let world = World::new().await;
    world.principal("worker").await;
    let ca = authorities::list_cas(&world.app, &call("ListCas"), &acme()).await.unwrap().remove(0);
    world.keys.replace(&ca.key);
    let other = world.other_node();
    let refused =
        issuance::issue_certificate(&other, &call("Issue"), &acme(), &pid("worker"), &csr()).await.unwrap_err();
    assert!(matches!(&refused, Error::Misconfigured { what: "the signing key", cause } if cause.contains("acme.1")));
}

/// A crash at any write of a bootstrap is mended by running it again.
#[tokio::test]
async fn bootstrap_completes_after_a_crash_at_every_write() {
    let whole = World::empty();
    whole.bootstrap().await.unwrap();
    let points = whole.store.transactions();
    for (point, fault) in (0..points).flat_map(|point| Fault::of_writes().map(|fault| (point, fault))) {
        let world = World::empty();
        let (input, call) = (bootstrap_input(), signet_app::Call::process("bootstrap", signet_testkit::fixtures::NOW));
        world.store.arm(point, fault.clone());
        let _ = bootstrap::bootstrap(&world.app, &call, &input).await;
        assert!(world.store.restart(), "write {point} {fault:?}: the fault did not happen");
        let report = bootstrap::bootstrap(&world.app, &call, &input).await.unwrap();
        assert_eq!(report.items.len(), 8, "write {point} {fault:?}");
        let again = bootstrap::bootstrap(&world.app, &call, &input).await.unwrap();
        assert!(again.items.iter().all(|item| !item.made), "write {point} {fault:?}: {:?}", again.items);
        assert_eq!(again.admin, report.admin, "write {point} {fault:?}");
    }
}
