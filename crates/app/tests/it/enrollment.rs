//! Redeeming join tokens.

use std::sync::Arc;

use secrecy::SecretString;
use signet_app::{
    CreateToken, Enroll, IssuedLeaf, PrincipalPatch, Proof,
    enrollment::{self, tokens},
    principals, tenants,
};
use signet_core::{
    Error, Lifetime, PrincipalType, certificates::CertificateState, enrollment::PrincipalTemplate,
    principals::PrincipalStatus,
};
use signet_testkit::{
    faulty::Fault,
    fixtures::{NOW, later},
};

use crate::world::*;

#[tokio::test]
async fn a_token_makes_a_principal_and_its_certificate() {
    let world = World::new().await;
    let template =
        PrincipalTemplate { principal_type: PrincipalType::User, id: None, roles: roles(&["viewer", "operator"]) };
    let token = world.token(CreateToken { template, ..new_token() }).await;
    let leaf = enrollment::enroll(&world.app, &anonymous("one"), enrollment(&token, "alice", &csr())).await.unwrap();
    let alice = world.get_principal("alice").await;
    assert_eq!((alice.principal_type, alice.status), (PrincipalType::User, PrincipalStatus::Active));
    assert_eq!(alice.roles, roles(&["operator", "viewer"]));
    let identity = world.authenticate("acme", &leaf.chain_der[0], NOW).await.unwrap();
    assert_eq!((&identity.principal, &*identity.roles), (&alice.id, &*alice.roles));
    let listed = tokens::list_tokens(&world.app, &call("ListTokens"), &acme(), &Default::default()).await.unwrap();
    assert_eq!(listed.items.iter().map(|token| token.uses_left).collect::<Vec<_>>(), [0]);
}

