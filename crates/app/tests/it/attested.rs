//! Enrollment by proofs that a tenant's rules accept.

use std::sync::Arc;

use signet_app::{
    Call, Enroll, IssuedLeaf, Proof,
    enrollment::{self, rules},
    principals, tenants,
};
use signet_core::{
    Error, PrincipalType,
    enrollment::attestation::{AttestationError, Evidence},
    principals::PrincipalStatus,
};
use signet_testkit::{
    faulty::Fault,
    fixtures::{NOW, later},
};

use crate::{
    attestor::{aws, oidc, presigned, token},
    rules::{aws_rule, oidc_rule, rule},
    world::*,
};

pub(crate) fn attested(evidence: Evidence, csr_der: &[u8]) -> Enroll {
    Enroll { proof: Proof::Attested { tenant: tid("acme"), evidence }, principal: None, csr_der: csr_der.to_vec() }
}

async fn enroll(world: &World, request: &str, evidence: Evidence) -> Result<IssuedLeaf, Error> {
    enrollment::enroll(&world.app, &anonymous(request), attested(evidence, &csr())).await
}

fn refused(reason: &'static str) -> Error {
    Error::ProofRefused { reason }
}

/// The details of the last event.
fn last_details(world: &World) -> serde_json::Value {
    let event = world.ledger.events().pop().unwrap();
    serde_json::from_str::<serde_json::Value>(&event.payload).unwrap()["details"].clone()
}

#[tokio::test]
async fn a_rule_makes_a_principal_and_its_certificate() {
    let world = World::new().await;
    let mut input = aws_rule("workers");
    input.template.roles = roles(&["uploader"]);
    world.rule(input).await;
    world.attestor.proves(aws("i-0abc"));
    let leaf = enroll(&world, "one", presigned()).await.unwrap();
    let worker = world.get_principal("i-0abc").await;
    assert_eq!((worker.principal_type, worker.status), (PrincipalType::Worker, PrincipalStatus::Active));
    assert_eq!((worker.roles, worker.enrolled_by), (roles(&["uploader"]), Some("workers".parse().unwrap())));
    let identity = world.authenticate("acme", &leaf.chain_der[0], NOW).await.unwrap();
    assert_eq!(identity.principal, pid("i-0abc"));
    assert_eq!(world.outcomes("Enroll"), ["OK", "OK"]);
    // The evidence had to be for this environment, tenant and key, and from whom the rule believes.
    let asked = &world.attestor.asked()[0];
    assert_eq!((asked.server_id.as_str(), asked.tenant.as_str()), ("test.example.com", "acme"));
    assert_eq!((asked.key_sha256.as_str(), asked.sources.len()), (&*leaf.certificate.spki_sha256, 1));
}

/// The caller is told that it was refused; the tenant's log says why.
#[tokio::test]
async fn a_refusal_names_its_reason_and_what_was_proven_in_the_tenants_log_only() {
    let world = World::new().await;
    world.rule(aws_rule("workers")).await;
    let said = AttestationError::Refused { reason: "AWS_OTHER_KEY", detail: "bound to 1234".into() };
    world.attestor.answers(Err(said));
    let error = enroll(&world, "one", presigned()).await.unwrap_err();
    assert_eq!((&error, error.to_string().as_str()), (&refused("AWS_OTHER_KEY"), "enrollment refused"));
    assert_eq!(last_details(&world)["detail"], "bound to 1234");
    assert_eq!(last_details(&world)["proof"], "aws_iam");

    world.attestor.proves(oidc("somebody"));
    let error = enroll(&world, "two", token("h.c.s")).await.unwrap_err();
    assert_eq!((&error, error.to_string().as_str()), (&refused("NO_RULE_MATCHES"), "enrollment refused"));
    let details = last_details(&world);
    assert!(details["facts"].as_str().unwrap().contains("sub=somebody"), "{details}");
    assert!(details["rules"].as_str().unwrap().contains("workers: OTHER_PROOF"), "{details}");
    let event = world.ledger.events().pop().unwrap();
    assert_eq!(event.tenant, tid("acme"));
    assert!(!event.payload.contains("h.c.s"), "the token is a secret: {}", event.payload);
    assert_eq!(world.outcomes("Enroll"), ["AWS_OTHER_KEY", "NO_RULE_MATCHES"]);
}

