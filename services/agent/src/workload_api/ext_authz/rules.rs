//! Which permission a request needs.

use std::{collections::HashMap, sync::Arc};

use serde::Deserialize;
use signet_client::QuestionResource;

use super::request::{Asked, is_host, is_method};

/// The control plane's limit for a text of a question, bytes.
pub(crate) const MAX_TEXT: usize = 512;

/// The permission and what it is needed for, in the settings of a route of Envoy.
const PERMISSION: &str = "signet_permission";
const RESOURCE_TYPE: &str = "signet_resource_type";
const RESOURCE_ID: &str = "signet_resource_id";

/// How requests are decided on behalf of an identity.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtAuthzConfig {
    /// The first that a request meets says what it needs; one that meets none is denied.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// What policies are told of a request: each value makes another question.
    #[serde(default = "source")]
    pub context: Vec<Circumstance>,
}

/// What of a request policies may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "their names say it")]
pub enum Circumstance {
    Source,
    Method,
    Host,
    Path,
}

/// Clients choose the others, and could make the control plane be asked without end.
fn source() -> Vec<Circumstance> {
    vec![Circumstance::Source]
}

/// Requests, and the permission that they need.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Rule {
    /// `None`: any.
    host: Option<String>,
    /// None: any.
    methods: Vec<String>,
    path: Pattern,
    permission: Arc<str>,
    resource: Option<Target>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    /// This one, with or without a slash at its end.
    Exact(String),
    /// All that begin so; it ends with a slash.
    Below(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Fixed(Arc<QuestionResource>),
    /// Whose id is a segment of the path, from 1.
    Segment {
        kind: String,
        number: usize,
    },
}

/// How that is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    host: Option<String>,
    #[serde(default)]
    methods: Vec<String>,
    path: String,
    permission: String,
    resource: Option<WrittenResource>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenResource {
    r#type: String,
    id: Option<String>,
    id_segment: Option<usize>,
}

impl TryFrom<Written> for Rule {
    type Error = &'static str;
    fn try_from(written: Written) -> Result<Self, &'static str> {
        let Written { host, methods, path, permission, resource } = written;
        if host.as_ref().is_some_and(|host| !is_host(host) || host.bytes().any(|byte| byte.is_ascii_uppercase())) {
            return Err("host must be a name or an address in lower case, without a port");
        }
        if !methods.iter().all(|method| is_method(method)) {
            return Err("methods must be in upper case, such as GET");
        }
        if permission.is_empty() || permission.len() > MAX_TEXT {
            return Err("permission must have 1 to 512 bytes");
        }
        let (path, resource) = (path.try_into()?, resource.map(Target::try_from).transpose()?);
        Ok(Self { host, methods, path, permission: permission.into(), resource })
    }
}

impl TryFrom<String> for Pattern {
    type Error = &'static str;
    fn try_from(path: String) -> Result<Self, &'static str> {
        let (start, below) = path.strip_suffix("/*").map_or((path.as_str(), false), |start| (start, true));
        let has_odd = start.contains(['*', '?', '#', ';', '%', '\\']) || start.chars().any(char::is_control);
        let has_dots = start.split('/').any(|segment| matches!(segment, "." | ".."));
        if !path.starts_with('/') || has_odd || has_dots || path.contains("//") {
            return Err("path must be /a/b or /a/b/*, decoded, without a query, . or ..");
        }
        let start = start.strip_suffix('/').filter(|start| !start.is_empty()).unwrap_or(start);
        Ok(if below { Self::Below(format!("{start}/")) } else { Self::Exact(start.to_owned()) })
    }
}

impl TryFrom<WrittenResource> for Target {
    type Error = &'static str;
    fn try_from(written: WrittenResource) -> Result<Self, &'static str> {
        let WrittenResource { r#type: kind, id, id_segment } = written;
        if kind.is_empty() || kind.len() > MAX_TEXT || kind.contains('/') {
            return Err("resource.type must be a word without a slash");
        }
        match (id, id_segment) {
            (Some(id), None) if (1..=MAX_TEXT).contains(&id.len()) => Ok(Self::Fixed(reference(kind, id))),
            (None, Some(number)) if number > 0 => Ok(Self::Segment { kind, number }),
            _ => Err("resource needs an id, or id_segment: the number of the path's segment, from 1"),
        }
    }
}

