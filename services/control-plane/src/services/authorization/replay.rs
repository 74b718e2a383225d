//! What new rules would have changed: recent calls of the audit log, and recent questions to this node, decided by the
//! rules that hold and by the new ones.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream};
use signet_app::{
    PageRequest,
    audit::events::{self, AuditWindow},
    principals,
};
use signet_core::{
    Error, Lifetime, PrincipalId, PrincipalType, TenantId, TenantScope, Time,
    authorization::{
        CallerTypes, Policy, Reach,
        model::{GRANTABLE, Rules},
    },
    principals::Principal,
};
use signet_policy::{Context, Rulebook, Ruling, ServiceResource, Subject, Target};
use signet_proto::v1::{self as pb, audit_actor::Actor};
use tokio::{task::spawn_blocking, time::timeout};

use crate::{
    asked::Question,
    authorization::Access,
    node::Node,
    services::{audit::entry::entry, caller::Caller, choices, wire},
};

/// Most events that are looked at, how far back, and how long reading them may take: the proof needs time, too.
const EVENTS: u32 = 1000;
const PAGES: u32 = 8;
const BACK: [Lifetime; 4] = [Lifetime::minutes(5), Lifetime::hours(1), Lifetime::hours(6), Lifetime::hours(24)];
const READING: Duration = Duration::from_secs(1);
/// Most principals that are read, the latest first.
const PRINCIPALS: usize = 200;
const READS_AT_ONCE: usize = 16;
/// Most names of grants or policies that are told of a decision, and bytes of each.
const NAMES: usize = 3;
const LONGEST_NAME: usize = 128;

/// Of operations: what they need, and who may call.
type Permissions = HashMap<&'static str, (&'static str, CallerTypes)>;

/// Something that was asked for.
struct Past {
    at: Time,
    is_call: bool,
    question: Question,
}

/// What came of it.
#[derive(Default)]
pub(super) struct Replayed {
    replays: Vec<pb::AuthorizationReplay>,
    calls: u32,
    questions: u32,
}

impl Replayed {
    pub(super) fn into_response(self, test: pb::TestAuthorizationModelResponse) -> pb::TestAuthorizationModelResponse {
        let Self { replays, calls, questions } = self;
        pb::TestAuthorizationModelResponse { replays, replayed_calls: calls, replayed_questions: questions, ..test }
    }
}

/// Decides again by `rules`, which were tested. Of a principal that is gone or cannot be read nothing is said.
pub(super) async fn replay(node: &Node, caller: &Caller, scope: &TenantScope, rules: Rules) -> Result<Replayed, Error> {
    let tenant = scope.tenant().clone();
    let (Ok(before), Ok(after)) = (node.decisions.book(&tenant), node.decisions.tried(&tenant, rules, caller.call.now))
    else {
        return Ok(Replayed::default());
    };
    let before = before.unwrap_or_else(|| Arc::new(Rulebook::new(None, None)));
    let mut past = calls(node, caller, scope).await;
    let asked = node.asked.of(&tenant).into_iter();
    past.extend(asked.map(|(question, at)| Past { at, is_call: false, question }));
    past.sort_by_key(|past| Reverse(past.at));
    let known = known(node, caller, scope, &past).await;
    let policy = Arc::clone(&node.policy);
    let decide = move || decided(&policy, &tenant, &known, (&before, &after), past);
    spawn_blocking(decide).await.map_err(Error::internal)
}

/// Calls of the last day that need a permission which can be granted. What cannot be read in time is left out.
async fn calls(node: &Node, caller: &Caller, scope: &TenantScope) -> Vec<Past> {
    let permissions = grantable(node);
    let (mut found, now) = (Vec::new(), caller.call.now);
    let read = async {
        let (mut looked_at, mut pages, mut end) = (0_u32, 0_u32, now.plus(Lifetime::seconds(1)));
        for back in BACK {
            let window = AuditWindow { start: now.minus(back), end };
            end = window.start;
            let mut page = PageRequest { size: EVENTS, token: String::new() };
            loop {
                let next = events::list_audit_events(&node.app, &caller.call, scope, &window, &page).await?;
                pages = pages.saturating_add(1);
                looked_at = looked_at.saturating_add(u32::try_from(next.events.len()).unwrap_or(u32::MAX));
                found.extend(next.events.iter().filter_map(|event| call(&permissions, scope.tenant(), event)));
                page.token = next.next_page_token;
                if looked_at >= EVENTS || pages >= PAGES {
                    return Ok(());
                }
                if page.token.is_empty() {
                    break;
                }
            }
        }
        Ok::<_, Error>(())
    };
    if let Ok(Err(error)) = timeout(READING, read).await {
        tracing::warn!(%error, "the audit log cannot be read to try new rules");
    }
    found
}

/// The operations that need one of them, each with its permission and who may call it.
fn grantable(node: &Node) -> Permissions {
    let names: BTreeMap<_, _> =
        GRANTABLE.iter().filter_map(|name| Some((node.policy.permission(name)?, *name))).collect();
    let routes = node.table.iter().filter_map(|(_, route)| match route.access() {
        Access::Rule(rule) => Some((route.operation, (*names.get(&rule.permission)?, rule.callers))),
        _ => None,
    });
    routes.collect()
}

