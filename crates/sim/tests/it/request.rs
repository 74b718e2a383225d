//! What agents and the operator ask for.

use std::sync::Arc;

use secrecy::SecretString;
use signet_app::{
    App, Call, CreatePrincipal, CreateToken, Enroll, IssuedLeaf, PrincipalPatch, Proof, RotationAction, authorities,
    certificates::{self, renewal},
    enrollment::{self, tokens},
    principals::{self, deletion},
    tenants,
};
use signet_core::{
    Actor, Error, Identity, Lifetime, PrincipalId, PrincipalType, Role, Serial, TenantId, TenantScope, Time,
    authorities::CaKind,
    authorization::{CallerTypes, Permit, Policy, Rule, permit},
    certificates::RevocationReason,
    enrollment::PrincipalTemplate,
    store::scope::Housekeeper,
};

/// One request, which can be repeated.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Create { tenant: TenantId, id: PrincipalId },
    Enroll { secret: String, id: PrincipalId, csr_der: Vec<u8> },
    Renew { holder: Identity, csr_der: Vec<u8> },
    Confirm { holder: Identity },
    Revoke { leaf: Identity, reason: RevocationReason },
    Suspend { tenant: TenantId, id: PrincipalId },
    Activate { tenant: TenantId, id: PrincipalId },
    Delete { tenant: TenantId, id: PrincipalId },
    SetRoles { tenant: TenantId, id: PrincipalId, roles: Vec<Role> },
    SuspendTenant { tenant: TenantId },
    ActivateTenant { tenant: TenantId },
    Rotate { tenant: TenantId, action: RotationAction },
}

impl Request {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Create { .. } => "CreatePrincipal",
            Self::Enroll { .. } => "Enroll",
            Self::Renew { .. } => "RenewCertificate",
            Self::Confirm { .. } => "ConfirmCertificate",
            Self::Revoke { .. } => "RevokeCertificate",
            Self::Suspend { .. } => "SuspendPrincipal",
            Self::Activate { .. } => "ActivatePrincipal",
            Self::Delete { .. } => "DeletePrincipal",
            Self::SetRoles { .. } => "UpdatePrincipal",
            Self::SuspendTenant { .. } => "SuspendTenant",
            Self::ActivateTenant { .. } => "ActivateTenant",
            Self::Rotate { .. } => "RotateCa",
        }
    }

    /// Who must be admitted before a node looks at it.
    pub(crate) fn caller(&self) -> Option<&Identity> {
        match self {
            Self::Renew { holder, .. } | Self::Confirm { holder } => Some(holder),
            _ => None,
        }
    }

    /// The text of the single-use token that it redeems.
    pub(crate) fn token(&self) -> Option<&str> {
        match self {
            Self::Enroll { secret, .. } => Some(secret),
            _ => None,
        }
    }

    fn call(&self, now: Time, request_id: &str) -> Call {
        let actor = match (self.caller(), self) {
            (Some(holder), _) => Actor::from(holder),
            (None, Self::Enroll { .. }) => Actor::Anonymous,
            (None, _) => Actor::from(&operator()),
        };
        let request_id = Some(request_id.parse().unwrap());
        Call { operation: self.name(), now, actor, request_id, source: None, correlation_id: None }
    }

    /// Asks `app`.
    pub(crate) async fn ask(&self, app: &Arc<App>, now: Time, request_id: &str) -> Result<Option<IssuedLeaf>, Error> {
        let call = &self.call(now, request_id);
        let (root, environment) = (&permit_of(operator()), &Housekeeper::appoint().environment());
        match self {
            Self::Create { tenant, id } => {
                principals::create_principal(app, call, &scope(tenant), worker(id.clone())).await?;
            }
            Self::Enroll { secret, id, csr_der } => {
                let proof = Proof::JoinToken(SecretString::from(secret.as_str()));
                let input = Enroll { proof, principal: Some(id.clone()), csr_der: csr_der.clone() };
                return Ok(Some(enrollment::enroll(app, call, input).await?));
            }
            Self::Renew { holder, csr_der } => {
                let permit = permit_of(holder.clone());
                return Ok(Some(
                    renewal::renew_certificate(app, call, &permit, &scope(&holder.tenant), csr_der).await?,
                ));
            }
            Self::Confirm { holder } => {
                renewal::confirm_certificate(app, call, &permit_of(holder.clone()), &scope(&holder.tenant)).await?;
            }
            Self::Revoke { leaf, reason } => {
                let scope = scope(&leaf.tenant);
                certificates::revoke_certificate(app, call, root, &scope, &leaf.issuer, &leaf.serial, *reason).await?;
            }
            Self::Suspend { tenant, id } => {
                drop(principals::suspend_principal(app, call, root, &scope(tenant), id).await?)
            }
            Self::Activate { tenant, id } => {
                drop(principals::activate_principal(app, call, root, &scope(tenant), id).await?)
            }
            Self::Delete { tenant, id } => drop(deletion::delete_principal(app, call, root, &scope(tenant), id).await?),
            Self::SetRoles { tenant, id, roles } => {
                let patch = PrincipalPatch { roles: Some(roles.clone()), ..PrincipalPatch::default() };
                principals::update_principal(app, call, &scope(tenant), id, patch).await?;
            }
            Self::SuspendTenant { tenant } => drop(tenants::suspend_tenant(app, call, environment, tenant).await?),
            Self::ActivateTenant { tenant } => drop(tenants::activate_tenant(app, call, environment, tenant).await?),
            Self::Rotate { tenant, action } => {
                authorities::rotate_ca(app, call, &scope(tenant), CaKind::Tenant, *action).await?;
            }
        }
        Ok(None)
    }
}

