//! Online verification: is it good now, and may it?

use std::{net::IpAddr, sync::Arc};

use signet_app::principals;
use signet_core::{
    Error, Lifetime, PrincipalId, PrincipalType, Role, TenantId, TenantScope, Time,
    authorization::{Denial, Reach},
    principals::{Principal, PrincipalStatus},
    spiffe::SpiffeId,
};
use signet_policy::{Because, Context, Rulebook, Ruling, ServiceResource, Subject, Target};
use signet_proto::v1::{CheckRequest, CheckResource, CheckResponse, check_subject::By};

use crate::{
    asked::Question,
    node::Node,
    services::{caller::Caller, fields, tokens::standing::standing, wire},
};

/// Most properties of a resource, and most circumstances.
pub(super) const MAX_PROPERTIES: usize = 32;
/// Longest text of a question, in bytes.
pub(super) const MAX_TEXT: usize = 512;
/// Longest that an answer may be kept.
const MAX_AGE: Lifetime = Lifetime::minutes(5);

/// A principal as it is now.
struct Known {
    tenant: TenantId,
    principal_type: PrincipalType,
    id: PrincipalId,
    roles: Vec<Role>,
    groups: Vec<Role>,
    /// When the certificate that named it ends.
    not_after: Option<Time>,
}

impl Known {
    fn subject(&self) -> Subject<'_> {
        Subject {
            tenant: &self.tenant,
            principal_type: self.principal_type,
            id: &self.id,
            roles: &self.roles,
            groups: &self.groups,
        }
    }

    fn of(principal: Principal) -> Self {
        let Principal { tenant, principal_type, id, roles, groups, .. } = principal;
        Self { tenant, principal_type, id, roles, groups, not_after: None }
    }
}