#[tokio::test]
async fn an_unknown_or_suspended_tenant_is_refused_before_anybody_is_asked() {
    let world = World::new().await;
    let input = |tenant| Enroll {
        proof: Proof::Attested { tenant: tid(tenant), evidence: presigned() },
        ..attested(presigned(), &csr())
    };
    let unknown = enrollment::enroll(&world.app, &anonymous("one"), input("nobody")).await.unwrap_err();
    assert_eq!(unknown, refused("UNKNOWN_TENANT"));
    assert_eq!(world.ledger.events().pop().unwrap().tenant, tid("system"), "nobody else's business");
    assert_eq!(last_details(&world)["wanted_tenant"], "nobody");
    tenants::suspend_tenant(&world.app, &call("Suspend"), &environment(), &tid("acme")).await.unwrap();
    let suspended = enrollment::enroll(&world.app, &anonymous("two"), input("acme")).await.unwrap_err();
    assert_eq!(suspended, refused("TENANT_SUSPENDED"));
    assert!(world.attestor.asked().is_empty());
}

/// Nothing is known about the caller then: it is no refusal, and may be tried again.
#[tokio::test]
async fn who_cannot_be_asked_makes_the_service_unavailable() {
    let world = World::new().await;
    world.rule(aws_rule("workers")).await;
    world.attestor.answers(Err(AttestationError::Unavailable { what: "STS", cause: "timed out".into() }));
    let (request, csr) = (anonymous("one"), csr());
    let error = enrollment::enroll(&world.app, &request, attested(presigned(), &csr)).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { what: "STS", .. }), "{error:?}");
    assert_eq!((world.attestor.asked().len(), world.outcomes("Enroll").len()), (1, 0), "no retry, no event");
    world.attestor.proves(aws("i-1"));
    enrollment::enroll(&world.app, &request, attested(presigned(), &csr)).await.unwrap();
}

/// Evidence may be made anew for a repetition; who it proves and the key are what counts.
#[tokio::test]
async fn the_same_request_gets_the_same_certificate_and_another_key_does_not() {
    let world = World::new().await;
    world.rule(aws_rule("workers")).await;
    world.attestor.proves(aws("i-1"));
    let (request, csr) = (anonymous("one"), csr());
    let first = enrollment::enroll(&world.app, &request, attested(presigned(), &csr)).await.unwrap();
    let again = enrollment::enroll(&world.app, &request, attested(presigned(), &csr)).await.unwrap();
    assert_eq!(first, again);
    let other =
        enrollment::enroll(&world.app, &request, attested(presigned(), &crate::world::csr())).await.unwrap_err();
    assert_eq!(other.reason(), "REQUEST_ID_REUSED");
    rules::delete_rule(&world.app, &call("Delete"), &admin(), &acme(), &"workers".parse().unwrap()).await.unwrap();
    let deleted = enrollment::enroll(&world.app, &request, attested(presigned(), &csr)).await.unwrap_err();
    assert_eq!(deleted, refused("NO_RULE_MATCHES"), "a repetition needs the rule too");
}

/// A JWT holds for whoever has it. So it serves one key.
#[tokio::test]
async fn an_oidc_token_enrolls_one_key_until_it_has_expired() {
    let world = World::new().await;
    world.rule(oidc_rule("ci")).await;
    world.attestor.proves(oidc("ci-1"));
    let csr = csr();
    enrollment::enroll(&world.app, &anonymous("one"), attested(token("head.claims.sig"), &csr)).await.unwrap();
    // With the second form of an ECDSA signature it is the same token still.
    for text in ["head.claims.sig", "head.claims.gis"] {
        assert_eq!(enroll(&world, text, token(text)).await, Err(refused("PROOF_REPLAYED")));
    }
    enrollment::enroll(&world.app, &anonymous("two"), attested(token("head.claims.sig"), &csr)).await.unwrap();
    enroll(&world, "three", token("head.other.sig")).await.unwrap();
    assert_eq!(world.get_principal("ci-1").await.certificates.len(), 3);
    world.attestor.proves(oidc("ci-2"));
    // The store forgets it some minutes after the check would refuse it.
    let late = at(anonymous("four"), later(3600 + 599));
    let input = || attested(token("head.claims.sig"), &crate::world::csr());
    assert_eq!(enrollment::enroll(&world.app, &late, input()).await, Err(refused("PROOF_REPLAYED")));
    enrollment::enroll(&world.app, &at(anonymous("five"), later(3600 + 600)), input()).await.unwrap();
}

