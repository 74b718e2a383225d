//! When to renew, as the server says; and renewal without a handshake.

use signet_app::{
    Call, OutOfBandRenewal, TenantPatch, authorities,
    certificates::{self, issuance, renewal},
    enrollment::out_of_band,
    principals, tenants,
};
use signet_core::{
    Error, Lifetime, Time,
    certificates::{
        CertificateState, RevocationReason,
        renewal::{Advice, AdviceReason, Steering, Window},
    },
};
use signet_testkit::fixtures::{NOW, later};
use signet_x509::{KeyPair, csr as x509_csr};

use crate::{
    lineage::{confirm, now, renew, signed, worker},
    world::*,
};

const HOUR: u32 = 3600;

async fn info(world: &World, leaf: &signet_app::IssuedLeaf, at: Time) -> Advice {
    let identity = world.authenticate("acme", &leaf.chain_der[0], at).await.unwrap();
    let call = Call { now: at, ..call("GetRenewalInfo") };
    renewal::renewal_info(&world.app, &call, &permit_of(identity, "certificates.renew"), &acme()).await.unwrap()
}

async fn steer(world: &World, issued_before: Time, window: Window) -> Result<Option<Steering>, Error> {
    let steering = Some(Steering { issued_before, window });
    Ok(tenants::steer_renewals(&world.app, &call("SteerRenewals"), &acme(), steering).await?.renewal_steering)
}

async fn grace(world: &World, grace: Lifetime) {
    let patch = TenantPatch { renewal_grace: Some(grace), ..TenantPatch::default() };
    tenants::update_tenant(&world.app, &call("UpdateTenant"), &environment(), &tid("acme"), patch).await.unwrap();
}

#[tokio::test]
async fn the_default_is_the_middle_third_and_the_tenants_grace() {
    let world = World::new().await;
    let (_, leaf) = worker(&world, "worker").await;
    let record = &leaf.certificate;
    let usual = Window::of_lifetime(record.serial.made_at(), record.not_after);
    let advice = info(&world, &leaf, NOW).await;
    assert_eq!((advice.window, advice.reason, advice.grace), (usual, AdviceReason::Default, Lifetime::seconds(0)));
    assert_eq!(advice.ask_again, Lifetime::seconds(3600), "a twenty-fourth of the lifetime");
    grace(&world, Lifetime::days(7)).await;
    assert_eq!(info(&world, &leaf, NOW).await.grace, Lifetime::days(7));
}

#[tokio::test]
async fn an_operator_steers_what_was_made_before_and_clears_it() {
    let world = World::new().await;
    let (_, old) = worker(&world, "worker").await;
    let window = Window { start: later(60), end: later(HOUR) };
    let at_once = later(1);
    let steering = Some(Steering { issued_before: at_once, window });
    let call = at(call("SteerRenewals"), later(2));
    tenants::steer_renewals(&world.app, &call, &acme(), steering).await.unwrap();
    let new =
        issuance::issue_certificate(&world.app, &at(self::call("Issue"), later(3)), &acme(), &pid("worker"), &csr())
            .await
            .unwrap();
    let advice = info(&world, &old, later(4)).await;
    assert_eq!((advice.window, advice.reason), (window, AdviceReason::Steered));
    assert_eq!(info(&world, &new, later(4)).await.reason, AdviceReason::Default, "though its validity began before");
    tenants::steer_renewals(&world.app, &call, &acme(), None).await.unwrap();
    assert_eq!(info(&world, &old, later(4)).await.reason, AdviceReason::Default);
    assert_eq!(world.outcomes("SteerRenewals"), ["OK", "OK"]);
}

#[tokio::test]
async fn a_steering_that_cannot_be_is_refused() {
    let world = World::new().await;
    let cases = [
        ("steering.issued_before", later(1), Window { start: later(60), end: later(HOUR) }),
        ("steering.window_end", NOW, Window { start: later(60), end: later(119) }),
        ("steering.window_end", NOW, Window { start: NOW.minus(Lifetime::hours(2)), end: NOW }),
        ("steering.window_end", NOW, Window { start: NOW, end: NOW.plus(Lifetime::days(91)) }),
    ];
    for (field, issued_before, window) in cases {
        let refused = steer(&world, issued_before, window).await.unwrap_err();
        assert!(matches!(refused, Error::Invalid { field: found, .. } if found == field), "{field}: {refused:?}");
    }
    assert_eq!(tenants::get_tenant(&world.app, &call("Get"), &acme()).await.unwrap().renewal_steering, None);
}

