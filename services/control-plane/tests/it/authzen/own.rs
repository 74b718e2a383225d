//! What is Signet's own about it: who may ask, by which names, and how much.

use std::{fs, path::Path};

use serde_json::{Value, json};
use signet_proto::v1::{self as pb, authorization_service_client::AuthorizationServiceClient, check_subject::By};

use super::{EVALUATION, EVALUATIONS, METADATA, Pdp, SEARCH_ACTION, SEARCH_RESOURCE, SEARCH_SUBJECT};

fn asked(subject: Value, action: &str, resource: Value) -> Value {
    json!({ "subject": subject, "action": { "name": action }, "resource": resource })
}

fn alice() -> Value {
    json!({ "type": "user", "id": "alice" })
}

fn worker(id: &str) -> Value {
    json!({ "type": "worker", "id": id })
}

async fn denied_for(pdp: &Pdp, question: Value) -> String {
    let answer = pdp.ask(EVALUATION, &question).await;
    assert_eq!((answer.status, &answer.body["decision"]), (200, &json!(false)), "{question}: {answer:?}");
    answer.body["context"]["reason"].as_str().unwrap().to_owned()
}

async fn allowed(pdp: &Pdp, question: Value) {
    // A permit says no more than that.
    let answer = pdp.ask(EVALUATION, &question).await;
    assert_eq!((answer.status, &answer.body), (200, &json!({ "decision": true })), "{question}");
}