/// A token that one worker may redeem, once.
pub(crate) async fn token(app: &App, now: Time, tenant: &TenantId, id: &PrincipalId) -> Result<String, Error> {
    use secrecy::ExposeSecret;
    let mut call = Call::process("test", now);
    (call.operation, call.actor) = ("CreateToken", Actor::from(&operator()));
    let template = PrincipalTemplate { principal_type: PrincipalType::Worker, id: Some(id.clone()), roles: Vec::new() };
    let (ttl, source_networks) = (Lifetime::hours(4), Vec::new());
    let input = CreateToken { template, ttl, uses: 1, id_pattern: None, source_networks };
    let created = tokens::create_token(app, &call, &permit_of(operator()), &scope(tenant), input).await?;
    Ok(created.secret.expose_secret().to_owned())
}

pub(crate) fn worker(id: PrincipalId) -> CreatePrincipal {
    let (display_name, roles, groups) = (String::new(), Vec::new(), Vec::new());
    CreatePrincipal { id, principal_type: PrincipalType::Worker, display_name, roles, groups }
}

pub(crate) fn scope(tenant: &TenantId) -> TenantScope {
    Housekeeper::appoint().tenant(tenant)
}

/// The environment's operator.
pub(crate) fn operator() -> Identity {
    let now = signet_testkit::fixtures::NOW;
    Identity {
        tenant: TenantId::system(),
        principal: "root".parse().unwrap(),
        principal_type: PrincipalType::Admin,
        roles: Vec::new().into(),
        issuer: "system.1".parse().unwrap(),
        serial: Serial::new(now, [0; 10]),
        not_before: now,
        not_after: now.plus(Lifetime::days(90)),
        spki_sha256: [0; 32],
        certificate_sha256: [0; 32],
    }
}

/// What the gate gives to those whom it lets in.
pub(crate) fn permit_of(identity: Identity) -> Permit {
    let policy = Policy::new();
    let grants = policy.grants(&identity.tenant, identity.principal_type, &identity.roles);
    let permission = if identity.tenant.is_system() { "tokens.create" } else { "certificates.renew" };
    let rule = Rule {
        operation: "test".into(),
        permission: policy.permission(permission).unwrap(),
        callers: PrincipalType::ALL.into_iter().fold(CallerTypes::default(), CallerTypes::with),
    };
    permit(&Arc::new(identity), &grants, &rule).unwrap()
}
