//! The OAuth endpoints, asked by curl.

use serde_json::Value;
use signet_client::Credentials;

use super::{Site, WORKER, tenant};
use crate::world::Answer;

const TOKEN: &str = "/oauth/token";
const INTROSPECT: &str = "/oauth/introspect";

impl Site {
    async fn post(&self, who: Option<&Credentials>, path: &str, form: &str) -> Answer {
        self.world.curl(&self.node, who, path, &[], Some(form)).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_becomes_a_token_by_client_credentials() {
    let site = Site::new().await;
    let id = format!("client_id={WORKER}");
    for client in ["client_id=w-1", &id] {
        let form = format!("grant_type=client_credentials&audience=jobs&scope=jobs%3Asubmit&{client}");
        let made = site.post(Some(&site.worker), TOKEN, &form).await;
        assert_eq!((made.status, made.header("cache-control")), (200, Some("no-store")), "{made:?}");
        assert_eq!((&made.body["token_type"], &made.body["scope"]), (&"Bearer".into(), &"jobs:submit".into()));
        assert_eq!(made.body["expires_in"], 300);
        let token = made.body["access_token"].as_str().unwrap();
        assert!(site.look(token).await.is_ok());
        let form = format!("client_id=api&token={token}");
        let seen = site.post(Some(&site.service), INTROSPECT, &form).await;
        assert_eq!((seen.status, &seen.body["active"], &seen.body["client_id"]), (200, &true.into(), &"w-1".into()));
        assert_eq!(seen.body["cnf"]["x5t#S256"].as_str().map(str::len), Some(43));
    }
    let seen = site.post(Some(&site.service), INTROSPECT, "client_id=api&token=x").await;
    assert_eq!((seen.status, seen.body), (200, serde_json::json!({ "active": false })));
    site.node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_those_of_the_rfcs() {
    let site = Site::new().await;
    let good = "grant_type=client_credentials&client_id=w-1&audience=jobs";
    let cases = [
        ("grant_type=client_credentials&audience=jobs", 400, "invalid_request"),
        ("client_id=w-1&audience=jobs", 400, "invalid_request"),
        (&format!("{good}&client_id=w-1"), 400, "invalid_request"),
        (&format!("{good}&client_secret=x"), 400, "invalid_request"),
        ("grant_type=client_credentials&client_id=w-2&audience=jobs", 401, "invalid_client"),
        (
            "grant_type=client_credentials&client_id=spiffe://globex.test.example.com/worker/w-1&audience=jobs",
            401,
            "invalid_client",
        ),
        (
            "grant_type=client_credentials&client_id=spiffe://acme.other.example/worker/w-1&audience=jobs",
            401,
            "invalid_client",
        ),
        ("grant_type=password&client_id=w-1&audience=jobs", 400, "unsupported_grant_type"),
        ("grant_type=client_credentials&client_id=w-1", 400, "invalid_target"),
        ("grant_type=client_credentials&client_id=w-1&audience=billing", 400, "invalid_target"),
        (&format!("{good}&resource=https://jobs.example"), 400, "invalid_target"),
        (&format!("{good}&scope=jobs:read"), 400, "invalid_scope"),
        ("grant_type=client_credentials&client_id=w-1&audience=reports", 400, "invalid_scope"),
    ];
    for (form, status, error) in cases {
        let refused = site.post(Some(&site.worker), TOKEN, form).await;
        assert_eq!((refused.status, &refused.body["error"]), (status, &error.into()), "{form}: {refused:?}");
        let text = refused.body["error_description"].as_str().unwrap();
        assert!(!text.is_empty() && text.chars().all(|c| c.is_ascii() && c != '"' && c != '\\'), "{text}");
        assert_eq!(refused.header("cache-control"), Some("no-store"));
    }
    let json =
        site.world.curl(&site.node, Some(&site.worker), TOKEN, &["-H", "content-type: application/json"], Some("{}"));
    assert_eq!(json.await.body["error"], "invalid_request");
    let stranger = site.post(None, TOKEN, good).await;
    assert_eq!((stranger.status, stranger.reason()), (403, "CERTIFICATE_REQUIRED"));
    let workers = site.post(Some(&site.worker), INTROSPECT, "client_id=w-1&token=x").await;
    assert_eq!(workers.status, 403, "{workers:?}");
    site.node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_lead_to_the_endpoints_and_promise_nothing_else() {
    let site = Site::new().await;
    tenant(&site.world, &site.node, "globex").await;
    let get = async |path: &str| -> Value {
        let public = site.node.http(path).await;
        assert_eq!(public.0, 200, "{path}: {}", public.1);
        let public: Value = serde_json::from_str(&public.1).unwrap();
        let here = site.world.curl(&site.node, None, path, &[], None).await;
        assert_eq!((here.status, &here.body), (200, &public), "{path}");
        public
    };
    let oauth = get("/.well-known/oauth-authorization-server/t/acme").await;
    let issuer = "https://id.example.com/t/acme";
    assert_eq!((&oauth["issuer"], &oauth["jwks_uri"]), (&issuer.into(), &format!("{issuer}/jwks.json").into()));
    let exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
    assert_eq!(oauth["grant_types_supported"], serde_json::json!(["client_credentials", exchange]));
    assert_eq!(oauth["token_endpoint_auth_methods_supported"], serde_json::json!(["tls_client_auth"]));
    assert_eq!(oauth["tls_client_certificate_bound_access_tokens"], true);
    assert_eq!(site.node.http("/t/acme/.well-known/openid-configuration").await.0, 404, "no ID tokens");
    let svid = get("/t/acme/svid/.well-known/openid-configuration").await;
    assert_eq!(svid["issuer"], format!("{issuer}/svid"));
    assert!(svid.get("authorization_endpoint").is_none());
    for path in ["/t/nobody/svid/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/t/nobody"]
    {
        assert_eq!(site.node.http(path).await.0, 404, "{path}");
    }
    site.node.end().await;
}
