//! Who may do it, to what, and what: each answer is one that `Check` gives. A call looks at as many as a batch has.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use signet_app::{PageRequest, principals};
use signet_core::{
    Error, PrincipalType,
    audit::sha256_hex,
    authorization::{PERMISSIONS, Reach},
};

use super::{
    super::MAX_CHECKS,
    wire::{Action, Asked, Entity, decide, required},
};
use crate::{node::Node, services::caller::Caller};

/// Most pages of a listing that a call reads: where few are of the type that is asked for, a page of results is short.
const MAX_PAGES: usize = 20;

#[derive(Deserialize)]
pub(super) struct Search {
    #[serde(flatten)]
    asked: Asked,
    page: Option<Page>,
}

#[derive(Deserialize)]
struct Page {
    token: Option<String>,
    limit: Option<u32>,
}

#[derive(Serialize)]
pub(super) struct Results {
    page: NextPage,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Value>,
    results: Vec<Value>,
}

#[derive(Serialize)]
struct NextPage {
    next_token: String,
    count: usize,
}

/// Where a search goes on; empty: at its start, or nowhere.
struct Place {
    /// Binds a token to what was asked.
    of: String,
    after: String,
    limit: usize,
}

impl Place {
    fn new(what: &str, asked: &Asked, page: Option<Page>) -> Result<Self, Error> {
        let Page { token, limit } = page.unwrap_or(Page { token: None, limit: None });
        let text = serde_json::to_string(asked).map_err(|error| Error::internal(error.to_string()))?;
        let of: String = sha256_hex(format!("{what} {text}").as_bytes()).chars().take(32).collect();
        let limit = match limit {
            // The standard takes 0, too.
            None | Some(0) => MAX_CHECKS,
            Some(limit) => usize::try_from(limit).unwrap_or(MAX_CHECKS).min(MAX_CHECKS),
        };
        let after = match token.as_deref().unwrap_or_default() {
            "" => String::new(),
            token => match token.split_once('.') {
                Some((bound_to, after)) if bound_to == of && !after.is_empty() => after.to_owned(),
                _ => {
                    let message = "is not one that this search returned";
                    return Err(Error::invalid("page.token", "INVALID_PAGE_TOKEN", message));
                }
            },
        };
        Ok(Self { of, after, limit })
    }

    fn results(&self, next: &str, results: Vec<Value>) -> Results {
        let next_token = if next.is_empty() { String::new() } else { format!("{}.{next}", self.of) };
        Results { page: NextPage { next_token, count: results.len() }, context: None, results }
    }
}

/// Principals that a search looks at.
#[derive(Default)]
struct Candidates {
    ids: Vec<String>,
    next: String,
    unreadable: Vec<String>,
}

/// `POST /access/v1/search/subject`
pub(super) async fn subjects(node: &Node, caller: &Caller, mut search: Search) -> Result<Results, Error> {
    // Ignored, and no part of what a token is for.
    search.asked.subject.iter_mut().for_each(|subject| subject.id = None);
    let place = Place::new("subject", &search.asked, search.page)?;
    let kind = of_type("subject.type", search.asked.subject.as_ref())?;
    let with = |id: &str| {
        let mut asked = search.asked.clone();
        asked.subject.get_or_insert_default().id = Some(id.to_owned());
        asked
    };
    // What is wrong with the rest is told whoever is there.
    with(caller.identity()?.principal.as_str()).check(node, caller)?;
    let Ok(principal_type) = kind.parse() else { return Ok(place.results("", Vec::new())) };
    let candidates = principals_of(node, caller, principal_type, &place).await?;
    entities(node, caller, (&place, &kind), candidates, with).await
}

/// `POST /access/v1/search/resource`
pub(super) async fn resources(node: &Node, caller: &Caller, mut search: Search) -> Result<Results, Error> {
    search.asked.resource.iter_mut().for_each(|resource| resource.id = None);
    let place = Place::new("resource", &search.asked, search.page)?;
    let kind = of_type("resource.type", search.asked.resource.as_ref())?;
    let with = |id: &str| {
        let mut asked = search.asked.clone();
        asked.resource.get_or_insert_default().id = Some(id.to_owned());
        asked
    };
    let me = caller.identity()?;
    with(me.principal.as_str()).check(node, caller)?;
    let candidates = match kind.parse() {
        Ok(principal_type) => principals_of(node, caller, principal_type, &place).await?,
        Err(_) if kind == "tenant" => Candidates { ids: vec![me.tenant.to_string()], ..Candidates::default() },
        // None found would say that there is none.
        Err(_) => {
            let message =
                "must be admin, user, worker, service, device or tenant: Signet has no list of other resources";
            return Err(Error::invalid("resource.type", "UNSUPPORTED_RESOURCE_TYPE", message));
        }
    };
    entities(node, caller, (&place, &kind), candidates, with).await
}

