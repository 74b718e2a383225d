//! Who may do what. The whole table stands in `permissions.golden`; to change it on purpose, run the test with
//! `UPDATE_GOLDEN=1` and review the difference.

use std::{env, fs, sync::Arc};

use proptest::prelude::*;
use signet_core::{
    CaId, Identity, PrincipalId, PrincipalType, Role, Serial, TenantId, Time,
    authorization::{CallerTypes, Denial, PERMISSIONS, Permit, Policy, Reach, Rule, permit},
};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/permissions.golden");

fn roles(names: &[&str]) -> Vec<Role> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

pub(crate) fn identity(tenant: &str, kind: PrincipalType, principal: &str) -> Identity {
    let tenant: TenantId = tenant.parse().unwrap();
    Identity {
        issuer: CaId::new(tenant.as_str(), 1).unwrap(),
        tenant,
        principal: principal.parse().unwrap(),
        principal_type: kind,
        roles: Arc::new([]),
        serial: Serial::new(Time::from_unix_seconds(1_700_000_000), [7; 10]),
        not_before: Time::from_unix_seconds(1_700_000_000),
        not_after: Time::from_unix_seconds(1_700_086_400),
        spki_sha256: [0; 32],
        certificate_sha256: [0; 32],
    }
}

/// What an identity with these roles is permitted, for an RPC that anybody may call.
fn permitted(identity: &Identity, roles: &[Role], permission: &str) -> Result<Permit, Denial> {
    let policy = Policy::new();
    let grants = policy.grants(&identity.tenant, identity.principal_type, roles);
    let everybody = PrincipalType::ALL.into_iter().fold(CallerTypes::default(), CallerTypes::with);
    let permission = policy.permission(permission).unwrap();
    permit(&Arc::new(identity.clone()), &grants, &Rule { operation: "Test".into(), permission, callers: everybody })
}

fn callers() -> Vec<(&'static str, &'static str, PrincipalType, Vec<Role>)> {
    let mut callers = vec![("system admin", "system", PrincipalType::Admin, vec![])];
    callers.push(("admin", "acme", PrincipalType::Admin, vec![]));
    for (name, role) in [("user", None), ("user+viewer", Some("viewer")), ("user+operator", Some("operator"))] {
        callers.push((name, "acme", PrincipalType::User, roles(&role.into_iter().collect::<Vec<_>>())));
    }
    callers.push(("system user+operator", "system", PrincipalType::User, roles(&["operator"])));
    callers.push(("service", "acme", PrincipalType::Service, vec![]));
    callers.push(("worker", "acme", PrincipalType::Worker, vec![]));
    callers.push(("device", "acme", PrincipalType::Device, vec![]));
    callers.push(("worker+operator", "acme", PrincipalType::Worker, roles(&["operator"])));
    callers.push(("system worker", "system", PrincipalType::Worker, vec![]));
    callers
}

#[test]
fn the_table_of_permissions_is_the_reviewed_one() {
    let callers = callers();
    let mut table = String::from("How far each permission reaches: `-` not given, self, own tenant, any tenant.\n\n");
    for (column, (name, ..)) in callers.iter().enumerate() {
        table.push_str(&format!("{:<26}{}{name}\n", "", "|     ".repeat(column)));
    }
    for permission in PERMISSIONS {
        let cells = callers.iter().map(|(_, tenant, kind, roles)| {
            match permitted(&identity(tenant, *kind, "p"), roles, permission).map(|permit| permit.reach()) {
                Ok(Reach::Itself) => "self",
                Ok(Reach::OwnTenant) => "own",
                Ok(Reach::AnyTenant) => "any",
                Err(_) => "-",
            }
        });
        let row: String = cells.map(|cell| format!("{cell:<6}")).collect();
        table.push_str(&format!("{permission:<26}{}\n", row.trim_end()));
    }
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(GOLDEN, &table).unwrap();
    }
    assert_eq!(table, fs::read_to_string(GOLDEN).unwrap_or_default(), "see the top of this file");
}

#[test]
fn every_type_is_in_the_table_and_no_permission_is_named_twice() {
    for kind in PrincipalType::ALL {
        assert!(callers().iter().any(|(_, tenant, of, roles)| *of == kind && *tenant == "acme" && roles.is_empty()));
    }
    let mut names = PERMISSIONS.to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), PERMISSIONS.len());
}