/// What a CA signed that signs no more is renewed sooner, so that the CA can go.
#[tokio::test]
async fn a_retiring_ca_hastens_its_certificates() {
    use signet_app::RotationAction::{Activate, Prepare};
    let world = World::new().await;
    let (_, leaf) = worker(&world, "worker").await;
    for (action, at_second) in [(Prepare, 0), (Activate, HOUR)] {
        let call = at(call("RotateCa"), later(at_second));
        authorities::rotate_ca(&world.app, &call, &acme(), signet_core::authorities::CaKind::Tenant, action)
            .await
            .unwrap();
    }
    let advice = info(&world, &leaf, later(HOUR + 1)).await;
    let third = Lifetime::hours(8);
    // Two intervals of asking, so that all have heard of it.
    let start = later(HOUR + 2 * HOUR);
    let window = Window { start, end: start.plus(third) };
    assert_eq!((advice.window, advice.reason), (window, AdviceReason::CaRotation));
}

/// A call over HTTP: nobody is known yet.
async fn ask(world: &World, id: &str, input: &OutOfBandRenewal, now: Time) -> Result<signet_app::IssuedLeaf, Error> {
    out_of_band::renew_out_of_band(&world.app, &Call { operation: "RenewOutOfBand", ..at(anonymous(id), now) }, input)
        .await
}

#[tokio::test]
async fn a_signature_with_the_present_key_renews() {
    let world = World::new().await;
    let (key, leaf) = worker(&world, "worker").await;
    let input = signed(&world, &key, &leaf, "one", NOW);
    let next = ask(&world, "one", &input, NOW).await.unwrap();
    assert_eq!(next.certificate.renews, Some(leaf.certificate.serial));
    assert_eq!(next.certificate.lineage.generation, 1);
    assert_eq!(world.outcomes("RenewOutOfBand"), ["OK"]);
    let again = ask(&world, "one", &input, later(200)).await.unwrap();
    assert_eq!(again.certificate.serial, next.certificate.serial, "a replay is the same request");
}

/// The answer over mTLS was lost; the same request goes out of band.
#[tokio::test]
async fn one_request_id_is_one_request_on_both_ways() {
    let world = World::new().await;
    let (key, leaf) = worker(&world, "worker").await;
    let input = signed(&world, &key, &leaf, "one", NOW);
    let call = Call { actor: signet_core::Actor::from(&**renewal_of(&leaf).identity()), ..call("RenewCertificate") };
    let call = Call { request_id: Some("one".parse().unwrap()), ..call };
    let first =
        renewal::renew_certificate(&world.app, &call, &renewal_of(&leaf), &acme(), &input.csr_der).await.unwrap();
    let second = ask(&world, "one", &input, NOW).await.unwrap();
    assert_eq!(first.certificate.serial, second.certificate.serial);
}

#[tokio::test]
async fn after_expiry_the_tenants_grace_decides() {
    let world = World::new().await;
    let (key, leaf) = worker(&world, "worker").await;
    let after = |hours: u32| leaf.certificate.not_after.plus(Lifetime::hours(hours));
    let attempt = |id: &'static str, now| {
        let (input, world) = (signed(&world, &key, &leaf, id, now), &world);
        async move { ask(world, id, &input, now).await }
    };
    assert_eq!(attempt("none", after(0)).await.unwrap_err().reason(), "RENEWAL_GRACE_OVER");
    grace(&world, Lifetime::hours(2)).await;
    assert_eq!(attempt("late", after(2)).await.unwrap_err().reason(), "RENEWAL_GRACE_OVER");
    let next = attempt("in-time", after(1)).await.unwrap();
    let held = world.get_principal("worker").await;
    assert_eq!(held.certificates[0].serial, next.certificate.serial);
    assert!(held.superseded.is_empty(), "what has expired authenticates nobody");
    assert_eq!(world.outcomes("RenewOutOfBand"), ["RENEWAL_GRACE_OVER", "RENEWAL_GRACE_OVER", "OK"]);
}

#[tokio::test]
async fn who_may_not_call_may_not_renew_out_of_band_either() {
    for case in ["PRINCIPAL_SUSPENDED", "TENANT_SUSPENDED", "CERTIFICATE_REVOKED", "INSTANCE_LOCKED"] {
        let world = World::new().await;
        let (key, leaf) = worker(&world, "worker").await;
        let record = &leaf.certificate;
        match case {
            "PRINCIPAL_SUSPENDED" => {
                principals::suspend_principal(&world.app, &call("S"), &admin(), &acme(), &pid("worker"))
                    .await
                    .map(drop)
                    .unwrap();
            }
            "TENANT_SUSPENDED" => {
                tenants::suspend_tenant(&world.app, &call("S"), &environment(), &tid("acme")).await.map(drop).unwrap();
            }
            "CERTIFICATE_REVOKED" => {
                let reason = RevocationReason::Unspecified;
                let revoke = call("RevokeCertificate");
                let (app, issuer) = (&world.app, &record.issuer);
                certificates::revoke_certificate(app, &revoke, &admin(), &acme(), issuer, &record.serial, reason)
                    .await
                    .unwrap();
            }
            _ => {
                let next = renew(&world, &leaf).await.unwrap();
                confirm(&world, &next).await.unwrap();
                renew(&world, &leaf).await.unwrap_err();
            }
        }
        let input = signed(&world, &key, &leaf, "one", NOW);
        assert_eq!(ask(&world, "one", &input, NOW).await.unwrap_err().reason(), case);
        assert_eq!(world.outcomes("RenewOutOfBand"), [case], "in the tenant's log");
    }
}

