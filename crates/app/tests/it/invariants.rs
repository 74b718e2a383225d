//! Invariants (CONTRIBUTING.md) that have no better place. 1, 5 and 9: `crashes`, `retries`; 6: `enrollment`; 10:
//! `bad_input`. 1 and 5 are also checked at every signature and write of every test here, by the fakes.

use signet_app::{
    authorities,
    certificates::{self, issuance, renewal},
    enrollment, principals,
};
use signet_core::PrincipalType;
use signet_testkit::fixtures::NOW;
use signet_x509::{CertificateView, ChainError};

use crate::world::*;

/// A leaf of one tenant's CA does not authenticate in another, and no name in it can change that: the CA of one tenant
/// is not among the anchors of any other.
#[tokio::test]
async fn invariant_3_a_certificate_counts_in_its_own_tenant_only() {
    let world = World::new().await;
    world.tenant("other").await;
    world.principal("worker").await;
    let other = scope("other");
    let input = new_principal("worker", PrincipalType::Worker, &[]);
    principals::create_principal(&world.app, &call("Create"), &other, input).await.unwrap();
    let ours = world.issue("worker").await;
    let theirs = issuance::issue_certificate(&world.app, &call("Issue"), &other, &pid("worker"), &csr()).await.unwrap();
    for (tenant, own, foreign) in [("acme", &ours, &theirs), ("other", &theirs, &ours)] {
        let identity = world.authenticate(tenant, &own.chain_der[0], NOW).await.unwrap();
        assert_eq!(identity.tenant, tid(tenant));
        let refused = world.authenticate(tenant, &foreign.chain_der[0], NOW).await;
        assert_eq!(refused, Err(ChainError::UnknownTenant));
        let bundle = authorities::trust_bundle(&world.app, &call("Bundle"), &scope(tenant)).await.unwrap();
        assert!(bundle.anchors.iter().all(|ca| ca.certificate_der != foreign.chain_der[1]));
    }
    // What a tenant's scope reads is that tenant's: the same serial number does not exist in the other.
    let record = &theirs.certificate;
    let missing =
        certificates::get_certificate(&world.app, &call("Get"), &acme(), &record.issuer, &record.serial).await;
    assert_eq!(missing.unwrap_err().reason(), "NOT_FOUND");
}

/// Nothing leaves before it is committed: the certificate that a caller gets is the one on record, and it is issued.
#[tokio::test]
async fn invariant_1_what_is_released_is_on_record() {
    let world = World::new().await;
    world.principal("worker").await;
    let first = world.issue("worker").await;
    let renew = call("RenewCertificate");
    let second = renewal::renew_certificate(&world.app, &renew, &renewal_of(&first), &acme(), &csr()).await.unwrap();
    let token = world.token(new_token()).await;
    let third = enrollment::enroll(&world.app, &anonymous("one"), enrollment(&token, "new", &csr())).await.unwrap();
    for leaf in [first, second, third] {
        let record = world.record(&leaf.certificate.issuer, &leaf.certificate.serial).await;
        assert_eq!(record.certificate_der, leaf.chain_der[0]);
        assert!(record.tbs_der.is_empty(), "the same bytes twice make a record that needs another kilobyte");
        assert_eq!(record.state, leaf.certificate.state);
        let view = CertificateView::from_der(&record.certificate_der).unwrap();
        assert!(world.keys.signed().iter().any(|signed| signed == view.tbs_der));
    }
}
