//! One question, answered in memory.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use cedar_policy::{
    AuthorizationError, Authorizer, Context as CedarContext, Decision, Entities, Entity, EntityUid, Request,
    RestrictedExpression,
};
use signet_core::{PrincipalId, PrincipalType, Role, TenantId, Time};

use crate::{
    Policies,
    vocabulary::{type_of, uid},
};

/// A principal: who asks, or whom it is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its tenant.
    pub tenant: &'a TenantId,
    /// Its type.
    pub principal_type: PrincipalType,
    /// Its id.
    pub id: &'a PrincipalId,
    /// Its roles now.
    pub roles: &'a [Role],
    /// Its groups now.
    pub groups: &'a [Role],
}

/// Something of a customer's service that is no principal.
#[derive(Clone, Copy, Debug)]
pub struct ServiceResource<'a> {
    /// Whose it is.
    pub tenant: &'a TenantId,
    /// E.g. `queue`.
    pub kind: &'a str,
    /// Unique in its kind.
    pub id: &'a str,
    /// Id of the principal that owns it, if one does.
    pub owner: Option<&'a str>,
    /// Whatever else policies ask for, as tags.
    pub tags: &'a [(&'a str, &'a str)],
}

/// What a question is about.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// A tenant as a whole.
    Tenant(&'a TenantId),
    /// A principal.
    Principal(Subject<'a>),
    /// Anything else.
    Resource(ServiceResource<'a>),
}

impl Target<'_> {
    /// Whose it is.
    pub const fn tenant(&self) -> &TenantId {
        match self {
            Self::Tenant(tenant) => tenant,
            Self::Principal(subject) => subject.tenant,
            Self::Resource(resource) => resource.tenant,
        }
    }
}

/// The circumstances.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The time of the decision.
    pub now: Time,
    /// Where the call came from.
    pub source: Option<IpAddr>,
    /// Of an HTTP request.
    pub method: Option<&'a str>,
    /// Of an HTTP request: normalized, without query.
    pub path: Option<&'a str>,
    /// Of an HTTP request: its authority.
    pub host: Option<&'a str>,
}

/// What policies say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// None applies.
    Silent,
    /// These permit it, and none forbids it.
    Permitted(Vec<String>),
    /// These forbid it, or could not be evaluated.
    Forbidden(Vec<String>),
}

impl Context<'_> {
    /// Nothing but the time.
    pub const fn at(now: Time) -> Self {
        Self { now, source: None, method: None, path: None, host: None }
    }
}

impl Policies {
    /// What they say about `subject` doing `action` to `object`.
    pub fn decide(&self, subject: &Subject<'_>, action: &str, object: &Target<'_>, context: &Context<'_>) -> Verdict {
        let policies = self.about(action);
        if policies.is_empty() {
            return Verdict::Silent;
        }
        let mut entities = Vec::with_capacity(2);
        let principal = entity_of(subject);
        let resource = match object {
            Target::Tenant(tenant) => uid("Tenant", tenant.as_str()),
            Target::Principal(other) => added(&mut entities, entity_of(other)),
            Target::Resource(resource) => added(&mut entities, entity_of_resource(resource)),
        };
        // A principal that asks about itself is one entity.
        let principal_uid = principal.uid();
        if principal_uid != resource {
            entities.push(principal);
        }
        let asked = (|| {
            let entities = Entities::from_entities(entities, None).ok()?;
            let context = context_of(context, self.read_time())?;
            let request = Request::new(principal_uid, uid("Action", action), resource, context, None).ok()?;
            Some(Authorizer::new().is_authorized(&request, policies, &entities))
        })();
        // What cannot even be asked is not permitted.
        let Some(answer) = asked else { return Verdict::Forbidden(Vec::new()) };
        let told = answer.diagnostics();
        let failed = told.errors().map(|AuthorizationError::PolicyEvaluationError(error)| error.policy_id());
        let failed = failed.filter(|id| self.forbidding.contains(id));
        let reasons = told.reason().map(ToString::to_string);
        match answer.decision() {
            Decision::Allow => {
                let failed: Vec<String> = failed.map(ToString::to_string).collect();
                if failed.is_empty() { Verdict::Permitted(reasons.collect()) } else { Verdict::Forbidden(failed) }
            }
            Decision::Deny => {
                let forbids: Vec<String> = reasons.chain(failed.map(ToString::to_string)).collect();
                if forbids.is_empty() { Verdict::Silent } else { Verdict::Forbidden(forbids) }
            }
        }
    }
}

fn added(entities: &mut Vec<Entity>, entity: Entity) -> EntityUid {
    let uid = entity.uid();
    entities.push(entity);
    uid
}

fn entity_of(subject: &Subject<'_>) -> Entity {
    let roles = subject.roles.iter().map(|role| uid("Role", role.as_str()));
    let parents: HashSet<_> = roles.chain(subject.groups.iter().map(|group| uid("Group", group.as_str()))).collect();
    let attributes =
        HashMap::from([("tenant".to_owned(), tenant_of(subject.tenant)), ("id".to_owned(), text(subject.id.as_str()))]);
    let uid = uid(type_of(subject.principal_type), subject.id.as_str());
    // Only unknowns and failing extension calls are refused, of which there are none.
    Entity::new(uid.clone(), attributes, parents).unwrap_or_else(|_| Entity::with_uid(uid))
}

fn entity_of_resource(resource: &ServiceResource<'_>) -> Entity {
    let mut attributes = HashMap::from([
        ("tenant".to_owned(), tenant_of(resource.tenant)),
        ("kind".to_owned(), text(resource.kind)),
        ("id".to_owned(), text(resource.id)),
    ]);
    if let Some(owner) = resource.owner {
        attributes.insert("owner".to_owned(), text(owner));
    }
    let tags: HashMap<_, _> = resource.tags.iter().map(|(name, value)| ((*name).to_owned(), text(value))).collect();
    let uid = uid("Resource", &format!("{}/{}", resource.kind, resource.id));
    Entity::new_with_tags(uid.clone(), attributes, HashSet::new(), tags).unwrap_or_else(|_| Entity::with_uid(uid))
}

/// The time only for who reads it: parsing it is dear.
fn context_of(context: &Context<'_>, with_time: bool) -> Option<CedarContext> {
    let mut pairs = Vec::with_capacity(5);
    if with_time {
        pairs.push(("now".to_owned(), RestrictedExpression::new_datetime(context.now.to_string())));
    }
    let texts = [("method", context.method), ("path", context.path), ("host", context.host)];
    pairs.extend(texts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), text(value?)))));
    let source = context
        .source
        .map(|source| ("source".to_owned(), RestrictedExpression::new_ip(source.to_canonical().to_string())));
    pairs.extend(source);
    CedarContext::from_pairs(pairs).ok()
}

fn tenant_of(tenant: &TenantId) -> RestrictedExpression {
    RestrictedExpression::new_entity_uid(uid("Tenant", tenant.as_str()))
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}
