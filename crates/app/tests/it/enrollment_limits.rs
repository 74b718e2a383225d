//! What a token is good for beyond its uses, and how often anybody may guess.

use signet_app::{
    Call, CreateToken, Enroll, Proof,
    enrollment::{self, tokens},
};
use signet_core::Error;
use signet_testkit::fixtures::{NOW, later};

use crate::world::*;

fn refused(reason: &'static str) -> Error {
    Error::ProofRefused { reason }
}

fn from(address: &str, call: Call) -> Call {
    Call { source: Some(address.parse().unwrap()), ..call }
}

#[tokio::test]
async fn a_token_works_from_its_networks_only() {
    let world = World::new().await;
    let source_networks = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
    let token = world.token(CreateToken { source_networks, uses: 3, ..new_token() }).await;
    for (case, source) in ["192.0.2.1", "2001:db8::1"].into_iter().enumerate() {
        let call = from(source, anonymous(&format!("stranger-{case}")));
        let answer = enrollment::enroll(&world.app, &call, enrollment(&token, "worker", &csr())).await;
        assert_eq!(answer, Err(refused("SOURCE_NOT_ALLOWED")), "{source}");
    }
    let unknown = enrollment::enroll(&world.app, &anonymous("nowhere"), enrollment(&token, "worker", &csr())).await;
    assert_eq!(unknown, Err(refused("SOURCE_NOT_ALLOWED")), "no address is no network");
    for (case, source) in ["10.1.2.3", "::ffff:10.1.2.3", "fd12::1"].into_iter().enumerate() {
        let (call, id) = (from(source, anonymous(&format!("request-{case}"))), format!("worker-{case}"));
        enrollment::enroll(&world.app, &call, enrollment(&token, &id, &csr())).await.unwrap();
    }
}

#[tokio::test]
async fn a_token_leaves_the_choice_of_ids_that_fit_its_pattern() {
    let world = World::new().await;
    let id_pattern = Some("web-*".to_owned());
    let token = world.token(CreateToken { id_pattern, uses: 2, ..new_token() }).await;
    let other = enrollment::enroll(&world.app, &anonymous("one"), enrollment(&token, "db-1", &csr())).await;
    assert_eq!(other, Err(refused("ID_NOT_ALLOWED")));
    enrollment::enroll(&world.app, &anonymous("two"), enrollment(&token, "web-1", &csr())).await.unwrap();
    for (field, input) in [
        ("principal_id_pattern", CreateToken { id_pattern: Some("a/*".into()), ..new_token() }),
        ("principal_id_pattern", CreateToken { id_pattern: Some("x".repeat(65)), ..new_token() }),
        ("source_networks", CreateToken { source_networks: vec!["::/0".parse().unwrap(); 17], ..new_token() }),
    ] {
        let error = tokens::create_token(&world.app, &call("CreateToken"), &admin(), &acme(), input).await.unwrap_err();
        assert!(matches!(error, Error::Invalid { field: found, .. } if found == field), "{error:?}");
    }
}

#[tokio::test]
async fn who_guesses_tokens_is_stopped_and_others_are_not() {
    let world = World::new().await;
    let guess = |number: usize| Enroll {
        proof: Proof::JoinToken(format!("sgt_{number}").into()),
        principal: Some(pid("worker")),
        csr_der: csr(),
    };
    let mut refusals = 0;
    let stopped = loop {
        let call = from("192.0.2.1", anonymous(&format!("guess-{refusals}")));
        match enrollment::enroll(&world.app, &call, guess(refusals)).await.unwrap_err() {
            Error::ProofRefused { .. } => refusals += 1,
            other => break other,
        }
    };
    assert_eq!((stopped.reason(), refusals), ("TOO_MANY_REFUSED_ENROLLMENTS", 30));
    assert_eq!(world.outcomes("Enroll").len(), refusals, "what is not looked at is not written either");
    let token = world.token(new_token()).await;
    let right = || enrollment(&token, "worker", &csr());
    let still = enrollment::enroll(&world.app, &from("192.0.2.1", anonymous("right")), right()).await;
    assert_eq!(still, Err(stopped), "not even the right one, so that a hit does not show");
    enrollment::enroll(&world.app, &from("192.0.2.2", anonymous("right")), right()).await.unwrap();
    let token = world.token(new_token()).await;
    let later = at(from("192.0.2.1", anonymous("later")), later(60));
    enrollment::enroll(&world.app, &later, enrollment(&token, "worker-2", &csr())).await.unwrap();
    assert!(later.now > NOW);
}
