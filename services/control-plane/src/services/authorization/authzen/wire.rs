//! The standard's JSON, and the question to `Check` that it comes to. Members that it does not have are left out
//! (section 10.1.1).

use std::collections::{BTreeMap, HashMap};

use axum::{
    body::Bytes,
    extract::rejection::BytesRejection,
    http::{HeaderMap, StatusCode, header},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use signet_core::{Error, PrincipalType, spiffe::SpiffeId};
use signet_proto::v1::{CheckRequest, CheckResource, CheckResponse, CheckSubject, check_subject::By};

use super::{
    super::{
        MAX_CHECKS,
        check::{MAX_PROPERTIES, MAX_TEXT, check},
    },
    shape,
};
use crate::{node::Node, services::caller::Caller};

/// A request's body, if it came.
pub(super) type Body = Result<Bytes, BytesRejection>;

/// Most bytes of a request, as of an RPC's.
pub(super) const MAX_BODY: usize = 64 * 1024;

/// The circumstances that policies may read.
const CIRCUMSTANCES: [&str; 4] = ["source", "method", "path", "host"];
/// A subject that is named by its SPIFFE id.
const SPIFFE: &str = "spiffe";

/// What policies read as tags: texts, as many and as long as `Check` takes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(try_from = "BTreeMap<String, Value>")]
pub(super) struct Properties(BTreeMap<String, String>);

/// What policies read of the circumstances; all else is left out.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(try_from = "BTreeMap<String, Value>")]
pub(super) struct Circumstances(BTreeMap<String, String>);

impl TryFrom<BTreeMap<String, Value>> for Properties {
    type Error = String;

    fn try_from(all: BTreeMap<String, Value>) -> Result<Self, String> {
        bounded(all.into_iter().filter_map(text)).map(Self)
    }
}

impl TryFrom<BTreeMap<String, Value>> for Circumstances {
    type Error = String;

    fn try_from(all: BTreeMap<String, Value>) -> Result<Self, String> {
        let known = all.into_iter().filter(|(name, _)| CIRCUMSTANCES.contains(&name.as_str()));
        bounded(known.filter_map(text)).map(Self)
    }
}

fn bounded(all: impl Iterator<Item = (String, String)>) -> Result<BTreeMap<String, String>, String> {
    let all: BTreeMap<String, String> = all.collect();
    if all.len() > MAX_PROPERTIES {
        return Err(format!("an object of properties may have {MAX_PROPERTIES} members"));
    }
    match all.iter().find(|(name, value)| name.len() > MAX_TEXT || value.len() > MAX_TEXT) {
        Some((name, _)) => Err(format!("a property may have {MAX_TEXT} bytes: {:.32}", name)),
        None => Ok(all),
    }
}

/// A subject or a resource.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Entity {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) id: Option<String>,
    pub(super) properties: Option<Properties>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Action {
    pub(super) name: Option<String>,
    pub(super) properties: Option<Properties>,
}

/// One question, or the defaults of many.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Asked {
    pub(super) subject: Option<Entity>,
    pub(super) action: Option<Action>,
    pub(super) resource: Option<Entity>,
    pub(super) context: Option<Circumstances>,
}

#[derive(Deserialize)]
pub(super) struct Evaluations {
    #[serde(flatten)]
    defaults: Asked,
    evaluations: Option<Vec<Value>>,
    options: Option<Options>,
}

#[derive(Deserialize)]
struct Options {
    evaluations_semantic: Option<Semantic>,
}

/// When to stop.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Semantic {
    #[default]
    ExecuteAll,
    DenyOnFirstDeny,
    PermitOnFirstPermit,
}

/// What is asked at once: one question, or many with what each has unless it says otherwise.
pub(super) enum Several {
    One(Box<Asked>),
    Many(Box<Asked>, Vec<Value>),
}

