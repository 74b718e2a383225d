//! Each kind of client certificate: who gets in, and with which reason and alert the others do not.

use std::time::Duration;

use signet_core::{
    Lifetime, PrincipalType,
    authorities::CaState,
    tenants::{Tenant, TenantStatus},
    trust::change::Change,
};
use signet_mtls::AcceptSettings;
use signet_testkit::{fixtures, pki::Holder};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    client::{Client, alert_of},
    forged::{self, but},
    world::{Event, World, eventually},
};

fn anonymous() -> AcceptSettings {
    AcceptSettings { anonymous: true, ..AcceptSettings::default() }
}

/// The reason the node gives for the next refusal, and the alert the client sees.
async fn refused(world: &World, client: &Client) -> (&'static str, String) {
    let before = world.observer.refusals().len();
    let address = world.start(AcceptSettings::default()).await;
    let alert = client.alert(address).await;
    eventually("a refusal", || world.observer.refusals().len() > before).await;
    (world.observer.refusals()[before], alert)
}

async fn holder_is_refused(world: &World, holder: &Holder) -> (&'static str, String) {
    refused(world, &Client::new(&world.pki, Some(holder))).await
}

#[tokio::test]
async fn a_good_certificate_gives_its_holder_an_identity_and_roles() {
    let world = World::new();
    let address = world.start(AcceptSettings::default()).await;
    let holder = world.pki.holder(&world.acme, PrincipalType::User, "ann", &["operator", "viewer"]);
    let mut greeted = Client::new(&world.pki, Some(&holder)).greet(address).await.unwrap();
    assert_eq!(greeted.greeting, "acme/ann operator viewer");
    assert_eq!(greeted.echo("hello").await.unwrap(), "hello");
    let who = Some("acme/ann".to_owned());
    assert!(matches!(&world.observer.events()[..], [Event::Accepted { who: w, resumed: false }] if *w == who));
    drop(greeted);
    eventually("the registry forgets it", || world.registry.is_empty()).await;
}

#[tokio::test]
async fn no_certificate_is_taken_only_where_enrollment_is() {
    let world = World::new();
    let client = Client::new(&world.pki, None);
    let address = world.start(anonymous()).await;
    assert_eq!(client.greet(address).await.unwrap().greeting, "anonymous");
    assert_eq!(refused(&world, &client).await, ("CERTIFICATE_REQUIRED", "CertificateRequired".to_owned()));
}

#[tokio::test]
async fn a_bad_certificate_is_worse_than_none() {
    let world = World::new();
    let address = world.start(anonymous()).await;
    let holder = world.pki.worker(&world.acme, "w-1");
    world.revoke(&holder);
    assert_eq!(Client::new(&world.pki, Some(&holder)).alert(address).await, "CertificateRevoked");
}

#[tokio::test]
async fn validity_is_looked_at() {
    let world = World::new();
    let holder = world.pki.worker(&world.acme, "w-1");
    world.travel(holder.not_after);
    let expired = ("CERTIFICATE_EXPIRED", "CertificateExpired".to_owned());
    assert_eq!(holder_is_refused(&world, &holder).await, expired);
    let world = World::new();
    let holder = world.pki.worker(&world.acme, "w-1");
    world.travel(holder.not_after.minus(Lifetime::days(2)));
    let early = ("CERTIFICATE_NOT_YET_VALID", "CertificateExpired".to_owned());
    assert_eq!(holder_is_refused(&world, &holder).await, early);
}

