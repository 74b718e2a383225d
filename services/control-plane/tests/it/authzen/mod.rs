//! The AuthZEN API, asked by curl over mTLS.

mod http1;
mod own;
mod scenario;

use serde_json::Value;
use signet_client::Credentials;
use signet_core::PrincipalType;
use signet_proto::v1::{
    self as pb, Isolation, authorization_service_client::AuthorizationServiceClient,
    principal_service_client::PrincipalServiceClient,
};

use crate::world::{Answer, Node, World, eventually};

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

    /// The service asks.
    async fn ask(&self, path: &str, body: &Value) -> Answer {
        self.curl(Some(&self.service), path, &["-H", JSON], Some(&body.to_string())).await
    }

    /// Somebody else asks.
    async fn ask_as(&self, who: &Credentials, path: &str, body: &Value) -> Answer {
        self.curl(Some(who), path, &["-H", JSON], Some(&body.to_string())).await
    }

    /// See [`World::curl`].
    async fn curl(&self, who: Option<&Credentials>, path: &str, more: &[&str], body: Option<&str>) -> Answer {
        self.world.curl(&self.node, who, path, more, body).await
    }
}
