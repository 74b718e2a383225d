//! Principals.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;
use signet_app::{
    PageRequest, PrincipalPatch,
    principals::{self, deletion},
};
use signet_core::{Error, Lifetime, PrincipalType, principals::PrincipalStatus};
use signet_testkit::fixtures::NOW;

use crate::world::*;

#[tokio::test]
async fn a_principals_generation_rises_with_what_matters() {
    let world = World::new().await;
    assert_eq!(world.principal("worker").await.generation, 1);
    let update = |patch| {
        let app = &world.app;
        async move { principals::update_principal(app, &call("Update"), &acme(), &pid("worker"), patch).await.unwrap() }
    };
    let renamed = update(PrincipalPatch { display_name: Some("W".into()), ..Default::default() }).await;
    assert_eq!((renamed.generation, renamed.display_name.as_str()), (1, "W"));
    let roles = Some(roles(&["b", "a", "b"]));
    let changed = update(PrincipalPatch { roles: roles.clone(), ..Default::default() }).await;
    assert_eq!((changed.generation, changed.roles), (2, crate::world::roles(&["a", "b"])));
    update(PrincipalPatch { roles, ..Default::default() }).await;
    assert_eq!(world.outcomes("Update").len(), 2, "nothing changed the third time");
}

#[tokio::test]
async fn a_deleted_principals_id_is_free_once_nothing_of_it_can_be_renewed() {
    let world = World::new().await;
    world.principal("worker").await;
    deletion::delete_principal(&world.app, &call("Delete"), &admin(), &acme(), &pid("worker")).await.unwrap();
    let create = |days| {
        let (call, app) = (at(call("Create"), NOW.plus(Lifetime::days(days))), &world.app);
        async move {
            principals::create_principal(app, &call, &acme(), new_principal("worker", PrincipalType::Device, &[])).await
        }
    };
    assert!(matches!(create(119).await, Err(Error::AlreadyExists { .. })));
    assert_eq!(create(120).await.unwrap().principal_type, PrincipalType::Device);
    let world = World::new().await;
    world.principal("worker").await;
    deletion::delete_principal(&world.app, &call("Delete"), &admin(), &acme(), &pid("worker")).await.unwrap();
    let refused = principals::activate_principal(&world.app, &call("Activate"), &admin(), &acme(), &pid("worker"))
        .await
        .unwrap_err();
    assert_eq!(refused.reason(), "PRINCIPAL_DELETED");
}

#[tokio::test]
async fn an_operator_suspends_plain_principals_only_and_nobody_itself() {
    let world = World::new().await;
    for (id, principal_type, names) in [
        ("worker", PrincipalType::Worker, &[][..]),
        ("chief", PrincipalType::Admin, &[]),
        ("olga", PrincipalType::User, &["operator"]),
    ] {
        principals::create_principal(&world.app, &call("Create"), &acme(), new_principal(id, principal_type, names))
            .await
            .unwrap();
    }
    let suspend = |id: &'static str| {
        let app = &world.app;
        async move { principals::suspend_principal(app, &call("Suspend"), &operator(), &acme(), &pid(id)).await }
    };
    assert_eq!(suspend("worker").await.unwrap().status, PrincipalStatus::Suspended);
    for id in ["chief", "olga"] {
        assert_eq!(suspend(id).await.unwrap_err().reason(), "PERMISSION_MISSING", "{id}");
    }
    let chief = permit_of(identity("acme", "chief", PrincipalType::Admin, &[]), "principals.suspend");
    let refused =
        principals::suspend_principal(&world.app, &call("Suspend"), &chief, &acme(), &pid("chief")).await.unwrap_err();
    assert_eq!(refused.reason(), "OWN_PRINCIPAL");
}

#[tokio::test]
async fn principals_are_listed_in_their_own_tenant() {
    let world = World::new().await;
    world.tenant("other").await;
    for number in 0..5 {
        world.principal(&format!("worker-{number}")).await;
    }
    let page = PageRequest { size: 2, token: String::new() };
    let first = principals::list_principals(&world.app, &call("List"), &acme(), &page).await.unwrap();
    assert_eq!(first.items.len(), 2);
    assert!(
        principals::list_principals(&world.app, &call("List"), &scope("other"), &PageRequest::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    let read = |token: &str| serde_json::from_slice::<Value>(&BASE64_URL_SAFE_NO_PAD.decode(token).unwrap()).unwrap();
    // A page that ends within a shard of the index, and so names a record.
    let mut within = first.next_page_token.clone();
    for size in 1..5 {
        let page = PageRequest { size, token: String::new() };
        let token =
            principals::list_principals(&world.app, &call("List"), &acme(), &page).await.unwrap().next_page_token;
        if read(&token)["after"].is_object() {
            within = token;
        }
    }
    assert!(read(&within)["after"].is_object());
    let forged = |change: fn(&mut Value)| {
        let mut place = read(&within);
        change(&mut place["after"]);
        BASE64_URL_SAFE_NO_PAD.encode(place.to_string())
    };
    for token in [
        forged(|after| after["key"] = Value::Null),
        forged(|after| after["key"] = serde_json::json!(["", "x"])),
        forged(|after| after["sort"] = "".into()),
        forged(|after| after["sort"] = "x".repeat(1025).into()),
    ] {
        let page = PageRequest { size: 2, token };
        let refused = principals::list_principals(&world.app, &call("List"), &acme(), &page).await.unwrap_err();
        assert_eq!(refused.reason(), "INVALID_PAGE_TOKEN", "{page:?}");
    }
    let elsewhere = PageRequest { size: 2, token: first.next_page_token };
    let refused =
        principals::list_principals(&world.app, &call("List"), &scope("other"), &elsewhere).await.unwrap_err();
    assert_eq!(refused.reason(), "INVALID_PAGE_TOKEN", "a token is good for the listing that it came from");
}