/// What a request needs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Needed {
    pub(crate) permission: Arc<str>,
    pub(crate) resource: Option<Arc<QuestionResource>>,
}

impl ExtAuthzConfig {
    /// By Envoy's settings of the route, or by the rules. `None`: neither says it.
    pub(crate) fn needed(&self, asked: &Asked<'_>, extensions: &HashMap<String, String>) -> Option<Needed> {
        if extensions.contains_key(PERMISSION) {
            return of_route(extensions);
        }
        self.rules.iter().find(|rule| rule.is_met_by(asked))?.needed(asked)
    }
}

/// Half a resource is none that could be decided on.
fn of_route(extensions: &HashMap<String, String>) -> Option<Needed> {
    let text = |name| extensions.get(name).filter(|text| (1..=MAX_TEXT).contains(&text.len())).cloned();
    let resource = match (extensions.contains_key(RESOURCE_TYPE), extensions.contains_key(RESOURCE_ID)) {
        (false, false) => None,
        _ => Some(reference(text(RESOURCE_TYPE)?, text(RESOURCE_ID)?)),
    };
    Some(Needed { permission: text(PERMISSION)?.into(), resource })
}

fn reference(kind: String, id: String) -> Arc<QuestionResource> {
    Arc::new(QuestionResource { kind, id, ..QuestionResource::default() })
}

impl Rule {
    fn is_met_by(&self, asked: &Asked<'_>) -> bool {
        let is_path = match &self.path {
            Pattern::Exact(path) => asked.path == *path || asked.path.strip_suffix('/') == Some(path),
            Pattern::Below(start) => asked.path.starts_with(start),
        };
        is_path
            && self.host.as_ref().is_none_or(|host| asked.host == *host)
            && (self.methods.is_empty() || self.methods.iter().any(|method| asked.method == method))
    }

    fn needed(&self, asked: &Asked<'_>) -> Option<Needed> {
        let resource = match &self.resource {
            None => None,
            Some(Target::Fixed(resource)) => Some(Arc::clone(resource)),
            Some(Target::Segment { kind, number }) => {
                let id = asked.path.split('/').nth(*number).filter(|id| (1..=MAX_TEXT).contains(&id.len()))?;
                Some(reference(kind.clone(), id.to_owned()))
            }
        };
        Some(Needed { permission: Arc::clone(&self.permission), resource })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::{Asked, ExtAuthzConfig, Needed};

    fn config(text: &str) -> Result<ExtAuthzConfig, String> {
        let read = figment::Figment::from(<figment::providers::Toml as figment::providers::Format>::string(text));
        read.extract().map_err(|error| error.to_string())
    }

    /// What `GET https://api.example.com` and the path need, as text.
    fn needed(config: &ExtAuthzConfig, method: &str, path: &str) -> Option<String> {
        let asked = Asked { method, host: "api.example.com".into(), path: path.into() };
        Some(text(config.needed(&asked, &HashMap::new())?))
    }

    fn text(needed: Needed) -> String {
        let resource = needed.resource.map(|resource| format!(" {}/{}", resource.kind, resource.id));
        format!("{}{}", needed.permission, resource.unwrap_or_default())
    }

    #[test]
    fn the_first_rule_that_is_met_says_what_is_needed() {
        let config = config(
            r#"rules = [
            { host = "other.example.com", path = "/*", permission = "other" },
            { host = "api.example.com", methods = ["GET", "HEAD"], path = "/jobs", permission = "jobs:list" },
            { path = "/jobs/secret", permission = "jobs:secret" },
            { methods = ["POST"], path = "/jobs/*", permission = "jobs:run", resource = { type = "job", id_segment = 2 } },
            { path = "/jobs.v1.Jobs/Submit", permission = "jobs:submit", resource = { type = "queue", id = "default" } },
            { path = "/", permission = "home" },
            { path = "/any/*", permission = "any" },
            ]"#,
        )
        .unwrap();
        for (method, path, expected) in [
            ("GET", "/jobs", Some("jobs:list")),
            ("GET", "/jobs/", Some("jobs:list")),
            ("HEAD", "/jobs", Some("jobs:list")),
            ("POST", "/jobs", None),
            ("GET", "/JOBS", None),
            ("GET", "/jobs/7", None),
            ("POST", "/jobs/7", Some("jobs:run job/7")),
            ("POST", "/jobs/7/log", Some("jobs:run job/7")),
            ("POST", "/jobs/secret", Some("jobs:secret")),
            ("POST", "/jobs/secret/", Some("jobs:secret")),
            ("POST", "/jobs/", None),
            ("POST", "/jobsx", None),
            ("POST", "/jobs.v1.Jobs/Submit", Some("jobs:submit queue/default")),
            ("POST", "/jobs.v1.Jobs/Submit/x", None),
            ("GET", "/", Some("home")),
            ("GET", "/any/", Some("any")),
            ("GET", "/any", None),
            ("GET", "/else", None),
        ] {
            assert_eq!(needed(&config, method, path).as_deref(), expected, "{method} {path}");
        }
        let long = format!("/jobs/{}", "7".repeat(513));
        assert_eq!(needed(&config, "POST", &long), None);
    }