/// Why nobody needs to ask the rules: the reason, and who it is if that is known.
struct Refused(&'static str, Option<SpiffeId>);

/// Answers one question. A denial is an answer.
pub(super) async fn check(node: &Node, caller: &Caller, message: CheckRequest) -> Result<CheckResponse, Error> {
    bounded(&message)?;
    let scope = scope(caller, &message.tenant_id)?;
    require_tenant(node, scope.tenant())?;
    let book = match node.decisions.book(scope.tenant()) {
        Ok(book) => book.unwrap_or_else(|| Arc::new(Rulebook::new(None, None))),
        Err(_) => return Ok(denied("POLICIES_UNUSABLE", None)),
    };
    let by = message.subject.as_ref().map(|subject| fields::required("subject.by", subject.by.as_ref())).transpose()?;
    let resource = message.resource.unwrap_or_else(|| CheckResource { r#type: "tenant".into(), ..Default::default() });
    let found = subject(node, caller, &scope, &book, (by, &message.action)).await?;
    // Before anything is said of the subject. An answer, not a refusal: a peer must not get a server suspended by
    // asking.
    if !is_involved(caller, (by, &found), &resource)? {
        return Ok(denied("OWN_RESOURCES_ONLY", None));
    }
    let subject = match found {
        Ok(known) => known,
        Err(Refused(reason, id)) => return Ok(denied(reason, id.map(|id| id.uri(node.app.environment().suffix())))),
    };
    let other = match principal_type(&resource.r#type) {
        Some(of) => match principal(node, caller, &scope, &resource.id, Some(of)).await? {
            Ok(known) => Some(known),
            Err(Refused(_, _)) => return Ok(denied("RESOURCE_NOT_FOUND", None)),
        },
        None => None,
    };
    if resource.r#type == "tenant" && !resource.id.is_empty() && resource.id != scope.tenant().as_str() {
        return Ok(denied("FOREIGN_TENANT", None));
    }
    let tags: Vec<(&str, &str)> = resource.properties.iter().map(|(name, value)| (&**name, &**value)).collect();
    let target = match &other {
        Some(known) => Target::Principal(known.subject()),
        None if resource.r#type == "tenant" => Target::Tenant(scope.tenant()),
        None => Target::Resource(ServiceResource {
            tenant: scope.tenant(),
            kind: &resource.r#type,
            id: &resource.id,
            owner: Some(resource.owner.as_str()).filter(|owner| !owner.is_empty()),
            tags: &tags,
        }),
    };
    let text = |name: &str| message.context.get(name).map(String::as_str);
    let source: Option<IpAddr> = text("source")
        .map(|source| {
            source.parse().map_err(|_| Error::invalid("context.source", "INVALID_NETWORK", "must be an IP address"))
        })
        .transpose()?;
    let (now, method, path, host) = (caller.call.now, text("method"), text("path"), text("host"));
    let context = Context { now, source, method, path, host };
    node.asked.note(scope.tenant(), now, || {
        Question::new((subject.principal_type, &subject.id), &message.action, &resource, &context)
    });
    let built_in = built_in(node, &subject, &message.action, &target);
    let ruling = book.decide(&subject.subject(), &message.action, &target, &context, built_in);
    Ok(answer(node, &book, &subject, ruling, now))
}

fn answer(node: &Node, book: &Rulebook, subject: &Known, ruling: Ruling, now: Time) -> CheckResponse {
    let built_in = ruling.because == Because::Granted && ruling.decided_by.is_empty();
    let decided_by = if built_in { vec!["built in".to_owned()] } else { ruling.decided_by };
    CheckResponse {
        allowed: ruling.allowed,
        reason: ruling.because.reason().to_owned(),
        decided_by,
        model_version: book.version(),
        spiffe_id: wire::spiffe_id(node, &subject.tenant, subject.principal_type, &subject.id),
        max_age: max_age(book, subject, now),
    }
}

/// Until the first of what time alone brings.
fn max_age(book: &Rulebook, subject: &Known, now: Time) -> Option<prost_types::Duration> {
    let ends = [book.changes_at(now), subject.not_after, Some(now.plus(MAX_AGE))];
    let millis = ends.into_iter().flatten().min()?.millis_since(now);
    (millis > 0).then(|| wire::duration(millis))
}

fn denied(reason: &str, spiffe_id: Option<String>) -> CheckResponse {
    let spiffe_id = spiffe_id.unwrap_or_default();
    CheckResponse { allowed: false, reason: reason.to_owned(), spiffe_id, ..Default::default() }
}

/// The tenant whose rules decide. Who may ask about itself only reads the whole tenant for this: whom it may ask about
/// is [`is_involved`]'s.
pub(super) fn scope(caller: &Caller, tenant_id: &str) -> Result<TenantScope, Error> {
    let permit = caller.permit()?;
    caller.scope(tenant_id)?;
    let tenant = if tenant_id.is_empty() {
        permit.identity().tenant.clone()
    } else {
        fields::tenant_id("tenant_id", tenant_id)?
    };
    Ok(permit.to_check(&tenant)?)
}

pub(super) fn require_tenant(node: &Node, tenant: &TenantId) -> Result<(), Error> {
    if node.trust.tenant(tenant).is_some() { Ok(()) } else { Err(Error::not_found("tenant", tenant)) }
}

/// Whoever may ask about itself only is the subject; or the resource, and has the subject's certificate in hand: it has
/// met it. Nobody spies out its tenant by names.
fn is_involved(
    caller: &Caller,
    (by, subject): (Option<&By>, &Result<Known, Refused>),
    resource: &CheckResource,
) -> Result<bool, Error> {
    let permit = caller.permit()?;
    let me = permit.identity();
    let is_subject = match subject {
        Ok(known) => known.tenant == me.tenant && known.id == me.principal,
        Err(Refused(_, id)) => id.as_ref().is_some_and(|id| id.tenant == me.tenant && id.principal == me.principal),
    };
    let is_resource =
        principal_type(&resource.r#type) == Some(me.principal_type) && resource.id == me.principal.as_str();
    let has_met = matches!(by, Some(By::CertificateDer(_) | By::AccessToken(_))) && is_resource;
    Ok(permit.reach() != Reach::Itself || is_subject || has_met)
}

async fn subject(
    node: &Node,
    caller: &Caller,
    scope: &TenantScope,
    book: &Rulebook,
    (by, action): (Option<&By>, &str),
) -> Result<Result<Known, Refused>, Error> {
    let now = caller.call.now;
    match by {
        None => {
            let session = caller.session.as_ref().ok_or(Denial::Anonymous)?;
            let roles = session.check(&node.trust, now)?.roles().to_vec();
            with_groups(node, caller, scope, book, session.identity(), roles).await
        }
        Some(By::CertificateDer(der)) => {
            let identity = match node.verifier.identify(der, now) {
                Ok(identity) if identity.tenant == *scope.tenant() => identity,
                // Another tenant's is nobody's here.
                Ok(_) => return Ok(Err(Refused("FOREIGN_TENANT", None))),
                Err(error) => return Ok(Err(Refused(error.reason(), None))),
            };
            match node.trust.admit(&identity, now) {
                Ok(roles) => with_groups(node, caller, scope, book, &identity, roles.to_vec()).await,
                Err(refusal) => Ok(Err(Refused(refusal.reason(), Some(id_of(&identity))))),
            }
        }
        Some(By::AccessToken(shown)) => {
            let good = match standing(node, scope.tenant(), &shown.token, now) {
                Ok(good) => good,
                Err(reason) => return Ok(Err(Refused(reason, None))),
            };
            let id = id_of(&good.identity);
            if good.claims.cnf.x5t_s256 != shown.certificate_thumbprint {
                return Ok(Err(Refused("ACCESS_TOKEN_NOT_BOUND", Some(id))));
            }
            if !good.claims.scope.split(' ').any(|scope| scope == action) {
                return Ok(Err(Refused("SCOPE_MISSING", Some(id))));
            }
            with_groups(node, caller, scope, book, &good.identity, good.roles.to_vec()).await
        }
        Some(By::SpiffeId(uri)) => {
            let Some(id) = SpiffeId::parse(uri, node.app.environment().suffix()) else {
                return Ok(Err(Refused("FOREIGN_TRUST_DOMAIN", None)));
            };
            if id.tenant != *scope.tenant() {
                return Ok(Err(Refused("FOREIGN_TENANT", None)));
            }
            principal(node, caller, scope, id.principal.as_str(), Some(id.principal_type)).await
        }
    }
}

fn id_of(identity: &signet_core::Identity) -> SpiffeId {
    SpiffeId {
        tenant: identity.tenant.clone(),
        principal_type: identity.principal_type,
        principal: identity.principal.clone(),
    }
}

/// A principal whose certificate is good. Its groups are not in it.
async fn with_groups(
    node: &Node,
    caller: &Caller,
    scope: &TenantScope,
    book: &Rulebook,
    identity: &signet_core::Identity,
    roles: Vec<Role>,
) -> Result<Result<Known, Refused>, Error> {
    let groups = if book.has_groups() {
        principals::get_principal(&node.app, &caller.call, scope, &identity.principal).await?.groups
    } else {
        Vec::new()
    };
    let (tenant, id) = (identity.tenant.clone(), identity.principal.clone());
    let (principal_type, not_after) = (identity.principal_type, Some(identity.not_after));
    Ok(Ok(Known { tenant, principal_type, id, roles, groups, not_after }))
}

/// A principal as its record says; it must be active, and so must its tenant.
async fn principal(
    node: &Node,
    caller: &Caller,
    scope: &TenantScope,
    id: &str,
    of: Option<PrincipalType>,
) -> Result<Result<Known, Refused>, Error> {
    let Ok(id) = id.parse::<PrincipalId>() else { return Ok(Err(Refused("UNKNOWN_PRINCIPAL", None))) };
    if !node.trust.is_active(scope.tenant()) {
        return Ok(Err(Refused("TENANT_SUSPENDED", None)));
    }
    match principals::get_principal(&node.app, &caller.call, scope, &id).await {
        Ok(found) if of.is_some_and(|of| of != found.principal_type) => Ok(Err(Refused("UNKNOWN_PRINCIPAL", None))),
        Ok(found) if found.status == PrincipalStatus::Active => Ok(Ok(Known::of(found))),
        Ok(_) => Ok(Err(Refused("PRINCIPAL_DENIED", None))),
        Err(Error::NotFound { .. }) => Ok(Err(Refused("UNKNOWN_PRINCIPAL", None))),
        Err(error) => Err(error),
    }
}

fn built_in(node: &Node, subject: &Known, action: &str, target: &Target<'_>) -> bool {
    let Some(permission) = node.policy.permission(action) else { return false };
    let grants = node.policy.grants(&subject.tenant, subject.principal_type, &subject.roles);
    match (grants.reach(permission), target) {
        (Some(Reach::Itself), Target::Principal(other)) => *other.id == subject.id,
        (reach, _) => reach.is_some_and(|reach| reach != Reach::Itself),
    }
}

fn principal_type(text: &str) -> Option<PrincipalType> {
    text.parse().ok()
}

/// Refuses a list of permissions that is too long, or has one that is.
pub(super) fn bounded_permissions(permissions: &[String], most: usize) -> Result<(), Error> {
    if permissions.len() > most {
        return Err(Error::invalid("permissions", "OUT_OF_RANGE", format!("may have {most} entries")));
    }
    permissions.iter().try_for_each(|permission| text_fits("permissions", permission))
}

fn text_fits(field: &'static str, text: &str) -> Result<(), Error> {
    let message = format!("may have {MAX_TEXT} bytes, not {}", text.len());
    if text.len() > MAX_TEXT { Err(Error::invalid(field, "TOO_LARGE", message)) } else { Ok(()) }
}

fn bounded(message: &CheckRequest) -> Result<(), Error> {
    if message.action.is_empty() {
        return Err(Error::invalid("action", "REQUIRED", "is required: a permission, e.g. jobs:submit"));
    }
    text_fits("action", &message.action)?;
    if let Some(resource) = &message.resource {
        if resource.r#type.is_empty() || (resource.id.is_empty() && resource.r#type != "tenant") {
            return Err(Error::invalid("resource", "REQUIRED", "needs a type, and an id unless it is the tenant"));
        }
        [&resource.r#type, &resource.id, &resource.owner]
            .into_iter()
            .try_for_each(|text| text_fits("resource", text))?;
        if resource.r#type.contains('/') {
            return Err(Error::invalid("resource.type", "INVALID_ID", "must have no slash, which parts type and id"));
        }
        if resource.properties.len() > MAX_PROPERTIES {
            let message = format!("may have {MAX_PROPERTIES} entries");
            return Err(Error::invalid("resource.properties", "OUT_OF_RANGE", message));
        }
        let texts = resource.properties.iter().flat_map(|(name, value)| [name, value]);
        texts.into_iter().try_for_each(|text| text_fits("resource.properties", text))?;
    }
    if message.context.len() > MAX_PROPERTIES {
        return Err(Error::invalid("context", "OUT_OF_RANGE", format!("may have {MAX_PROPERTIES} entries")));
    }
    message.context.iter().flat_map(|(name, value)| [name, value]).try_for_each(|text| text_fits("context", text))
}