/// Two tenants may trust the same issuer for the same audience and subject.
#[tokio::test]
async fn an_oidc_token_that_one_tenant_took_is_refused_in_every_other() {
    let world = World::new().await;
    world.tenant("globex").await;
    world.rule(oidc_rule("ci")).await;
    let permit = admin();
    rules::create_rule(&world.app, &call("CreateRule"), &permit, &scope("globex"), oidc_rule("ci")).await.unwrap();
    world.attestor.proves(oidc("ci-1"));
    enroll(&world, "one", token("a.b.c")).await.unwrap();
    let elsewhere = |request_id: &str, csr_der: &[u8], text: &str| {
        let proof = Proof::Attested { tenant: tid("globex"), evidence: token(text) };
        let input = Enroll { proof, principal: None, csr_der: csr_der.to_vec() };
        let (app, call) = (Arc::clone(&world.app), anonymous(request_id));
        async move { enrollment::enroll(&app, &call, input).await }
    };
    assert_eq!(elsewhere("two", &csr(), "a.b.c").await, Err(refused("PROOF_REPLAYED")));
    elsewhere("three", &csr(), "a.other.c").await.unwrap();
    assert_eq!(enroll(&world, "four", token("a.other.c")).await, Err(refused("PROOF_REPLAYED")));
}

/// Who chooses somebody slow to be asked keeps the others waiting.
#[tokio::test]
async fn a_source_for_which_nobody_vouches_waits_and_others_do_not() {
    let world = World::new().await;
    world.rule(oidc_rule("ci")).await;
    let from = |number: u32, last: u8| {
        let source = Some(std::net::IpAddr::from([192, 0, 2, last]));
        Call { source, ..anonymous(&format!("r-{last}-{number}")) }
    };
    let silent = AttestationError::Unavailable { what: "STS", cause: "no answer in time".into() };
    world.attestor.answers(Err(silent));
    let ask =
        async |call: Call| enrollment::enroll(&world.app, &call, attested(presigned(), &csr())).await.unwrap_err();
    for number in 0..30 {
        assert!(matches!(ask(from(number, 1)).await, Error::Unavailable { .. }), "{number}");
    }
    assert!(matches!(ask(from(30, 1)).await, Error::Exhausted { .. }));
    // That nobody was asked is nobody's fault.
    world.attestor.answers(Err(AttestationError::Busy { what: "STS" }));
    for number in 0..40 {
        assert!(matches!(ask(from(number, 2)).await, Error::Unavailable { .. }), "{number}");
    }
    world.attestor.proves(oidc("ci-1"));
    enrollment::enroll(&world.app, &from(99, 2), attested(token("a.b.c"), &csr())).await.unwrap();
}