/// `POST /access/v1/search/action`
pub(super) async fn actions(node: &Node, caller: &Caller, search: Search) -> Result<Results, Error> {
    let asked = Asked { action: None, ..search.asked };
    let place = Place::new("action", &asked, search.page)?;
    let with = |name: &str| Asked {
        action: Some(Action { name: Some(name.to_owned()), ..Action::default() }),
        ..asked.clone()
    };
    with("any").check(node, caller)?;
    let kind = of_type("resource.type", asked.resource.as_ref())?;
    // Rules that cannot be read permit nothing.
    let book = node.decisions.book(&caller.identity()?.tenant).unwrap_or_default();
    let mut names: BTreeSet<&str> = book.iter().flat_map(|book| book.permissions()).collect();
    // Signet's own are about what it keeps.
    if kind == "tenant" || kind.parse::<PrincipalType>().is_ok() {
        names.extend(PERMISSIONS);
    }
    let left: Vec<&str> = names.into_iter().filter(|name| **name > *place.after).collect();
    let (now, later) = left.split_at(place.limit.min(left.len()));
    let mut results = Vec::new();
    for name in now {
        if decide(node, caller, with(name)).await?.decision {
            let short = name.split_once(':').filter(|(what, _)| *what == kind).map_or(*name, |(_, verb)| verb);
            results.push(json!({ "name": short }));
        }
        tokio::task::yield_now().await;
    }
    let next = now.last().filter(|_| !later.is_empty());
    Ok(place.results(next.unwrap_or(&""), results))
}

fn of_type(field: &'static str, entity: Option<&Entity>) -> Result<String, Error> {
    required(field, entity.and_then(|entity| entity.kind.clone()))
}

/// Those of the candidates about whom `Check` says yes.
async fn entities(
    node: &Node,
    caller: &Caller,
    (place, kind): (&Place, &str),
    candidates: Candidates,
    with: impl Fn(&str) -> Asked,
) -> Result<Results, Error> {
    let mut results = Vec::new();
    for id in &candidates.ids {
        if decide(node, caller, with(id)).await?.decision {
            results.push(json!({ "type": kind, "id": id }));
        }
        // Others' calls go on between two questions.
        tokio::task::yield_now().await;
    }
    let unreadable = Some(candidates.unreadable).filter(|unreadable| !unreadable.is_empty());
    let context = unreadable.map(|unreadable| json!({ "unreadable": unreadable }));
    Ok(Results { context, ..place.results(&candidates.next, results) })
}

/// Principals of a type, as many as a call may look at. Who may ask about itself only finds nobody else, nor learns how
/// many there are.
async fn principals_of(
    node: &Node,
    caller: &Caller,
    principal_type: PrincipalType,
    place: &Place,
) -> Result<Candidates, Error> {
    let (permit, me) = (caller.permit()?, caller.identity()?);
    if permit.reach() == Reach::Itself {
        let ids = if me.principal_type == principal_type { vec![me.principal.to_string()] } else { Vec::new() };
        return Ok(Candidates { ids, ..Candidates::default() });
    }
    let scope = permit.to_check(&me.tenant)?;
    let mut found = Candidates { next: place.after.clone(), ..Candidates::default() };
    for _ in 0..MAX_PAGES {
        let size = u32::try_from(place.limit.saturating_sub(found.ids.len())).unwrap_or(1);
        let request = PageRequest { size, token: std::mem::take(&mut found.next) };
        let page = principals::list_principals(&node.app, &caller.call, &scope, &request).await?;
        let of_type = page.items.into_iter().filter(|principal| principal.principal_type == principal_type);
        found.ids.extend(of_type.map(|principal| principal.id.to_string()));
        found.unreadable.extend(page.unreadable);
        found.next = page.next_page_token;
        if found.next.is_empty() || found.ids.len() >= place.limit {
            break;
        }
    }
    Ok(found)
}