    #[test]
    fn a_route_of_envoy_says_it_before_the_rules() {
        let config = config("rules = [{ path = \"/*\", permission = \"any\" }]").unwrap();
        let asked = Asked { method: "GET", host: "a".into(), path: "/a".into() };
        let told = |pairs: &[(&str, &str)]| {
            let extensions = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            config.needed(&asked, &extensions).map(text)
        };
        let (permission, kind, id) = ("signet_permission", "signet_resource_type", "signet_resource_id");
        assert_eq!(told(&[("virtual_host", "web")]).as_deref(), Some("any"));
        assert_eq!(told(&[(permission, "jobs:run")]).as_deref(), Some("jobs:run"));
        let whole = [(permission, "jobs:run"), (kind, "queue"), (id, "default")];
        assert_eq!(told(&whole).as_deref(), Some("jobs:run queue/default"));
        assert_eq!(told(&whole[..2]), None);
        assert_eq!(told(&[whole[0], whole[2]]), None);
        assert_eq!(told(&[(permission, "")]), None, "and not by a rule");
    }

    #[test]
    fn a_rule_that_no_request_could_meet_is_refused() {
        for (rule, words) in [
            ("permission = \"a\"", "missing field `path`"),
            ("path = \"/a\"", "missing field `permission`"),
            ("path = \"/a\", permission = \"\"", "permission must"),
            ("path = \"a\", permission = \"a\"", "path must"),
            ("path = \"\", permission = \"a\"", "path must"),
            ("path = \"*\", permission = \"a\"", "path must"),
            ("path = \"/a*\", permission = \"a\"", "path must"),
            ("path = \"/*/a\", permission = \"a\"", "path must"),
            ("path = \"/a?b\", permission = \"a\"", "path must"),
            ("path = \"/a%20b\", permission = \"a\"", "path must"),
            ("path = \"//a\", permission = \"a\"", "path must"),
            ("path = \"/a//*\", permission = \"a\"", "path must"),
            ("path = \"/a/../b\", permission = \"a\"", "path must"),
            ("path = \"/a\", permission = \"a\", host = \"A.example\"", "host must"),
            ("path = \"/a\", permission = \"a\", host = \"a.example:8443\"", "host must"),
            ("path = \"/a\", permission = \"a\", methods = [\"get\"]", "methods must"),
            ("path = \"/a\", permission = \"a\", resource = { type = \"a\" }", "resource needs"),
            ("path = \"/a\", permission = \"a\", resource = { type = \"a\", id = \"\" }", "resource needs"),
            ("path = \"/a\", permission = \"a\", resource = { type = \"a\", id_segment = 0 }", "resource needs"),
            ("path = \"/a\", permission = \"a\", resource = { type = \"a/b\", id = \"c\" }", "resource.type must"),
            ("path = \"/a\", permission = \"a\", allow = true", "unknown field"),
        ] {
            let error = config(&format!("rules = [{{ {rule} }}]")).unwrap_err();
            assert!(error.contains(words), "{rule}: {error}");
        }
        assert!(config("context = [\"cookie\"]").unwrap_err().contains("unknown variant"));
    }
}
