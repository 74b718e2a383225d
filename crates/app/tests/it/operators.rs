//! A process that may not sign for operators sends them to the control plane, before anything is used or written.

use std::sync::Arc;

use signet_app::{
    App, Call, CreateToken, CreatedToken, Enroll, Proof, Settings,
    enrollment::{self, out_of_band, tokens},
};
use signet_core::{Error, PrincipalType, enrollment::PrincipalTemplate, store::Write};
use signet_testkit::{entropy::SeededEntropy, fixtures::later};
use signet_x509::KeyAndCsr;

use crate::{attestor::presigned, lineage::signed, world::*};

const ELSEWHERE: &str = "OPERATORS_ENROLL_AT_CONTROL_PLANE";

/// The application of the enroll Lambda, on the world's store and keys.
fn lambda(world: &World) -> Arc<App> {
    let settings = Settings { operators_at: Some("https://signet.example.com".into()), ..Settings::default() };
    let (environment, entropy) = (world.app.environment().clone(), Arc::new(SeededEntropy::new(4)));
    let app = App::new(world.store.clone(), world.keys.clone(), entropy, environment, settings);
    Arc::new(app.with_attestor(world.attestor.clone()))
}

async fn operators_token(world: &World) -> CreatedToken {
    let template = PrincipalTemplate { principal_type: PrincipalType::Admin, id: None, roles: Vec::new() };
    let input = CreateToken { template, ..new_token() };
    tokens::create_token(&world.app, &call("CreateToken"), &admin(), &scope("system"), input).await.unwrap()
}

fn sent_away<T: std::fmt::Debug>(result: Result<T, Error>) {
    let error = result.unwrap_err();
    let told = matches!(&error, Error::Precondition { reason: ELSEWHERE, message } if message.contains("https://signet.example.com"));
    assert!(told, "{error:?}");
}

/// How much was written that is no audit event, and how often a key signed.
fn changed(world: &World) -> (usize, usize) {
    let is_change = |write: &Write| write.key().table.name() != "audit";
    (world.ledger.written(is_change), world.keys.signatures())
}

#[tokio::test]
async fn an_operators_token_is_not_used_up_where_nobody_may_sign_for_them() {
    let world = World::new().await;
    let (lambda, token, csr) = (lambda(&world), operators_token(&world).await, csr());
    let before = changed(&world);
    sent_away(enrollment::enroll(&lambda, &anonymous("r-1"), enrollment(&token, "olga", &csr)).await);
    assert_eq!(changed(&world), before);
    let event = world.ledger.events().into_iter().find(|event| event.payload.contains(ELSEWHERE)).unwrap();
    assert!(event.tenant.is_system() && event.payload.contains(&token.token.id.to_string()), "{event:?}");
    // The same request, where it belongs.
    let issued = enrollment::enroll(&world.app, &anonymous("r-1"), enrollment(&token, "olga", &csr)).await.unwrap();
    assert!(issued.certificate.tenant.is_system());
    let workers = world.token(new_token()).await;
    enrollment::enroll(&lambda, &anonymous("r-2"), enrollment(&workers, "worker", &self::csr())).await.unwrap();
}

#[tokio::test]
async fn evidence_for_the_operators_tenant_is_not_looked_at() {
    let world = World::new().await;
    let (lambda, before) = (lambda(&world), changed(&world));
    let proof = Proof::Attested { tenant: tid("system"), evidence: presigned() };
    sent_away(enrollment::enroll(&lambda, &anonymous("r-1"), Enroll { proof, principal: None, csr_der: csr() }).await);
    assert_eq!((changed(&world), world.attestor.asked()), (before, Vec::new()));
    assert_eq!(world.outcomes("Enroll"), [ELSEWHERE]);
}

#[tokio::test]
async fn an_operators_certificate_is_renewed_at_the_control_plane_only() {
    let world = World::new().await;
    let (lambda, token, present) = (lambda(&world), operators_token(&world).await, KeyAndCsr::generate().unwrap());
    let leaf =
        enrollment::enroll(&world.app, &anonymous("r-1"), enrollment(&token, "olga", &present.csr_der)).await.unwrap();
    let (renew, before) = (Call { now: later(60), operation: "RenewOutOfBand", ..anonymous("r-2") }, changed(&world));
    let input = signed(&world, &present.key, &leaf, "r-2", later(60));
    sent_away(out_of_band::renew_out_of_band(&lambda, &renew, &input).await);
    assert_eq!((changed(&world), world.outcomes("RenewOutOfBand")), (before, vec![ELSEWHERE.to_owned()]));
    out_of_band::renew_out_of_band(&world.app, &renew, &input).await.unwrap();
}