#[tokio::test]
async fn a_token_for_one_principal_gives_it_a_certificate_whether_it_exists_or_not() {
    let world = World::new().await;
    world.principal("worker").await;
    for id in ["worker", "unborn"] {
        let template =
            PrincipalTemplate { principal_type: PrincipalType::Worker, id: Some(pid(id)), roles: Vec::new() };
        let token = world.token(CreateToken { template, ..new_token() }).await;
        let input = Enroll { principal: None, ..enrollment(&token, id, &csr()) };
        let leaf = enrollment::enroll(&world.app, &anonymous(id), input).await.unwrap();
        assert_eq!(leaf.certificate.principal, pid(id));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn invariant_6_of_200_callers_with_a_single_use_token_one_gets_a_certificate() {
    let world = Arc::new(World::new().await);
    let token = Arc::new(world.token(new_token()).await);
    let signed = world.keys.signatures();
    let callers = (0..200).map(|number| {
        let (world, token) = (Arc::clone(&world), Arc::clone(&token));
        tokio::spawn(async move {
            let input = enrollment(&token, &format!("worker-{number}"), &csr());
            enrollment::enroll(&world.app, &anonymous(&format!("request-{number}")), input).await
        })
    });
    let answers: Vec<_> = futures::future::join_all(callers).await.into_iter().map(Result::unwrap).collect();
    let (winners, losers): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(winners.len(), 1);
    let used_up = Err(Error::ProofRefused { reason: "TOKEN_USED_UP" });
    assert!(losers.iter().all(|loser| *loser == used_up), "{losers:?}");
    assert_eq!(world.keys.signatures() - signed, 1, "the losers cost no signature");
    assert_eq!(world.outcomes("Enroll").iter().filter(|outcome| *outcome == "TOKEN_USED_UP").count(), 199);
}

/// A fleet that starts at once shares one token.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_token_with_many_uses_serves_as_many_callers_at_once() {
    let world = Arc::new(World::new().await);
    let token = Arc::new(world.token(CreateToken { uses: 50, ..new_token() }).await);
    let callers = (0..60).map(|number| {
        let (world, token) = (Arc::clone(&world), Arc::clone(&token));
        tokio::spawn(async move {
            let input = enrollment(&token, &format!("worker-{number}"), &csr());
            enrollment::enroll(&world.app, &anonymous(&format!("request-{number}")), input).await.is_ok()
        })
    });
    let served = futures::future::join_all(callers).await.into_iter().filter(|ok| *ok.as_ref().unwrap()).count();
    assert_eq!(served, 50);
}

/// Wherever the first attempt stopped, the same request gets the certificate, and nobody else does.
#[tokio::test]
async fn invariant_6_a_crash_at_any_write_of_an_enrollment_spends_one_use_on_one_certificate() {
    let world = World::new().await;
    for (case, (point, fault)) in (0..2).flat_map(|point| Fault::of_writes().map(|fault| (point, fault))).enumerate() {
        let token = world.token(new_token()).await;
        let (principal, request, csr) = (format!("worker-{case}"), anonymous(&format!("request-{case}")), csr());
        world.store.arm(point, fault.clone());
        let first = enrollment::enroll(&world.app, &request, enrollment(&token, &principal, &csr)).await;
        world.store.restart();
        if point == 0 && fault == Fault::CrashBefore {
            first.unwrap_err();
        } else {
            let thief = anonymous(&format!("thief-{case}"));
            let other = enrollment::enroll(
                &world.app,
                &thief,
                enrollment(&token, &format!("thief-{case}"), &crate::world::csr()),
            )
            .await;
            assert_eq!(other, Err(Error::ProofRefused { reason: "TOKEN_USED_UP" }), "write {point} {fault:?}");
        }
        let leaf = enrollment::enroll(&world.app, &request, enrollment(&token, &principal, &csr)).await.unwrap();
        assert_eq!(leaf.certificate.state, CertificateState::Issued, "write {point} {fault:?}");
        assert_eq!(world.get_principal(&principal).await.certificates.len(), 1, "write {point} {fault:?}");
    }
}

#[tokio::test]
async fn a_token_revoked_before_the_retry_gives_nothing_more() {
    let world = World::new().await;
    let token = world.token(new_token()).await;
    let (request, csr) = (anonymous("one"), csr());
    world.store.arm(0, Fault::CrashAfter);
    enrollment::enroll(&world.app, &request, enrollment(&token, "worker", &csr)).await.unwrap_err();
    world.store.restart();
    tokens::revoke_token(&world.app, &call("RevokeToken"), &admin(), &acme(), &token.token.id).await.unwrap();
    let refused = enrollment::enroll(&world.app, &request, enrollment(&token, "worker", &csr)).await;
    assert_eq!(refused, Err(Error::ProofRefused { reason: "TOKEN_REVOKED" }));
    assert!(world.get_principal("worker").await.certificates.is_empty());
}

#[tokio::test]
async fn a_certificate_that_was_released_is_released_again_also_when_the_token_was_revoked_since() {
    let world = World::new().await;
    let token = world.token(new_token()).await;
    let (request, csr) = (anonymous("one"), csr());
    let leaf = enrollment::enroll(&world.app, &request, enrollment(&token, "worker", &csr)).await.unwrap();
    tokens::revoke_token(&world.app, &call("RevokeToken"), &admin(), &acme(), &token.token.id).await.unwrap();
    assert_eq!(enrollment::enroll(&world.app, &request, enrollment(&token, "worker", &csr)).await.unwrap(), leaf);
}

#[tokio::test]
async fn the_same_request_id_with_another_key_gets_nothing() {
    let world = World::new().await;
    let token = world.token(new_token()).await;
    enrollment::enroll(&world.app, &anonymous("one"), enrollment(&token, "worker", &csr())).await.unwrap();
    let other =
        enrollment::enroll(&world.app, &anonymous("one"), enrollment(&token, "worker", &csr())).await.unwrap_err();
    assert_eq!(other.reason(), "REQUEST_ID_REUSED");
}

/// Every refusal tells the caller nothing but that, and is recorded with its reason.
#[tokio::test]
async fn refusals_are_silent_to_the_caller_and_recorded_in_the_tokens_tenant() {
    let world = World::new().await;
    world.principal("worker").await;
    world.principal("suspended").await;
    let for_suspended = named_token(&world, "suspended").await;
    principals::suspend_principal(&world.app, &call("Suspend"), &admin(), &acme(), &pid("suspended")).await.unwrap();
    let (open, named) = (world.token(new_token()).await, named_token(&world, "worker").await);
    let (used, revoked) = (world.token(new_token()).await, world.token(new_token()).await);
    enrollment::enroll(&world.app, &anonymous("first"), enrollment(&used, "first", &csr())).await.unwrap();
    tokens::revoke_token(&world.app, &call("RevokeToken"), &admin(), &acme(), &revoked.token.id).await.unwrap();
    let cases = [
        ("TOKEN_USED_UP", enrollment(&used, "new", &csr()), NOW),
        ("TOKEN_REVOKED", enrollment(&revoked, "new", &csr()), NOW),
        ("TOKEN_EXPIRED", enrollment(&open, "new", &csr()), later(3600)),
        ("PRINCIPAL_EXISTS", enrollment(&open, "worker", &csr()), NOW),
        ("OTHER_PRINCIPAL", enrollment(&named, "somebody", &csr()), NOW),
        ("PRINCIPAL_SUSPENDED", enrollment(&for_suspended, "suspended", &csr()), NOW),
    ];
    for (reason, input, now) in cases {
        let signed = world.keys.signatures();
        let refused = enrollment::enroll(&world.app, &at(anonymous(reason), now), input).await;
        assert_eq!(refused, Err(Error::ProofRefused { reason }));
        assert_eq!(refused.unwrap_err().to_string(), "enrollment refused");
        assert_eq!(world.keys.signatures(), signed, "{reason}");
        let event = world.ledger.events().pop().unwrap();
        assert!(event.tenant == tid("acme") && event.payload.contains(reason), "{event:?}");
    }
    let unknown = Proof::JoinToken(SecretString::from("sgt_nobody-knows-this-one"));
    let input = Enroll { proof: unknown, principal: None, csr_der: csr() };
    let refused = enrollment::enroll(&world.app, &anonymous("unknown"), input).await;
    assert_eq!(refused, Err(Error::ProofRefused { reason: "TOKEN_UNKNOWN" }));
    assert!(world.ledger.events().pop().unwrap().tenant.is_system());
}

async fn named_token(world: &World, id: &str) -> signet_app::CreatedToken {
    let template = PrincipalTemplate { principal_type: PrincipalType::Worker, id: Some(pid(id)), roles: Vec::new() };
    world.token(CreateToken { template, ..new_token() }).await
}

#[tokio::test]
async fn a_suspended_tenant_enrolls_nobody() {
    let world = World::new().await;
    let token = world.token(new_token()).await;
    tenants::suspend_tenant(&world.app, &call("Suspend"), &environment(), &tid("acme")).await.unwrap();
    let refused = enrollment::enroll(&world.app, &anonymous("one"), enrollment(&token, "worker", &csr())).await;
    assert_eq!(refused, Err(Error::ProofRefused { reason: "TENANT_SUSPENDED" }));
}

/// An operator may not become an admin by waiting: rights that a principal got after its token was made do not go to
/// the token's holder.
#[tokio::test]
async fn a_token_gives_no_rights_that_its_maker_did_not_know_of() {
    let world = World::new().await;
    world.principal("worker").await;
    let token = named_token(&world, "worker").await;
    let patch = PrincipalPatch { roles: Some(roles(&["operator"])), ..PrincipalPatch::default() };
    principals::update_principal(&world.app, &call("Update"), &acme(), &pid("worker"), patch).await.unwrap();
    let refused = enrollment::enroll(&world.app, &anonymous("one"), enrollment(&token, "worker", &csr())).await;
    assert_eq!(refused, Err(Error::ProofRefused { reason: "PRINCIPAL_ROLES_CHANGED" }));
}

#[tokio::test]
async fn what_is_wrong_with_the_request_itself_is_said() {
    let world = World::new().await;
    let token = world.token(new_token()).await;
    let enroll = |call, input: Enroll| {
        let app = Arc::clone(&world.app);
        async move { enrollment::enroll(&app, &call, input).await.unwrap_err() }
    };
    let no_id = enroll(call("Enroll"), enrollment(&token, "worker", &csr())).await;
    assert!(matches!(no_id, Error::Invalid { field: "request_id", reason: "REQUIRED", .. }), "{no_id:?}");
    let bad_csr = enroll(anonymous("one"), enrollment(&token, "worker", b"no csr")).await;
    assert!(matches!(bad_csr, Error::Invalid { field: "csr_der", .. }), "{bad_csr:?}");
    let nameless = Enroll { principal: None, ..enrollment(&token, "worker", &csr()) };
    let nameless = enroll(anonymous("two"), nameless).await;
    assert!(matches!(nameless, Error::Invalid { field: "principal_id", .. }), "{nameless:?}");
    enrolled(&world, &token).await;
}

async fn enrolled(world: &World, token: &signet_app::CreatedToken) -> IssuedLeaf {
    enrollment::enroll(&world.app, &anonymous("last"), enrollment(token, "worker", &csr()))
        .await
        .expect("the token was not spent")
}

#[tokio::test]
async fn neither_the_store_nor_the_log_has_a_tokens_secret() {
    use secrecy::ExposeSecret;
    let world = World::new().await;
    let token = world.token(CreateToken { ttl: Lifetime::hours(2), ..new_token() }).await;
    let secret = token.secret.expose_secret();
    assert!(secret.starts_with("sgt_") && secret.len() == 47, "{}", secret.len());
    let log: String = world.ledger.events().into_iter().map(|event| event.payload).collect();
    assert!(!log.contains(secret) && !format!("{token:?}").contains(secret));
    assert_ne!(token.token.secret_sha256, *secret);
}
