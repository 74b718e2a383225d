//! The AuthZEN API, asked by curl over mTLS.

mod http1;
mod own;
mod scenario;

use std::{fs, path::PathBuf};

use serde_json::Value;
use signet_client::Credentials;
use signet_core::PrincipalType;
use signet_proto::v1::{
    self as pb, Isolation, authorization_service_client::AuthorizationServiceClient,
    principal_service_client::PrincipalServiceClient,
};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::world::{Node, World, eventually};

const EVALUATION: &str = "/access/v1/evaluation";
const EVALUATIONS: &str = "/access/v1/evaluations";
const SEARCH_SUBJECT: &str = "/access/v1/search/subject";
const SEARCH_RESOURCE: &str = "/access/v1/search/resource";
const SEARCH_ACTION: &str = "/access/v1/search/action";
const METADATA: &str = "/.well-known/authzen-configuration";

const JSON: &str = "content-type: application/json";

/// The rules of the certification scenario, and some about Signet's own resources.
const POLICIES: &str = r#"
    @id("users read") permit (principal is User, action == Action::"record:read", resource is Resource);
    @id("alice writes") permit (principal == User::"alice", action == Action::"record:write", resource is Resource);
    @id("archived") forbid (principal, action == Action::"record:write", resource is Resource) when {
        resource.hasTag("status") && resource.getTag("status") == "archived"
    } unless {
        principal in Role::"records-admin"
            || resource.hasTag("subject.role") && resource.getTag("subject.role") == "admin"
    };
    @id("admins write what is archived")
    permit (principal is User, action == Action::"record:write", resource is Resource) when {
        resource.hasTag("status") && resource.getTag("status") == "archived"
    };
    @id("alice deletes softly") permit (principal == User::"alice", action == Action::"record:delete", resource is Resource) when {
        resource.hasTag("action.soft") && resource.getTag("action.soft") == "true"
    };
    @id("owners share") permit (principal is User, action == Action::"record:share", resource is Resource) when {
        resource has owner && resource.owner == "user/alice"
    };
    @id("alice restarts w-1") permit (principal == User::"alice", action == Action::"worker:restart", resource == Worker::"w-1");
    @id("from here") permit (principal == User::"alice", action == Action::"tenant:close", resource is Tenant) when {
        context has source && context.source.isInRange(ip("192.0.2.0/24"))
    };
"#;

/// A tenant with these rules, users alice and bob, workers w-1 and w-2, and a service that asks.
struct Pdp {
    world: World,
    node: Node,
    admin: Credentials,
    service: Credentials,
    worker: Credentials,
}

/// What curl got.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Value,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
    }

    fn reason(&self) -> &str {
        self.body["reason"].as_str().unwrap_or_default()
    }
}

impl Pdp {
    async fn new() -> Self {
        Self::with_config("").await
    }

    async fn with_config(more: &str) -> Self {
        let world = World::with_config(more).await;
        let node = world.node().await;
        world.tenant(&node, "acme", Isolation::Dedicated).await;
        let of = |id, principal_type| world.principal(&node, "acme", id, principal_type, &[]);
        let admin = of("boss", PrincipalType::Admin).await;
        let described = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), String::new())).collect();
        let rules = pb::AuthorizationRules {
            permissions: described(&[
                "record:read",
                "record:write",
                "record:delete",
                "record:share",
                "worker:restart",
                "tenant:close",
            ]),
            roles: described(&["records-admin"]),
            policies: POLICIES.into(),
            ..Default::default()
        };
        let set = pb::SetAuthorizationModelRequest {
            tenant_id: "acme".into(),
            rules: Some(rules),
            request_id: signet_client::request_id(),
            ..Default::default()
        };
        AuthorizationServiceClient::new(world.channel(&node, &admin)).set_authorization_model(set).await.unwrap();
        of("alice", PrincipalType::User).await;
        let service = of("api", PrincipalType::Service).await;
        let worker = of("w-1", PrincipalType::Worker).await;
        of("w-2", PrincipalType::Worker).await;
        eventually("the node has the rules", async || {
            let bob = pb::CreatePrincipalRequest {
                principal: Some(pb::Principal {
                    tenant_id: "acme".into(),
                    principal_id: "bob".into(),
                    principal_type: pb::PrincipalType::User.into(),
                    roles: vec!["records-admin".into()],
                    ..Default::default()
                }),
                request_id: "bob".into(),
            };
            PrincipalServiceClient::new(world.channel(&node, &admin)).create_principal(bob).await.is_ok()
        })
        .await;
        let pdp = Self { world, node, admin, service, worker };
        eventually("the rules decide", async || {
            let asked = serde_json::json!({
                "subject": { "type": "user", "id": "alice" },
                "action": { "name": "read" },
                "resource": { "type": "record", "id": "record-1" }
            });
            pdp.ask(EVALUATION, &asked).await.body["decision"] == true
        })
        .await;
        pdp
    }

    fn base(&self) -> String {
        format!("https://localhost:{}", self.node.running.grpc_addr.port())
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.world.dir.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// The service asks.
    async fn ask(&self, path: &str, body: &Value) -> Answer {
        self.curl(Some(&self.service), path, &["-H", JSON], Some(&body.to_string())).await
    }

    /// Somebody else asks.
    async fn ask_as(&self, who: &Credentials, path: &str, body: &Value) -> Answer {
        self.curl(Some(who), path, &["-H", JSON], Some(&body.to_string())).await
    }

    /// curl with these arguments and this body; over HTTP/1.1 if they do not say otherwise.
    async fn curl(&self, who: Option<&Credentials>, path: &str, more: &[&str], body: Option<&str>) -> Answer {
        let roots = signet_x509::bundle::to_pem(self.world.roots.iter().map(Vec::as_slice));
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--http1.1", "--max-time", "20", "-D", "-", "--cacert"]).arg(self.file("roots.pem", &roots));
        if let Some(who) = who {
            let name = &who.facts().serial_number;
            curl.arg("--cert").arg(self.file(&format!("{name}.pem"), &who.chain_pem()));
            curl.arg("--key").arg(self.file(&format!("{name}.key"), &who.key_pem()));
        }
        if body.is_some() {
            curl.args(["--data-binary", "@-"]);
        }
        curl.args(more).arg(self.base() + path);
        curl.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        curl.stderr(std::process::Stdio::piped()).kill_on_drop(true);
        let mut running = curl.spawn().unwrap();
        let mut stdin = running.stdin.take().unwrap();
        // Who is refused early does not read all of it.
        let _ = stdin.write_all(body.unwrap_or_default().as_bytes()).await;
        drop(stdin);
        let output = running.wait_with_output().await.unwrap();
        assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        let body = if body.is_empty() { Value::Null } else { serde_json::from_str(body).unwrap() };
        Answer { status, headers, body }
    }
}