#[tokio::test]
async fn a_status_refuses_certificates_that_are_good_in_themselves() {
    let acme = |world: &World| fixtures::tenant(&world.acme.ca.tenant);
    let world = World::new();
    let holder = world.pki.worker(&world.acme, "w-1");
    world.revoke(&holder);
    assert_eq!(holder_is_refused(&world, &holder).await, ("CERTIFICATE_REVOKED", "CertificateRevoked".to_owned()));
    let world = World::new();
    let holder = world.pki.worker(&world.acme, "w-1");
    let denied = Change::PrincipalDenied { principal: "w-1".parse().unwrap(), until: holder.not_after };
    world.change(&world.acme.ca.tenant, denied);
    assert_eq!(holder_is_refused(&world, &holder).await, ("PRINCIPAL_DENIED", "AccessDenied".to_owned()));
    let world = World::new();
    let holder = world.pki.worker(&world.acme, "w-1");
    let suspended = Tenant { status: TenantStatus::Suspended, ..acme(&world) };
    world.trust.set_tenant(&suspended, std::slice::from_ref(&world.acme.ca));
    assert_eq!(holder_is_refused(&world, &holder).await, ("TENANT_SUSPENDED", "AccessDenied".to_owned()));
    let mut retired = world.acme.ca.clone();
    retired.state = CaState::Retired;
    world.trust.set_tenant(&acme(&world), &[retired]);
    assert_eq!(holder_is_refused(&world, &holder).await, ("UNTRUSTED_ISSUER", "UnknownCA".to_owned()));
    // A CA of the tenant cannot be read, and may be this one.
    world.trust.set_lacks_cas(&world.acme.ca.tenant, true);
    assert_eq!(holder_is_refused(&world, &holder).await, ("TENANT_UNREADABLE", "AccessDenied".to_owned()));
}

#[tokio::test]
async fn a_tenants_ca_speaks_for_that_tenant_only() {
    let world = World::new();
    // Signed by acme's real CA, in globex' name: as if acme's key were stolen.
    let globex = &world.globex.ca.tenant;
    let holder = world.pki.leaf(&world.acme, globex, PrincipalType::Worker, "w-1", &[]);
    assert_eq!(holder_is_refused(&world, &holder).await, ("UNTRUSTED_ISSUER", "UnknownCA".to_owned()));
    let nobody = world.pki.tenant_ca("initech", 1);
    let holder = world.pki.worker(&nobody, "w-1");
    assert_eq!(holder_is_refused(&world, &holder).await, ("UNKNOWN_TENANT", "UnknownCA".to_owned()));
    // One whose record this node could not read when it started: it passes.
    world.trust.deny_unreadable(&nobody.ca.tenant);
    assert_eq!(holder_is_refused(&world, &holder).await, ("TENANT_UNREADABLE", "AccessDenied".to_owned()));
    // The right names, another environment's CA.
    let elsewhere = World::new();
    let holder = elsewhere.pki.worker(&elsewhere.acme, "w-1");
    assert_eq!(holder_is_refused(&world, &holder).await, ("BAD_CERTIFICATE_SIGNATURE", "UnknownCA".to_owned()));
}

#[tokio::test]
async fn a_forged_certificate_is_refused_by_name() {
    let world = World::new();
    let san = "subjectAltName=URI:spiffe://";
    let acme = Some(&world.acme);
    let two = format!("{san}acme.test.example.com/worker/w-1,URI:spiffe://acme.test.example.com/worker/w-2");
    let cases = [
        (None, forged::GOOD.map(String::from).to_vec(), "CERTIFICATE_SELF_SIGNED", "UnknownCA"),
        (
            acme,
            but("extendedKeyUsage", "extendedKeyUsage=serverAuth"),
            "WRONG_EXTENDED_KEY_USAGE",
            "UnsupportedCertificate",
        ),
        (acme, but("1.3.6.1.4.1.99999.1.3", ""), "MISSING_EXTENSION", "BadCertificate"),
        (
            acme,
            but("1.3.6.1.4.1.99999.1.1", "1.3.6.1.4.1.99999.1.1=ASN1:UTF8String:admin"),
            "EXTENSION_DISAGREES_WITH_URI",
            "BadCertificate",
        ),
        (
            acme,
            but("subjectAltName", "subjectAltName=DNS:acme.test.example.com"),
            "CERTIFICATE_WITHOUT_URI",
            "BadCertificate",
        ),
        (acme, but("subjectAltName", &two), "CERTIFICATE_WITH_MULTIPLE_URIS", "BadCertificate"),
        (
            acme,
            but("subjectAltName", &format!("{san}acme.example.org/worker/w-1")),
            "FOREIGN_TRUST_DOMAIN",
            "UnknownCA",
        ),
        (
            acme,
            but("subjectAltName", &format!("{san}acme.test.example.com/robot/w-1")),
            "BAD_SPIFFE_ID",
            "BadCertificate",
        ),
    ];
    for (ca, extensions, reason, alert) in cases {
        let client = Client::raw(&world.pki, Some(forged::leaf(ca, &extensions)), b"h2");
        assert_eq!(refused(&world, &client).await, (reason, alert.to_owned()));
    }
    // And the same by the same hand, unforged, gets in: it is the difference that is refused.
    let good = forged::leaf(acme, &forged::GOOD.map(String::from));
    let address = world.start(AcceptSettings::default()).await;
    assert_eq!(Client::raw(&world.pki, Some(good), b"h2").greet(address).await.unwrap().greeting, "acme/w-1");
}