/// What a question comes to.
enum Asks {
    Check(Box<CheckRequest>),
    /// A denial, since nobody and nothing is called so.
    Nothing(&'static str),
}

#[derive(Serialize)]
pub(super) struct Decision {
    pub(super) decision: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Value>,
}

/// Reads a body. Whatever is wrong is 400, the type of its content too (section 10.1.2).
pub(super) fn read<T: DeserializeOwned>(headers: &HeaderMap, body: &Body) -> Result<T, Error> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(Error::invalid("content-type", "UNSUPPORTED_MEDIA_TYPE", "must be application/json"));
    }
    let body = body.as_ref().map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Error::invalid("body", "TOO_LARGE", format!("may have {MAX_BODY} bytes")),
        _ => Error::invalid("body", "REQUEST_INCOMPLETE", "is incomplete"),
    })?;
    shape::read(body).and_then(serde_json::from_value).map_err(|error| invalid("body", &error))
}

fn invalid(field: &'static str, error: &serde_json::Error) -> Error {
    Error::invalid(field, "INVALID_JSON", error.to_string())
}

/// One question, decided by the function that decides `Check`.
pub(super) async fn decide(node: &Node, caller: &Caller, asked: Asked) -> Result<Decision, Error> {
    let answer = match asked.question(node, caller)? {
        Asks::Check(question) => check(node, caller, *question).await?,
        Asks::Nothing(reason) => CheckResponse { reason: reason.to_owned(), ..Default::default() },
    };
    Ok(Decision::of(answer))
}

impl Evaluations {
    pub(super) fn check(self) -> Result<(Several, Semantic), Error> {
        let semantic = self.options.and_then(|options| options.evaluations_semantic).unwrap_or_default();
        let (defaults, all) = (self.defaults, self.evaluations.unwrap_or_default());
        if all.is_empty() {
            return Ok((Several::One(Box::new(defaults)), semantic));
        }
        if all.len() > MAX_CHECKS {
            return Err(Error::invalid("evaluations", "OUT_OF_RANGE", format!("must be at most {MAX_CHECKS}")));
        }
        Ok((Several::Many(Box::new(defaults), all), semantic))
    }
}

impl Asked {
    /// One of many; what it lacks is as in `defaults`, each member as a whole. What is wrong with it is its own answer.
    pub(super) fn of(one: Value, defaults: &Self) -> Result<Self, Error> {
        let one: Self = serde_json::from_value(one).map_err(|error| invalid("evaluations", &error))?;
        Ok(one.or(defaults))
    }

    fn or(self, defaults: &Self) -> Self {
        Self {
            subject: self.subject.or_else(|| defaults.subject.clone()),
            action: self.action.or_else(|| defaults.action.clone()),
            resource: self.resource.or_else(|| defaults.resource.clone()),
            context: self.context.or_else(|| defaults.context.clone()),
        }
    }

    /// Whether it is one that can be asked.
    pub(super) fn check(self, node: &Node, caller: &Caller) -> Result<(), Error> {
        self.question(node, caller).map(drop)
    }

    /// The question to `Check`, in the caller's own tenant.
    fn question(self, node: &Node, caller: &Caller) -> Result<Asks, Error> {
        let tenant = &caller.identity()?.tenant;
        let subject = self.subject.unwrap_or_default();
        let (kind, id) = (required("subject.type", subject.kind)?, required("subject.id", subject.id)?);
        let action = self.action.unwrap_or_default();
        let name = required("action.name", action.name)?;
        let resource = self.resource.unwrap_or_default();
        let mut resource = CheckResource {
            r#type: required("resource.type", resource.kind)?,
            id: required("resource.id", resource.id)?,
            owner: String::new(),
            properties: tags(resource.properties, subject.properties, action.properties)?,
        };
        resource.owner = resource.properties.remove("owner").unwrap_or_default();
        if resource.r#type == "tenant" && std::mem::take(&mut resource.id) != tenant.as_str() {
            return Ok(Asks::Nothing("RESOURCE_NOT_FOUND"));
        }
        let spiffe_id = match kind.parse::<PrincipalType>() {
            _ if kind == SPIFFE => id,
            Ok(principal_type) => match id.parse() {
                Ok(principal) => {
                    let id = SpiffeId { tenant: tenant.clone(), principal_type, principal };
                    id.uri(node.app.environment().suffix())
                }
                Err(_) => return Ok(Asks::Nothing("UNKNOWN_PRINCIPAL")),
            },
            Err(_) => return Ok(Asks::Nothing("UNKNOWN_PRINCIPAL")),
        };
        Ok(Asks::Check(Box::new(CheckRequest {
            tenant_id: String::new(),
            subject: Some(CheckSubject { by: Some(By::SpiffeId(spiffe_id)) }),
            action: permission(&name, &resource.r#type),
            resource: Some(resource),
            context: self.context.unwrap_or_default().0.into_iter().collect(),
        })))
    }
}

