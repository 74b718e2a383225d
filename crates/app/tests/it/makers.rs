//! A token ends with the right of who made it.

use signet_app::{
    Call, CreateToken, CreatedToken, PrincipalPatch, certificates,
    enrollment::{self, tokens},
    principals,
};
use signet_core::{
    Actor, PrincipalType, Time, certificates::RevocationReason, enrollment::PrincipalTemplate, principals::Principal,
};
use signet_testkit::{
    faulty::Hidden,
    fixtures::{NOW, later},
};

use crate::{
    lineage::{confirm, now, renew_at},
    lives::{delete, rewrite},
    world::*,
};

/// What a maker's right may be lost by.
const LOSSES: [&str; 5] = ["suspended", "deleted", "demoted", "compromised", "copied"];

async fn new_maker(world: &World, id: &str) -> Principal {
    let input = new_principal(id, PrincipalType::User, &["operator", "viewer"]);
    principals::create_principal(&world.app, &call("CreatePrincipal"), &acme(), input).await.unwrap()
}

/// A token that `maker` makes, for ten workers.
async fn token_of(world: &World, maker: &str) -> CreatedToken {
    let maker = identity("acme", maker, PrincipalType::User, &["operator"]);
    let call = Call { actor: Actor::from(&maker), ..call("CreateToken") };
    let template = PrincipalTemplate { principal_type: PrincipalType::Worker, id: None, roles: Vec::new() };
    let input = CreateToken { uses: 10, template, ..new_token() };
    tokens::create_token(&world.app, &call, &permit_of(maker, "tokens.create"), &acme(), input).await.unwrap()
}

/// The reason in the audit log; the caller learns none.
async fn redeem(world: &World, token: &CreatedToken, id: &str, now: Time) -> Result<(), String> {
    match enrollment::enroll(&world.app, &at(anonymous(id), now), enrollment(token, id, &csr())).await {
        Ok(_) => Ok(()),
        Err(error) => {
            assert_eq!(error.reason(), "ENROLLMENT_REFUSED", "{error:?}");
            Err(world.outcomes("Enroll").pop().unwrap())
        }
    }
}

async fn lose(world: &World, maker: &str, how: &str) {
    let id = pid(maker);
    match how {
        "suspended" => {
            drop(principals::suspend_principal(&world.app, &call("Suspend"), &admin(), &acme(), &id).await.unwrap())
        }
        "deleted" => drop(delete(world, maker).await),
        "demoted" => {
            let patch = PrincipalPatch { roles: Some(roles(&["viewer"])), ..Default::default() };
            principals::update_principal(&world.app, &call("Update"), &acme(), &id, patch).await.unwrap();
        }
        "compromised" => {
            let stolen = world.issue(maker).await.certificate;
            let (revoke, reason) = (call("RevokeCertificate"), RevocationReason::KeyCompromise);
            let (app, serial) = (&world.app, &stolen.serial);
            certificates::revoke_certificate(app, &revoke, &admin(), &acme(), &stolen.issuer, serial, reason)
                .await
                .unwrap();
        }
        _ => {
            let first = world.issue(maker).await;
            let second = renew_at(world, &first, later(60)).await.unwrap();
            confirm(world, &second).await.unwrap();
            renew_at(world, &first, later(120)).await.unwrap_err();
            assert!(now(world, &second).await.lineage.locked_at.is_some());
        }
    }
}

#[tokio::test]
async fn a_token_ends_with_its_makers_right() {
    for how in LOSSES {
        let world = World::new().await;
        new_maker(&world, "olga").await;
        new_maker(&world, "oleg").await;
        let (token, others) = (token_of(&world, "olga").await, token_of(&world, "oleg").await);
        redeem(&world, &token, "worker-1", NOW).await.unwrap();
        // No index is asked what a maker made, nor what it may: one that lags lets no right survive.
        world.store.hide(Hidden::Indexes);
        lose(&world, "olga", how).await;
        let refused = redeem(&world, &token, "worker-2", later(300)).await.unwrap_err();
        let expected =
            if ["suspended", "deleted"].contains(&how) { "TOKEN_MAKER_INACTIVE" } else { "TOKEN_MAKER_RIGHTS_LOST" };
        assert_eq!(refused, expected, "{how}");
        redeem(&world, &others, "worker-3", later(301)).await.unwrap();
    }
}