proptest! {
    #[test]
    fn nobody_outside_the_system_tenant_gets_a_scope_in_another(
        kind in prop::sample::select(PrincipalType::ALL.to_vec()),
        role in prop::sample::select(vec!["operator", "viewer", "admin", "system"]),
        permission in prop::sample::select(PERMISSIONS.to_vec()),
        named in prop::option::of("[a-z]{1,3}"),
    ) {
        let caller = identity("acme", kind, "p");
        if let Ok(permit) = permitted(&caller, &roles(&[role]), permission) {
            let named: Option<PrincipalId> = named.map(|id| id.parse().unwrap());
            let foreign: TenantId = "globex".parse().unwrap();
            prop_assert_eq!(permit.tenant(&foreign, named.as_ref()), Err(Denial::ForeignTenant));
            prop_assert_eq!(permit.tenant(&TenantId::system(), None), Err(Denial::ForeignTenant));
            prop_assert_eq!(permit.environment(), Err(Denial::Permission));
        }
    }

    #[test]
    fn an_own_scope_is_of_the_own_tenant_and_as_narrow_as_the_reach(
        kind in prop::sample::select(PrincipalType::ALL.to_vec()),
        permission in prop::sample::select(PERMISSIONS.to_vec()),
        named in prop::option::of(prop::sample::select(vec!["p", "q"])),
    ) {
        let caller = identity("acme", kind, "p");
        let Ok(permit) = permitted(&caller, &[], permission) else { return Ok(()) };
        let id: Option<PrincipalId> = named.map(|id| id.parse().unwrap());
        match permit.tenant(&caller.tenant, id.as_ref()) {
            Ok(scope) => {
                prop_assert_eq!(scope.tenant(), &caller.tenant);
                prop_assert_eq!(scope.only().is_some(), permit.reach() == Reach::Itself);
                prop_assert!(scope.only().is_none_or(|only| *only == caller.principal));
            }
            Err(denial) => {
                prop_assert_eq!(denial, Denial::NotItself);
                prop_assert!(permit.reach() == Reach::Itself && named == Some("q"));
            }
        }
    }
}

#[test]
fn the_callers_types_come_before_its_permissions() {
    let policy = Policy::new();
    let caller = Arc::new(identity("system", PrincipalType::Admin, "root"));
    let grants = policy.grants(&caller.tenant, caller.principal_type, &[]);
    let permission = policy.permission("tenants.create").unwrap();
    let rule = |callers| Rule { operation: "Test".into(), permission, callers };
    let users = CallerTypes::default().with(PrincipalType::User).with_anonymous();
    assert_eq!(permit(&caller, &grants, &rule(users)).map(|_| ()), Err(Denial::CallerType));
    assert!(permit(&caller, &grants, &rule(users.with(PrincipalType::Admin))).is_ok());
    assert!(CallerTypes::default().is_empty() && !users.is_empty() && users.admits_anonymous());
}

#[test]
fn only_admins_manage_admins_and_principals_with_roles() {
    for (name, tenant, kind, roles) in callers() {
        let Ok(permit) = permitted(&identity(tenant, kind, "p"), &roles, "identity.read") else { continue };
        let admin = kind == PrincipalType::Admin;
        let may = |of: PrincipalType, roles: &[Role]| permit.may_manage(of, roles).is_ok();
        assert_eq!(may(PrincipalType::Admin, &[]), admin, "{name}");
        assert_eq!(may(PrincipalType::User, &self::roles(&["operator"])), admin, "{name}");
        assert!(may(PrincipalType::Worker, &[]), "{name}");
    }
}

#[test]
fn what_a_model_grants_is_given_in_the_own_tenant() {
    let (policy, acme) = (Policy::new(), "acme".parse::<TenantId>().unwrap());
    let mut grants = policy.grants(&acme, PrincipalType::User, &[]);
    let suspend = policy.permission("principals.suspend").unwrap();
    assert_eq!(grants.reach(suspend), None);
    policy.add(&mut grants, ["principals.suspend", "tenants.create", "jobs:submit"]);
    assert_eq!(grants.reach(suspend), Some(Reach::OwnTenant));
    // Even what is the operator's opens no other tenant, and what is not Signet's is no RPC's.
    assert_eq!(grants.reach(policy.permission("tenants.create").unwrap()), Some(Reach::OwnTenant));
    assert_eq!(policy.permission("jobs:submit"), None);
    // Nothing is taken.
    let mut admin = policy.grants(&TenantId::system(), PrincipalType::Admin, &[]);
    policy.add(&mut admin, ["principals.suspend"]);
    assert_eq!(admin.reach(suspend), Some(Reach::AnyTenant));
}