/// A permission is called WHAT:VERB (Signet's own: what.verb): `read` of a `record` is `record:read`.
fn permission(action: &str, resource_type: &str) -> String {
    if action.contains([':', '.']) { action.to_owned() } else { format!("{resource_type}:{action}") }
}

pub(super) fn required(field: &'static str, text: Option<String>) -> Result<String, Error> {
    text.filter(|text| !text.is_empty()).ok_or_else(|| Error::invalid(field, "REQUIRED", "is required"))
}

/// What policies read as tags of the resource: its own properties, and with a prefix, which none of its own may have,
/// those of the subject and of the action.
fn tags(
    resource: Option<Properties>,
    subject: Option<Properties>,
    action: Option<Properties>,
) -> Result<HashMap<String, String>, Error> {
    let prefixed = |prefix: &'static str, properties: Option<Properties>| {
        properties.unwrap_or_default().0.into_iter().map(move |(name, value)| (format!("{prefix}{name}"), value))
    };
    let resource = resource.unwrap_or_default().0;
    if resource.keys().any(|name| name.starts_with("subject.") || name.starts_with("action.")) {
        let message =
            "must have no name that begins with \"subject.\" or \"action.\": those are the others' properties";
        return Err(Error::invalid("resource.properties", "INVALID_ID", message));
    }
    let others = prefixed("subject.", subject).chain(prefixed("action.", action));
    Ok(resource.into_iter().chain(others).collect())
}

/// Policies read texts: what is none is its JSON, and null is not there.
fn text((name, value): (String, Value)) -> Option<(String, String)> {
    match value {
        Value::Null => None,
        Value::String(text) => Some((name, text)),
        other => Some((name, other.to_string())),
    }
}

impl Decision {
    /// A permit says no more than that: a client that does not know what it is told may refuse it (section 5.5).
    pub(super) fn of(answer: CheckResponse) -> Self {
        let CheckResponse { allowed, reason, decided_by, model_version, .. } = answer;
        let why = || json!({ "reason": reason, "decided_by": decided_by, "model_version": model_version });
        Self { decision: allowed, context: (!allowed).then(why) }
    }

    /// One of many that could not be decided.
    pub(super) fn failed(error: &Error, status: StatusCode) -> Self {
        let why = json!({ "status": status.as_u16(), "reason": error.reason(), "message": error.to_string() });
        Self { decision: false, context: Some(json!({ "error": why })) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(value: Value) -> Option<Properties> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn properties_of_all_three_are_tags_and_nobody_poses_as_another() {
        let (resource, subject) = (json!({ "status": "open", "size": 7, "none": null }), json!({ "role": "admin" }));
        let tags_of = |resource: Value| {
            let action = properties(json!({ "soft": true, "how": { "deep": [1] } }));
            tags(properties(resource), properties(subject.clone()), action)
        };
        let expected = [
            ("status", "open"),
            ("size", "7"),
            ("subject.role", "admin"),
            ("action.soft", "true"),
            ("action.how", r#"{"deep":[1]}"#),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(tags_of(resource).unwrap(), expected);
        for posing in [json!({ "subject.role": "admin" }), json!({ "action.soft": "true" })] {
            assert_eq!(tags_of(posing).unwrap_err().reason(), "INVALID_ID");
        }
    }

    #[test]
    fn an_action_is_of_the_resource_s_type_unless_it_says_of_what() {
        for (action, expected) in
            [("read", "record:read"), ("jobs:submit", "jobs:submit"), ("audit.read", "audit.read")]
        {
            assert_eq!(permission(action, "record"), expected);
        }
    }
}