/// Suspension is taken back; what a compromised key may have made is not.
#[tokio::test]
async fn what_a_maker_makes_afterwards_counts() {
    let world = World::new().await;
    new_maker(&world, "olga").await;
    let before = token_of(&world, "olga").await;
    lose(&world, "olga", "suspended").await;
    principals::activate_principal(&world.app, &call("Activate"), &admin(), &acme(), &pid("olga")).await.unwrap();
    redeem(&world, &before, "worker-1", NOW).await.unwrap();
    lose(&world, "olga", "compromised").await;
    let after = token_of(&world, "olga").await;
    redeem(&world, &after, "worker-2", NOW).await.unwrap();
    redeem(&world, &before, "worker-3", NOW).await.unwrap_err();
}

/// Only changes that take nothing away.
#[tokio::test]
async fn a_maker_may_change_in_other_ways() {
    let world = World::new().await;
    new_maker(&world, "olga").await;
    let token = token_of(&world, "olga").await;
    let more = Some(roles(&["operator", "viewer", "auditor"]));
    let patch = PrincipalPatch { roles: more, groups: Some(roles(&["night"])), ..Default::default() };
    principals::update_principal(&world.app, &call("Update"), &acme(), &pid("olga"), patch).await.unwrap();
    redeem(&world, &token, "worker", NOW).await.unwrap();
}

/// Those of before makers were kept name theirs in words.
#[tokio::test]
async fn a_token_of_an_earlier_version_ends_with_its_makers_right_too() {
    for how in ["nothing", "suspended", "deleted", "compromised", "another life"] {
        let world = World::new().await;
        let maker = new_maker(&world, "olga").await;
        let token = token_of(&world, "olga").await;
        rewrite(&world, &token.token, |token| token.maker = None).await;
        match how {
            "nothing" => {}
            "another life" => rewrite(&world, &maker, |maker| maker.created_at = later(1)).await,
            how => lose(&world, "olga", how).await,
        }
        let redeemed = redeem(&world, &token, "worker", later(2)).await;
        assert_eq!(redeemed.is_ok(), how == "nothing", "{how}: {redeemed:?}");
    }
}

/// The maker is suspended between the reservation and the retry that would take it up.
#[tokio::test]
async fn a_reservation_is_not_completed_after_its_maker_lost_the_right() {
    let world = World::new().await;
    new_maker(&world, "olga").await;
    let token = token_of(&world, "olga").await;
    let (request, csr) = (anonymous("one"), csr());
    world.store.arm(1, signet_testkit::faulty::Fault::CrashBefore);
    enrollment::enroll(&world.app, &request, enrollment(&token, "worker", &csr)).await.unwrap_err();
    assert!(world.store.restart());
    lose(&world, "olga", "suspended").await;
    enrollment::enroll(&world.app, &request, enrollment(&token, "worker", &csr)).await.unwrap_err();
    assert_eq!(world.outcomes("Enroll").pop().unwrap(), "TOKEN_MAKER_INACTIVE");
    assert!(world.get_principal("worker").await.certificates.is_empty());
}

/// Whoever is no principal any more makes none.
#[tokio::test]
async fn a_suspended_principal_makes_no_token() {
    let world = World::new().await;
    new_maker(&world, "olga").await;
    lose(&world, "olga", "suspended").await;
    let maker = identity("acme", "olga", PrincipalType::User, &["operator"]);
    let call = Call { actor: Actor::from(&maker), ..call("CreateToken") };
    let permit = permit_of(maker, "tokens.create");
    let refused = tokens::create_token(&world.app, &call, &permit, &acme(), new_token()).await.unwrap_err();
    assert_eq!(refused.reason(), "PRINCIPAL_SUSPENDED");
}