#[tokio::test]
async fn a_token_whose_end_is_not_known_is_refused() {
    let world = World::new().await;
    world.rule(oidc_rule("ci")).await;
    let mut facts = oidc("ci-1");
    facts.values.remove("exp");
    world.attestor.proves(facts);
    assert_eq!(enroll(&world, "one", token("a.b.c")).await, Err(refused("OIDC_CLAIM_MISSING")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_200_callers_with_one_oidc_token_one_gets_a_certificate() {
    let world = Arc::new(World::new().await);
    world.rule(oidc_rule("ci")).await;
    world.attestor.proves(oidc("ci-1"));
    let signed = world.keys.signatures();
    let callers = (0..200).map(|number| {
        let world = Arc::clone(&world);
        tokio::spawn(async move { enroll(&world, &format!("request-{number}"), token("a.b.c")).await })
    });
    let answers: Vec<_> = futures::future::join_all(callers).await.into_iter().map(Result::unwrap).collect();
    let (winners, losers): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(winners.len(), 1);
    assert!(losers.iter().all(|loser| *loser == Err(refused("PROOF_REPLAYED"))), "{losers:?}");
    assert_eq!(world.keys.signatures() - signed, 1, "the losers cost no signature");
}

/// A caller chooses some of its facts, e.g. the name of its session.
#[tokio::test]
async fn facts_open_no_principal_that_the_rule_did_not_make() {
    let world = World::new().await;
    world.rule(aws_rule("workers")).await;
    world.rule(oidc_rule("ci")).await;
    world.principal("payments").await;
    world.attestor.proves(aws("payments"));
    assert_eq!(enroll(&world, "one", presigned()).await, Err(refused("PRINCIPAL_EXISTS")));
    world.attestor.proves(oidc("ci-1"));
    enroll(&world, "two", token("a.b.c")).await.unwrap();
    world.attestor.proves(aws("ci-1"));
    assert_eq!(enroll(&world, "three", presigned()).await, Err(refused("PRINCIPAL_EXISTS")));
    // The same rule's own comes back, e.g. an instance that was started anew.
    world.attestor.proves(aws("i-1"));
    for request in ["four", "five"] {
        enroll(&world, request, presigned()).await.unwrap();
    }
    assert_eq!(world.get_principal("i-1").await.certificates.len(), 2);
}

#[tokio::test]
async fn a_rule_that_names_a_principal_speaks_for_it_if_it_is_as_the_rule_says() {
    let world = World::new().await;
    let named = |id: &str, principal: &str| {
        rule(id, aws_rule("x").source, &[("account", "123456789012"), ("role", id)], principal)
    };
    let as_role = |role: &str| {
        let mut facts = aws("s");
        facts.values.insert("role".into(), vec![role.into()]);
        facts
    };
    world.principal("worker").await;
    for (id, principal_type, names) in
        [("device", PrincipalType::Device, &[][..]), ("boss", PrincipalType::Worker, &["operator"])]
    {
        let input = new_principal(id, principal_type, names);
        principals::create_principal(&world.app, &call("Create"), &acme(), input).await.unwrap();
    }
    let cases =
        [("worker", Ok(())), ("device", Err("PRINCIPAL_TYPE_DIFFERS")), ("boss", Err("PRINCIPAL_ROLES_CHANGED"))];
    for (principal, expected) in cases {
        world.rule(named(principal, principal)).await;
        world.attestor.proves(as_role(principal));
        let answer = enroll(&world, principal, presigned()).await.map(drop);
        assert_eq!(answer, expected.map_err(refused), "{principal}");
    }
    principals::suspend_principal(&world.app, &call("Suspend"), &admin(), &acme(), &pid("worker")).await.unwrap();
    world.attestor.proves(as_role("worker"));
    assert_eq!(enroll(&world, "suspended", presigned()).await, Err(refused("PRINCIPAL_SUSPENDED")));
}

#[tokio::test]
async fn the_id_that_a_caller_names_must_be_the_one_it_gets() {
    let world = World::new().await;
    world.rule(aws_rule("workers")).await;
    world.attestor.proves(aws("i-1"));
    let named = |id: &str| Enroll { principal: Some(pid(id)), ..attested(presigned(), &csr()) };
    assert_eq!(enrollment::enroll(&world.app, &anonymous("one"), named("i-2")).await, Err(refused("OTHER_PRINCIPAL")));
    enrollment::enroll(&world.app, &anonymous("two"), named("i-1")).await.unwrap();
}

/// Wherever the first attempt stopped, the same request gets the certificate, and a thief of the token does not.
#[tokio::test]
async fn a_crash_at_any_write_spends_an_oidc_token_on_one_key() {
    let world = World::new().await;
    world.rule(oidc_rule("ci")).await;
    for (case, (point, fault)) in (0..2).flat_map(|point| Fault::of_writes().map(|fault| (point, fault))).enumerate() {
        world.attestor.proves(oidc(&format!("ci-{case}")));
        let (request, text, csr) = (anonymous(&format!("request-{case}")), format!("head.{case}.sig"), csr());
        let run = |call: Call, csr: Vec<u8>| {
            let (world, text) = (&world, text.clone());
            async move { enrollment::enroll(&world.app, &call, attested(token(&text), &csr)).await }
        };
        world.store.arm(point, fault.clone());
        let first = run(request.clone(), csr.clone()).await;
        world.store.restart();
        if point > 0 || fault != Fault::CrashBefore {
            let thief = run(anonymous(&format!("thief-{case}")), crate::world::csr()).await;
            assert_eq!(thief, Err(refused("PROOF_REPLAYED")), "write {point} {fault:?} {first:?}");
        }
        let leaf = run(request, csr).await.unwrap();
        let holder = world.get_principal(&format!("ci-{case}")).await;
        assert_eq!((holder.certificates.len(), leaf.certificate.principal), (1, holder.id), "write {point} {fault:?}");
    }
}

#[tokio::test]
async fn evidence_beyond_any_honest_size_is_told_so_before_anything_is_read() {
    let world = World::new().await;
    let headers = (0..17).map(|number| (format!("x-{number}"), String::new())).collect();
    for (field, evidence) in [
        ("oidc_token", token(&"x".repeat(16 * 1024 + 1))),
        ("oidc_token", token("")),
        ("aws_iam", Evidence::AwsIam { url: "x".repeat(8193), headers: Default::default() }),
        ("aws_iam", Evidence::AwsIam { url: "x".into(), headers }),
        ("x509", Evidence::X509 { chain_der: Vec::new(), signed_at: NOW, signature: Vec::new() }),
        ("x509", Evidence::X509 { chain_der: vec![vec![0]; 6], signed_at: NOW, signature: Vec::new() }),
    ] {
        let error = enroll(&world, "one", evidence).await.unwrap_err();
        assert!(matches!(error, Error::Invalid { field: found, .. } if found == field), "{error:?}");
    }
    assert!(world.outcomes("Enroll").is_empty() && world.attestor.asked().is_empty());
}