fn call(permissions: &Permissions, tenant: &TenantId, event: &signet_core::audit::AuditEvent) -> Option<Past> {
    let entry = entry(&event.payload)?;
    let (action, callers) = permissions.get(&*entry.operation)?;
    let Some(Actor::Principal(actor)) = entry.actor?.actor else { return None };
    if actor.tenant_id != tenant.as_str() {
        return None;
    }
    let principal_type = choices::principal_type("actor", actor.principal_type).ok()?;
    // No grant lets others call.
    if !callers.admits(principal_type) {
        return None;
    }
    let (kind, id) = entry.resource.map_or_else(Default::default, |resource| (resource.kind, resource.id));
    let question = Question {
        principal_type,
        principal: actor.principal_id.parse().ok()?,
        action: (*action).to_owned(),
        kind,
        id,
        owner: String::new(),
        tags: Vec::new(),
        source: None,
        method: None,
        path: None,
        host: None,
    };
    Some(Past { at: event.at, is_call: true, question })
}

/// The principals that are needed, as they are now.
async fn known(node: &Node, caller: &Caller, scope: &TenantScope, past: &[Past]) -> HashMap<PrincipalId, Principal> {
    let mut wanted: Vec<PrincipalId> = Vec::new();
    for Past { question, is_call, .. } in past {
        let other = (!is_call && question.kind.parse::<PrincipalType>().is_ok()).then(|| question.id.parse().ok());
        for id in [Some(question.principal.clone()), other.flatten()].into_iter().flatten() {
            if wanted.len() < PRINCIPALS && !wanted.contains(&id) {
                wanted.push(id);
            }
        }
    }
    let reads = stream::iter(wanted).map(|id| async move {
        let found = principals::get_principal(&node.app, &caller.call, scope, &id).await.ok()?;
        Some((id, found))
    });
    reads.buffer_unordered(READS_AT_ONCE).filter_map(std::future::ready).collect().await
}

fn decided(
    policy: &Policy,
    tenant: &TenantId,
    known: &HashMap<PrincipalId, Principal>,
    (before, after): (&Rulebook, &Rulebook),
    past: Vec<Past>,
) -> Replayed {
    let mut replayed = Replayed::default();
    for Past { at, is_call, question } in past {
        let Some(principal) = known.get(&question.principal) else { continue };
        if principal.principal_type != question.principal_type {
            continue;
        }
        let subject = subject(principal);
        let tags: Vec<(&str, &str)> = question.tags.iter().map(|(name, value)| (&**name, &**value)).collect();
        let target = match question.kind.parse::<PrincipalType>() {
            _ if is_call || question.kind == "tenant" => Target::Tenant(tenant),
            Ok(_) => match question.id.parse().ok().and_then(|id: PrincipalId| known.get(&id)) {
                Some(other) => Target::Principal(self::subject(other)),
                None => continue,
            },
            Err(_) => Target::Resource(ServiceResource {
                tenant,
                kind: &question.kind,
                id: &question.id,
                owner: Some(question.owner.as_str()).filter(|owner| !owner.is_empty()),
                tags: &tags,
            }),
        };
        let context = Context {
            now: at,
            source: question.source,
            method: question.method.as_deref(),
            path: question.path.as_deref(),
            host: question.host.as_deref(),
        };
        let built_in = policy.permission(&question.action).is_some_and(|permission| {
            let grants = policy.grants(tenant, principal.principal_type, &principal.roles);
            grants.reach(permission).is_some_and(|reach| reach != Reach::Itself)
        });
        let decide = |book: &Rulebook| book.decide(&subject, &question.action, &target, &context, built_in);
        let count = if is_call { &mut replayed.calls } else { &mut replayed.questions };
        *count = count.saturating_add(1);
        let (was, would) = (decide(before), decide(after));
        if was.allowed != would.allowed {
            replayed.replays.push(told(at, is_call, &question, was, would));
        }
    }
    replayed
}

fn subject(principal: &Principal) -> Subject<'_> {
    Subject {
        tenant: &principal.tenant,
        principal_type: principal.principal_type,
        id: &principal.id,
        roles: &principal.roles,
        groups: &principal.groups,
    }
}

fn told(at: Time, is_call: bool, question: &Question, was: Ruling, would: Ruling) -> pb::AuthorizationReplay {
    let names = |ruling: Ruling| {
        let cut = |name: String| name.chars().take(LONGEST_NAME).collect();
        ruling.decided_by.into_iter().take(NAMES).map(cut).collect()
    };
    let resource = match (question.kind.as_str(), question.id.as_str()) {
        (kind, "") => kind.to_owned(),
        (kind, id) => format!("{kind}/{id}"),
    };
    pb::AuthorizationReplay {
        time: Some(wire::time(at)),
        is_call,
        principal: format!("{}/{}", question.principal_type, question.principal),
        action: question.action.clone(),
        resource,
        allowed_before: was.allowed,
        allowed_after: would.allowed,
        reason_before: was.because.reason().to_owned(),
        reason_after: would.because.reason().to_owned(),
        decided_by_before: names(was),
        decided_by_after: names(would),
    }
}