/// Before the key is proven, nothing is said, and the log has the reason.
#[tokio::test]
async fn what_proves_nothing_is_refused_without_a_word() {
    let world = World::new().await;
    let (key, leaf) = worker(&world, "worker").await;
    let good = || signed(&world, &key, &leaf, "one", NOW);
    let with = |change: &dyn Fn(&mut OutOfBandRenewal)| {
        let mut input = good();
        change(&mut input);
        input
    };
    let thief = KeyPair::generate().unwrap();
    let cases = [
        ("SIGNATURE_INVALID", signed(&world, &thief, &leaf, "one", NOW)),
        ("SIGNATURE_INVALID", with(&|input| input.csr_der = csr())),
        ("SIGNATURE_INVALID", with(&|input| input.signed_at = later(1))),
        ("SIGNATURE_INVALID", signed(&world, &key, &leaf, "other-request", NOW)),
        ("CERTIFICATE_MALFORMED", with(&|input| input.certificate_der.truncate(100))),
        ("CERTIFICATE_NOT_OURS", with(&|input| input.certificate_der = leaf.chain_der[1].clone())),
        ("CERTIFICATE_TOO_LARGE", with(&|input| input.certificate_der = vec![0; 17 * 1024])),
    ];
    let count = cases.len();
    for (reason, input) in cases {
        let refused = ask(&world, "one", &input, NOW).await.unwrap_err();
        assert!(matches!(refused, Error::ProofRefused { reason: found } if found == reason), "{reason}: {refused:?}");
    }
    let skewed = ask(&world, "one", &good(), later(301)).await.unwrap_err();
    assert_eq!(skewed.reason(), "CLOCK_SKEW", "this much is said: the caller can do something about it");
    assert_eq!(world.outcomes("RenewOutOfBand").len(), count + 1);
    assert_eq!(world.get_principal("worker").await.certificates.len(), 1);
}

/// A certificate that our CA signed, but that is not the one on record: one of a stolen CA key.
#[tokio::test]
async fn a_certificate_that_is_not_on_record_is_refused() {
    let world = World::new().await;
    let (key, leaf) = worker(&world, "worker").await;
    let mut forged = leaf.clone();
    // Another signature over the same bytes: valid in form, not ours.
    let last = forged.chain_der[0].len() - 1;
    forged.chain_der[0][last] ^= 1;
    let input = signed(&world, &key, &forged, "one", NOW);
    let refused = ask(&world, "one", &input, NOW).await.unwrap_err();
    assert!(matches!(refused, Error::ProofRefused { reason: "CERTIFICATE_UNKNOWN" }), "{refused:?}");
}

/// Also when the CA was retired meanwhile: the record counts, and the way back is open.
#[tokio::test]
async fn a_certificate_of_a_retired_ca_is_renewed_by_the_present_one() {
    use signet_app::RotationAction::{ForceActivate, Prepare, Retire};
    let world = World::new().await;
    let (key, leaf) = worker(&world, "worker").await;
    for action in [Prepare, ForceActivate, Retire] {
        authorities::rotate_ca(
            &world.app,
            &call("RotateCa"),
            &acme(),
            signet_core::authorities::CaKind::Tenant,
            action,
        )
        .await
        .unwrap();
    }
    let next = ask(&world, "one", &signed(&world, &key, &leaf, "one", NOW), NOW).await.unwrap();
    assert_eq!((leaf.certificate.issuer.as_str(), next.certificate.issuer.as_str()), ("acme.1", "acme.2"));
    assert_eq!(now(&world, &leaf).await.state, CertificateState::Issued);
}

#[tokio::test]
async fn the_new_key_is_a_new_one_and_the_request_has_an_id() {
    let world = World::new().await;
    let (key, leaf) = worker(&world, "worker").await;
    let call = Call { request_id: None, ..anonymous("one") };
    let refused =
        out_of_band::renew_out_of_band(&world.app, &call, &signed(&world, &key, &leaf, "one", NOW)).await.unwrap_err();
    assert!(matches!(refused, Error::Invalid { field: "request_id", .. }), "{refused:?}");
    let (certificate_der, csr_der) = (leaf.chain_der[0].clone(), x509_csr::create(&key).unwrap());
    let statement = signet_x509::OutOfBandStatement {
        environment: world.app.environment(),
        certificate_der: &certificate_der,
        csr_der: &csr_der,
        request_id: &"one".parse().unwrap(),
        signed_at: NOW,
    };
    let signature_der = statement.sign(&key).unwrap();
    let input = OutOfBandRenewal { certificate_der, csr_der, signed_at: NOW, signature_der };
    assert_eq!(ask(&world, "one", &input, NOW).await.unwrap_err().reason(), "KEY_REUSED");
}
