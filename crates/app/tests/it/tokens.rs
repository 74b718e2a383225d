//! Making, listing and revoking join tokens.

use signet_app::{
    CreateToken, PageRequest,
    enrollment::tokens,
    principals::{self, deletion},
};
use signet_core::{Error, Lifetime, PrincipalType, enrollment::PrincipalTemplate};
use signet_testkit::fixtures::NOW;

use crate::world::*;

fn template(principal_type: PrincipalType, id: Option<&str>, names: &[&str]) -> PrincipalTemplate {
    PrincipalTemplate { principal_type, id: id.map(pid), roles: roles(names) }
}

#[tokio::test]
async fn a_token_has_defaults_and_limits() {
    let world = World::new().await;
    let token = world.token(new_token()).await.token;
    assert_eq!((token.uses_left, token.not_after), (1, NOW.plus(Lifetime::hours(1))));
    assert_eq!(token.created_by, "system/admin/root");
    let worker = || template(PrincipalType::Worker, None, &[]);
    let named = template(PrincipalType::Worker, Some("worker"), &[]);
    let bad = [
        ("ttl_seconds", CreateToken { ttl: Lifetime::seconds(59), ..new_token() }),
        ("ttl_seconds", CreateToken { ttl: Lifetime::seconds(604_801), ..new_token() }),
        ("uses", CreateToken { uses: 1001, ..new_token() }),
        ("uses", CreateToken { template: named, uses: 2, ..new_token() }),
        ("roles", CreateToken { template: PrincipalTemplate { roles: many_roles(), ..worker() }, ..new_token() }),
    ];
    for (wrong, input) in bad {
        let refused =
            tokens::create_token(&world.app, &call("CreateToken"), &admin(), &acme(), input).await.unwrap_err();
        assert!(matches!(refused, Error::Invalid { field, .. } if field == wrong), "{refused:?}");
    }
    let listed = tokens::list_tokens(&world.app, &call("ListTokens"), &acme(), &PageRequest::default()).await.unwrap();
    assert_eq!(listed.items, [token]);
}

fn many_roles() -> Vec<signet_core::Role> {
    (0..17).map(|number| format!("role-{number}").parse().unwrap()).collect()
}

/// Nobody hands out rights that it does not have the right to manage.
#[tokio::test]
async fn an_operator_makes_tokens_for_plain_principals_only() {
    let world = World::new().await;
    let input = new_principal("boss", PrincipalType::User, &["operator"]);
    principals::create_principal(&world.app, &call("Create"), &acme(), input).await.unwrap();
    let refused = [
        template(PrincipalType::Admin, None, &[]),
        template(PrincipalType::User, None, &["operator"]),
        template(PrincipalType::User, Some("boss"), &[]),
    ];
    for template in refused {
        let input = CreateToken { template, ..new_token() };
        let denied =
            tokens::create_token(&world.app, &call("CreateToken"), &operator(), &acme(), input).await.unwrap_err();
        assert_eq!(denied.reason(), "PERMISSION_MISSING");
    }
    let input = CreateToken { template: template(PrincipalType::Worker, None, &[]), ..new_token() };
    tokens::create_token(&world.app, &call("CreateToken"), &operator(), &acme(), input).await.unwrap();
    let boss = template(PrincipalType::User, Some("boss"), &[]);
    let token = world.token(CreateToken { template: boss, ..new_token() }).await.token;
    assert_eq!(token.template.roles, roles(&["operator"]), "a principal that exists keeps its own roles");
    let denied =
        tokens::revoke_token(&world.app, &call("RevokeToken"), &operator(), &acme(), &token.id).await.unwrap_err();
    assert_eq!(denied.reason(), "PERMISSION_MISSING");
}

#[tokio::test]
async fn a_token_fits_the_principal_it_names() {
    let world = World::new().await;
    world.principal("worker").await;
    let input = CreateToken { template: template(PrincipalType::Device, Some("worker"), &[]), ..new_token() };
    let refused = tokens::create_token(&world.app, &call("CreateToken"), &admin(), &acme(), input).await.unwrap_err();
    assert_eq!(refused.reason(), "PRINCIPAL_TYPE_DIFFERS");
    deletion::delete_principal(&world.app, &call("Delete"), &admin(), &acme(), &pid("worker")).await.unwrap();
    let input = CreateToken { template: template(PrincipalType::Worker, Some("worker"), &[]), ..new_token() };
    let refused = tokens::create_token(&world.app, &call("CreateToken"), &admin(), &acme(), input).await.unwrap_err();
    assert_eq!(refused.reason(), "PRINCIPAL_DELETED");
}

#[tokio::test]
async fn a_repeated_creation_says_that_the_secret_is_gone() {
    let world = World::new().await;
    let call = call_with_id("CreateToken", "one");
    tokens::create_token(&world.app, &call, &admin(), &acme(), new_token()).await.unwrap();
    let refused = tokens::create_token(&world.app, &call, &admin(), &acme(), new_token()).await.unwrap_err();
    assert_eq!(refused.reason(), "SECRET_NOT_KEPT");
}

#[tokio::test]
async fn tokens_are_revoked_once_and_found_in_their_own_tenant_only() {
    let world = World::new().await;
    world.tenant("other").await;
    let token = world.token(new_token()).await.token;
    let foreign =
        tokens::revoke_token(&world.app, &call("RevokeToken"), &admin(), &scope("other"), &token.id).await.unwrap_err();
    assert_eq!(foreign.reason(), "NOT_FOUND");
    for _ in 0..2 {
        let revoked =
            tokens::revoke_token(&world.app, &call("RevokeToken"), &admin(), &acme(), &token.id).await.unwrap();
        assert_eq!(revoked.revoked_at, Some(NOW));
    }
    assert_eq!(world.outcomes("RevokeToken"), ["OK"]);
}

#[tokio::test]
async fn tokens_are_listed_page_by_page() {
    let world = World::new().await;
    for _ in 0..5 {
        world.token(new_token()).await;
    }
    let mut page = PageRequest { size: 2, token: String::new() };
    let mut seen = Vec::new();
    loop {
        let listed = tokens::list_tokens(&world.app, &call("ListTokens"), &acme(), &page).await.unwrap();
        seen.extend(listed.items.into_iter().map(|token| token.id.to_string()));
        page.token = listed.next_page_token;
        if page.token.is_empty() {
            break;
        }
    }
    seen.dedup();
    assert_eq!(seen.len(), 5);
}
