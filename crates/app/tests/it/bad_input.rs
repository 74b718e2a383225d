//! Invariant 10: bad input gets an error that says what and where, and changes nothing.

use signet_app::{
    CreatePrincipal, CreateTenant, PageRequest, PrincipalPatch, TenantPatch, authorities,
    certificates::{issuance, renewal},
    enrollment::{self, tokens},
    principals, tenants,
};
use signet_core::{
    Error, Lifetime, PrincipalType,
    tenants::{FailureLimit, SubjectForm, quota::Quotas},
};
use signet_x509::KeyAndCsr;

use crate::world::*;

/// The field and the reason of a refusal; fails if the call changed or signed anything.
async fn refusal<T: std::fmt::Debug>(
    world: &World,
    call: impl Future<Output = Result<T, Error>>,
) -> (&'static str, &'static str) {
    let before = (world.store.transactions(), world.keys.signatures());
    let error = call.await.unwrap_err();
    assert_eq!((world.store.transactions(), world.keys.signatures()), before, "{error:?}");
    match error {
        Error::Invalid { field, reason, message } => {
            assert!(!message.is_empty(), "{field} {reason}");
            (field, reason)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn invariant_10_a_bad_csr_is_told_what_is_wrong_with_it() {
    let world = World::new().await;
    world.principal("worker").await;
    let held = world.issue("worker").await;
    let good = KeyAndCsr::generate().unwrap().csr_der;
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    let cases = [
        ("empty", Vec::new(), "CSR_MALFORMED"),
        ("text", b"-----BEGIN NOTHING-----".to_vec(), "CSR_MALFORMED"),
        ("cut off", good[..good.len() - 1].to_vec(), "CSR_MALFORMED"),
        ("trailing bytes", [&good[..], &[0]].concat(), "CSR_TRAILING_BYTES"),
        ("a forged signature", forged, "CSR_BAD_SIGNATURE"),
        ("a megabyte of zeros", vec![0; 1 << 20], "CSR_TOO_LARGE"),
    ];
    let token = world.token(new_token()).await;
    for (case, csr, reason) in cases {
        let (issue, renew) = (call("IssueCertificate"), call("RenewCertificate"));
        let (scope, worker, permit, request) = (acme(), pid("worker"), renewal_of(&held), anonymous("one"));
        let expected = ("csr_der", reason);
        let issued = issuance::issue_certificate(&world.app, &issue, &scope, &worker, &csr);
        assert_eq!(refusal(&world, issued).await, expected, "{case}");
        assert_eq!(
            refusal(&world, renewal::renew_certificate(&world.app, &renew, &permit, &scope, &csr)).await,
            expected,
            "{case}"
        );
        let enrolled = enrollment::enroll(&world.app, &request, enrollment(&token, "new", &csr));
        assert_eq!(refusal(&world, enrolled).await, expected, "{case}");
    }
}

#[tokio::test]
async fn invariant_10_tenants() {
    let world = World::new().await;
    let long = Lifetime::seconds(7_776_001);
    let quotas = |principals| Quotas { principals: Some(principals), ..Default::default() };
    let lifetimes = |lifetime| [(PrincipalType::Worker, lifetime)].into();
    let subject = |of, unit: Option<&str>, tenant_in_common_name| {
        let form = SubjectForm { organizational_unit: unit.map(str::to_owned), tenant_in_common_name };
        CreateTenant { subjects: [(of, form)].into(), ..new_tenant("new") }
    };
    let failures = |failures, seconds| {
        let limit = FailureLimit { failures, window: Lifetime::seconds(seconds) };
        CreateTenant { failure_limit: Some(limit), ..new_tenant("new") }
    };
    let cases = [
        ("tenant.tenant_id", new_tenant("system")),
        ("tenant.tenant_id", new_tenant("root")),
        ("tenant.tenant_id", new_tenant("shared")),
        ("tenant.display_name", CreateTenant { display_name: "a\u{1b}[2J".into(), ..new_tenant("new") }),
        ("tenant.display_name", CreateTenant { display_name: "a".repeat(129), ..new_tenant("new") }),
        ("tenant.lifetimes", CreateTenant { lifetimes: lifetimes(long), ..new_tenant("new") }),
        ("tenant.lifetimes", CreateTenant { lifetimes: lifetimes(Lifetime::seconds(59)), ..new_tenant("new") }),
        ("tenant.subjects.tenant_in_common_name", subject(PrincipalType::Worker, None, true)),
        ("tenant.subjects.organizational_unit", subject(PrincipalType::Device, Some(""), false)),
        ("tenant.subjects.organizational_unit", subject(PrincipalType::Device, Some(" Fleet"), false)),
        ("tenant.subjects.organizational_unit", subject(PrincipalType::Worker, Some("a\u{202e}b"), false)),
        ("tenant.subjects.organizational_unit", subject(PrincipalType::User, Some(&"a".repeat(65)), false)),
        ("tenant.max_certificates", CreateTenant { max_certificates: 101, ..new_tenant("new") }),
        ("tenant.failure_limit.failures", failures(101, 300)),
        ("tenant.failure_limit.window_seconds", failures(10, 0)),
        ("tenant.failure_limit.window_seconds", failures(10, 3601)),
        ("tenant.quotas", CreateTenant { quotas: quotas(10_000_001), ..new_tenant("new") }),
        (
            "tenant.renewal_grace_seconds",
            CreateTenant { renewal_grace: Lifetime::seconds(2_592_001), ..new_tenant("new") },
        ),
    ];
    let (scope, id) = (environment(), tid("acme"));
    for (field, input) in cases {
        let patch = TenantPatch {
            display_name: Some(input.display_name.clone()),
            lifetimes: Some(input.lifetimes.clone()),
            subjects: Some(input.subjects.clone()),
            max_certificates: Some(input.max_certificates),
            renewal_grace: Some(input.renewal_grace),
            quotas: input.quotas,
            failure_limit: Some(input.failure_limit),
        };
        let (create, update) = (call("CreateTenant"), call("UpdateTenant"));
        assert_eq!(refusal(&world, tenants::create_tenant(&world.app, &create, &scope, input)).await.0, field);
        if field != "tenant.tenant_id" {
            assert_eq!(refusal(&world, tenants::update_tenant(&world.app, &update, &scope, &id, patch)).await.0, field);
        }
    }
}

#[tokio::test]
async fn invariant_10_principals() {
    let world = World::new().await;
    world.principal("worker").await;
    let many = |count: usize| (0..count).map(|number| format!("r{number}").parse().unwrap()).collect::<Vec<_>>();
    let base = || new_principal("new", PrincipalType::Worker, &[]);
    let cases = [
        ("principal.display_name", CreatePrincipal { display_name: "a\nb".into(), ..base() }),
        ("principal.roles", CreatePrincipal { roles: many(17), ..base() }),
        ("principal.groups", CreatePrincipal { groups: many(65), ..base() }),
    ];
    let (scope, id) = (acme(), pid("worker"));
    for (field, input) in cases {
        let patch = PrincipalPatch {
            display_name: Some(input.display_name.clone()),
            roles: Some(input.roles.clone()),
            groups: Some(input.groups.clone()),
        };
        let (create, update) = (call("CreatePrincipal"), call("UpdatePrincipal"));
        assert_eq!(refusal(&world, principals::create_principal(&world.app, &create, &scope, input)).await.0, field);
        assert_eq!(
            refusal(&world, principals::update_principal(&world.app, &update, &scope, &id, patch)).await.0,
            field
        );
    }
}

#[tokio::test]
async fn invariant_10_pages() {
    let world = World::new().await;
    let pages = [
        ("page_size", PageRequest { size: 1001, token: String::new() }),
        ("page_token", PageRequest { size: 0, token: "garbage!".into() }),
        ("page_token", PageRequest { size: 0, token: "e30".into() }),
    ];
    for (field, page) in pages {
        let (list, scope) = (call("List"), acme());
        assert_eq!(refusal(&world, principals::list_principals(&world.app, &list, &scope, &page)).await.0, field);
        assert_eq!(refusal(&world, tokens::list_tokens(&world.app, &list, &scope, &page)).await.0, field);
        let cas = authorities::list_certificate_authorities(&world.app, &list, &scope, &page);
        assert_eq!(refusal(&world, cas).await.0, field);
        assert_eq!(
            refusal(&world, tenants::list_tenants(&world.app, &list, &environment(), false, &page)).await.0,
            field
        );
    }
}

/// What does not exist, and what is somebody else's, is the same to a caller.
#[tokio::test]
async fn invariant_10_unknown_and_foreign_names_are_not_found() {
    let world = World::new().await;
    world.tenant("other").await;
    world.principal("worker").await;
    let (app, other, worker) = (&world.app, scope("other"), pid("worker"));
    let before = world.store.transactions();
    let refusals = [
        principals::get_principal(app, &call("Get"), &other, &worker).await.map(drop),
        principals::suspend_principal(app, &call("Suspend"), &admin(), &other, &worker).await.map(drop),
        issuance::issue_certificate(app, &call("Issue"), &other, &worker, &csr()).await.map(drop),
        tenants::get_tenant(app, &call("Get"), &scope("nobody")).await.map(drop),
        tenants::suspend_tenant(app, &call("Suspend"), &environment(), &tid("nobody")).await.map(drop),
        authorities::trust_bundle(app, &call("Bundle"), &scope("nobody")).await.map(drop),
        principals::create_principal(
            app,
            &call("Create"),
            &scope("nobody"),
            new_principal("w", PrincipalType::Worker, &[]),
        )
        .await
        .map(drop),
        tokens::create_token(app, &call("CreateToken"), &admin(), &scope("nobody"), new_token()).await.map(drop),
    ];
    for refused in refusals {
        assert_eq!(refused.unwrap_err().reason(), "NOT_FOUND");
    }
    assert_eq!(world.store.transactions(), before);
}
