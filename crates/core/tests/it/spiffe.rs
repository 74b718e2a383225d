//! SPIFFE names: what is written can be read, and nothing else can.

use proptest::prelude::*;
use signet_core::{
    PrincipalType,
    spiffe::{SpiffeId, TrustDomainSuffix},
};

fn suffix() -> TrustDomainSuffix {
    "prod.example.com".parse().unwrap()
}

proptest! {
    #[test]
    fn every_name_survives_its_uri(
        tenant in "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
        principal in "[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}",
        kind in prop::sample::select(PrincipalType::ALL.to_vec()),
    ) {
        let id =
            SpiffeId { tenant: tenant.parse().unwrap(), principal_type: kind, principal: principal.parse().unwrap() };
        let uri = id.uri(&suffix());
        prop_assert!(uri.len() <= 2048, "SPIFFE-ID section 2.3");
        prop_assert_eq!(SpiffeId::parse(&uri, &suffix()), Some(id));
    }

    #[test]
    fn what_is_read_is_written_the_same_way(uri in "spiffe://[a-z.]{1,8}prod.example.com/(user|worker)/[a-z./%@:#?]{1,8}") {
        if let Some(id) = SpiffeId::parse(&uri, &suffix()) {
            prop_assert_eq!(id.uri(&suffix()), uri);
        }
    }
}

#[test]
fn a_host_lies_in_at_most_one_tenants_trust_domain() {
    let around = |host| suffix().tenant_around(host).map(|tenant| tenant.to_string());
    for host in ["signet.prod.example.com", "eu.signet.prod.example.com", "a.b.signet.prod.example.com"] {
        assert_eq!(around(host).as_deref(), Some("signet"), "{host}");
    }
    for host in ["prod.example.com", "signet.example.com", "signet.xprod.example.com", ".prod.example.com", "localhost"]
    {
        assert_eq!(around(host), None, "{host}");
    }
}

#[test]
fn names_that_only_look_like_ours_are_refused() {
    for bad in [
        "",
        "spiffe://",
        "spiffe://prod.example.com/worker/w",
        "spiffe://.prod.example.com/worker/w",
        "spiffe://acmeprod.example.com/worker/w",
        "spiffe://a.b.prod.example.com/worker/w",
        "spiffe://acme.prod.example.com.evil.com/worker/w",
        "spiffe://acme.dev.example.com/worker/w",
        "spiffe://ACME.prod.example.com/worker/w",
        "SPIFFE://acme.prod.example.com/worker/w",
        "spiffe://acme.prod.example.com:443/worker/w",
        "spiffe://user@acme.prod.example.com/worker/w",
        "spiffe://acme.prod.example.com/worker",
        "spiffe://acme.prod.example.com/worker/",
        "spiffe://acme.prod.example.com/worker/w/x",
        "spiffe://acme.prod.example.com//worker/w",
        "spiffe://acme.prod.example.com/worker/..",
        "spiffe://acme.prod.example.com/Worker/w",
        "spiffe://acme.prod.example.com/worker/w?a",
        "spiffe://acme.prod.example.com/worker/w#a",
        "spiffe://acme.prod.example.com/worker/%77",
        "spiffe://acme.prod.example.com/worker/w\n",
        "https://acme.prod.example.com/worker/w",
    ] {
        assert_eq!(SpiffeId::parse(bad, &suffix()), None, "{bad:?}");
    }
}

#[test]
fn a_suffix_leaves_room_for_every_tenant() {
    let longest = ["a".repeat(63), "b".repeat(63), "c".repeat(62)].join(".");
    assert_eq!(longest.len(), 190);
    let suffix: TrustDomainSuffix = longest.parse().unwrap();
    let tenant = "t".repeat(63).parse().unwrap();
    assert!(suffix.trust_domain(&tenant).len() <= 255, "SPIFFE-ID section 2.1");
    assert!(format!("{longest}x").parse::<TrustDomainSuffix>().is_err());
    for bad in ["", ".", "a.", ".a", "A", "a..b", "a b", "a/b", "-a", "a_b"] {
        assert!(bad.parse::<TrustDomainSuffix>().is_err(), "{bad:?}");
    }
}
