//! Which requests go where, and what they need.

use std::fmt;

use serde::Deserialize;

use super::value;

/// Requests, what they need and where they go.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// In lower case, without a port; any unless set.
    pub host: Option<String>,
    /// Any unless set.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Of the path as it is sent on.
    pub path: Pattern,
    /// Name of an upstream.
    pub upstream: String,
    /// What the caller needs; `none`: a good certificate or token of a principal that is not suspended.
    #[serde(deserialize_with = "value::permission")]
    pub permission: String,
    /// What it needs it for.
    pub resource: Option<RouteResource>,
    /// How callers show who they are.
    #[serde(default = "certificate")]
    pub accept: Vec<Accepted>,
    /// Whether a token is taken without the certificate that it was given for.
    #[serde(default)]
    pub unbound: bool,
}

/// How a caller shows who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accepted {
    /// By the certificate of the connection.
    Certificate,
    /// By `Authorization: Bearer`.
    Token,
}

/// A path, or all below one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Pattern {
    /// This one.
    Exact(String),
    /// All that begin so; it ends with a slash.
    Below(String),
}

/// Something of the tenant's services that a request is about.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "WrittenResource")]
pub enum RouteResource {
    /// Always the same.
    Fixed {
        /// E.g. `queue`.
        kind: String,
        /// Unique in its kind.
        id: String,
    },
    /// Whose id is a segment of the path, from 1.
    Segment {
        /// E.g. `job`.
        kind: String,
        /// The segment's number.
        number: usize,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenResource {
    r#type: String,
    id: Option<String>,
    id_segment: Option<usize>,
}

impl TryFrom<WrittenResource> for RouteResource {
    type Error = &'static str;
    fn try_from(written: WrittenResource) -> Result<Self, &'static str> {
        let kind = written.r#type;
        if kind.is_empty() || kind.len() > value::MAX_TEXT || kind.contains('/') {
            return Err("resource.type must have 1 to 512 bytes and no slash");
        }
        match (written.id, written.id_segment) {
            (Some(id), None) if (1..=value::MAX_TEXT).contains(&id.len()) => Ok(Self::Fixed { kind, id }),
            (None, Some(number)) if number > 0 => Ok(Self::Segment { kind, number }),
            _ => Err("resource needs either id (1 to 512 bytes) or id_segment (from 1)"),
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = &'static str;
    fn try_from(path: String) -> Result<Self, &'static str> {
        let (start, below) = path.strip_suffix("/*").map_or((path.as_str(), false), |start| (start, true));
        let odd = start.contains(['*', '?', '#', ';', '%', '\\']) || !start.is_ascii() || start.contains("//");
        let has_dots = start.split('/').any(|segment| matches!(segment, "." | ".."));
        let is_path = start.starts_with('/') || (below && start.is_empty());
        if odd || has_dots || !is_path {
            return Err("path must be a plain path such as /jobs, or /jobs/* for all below it");
        }
        Ok(if below { Self::Below(format!("{start}/")) } else { Self::Exact(path) })
    }
}

impl Pattern {
    /// Whether a path that [`crate::path`] made is meant.
    pub(crate) fn meets(&self, path: &str) -> bool {
        match self {
            Self::Exact(only) => path == only,
            Self::Below(start) => path.starts_with(start),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(only) => f.write_str(only),
            Self::Below(start) => write!(f, "{start}*"),
        }
    }
}

impl RouteConfig {
    /// Whether it takes what a caller shows in this way.
    pub fn accepts(&self, how: Accepted) -> bool {
        self.accept.contains(&how)
    }
}

fn certificate() -> Vec<Accepted> {
    vec![Accepted::Certificate]
}
