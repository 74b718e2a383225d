//! What Envoy is answered.

use std::sync::LazyLock;

use signet_core::reasons;
use tonic::Code;

use super::super::wire::ext_authz::{
    CheckResponse, DeniedHttpResponse, HeaderValue, HeaderValueOption, HttpStatus, OkHttpResponse, Status,
    check_response::HttpResponse, header_value_option::HeaderAppendAction,
};

const SPIFFE_ID: &str = "x-signet-spiffe-id";
const TENANT: &str = "x-signet-tenant";
const PRINCIPAL_TYPE: &str = "x-signet-principal-type";
const PRINCIPAL_ID: &str = "x-signet-principal-id";

/// Headers by which some frameworks take another method, path or host than the one that was decided on.
const REWRITES: [&str; 7] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "x-forwarded-host",
];

static REMOVED: LazyLock<Vec<String>> = LazyLock::new(removed);

/// A request that may not go on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Denied {
    /// 400, 401, 403, 429 or 503.
    status: u16,
    reason: String,
    detail: String,
}

/// Because of `reason`, with what it means as the detail.
pub(crate) fn denied(reason: &str, status: u16) -> Denied {
    let meaning = reasons::all().find(|known| known.name == reason).map(|known| known.meaning);
    Denied { status, reason: reason.to_owned(), detail: meaning.unwrap_or_default().to_owned() }
}

impl Denied {
    pub(crate) fn with_detail(self, detail: &str) -> Self {
        Self { detail: detail.to_owned(), ..self }
    }

    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    pub(crate) fn into_response(self) -> CheckResponse {
        let Self { status, reason, detail } = self;
        let (code, title) = match status {
            400 => (Code::InvalidArgument, "Bad Request"),
            401 => (Code::Unauthenticated, "Unauthorized"),
            429 => (Code::ResourceExhausted, "Too Many Requests"),
            503 => (Code::Unavailable, "Service Unavailable"),
            _ => (Code::PermissionDenied, "Forbidden"),
        };
        // RFC 9457, as the control plane's own.
        let problem = serde_json::json!({
            "type": format!("urn:signet:problem:{reason}"),
            "title": title,
            "status": status,
            "detail": detail,
            "reason": reason,
        });
        let denied = DeniedHttpResponse {
            status: Some(HttpStatus { code: status.into() }),
            headers: vec![
                set("content-type", "application/problem+json".into()),
                set("cache-control", "no-store".into()),
            ],
            body: problem.to_string(),
        };
        CheckResponse {
            status: Some(Status { code: code.into(), message: reason }),
            http_response: Some(HttpResponse::DeniedResponse(denied)),
        }
    }
}

/// The request goes on, and says whose it is. `None`: that is no SPIFFE ID.
pub(crate) fn allowed(spiffe_id: &str) -> Option<CheckResponse> {
    let (domain, path) = spiffe_id.strip_prefix("spiffe://")?.split_once('/')?;
    let (tenant, (kind, id)) = (domain.split('.').next()?, path.split_once('/')?);
    let headers = [(SPIFFE_ID, spiffe_id), (TENANT, tenant), (PRINCIPAL_TYPE, kind), (PRINCIPAL_ID, id)];
    let allowed = OkHttpResponse {
        headers: headers.map(|(name, value)| set(name, value.to_owned())).into(),
        headers_to_remove: REMOVED.clone(),
    };
    Some(CheckResponse {
        status: Some(Status { code: Code::Ok.into(), message: String::new() }),
        http_response: Some(HttpResponse::OkResponse(allowed)),
    })
}

/// Instead of whatever the client has sent.
fn set(name: &str, value: String) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: name.to_owned(), value }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
    }
}

/// Names that CGI and what came of it (WSGI, Rack, PHP) take for ours, since `-` and `_` are one for them; and
/// [`REWRITES`]. Not our own names: Envoy removes after it has set.
fn removed() -> Vec<String> {
    let ours = [SPIFFE_ID, TENANT, PRINCIPAL_TYPE, PRINCIPAL_ID].into_iter();
    let others = ours.flat_map(|name| spellings(name).into_iter().skip(1));
    others.chain(REWRITES.into_iter().flat_map(spellings)).collect()
}

/// With each dash as a dash or an underscore; the name itself first.
fn spellings(name: &str) -> Vec<String> {
    let mut parts = name.split('-');
    let first = vec![parts.next().unwrap_or_default().to_owned()];
    parts.fold(first, |starts, part| {
        let with = |dash: char| starts.iter().map(move |start| format!("{start}{dash}{part}")).collect::<Vec<_>>();
        [with('-'), with('_')].concat()
    })
}

#[cfg(test)]
mod tests {
    use super::{HeaderAppendAction, HttpResponse, allowed, denied, removed};

    #[test]
    fn who_it_is_replaces_what_the_client_has_sent() {
        let answer = allowed("spiffe://acme.test.example.com/worker/w-1").unwrap();
        assert_eq!(answer.status.as_ref().unwrap().code, 0);
        let Some(HttpResponse::OkResponse(answer)) = answer.http_response else { panic!("it is denied") };
        let overwrites = HeaderAppendAction::OverwriteIfExistsOrAdd;
        assert!(answer.headers.iter().all(|one| one.append_action() == overwrites));
        let headers: Vec<_> = answer.headers.into_iter().filter_map(|one| one.header).collect();
        let headers: Vec<_> = headers.iter().map(|one| (one.key.as_str(), one.value.as_str())).collect();
        assert_eq!(
            headers,
            [
                ("x-signet-spiffe-id", "spiffe://acme.test.example.com/worker/w-1"),
                ("x-signet-tenant", "acme"),
                ("x-signet-principal-type", "worker"),
                ("x-signet-principal-id", "w-1"),
            ]
        );
        assert!(headers.iter().all(|(name, _)| !answer.headers_to_remove.contains(&(*name).to_owned())));
        for bad in ["", "spiffe://acme", "spiffe://acme.test/worker", "acme/worker/w-1"] {
            assert!(allowed(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn every_spelling_that_may_become_ours_is_removed() {
        let removed = removed();
        for name in ["x_signet_tenant", "x-signet_tenant", "x_signet-tenant", "x_signet_principal-id", "x_original_url"]
        {
            assert!(removed.contains(&name.to_owned()), "{name}");
        }
        // Three names with three dashes, and one with two.
        assert_eq!(removed.iter().filter(|name| name.contains("signet")).count(), 3 * 7 + 3);
    }

    #[test]
    fn a_denial_says_why() {
        for (status, code) in [(400, 3), (401, 16), (403, 7), (503, 14)] {
            let answer = denied("CERTIFICATE_REVOKED", status).into_response();
            assert_eq!(answer.status.unwrap().code, code);
            let Some(HttpResponse::DeniedResponse(denied)) = answer.http_response else { panic!("{status}") };
            assert_eq!(denied.status.unwrap().code, i32::from(status));
            let body: serde_json::Value = serde_json::from_str(&denied.body).unwrap();
            assert_eq!((&body["reason"], &body["status"]), (&"CERTIFICATE_REVOKED".into(), &status.into()));
            assert!(body["detail"].as_str().unwrap().contains("revoked"));
        }
    }
}
