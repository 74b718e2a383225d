//! What is refused of a tenant, as it is told to those who decide by themselves.

use std::collections::BTreeSet;

use signet_core::{
    Lifetime, Serial, TenantId,
    trust::{
        PrincipalRuling,
        change::{Change, ChangeEntry},
    },
};

use crate::trust::{NOW, entry, trust, worker};

/// For those who decide without asking: part by part it is all that is refused, and nothing of another tenant's.
#[test]
fn the_refusals_of_a_tenant_are_listed_by_parts() {
    let (trust, acme, worker) = (trust(), "acme".parse::<TenantId>().unwrap(), worker());
    let until = NOW.plus(Lifetime::hours(1));
    let serial = |number: u8| Serial::new(NOW, [number; 10]);
    let apply = |tenant: &str, change| {
        trust.apply(&ChangeEntry { changes: vec![change], ..entry(tenant) });
    };
    let revoked = |number| Change::CertificateRevoked { serial: serial(number), not_after: until, issuer: None };
    (0..50).for_each(|number| apply("acme", revoked(number)));
    (50..60).for_each(|number| apply("globex", revoked(number)));
    let issuer = Some(worker.issuer.clone());
    apply("acme", Change::CertificateRevoked { serial: serial(60), not_after: until, issuer });
    assert!(!trust.is_revoked(&serial(60)) && trust.is_revoked_somewhere(&serial(60)));
    let denied = |id: &str| Change::PrincipalDenied { principal: id.parse().unwrap(), until };
    apply("acme", denied("w-1"));
    apply("globex", denied("w-2"));
    apply("acme", denied("w-3"));
    apply("acme", Change::PrincipalAllowed { principal: "w-3".parse().unwrap() });
    let roles = vec!["operator".parse().unwrap()];
    apply("acme", Change::PrincipalRoles { principal: "w-4".parse().unwrap(), roles: roles.clone(), until });
    let all = |now| -> (BTreeSet<Serial>, Vec<PrincipalRuling>) {
        let parts: Vec<_> = (0..).map_while(|part| trust.refused(&acme, part, now)).collect();
        let mut principals: Vec<_> = parts.iter().flat_map(|part| part.principals.clone()).collect();
        principals.sort_by_key(|ruling| ruling.principal.clone());
        (parts.into_iter().flat_map(|part| part.certificates).collect(), principals)
    };
    let (certificates, principals) = all(NOW);
    assert_eq!(certificates, (0..50).chain([60]).map(serial).collect());
    let none = |id: &str| PrincipalRuling::none(&id.parse().unwrap());
    let is_denied = PrincipalRuling { denied_until: Some(until), ..none("w-1") };
    let has_roles = PrincipalRuling { roles: Some((roles.into(), until)), ..none("w-4") };
    assert_eq!(principals, [is_denied.clone(), has_roles]);
    assert_eq!(all(until).1, [], "what is over is not said");
    assert_eq!(trust.ruling(&acme, &"w-1".parse().unwrap(), NOW), is_denied);
    assert_eq!(trust.ruling(&acme, &"w-3".parse().unwrap(), NOW), none("w-3"));
    assert!(!trust.refuses_tenant(&acme, NOW) && trust.refuses_tenant(&"nobody".parse().unwrap(), NOW));
    trust.deny_unknown_change(0, Some(&acme), until);
    assert!(trust.refuses_tenant(&acme, NOW) && !trust.refuses_tenant(&acme, until));
}