#[tokio::test]
async fn a_refusal_says_what_was_presented() {
    let world = World::new();
    let disagrees = but("1.3.6.1.4.1.99999.1.3", "1.3.6.1.4.1.99999.1.3=ASN1:UTF8String:globex");
    let client = Client::raw(&world.pki, Some(forged::leaf(Some(&world.acme), &disagrees)), b"h2");
    refused(&world, &client).await;
    let holder = world.pki.worker(&world.acme, "w-2");
    world.revoke(&holder);
    holder_is_refused(&world, &holder).await;
    let events = world.observer.events().into_iter();
    let presented: Vec<_> = events
        .filter_map(|event| if let Event::Refused { presented, .. } = event { presented } else { None })
        .collect();
    let named: Vec<_> = presented
        .iter()
        .map(|p| (p.id.as_ref().map(|id| format!("{}/{}", id.tenant, id.principal)).unwrap(), p.verified))
        .collect();
    assert_eq!(named, [("acme/w-1".to_owned(), false), ("acme/w-2".to_owned(), true)]);
    assert_eq!(presented[1].serial, Some(holder.serial));
}

#[tokio::test]
async fn an_expired_certificate_is_told_from_one_that_was_never_ours() {
    for (is_expired, is_ours) in [(true, true), (true, false), (false, true), (false, false)] {
        let (world, elsewhere) = (World::new(), World::new());
        let holder =
            if is_ours { world.pki.worker(&world.acme, "w-1") } else { elsewhere.pki.worker(&elsewhere.acme, "w-1") };
        world.travel(if is_expired { holder.not_after } else { holder.not_after.minus(Lifetime::days(2)) });
        holder_is_refused(&world, &holder).await;
        let verified = world.observer.events().into_iter().find_map(|event| match event {
            Event::Refused { presented, .. } => presented.map(|presented| presented.verified),
            _ => None,
        });
        assert_eq!(verified, Some(is_ours), "{is_expired}");
    }
}

/// As an HTTP/2 client does, which sends its preface and requests without waiting.
#[tokio::test]
async fn a_refused_client_that_talks_on_still_reads_why() {
    let world = World::new();
    let address = world.start(AcceptSettings::default()).await;
    let holder = world.pki.worker(&world.acme, "w-1");
    world.revoke(&holder);
    let client = Client::new(&world.pki, Some(&holder));
    let mut stream = client.dial(TcpStream::connect(address).await.unwrap()).await.unwrap();
    eventually("a refusal", || world.observer.refusals() == ["CERTIFICATE_REVOKED"]).await;
    for _ in 0..3 {
        stream.write_all(&[0; 512]).await.unwrap();
        stream.flush().await.unwrap();
        // Time for a reset to come back, if there were one.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let error = stream.read(&mut [0]).await.unwrap_err();
    assert_eq!(alert_of(&error), "CertificateRevoked");
}