#[tokio::test]
async fn names_and_denials_are_those_of_check() {
    let pdp = Pdp::new().await;
    let archived = json!({ "type": "record", "id": "r-1", "properties": { "status": "archived" } });
    let over_https = pdp.ask(EVALUATION, &asked(alice(), "write", archived)).await.body;
    let question = pb::CheckRequest {
        subject: Some(pb::CheckSubject { by: Some(By::SpiffeId("spiffe://acme.test.example.com/user/alice".into())) }),
        action: "record:write".into(),
        resource: Some(pb::CheckResource {
            r#type: "record".into(),
            id: "r-1".into(),
            properties: [("status".to_owned(), "archived".to_owned())].into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut client = AuthorizationServiceClient::new(pdp.world.channel(&pdp.node, &pdp.service));
    let over_grpc = client.check(question).await.unwrap().into_inner();
    assert_eq!(
        over_https,
        json!({ "decision": false, "context": {
            "reason": over_grpc.reason, "decided_by": over_grpc.decided_by, "model_version": over_grpc.model_version,
        } })
    );
    assert_eq!((over_grpc.reason.as_str(), over_grpc.model_version), ("POLICY_FORBIDS", 1));
    // By its SPIFFE id; a permission by its whole name; an owner; a principal; the tenant, with circumstances.
    let spiffe = |id: &str| json!({ "type": "spiffe", "id": id });
    let record = json!({ "type": "record", "id": "r-1", "properties": { "owner": "user/alice" } });
    allowed(&pdp, asked(spiffe("spiffe://acme.test.example.com/user/alice"), "record:read", record.clone())).await;
    allowed(&pdp, asked(alice(), "share", record)).await;
    allowed(&pdp, asked(alice(), "restart", worker("w-1"))).await;
    assert_eq!(denied_for(&pdp, asked(alice(), "restart", worker("w-2"))).await, "PERMISSION_MISSING");
    let mut close = asked(alice(), "close", json!({ "type": "tenant", "id": "acme" }));
    assert_eq!(denied_for(&pdp, close.clone()).await, "PERMISSION_MISSING");
    close["context"] = json!({ "source": "192.0.2.7", "anything": { "else": 1 } });
    allowed(&pdp, close.clone()).await;
    // Another tenant's, and nobody's.
    close["resource"]["id"] = json!("globex");
    assert_eq!(denied_for(&pdp, close).await, "RESOURCE_NOT_FOUND");
    let read = |subject| asked(subject, "read", json!({ "type": "record", "id": "r-1" }));
    for (subject, reason) in [
        (spiffe("spiffe://globex.test.example.com/user/alice"), "FOREIGN_TENANT"),
        (spiffe("alice"), "FOREIGN_TRUST_DOMAIN"),
        (json!({ "type": "worker", "id": "alice" }), "UNKNOWN_PRINCIPAL"),
        (json!({ "type": "user", "id": "nobody" }), "UNKNOWN_PRINCIPAL"),
        (json!({ "type": "user", "id": "../a/../b" }), "UNKNOWN_PRINCIPAL"),
        (json!({ "type": "spaceship", "id": "alice" }), "UNKNOWN_PRINCIPAL"),
    ] {
        assert_eq!(denied_for(&pdp, read(subject)).await, reason);
    }
    assert_eq!(denied_for(&pdp, asked(alice(), "fly", worker("w-1"))).await, "UNKNOWN_PERMISSION");
    // A record may not bring the subject's properties.
    let posing = json!({ "type": "record", "id": "r-1", "properties": { "subject.role": "admin" } });
    let answer = pdp.ask(EVALUATION, &asked(alice(), "write", posing)).await;
    assert_eq!((answer.status, answer.reason()), (400, "INVALID_ID"));
    pdp.node.end().await;
}

#[tokio::test]
async fn a_batch_stops_where_it_was_told_to_and_has_an_end() {
    let pdp = Pdp::new().await;
    let one = |action: &str| json!({ "action": { "name": action } });
    let decided = async |semantic: &str, actions: &[&str]| {
        let evaluations: Vec<Value> = actions.iter().map(|action| one(action)).collect();
        let question = json!({ "subject": alice(), "resource": { "type": "record", "id": "r-1" },
            "options": { "evaluations_semantic": semantic, "another": 1 }, "evaluations": evaluations });
        let answer = pdp.ask(EVALUATIONS, &question).await;
        let decisions = answer.body["evaluations"].as_array().unwrap_or_else(|| panic!("{answer:?}")).clone();
        decisions.iter().map(|one| one["decision"].as_bool().unwrap()).collect::<Vec<bool>>()
    };
    let actions = ["read", "fly", "write", "fly"];
    assert_eq!(decided("execute_all", &actions).await, [true, false, true, false]);
    assert_eq!(decided("deny_on_first_deny", &actions).await, [true, false]);
    // What cannot be decided is denied.
    assert_eq!(decided("deny_on_first_deny", &["", "read"]).await, [false]);
    assert_eq!(decided("permit_on_first_permit", &["fly", "", "read", "write"]).await, [false, false, true]);
    let many = |number: usize| json!({ "subject": alice(), "resource": { "type": "record", "id": "r-1" }, "evaluations": vec![one("read"); number] });
    assert_eq!(pdp.ask(EVALUATIONS, &many(50)).await.body["evaluations"].as_array().unwrap().len(), 50);
    for (wrong, reason) in [
        (many(51), "OUT_OF_RANGE"),
        (json!({ "evaluations": {} }), "INVALID_JSON"),
        (json!({ "subject": "alice", "evaluations": [one("read")] }), "INVALID_JSON"),
        (json!({ "options": { "evaluations_semantic": "all" }, "evaluations": [one("read")] }), "INVALID_JSON"),
        (json!({ "subject": alice(), "pad": "x".repeat(70_000) }), "TOO_LARGE"),
    ] {
        let answer = pdp.ask(EVALUATIONS, &wrong).await;
        assert_eq!((answer.status, answer.reason()), (400, reason), "{answer:?}");
    }
    pdp.node.end().await;
}

#[tokio::test]
async fn who_may_ask_about_itself_finds_nobody_else() {
    let pdp = Pdp::new().await;
    let as_worker = async |path: &str, question: Value| {
        let answer = pdp.ask_as(&pdp.worker, path, &question).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    };
    let about = |subject: Value| asked(subject, "restart", worker("w-2"));
    let itself = as_worker(EVALUATION, about(worker("w-1"))).await;
    assert_eq!(itself["context"]["reason"], "PERMISSION_MISSING");
    for other in [alice(), json!({ "type": "user", "id": "nobody" })] {
        assert_eq!(as_worker(EVALUATION, about(other)).await["context"]["reason"], "OWN_RESOURCES_ONLY");
    }
    let nothing = json!({ "page": { "next_token": "", "count": 0 }, "results": [] });
    for subject in ["user", "worker"] {
        assert_eq!(
            as_worker(SEARCH_SUBJECT, asked(json!({ "type": subject }), "restart", worker("w-1"))).await,
            nothing
        );
    }
    assert_eq!(as_worker(SEARCH_RESOURCE, asked(alice(), "restart", json!({ "type": "worker" }))).await, nothing);
    let actions = json!({ "subject": alice(), "resource": worker("w-1") });
    assert_eq!(as_worker(SEARCH_ACTION, actions).await["results"], json!([]));
    // The service, which may ask about others, finds them.
    let found = async |path: &str, question: Value| pdp.ask(path, &question).await.body["results"].clone();
    let restarters = asked(json!({ "type": "user" }), "restart", worker("w-1"));
    assert_eq!(found(SEARCH_SUBJECT, restarters).await, json!([alice()]));
    let of_alice = asked(alice(), "restart", json!({ "type": "worker" }));
    assert_eq!(found(SEARCH_RESOURCE, of_alice).await, json!([worker("w-1")]));
    let mut close = asked(alice(), "close", json!({ "type": "tenant" }));
    assert_eq!(found(SEARCH_RESOURCE, close.clone()).await, json!([]));
    close["context"] = json!({ "source": "192.0.2.7" });
    assert_eq!(found(SEARCH_RESOURCE, close).await, json!([{ "type": "tenant", "id": "acme" }]));
    // Of what Signet keeps also its own permissions: in pages, each once.
    let mut of_boss =
        json!({ "subject": { "type": "admin", "id": "boss" }, "resource": worker("w-1"), "page": { "limit": 7 } });
    let mut names = Vec::new();
    loop {
        let answer = pdp.ask(SEARCH_ACTION, &of_boss).await.body;
        names.extend(answer["results"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()));
        of_boss["page"]["token"] = answer["page"]["next_token"].clone();
        if of_boss["page"]["token"] == "" {
            break;
        }
    }
    assert!(names.is_sorted() && names.contains(&"principals.suspend".into()), "{names:?}");
    // A token is good for its own search.
    let readers = |limit: Value| {
        let mut question = asked(json!({ "type": "user" }), "read", json!({ "type": "record", "id": "r-1" }));
        question["page"] = limit;
        question
    };
    let token = pdp.ask(SEARCH_SUBJECT, &readers(json!({ "limit": 1 }))).await.body["page"]["next_token"].clone();
    assert_ne!(token, "");
    let mut other = readers(json!({ "token": token }));
    other["action"]["name"] = json!("write");
    for wrong in [other, readers(json!({ "token": "x.y" })), readers(json!({ "token": "x" }))] {
        let answer = pdp.ask(SEARCH_SUBJECT, &wrong).await;
        assert_eq!((answer.status, answer.reason()), (400, "INVALID_PAGE_TOKEN"), "{answer:?}");
    }
    assert_eq!(pdp.ask(SEARCH_SUBJECT, &readers(json!({ "limit": 0 }))).await.status, 200, "as if there were none");
    pdp.node.end().await;
}

#[tokio::test]
async fn the_descriptions_examples_are_answered() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/openapi/authzen.yaml");
    let description: Value = serde_norway::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let pdp = Pdp::new().await;
    let mut seen = 0;
    for (path, operations) in description["paths"].as_object().unwrap() {
        let Some(post) = operations.get("post") else { continue };
        let examples = post["requestBody"]["content"]["application/json"]["examples"].as_object().unwrap();
        for (name, example) in examples {
            let answer = pdp.ask(path, &example["value"]).await;
            assert_eq!(answer.status, 200, "{path} {name}: {answer:?}");
            seen += 1;
        }
    }
    assert_eq!(seen, 8);
    pdp.node.end().await;
}

#[tokio::test]
async fn the_public_port_tells_where_the_api_is_if_the_node_knows() {
    let pdp = Pdp::new().await;
    assert_eq!(pdp.node.http(METADATA).await.0, 404);
    pdp.node.end().await;
    let pdp = Pdp::with_config(r#"probe = { endpoint = "signet.example.com:443" }"#).await;
    let (status, body) = pdp.node.http(METADATA).await;
    let metadata: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &metadata["policy_decision_point"]), (200, &json!("https://signet.example.com")));
    assert_eq!(metadata["access_evaluation_endpoint"], "https://signet.example.com/access/v1/evaluation");
    pdp.node.end().await;
}

#[tokio::test]
async fn paths_that_lead_nowhere_are_counted_as_calls_are() {
    let pdp = Pdp::with_config("limits = { anonymous_calls_per_second_per_address = 1 }").await;
    let mut seen = Vec::new();
    for _ in 0..30 {
        seen.push(pdp.curl(None, "/nope", &[], None).await.status);
    }
    assert_eq!(seen[0], 404);
    assert!(seen.iter().all(|status| matches!(status, 404 | 429)) && seen.contains(&429), "{seen:?}");
    pdp.node.end().await;
}

#[tokio::test]
async fn a_request_over_http_1_1_names_one_host() {
    let pdp = Pdp::new().await;
    let without = pdp.curl(None, METADATA, &["-H", "Host:"], None).await;
    assert_eq!((without.status, without.reason()), (400, "REQUIRED"), "{without:?}");
    assert_eq!(pdp.curl(None, METADATA, &[], None).await.status, 200);
    pdp.node.end().await;
}
