//! The public certification scenario of the standard (`certification/authorization-api-1_0-scenario.md` in
//! openid/authzen): its subjects, records, rules and requests; profiles Basic, Batch, Search and Discovery. Where
//! Signet differs on purpose, a line says so.

use serde_json::{Value, json};

use super::{EVALUATION, EVALUATIONS, JSON, METADATA, Pdp, SEARCH_ACTION, SEARCH_RESOURCE, SEARCH_SUBJECT};

fn user(id: &str) -> Value {
    json!({ "type": "user", "id": id })
}

fn bob_as_admin() -> Value {
    json!({ "type": "user", "id": "bob", "properties": { "role": "admin" } })
}

fn record(id: &str) -> Value {
    json!({ "type": "record", "id": id })
}

fn record_that_is(id: &str, status: &str) -> Value {
    json!({ "type": "record", "id": id, "properties": { "status": status } })
}

fn action(name: &str) -> Value {
    json!({ "name": name })
}

fn delete(soft: bool) -> Value {
    json!({ "name": "delete", "properties": { "soft": soft } })
}

fn context() -> Value {
    json!({ "time": "2025-06-27T18:03-07:00", "ip": "192.168.1.1" })
}

fn evaluation(subject: Value, action: Value, resource: Value) -> Value {
    json!({ "subject": subject, "action": action, "resource": resource })
}

/// The same with another member.
fn with(mut asked: Value, name: &str, value: Value) -> Value {
    asked[name] = value;
    asked
}

fn without(mut asked: Value, name: &str) -> Value {
    asked.as_object_mut().unwrap().remove(name);
    asked
}

fn alice_reads() -> Value {
    evaluation(user("alice"), action("read"), record("record-1"))
}

async fn decides(pdp: &Pdp, asked: Value, expected: bool) {
    let answer = pdp.ask(EVALUATION, &asked).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{asked}: {answer:?}");
    assert_eq!(answer.body["decision"], expected, "{asked}: {answer:?}");
    assert!(answer.body.get("context").is_none_or(Value::is_object), "{answer:?}");
}

#[tokio::test]
async fn basic() {
    let pdp = Pdp::new().await;
    let (archived, active) = (record_that_is("record-2", "archived"), record_that_is("record-1", "active"));
    let known = json!({ "type": "user", "id": "alice", "properties": { "department": "Sales", "role": "manager" } });
    let read = json!({ "name": "read", "properties": { "method": "GET" } });
    let owned = json!({ "type": "record", "id": "record-1", "properties": { "status": "active", "owner": "bob" } });
    let later = with(with(alice_reads(), "foo", json!("bar")), "futureField", json!({ "nested": true }));
    for (asked, expected) in [
        // Core: decision rules 1 to 4, and what must not change them.
        (alice_reads(), true),
        (evaluation(user("alice"), action("write"), record("record-1")), true),
        (evaluation(user("bob"), action("read"), record("record-1")), true),
        (evaluation(user("bob"), action("write"), record("record-1")), false),
        (with(alice_reads(), "context", context()), true),
        (evaluation(known, read, owned), true),
        (later, true),
        // Properties: decision rules 5 to 8.
        (evaluation(user("alice"), action("write"), archived.clone()), false),
        (evaluation(bob_as_admin(), action("write"), archived), true),
        (evaluation(user("alice"), delete(true), record("record-1")), true),
        (evaluation(user("alice"), delete(false), record("record-1")), false),
        (evaluation(user("alice"), action("write"), active), true),
    ] {
        decides(&pdp, asked, expected).await;
    }
    for _ in 0..3 {
        decides(&pdp, alice_reads(), true).await;
    }
    // Errors.
    let mut wrong: Vec<String> =
        ["subject", "action", "resource"].map(|name| without(alice_reads(), name).to_string()).into();
    for (of, name) in
        [("subject", "type"), ("subject", "id"), ("action", "name"), ("resource", "type"), ("resource", "id")]
    {
        let mut asked = alice_reads();
        asked[of].as_object_mut().unwrap().remove(name);
        wrong.push(asked.to_string());
    }
    wrong.push(with(alice_reads(), "subject", json!("alice")).to_string());
    wrong.push(with(alice_reads(), "action", json!({ "name": 123 })).to_string());
    wrong.extend([String::new(), "{".into(), "[]".into(), "not JSON".into()]);
    for body in wrong {
        let answer = pdp.curl(Some(&pdp.service), EVALUATION, &["-H", JSON], Some(&body)).await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
    }
    let text = ["-H", "content-type: text/plain"];
    let answer = pdp.curl(Some(&pdp.service), EVALUATION, &text, Some(&alice_reads().to_string())).await;
    assert_eq!((answer.status, answer.reason()), (400, "UNSUPPORTED_MEDIA_TYPE"));
    // What a request is called, in both protocols, also of one that is refused.
    let named = ["-H", JSON, "-H", "X-Request-ID: bfe9eb29-ab87"];
    let both = [[&named[..], &["--http1.1"]].concat(), [&named[..], &["--http2"]].concat()];
    for (args, body) in both.iter().flat_map(|args| [(args, alice_reads().to_string()), (args, "{}".into())]) {
        let answer = pdp.curl(Some(&pdp.service), EVALUATION, args, Some(&body)).await;
        assert_eq!(answer.header("x-request-id"), Some("bfe9eb29-ab87"), "{answer:?}");
        let stranger = pdp.curl(None, EVALUATION, args, Some(&body)).await;
        assert_eq!((stranger.status, stranger.header("x-request-id")), (403, Some("bfe9eb29-ab87")), "{stranger:?}");
    }
    assert_eq!(pdp.ask(EVALUATION, &alice_reads()).await.header("x-request-id"), None);
    pdp.node.end().await;
}

async fn decides_all(pdp: &Pdp, asked: &Value, expected: &[bool]) -> Vec<Value> {
    let answer = pdp.ask(EVALUATIONS, asked).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{asked}: {answer:?}");
    assert!(answer.body.get("decision").is_none());
    let decisions = answer.body["evaluations"].as_array().unwrap().clone();
    let told: Vec<bool> = decisions.iter().map(|one| one["decision"].as_bool().unwrap()).collect();
    assert_eq!(told, expected, "{asked}: {answer:?}");
    decisions
}

#[tokio::test]
async fn batch() {
    let pdp = Pdp::new().await;
    let (active, archived) = (record_that_is("record-1", "active"), record_that_is("record-2", "archived"));
    let cases = [
        (
            json!({ "subject": user("alice"), "action": action("read"),
                "evaluations": [{ "resource": record("record-1") }, { "resource": record("record-2") }] }),
            [true, true],
        ),
        (
            json!({ "subject": user("bob"), "resource": record("record-1"),
                "evaluations": [{ "action": action("read") }, { "action": action("write") }] }),
            [true, false],
        ),
        (
            json!({ "subject": user("alice"), "action": action("write"),
                "evaluations": [{ "resource": active }, { "resource": archived }] }),
            [true, false],
        ),
        (
            json!({ "action": action("write"), "resource": archived,
                "evaluations": [{ "subject": user("alice") }, { "subject": bob_as_admin() }] }),
            [false, true],
        ),
        (
            json!({ "evaluations": [alice_reads(), evaluation(user("bob"), action("write"), record("record-1"))] }),
            [true, false],
        ),
        // `source` of a context is an address here: what cannot be one is an error of that question.
        (
            json!({ "subject": user("alice"), "action": action("read"), "context": { "time": "2025-06-27T18:03-07:00" },
                "evaluations": [
                    { "resource": record("record-1") },
                    { "resource": record("record-2"),
                      "context": { "time": "2025-06-27T19:00-07:00", "source": "batch-override" } }
                ] }),
            [true, false],
        ),
        (
            json!({ "subject": user("alice"), "action": action("write"), "resource": active,
                "evaluations": [{}, { "resource": archived }] }),
            [true, false],
        ),
    ];
    for (asked, expected) in &cases {
        decides_all(&pdp, asked, expected).await;
    }
    // One that is wrong is denied, and the others are decided.
    let asked = json!({ "subject": user("alice"), "action": action("read"),
        "options": { "evaluations_semantic": "execute_all" }, "evaluations": [{ "resource": record("record-1") }, {}] });
    let decisions = decides_all(&pdp, &asked, &[true, false]).await;
    assert_eq!(decisions[1]["context"]["error"]["status"], 400, "{decisions:?}");
    assert_eq!(decisions[1]["context"]["error"]["reason"], "REQUIRED", "{decisions:?}");
    // Without evaluations it is one.
    for asked in [alice_reads(), with(alice_reads(), "evaluations", json!([]))] {
        let answer = pdp.ask(EVALUATIONS, &asked).await;
        assert_eq!((answer.status, &answer.body), (200, &json!({ "decision": true })));
    }
    pdp.node.end().await;
}

async fn finds(pdp: &Pdp, path: &str, asked: &Value) -> Vec<Value> {
    let answer = pdp.ask(path, asked).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{asked}: {answer:?}");
    assert!(answer.body["page"]["next_token"].is_string(), "{answer:?}");
    answer.body["results"].as_array().unwrap().clone()
}

fn sorted(mut found: Vec<Value>) -> Vec<Value> {
    found.sort_by_key(Value::to_string);
    found
}

#[tokio::test]
async fn search() {
    let pdp = Pdp::new().await;
    let archived = record_that_is("record-2", "archived");
    // Subjects.
    let readers = evaluation(json!({ "type": "user" }), action("read"), record("record-1"));
    for asked in
        [readers.clone(), with(readers.clone(), "context", context()), with(readers.clone(), "subject", user("alice"))]
    {
        assert_eq!(sorted(finds(&pdp, SEARCH_SUBJECT, &asked).await), [user("alice"), user("bob")]);
    }
    let asked = evaluation(json!({ "type": "user" }), action("write"), archived.clone());
    assert_eq!(finds(&pdp, SEARCH_SUBJECT, &asked).await, [user("bob")]);
    // Resources. Signet has no list of records, so that an empty answer would be wrong: it says so.
    for asked in [
        evaluation(user("alice"), action("read"), json!({ "type": "record" })),
        evaluation(user("alice"), action("read"), record("record-1")),
        evaluation(bob_as_admin(), action("write"), json!({ "type": "record" })),
        evaluation(user("alice"), action("read"), json!({ "type": "spaceship" })),
    ] {
        let answer = pdp.ask(SEARCH_RESOURCE, &asked).await;
        assert_eq!((answer.status, answer.reason()), (400, "UNSUPPORTED_RESOURCE_TYPE"), "{answer:?}");
    }
    // Actions.
    let of_alice = json!({ "subject": user("alice"), "resource": record("record-1") });
    for asked in [of_alice.clone(), with(of_alice.clone(), "context", context())] {
        assert_eq!(finds(&pdp, SEARCH_ACTION, &asked).await, [action("read"), action("write")]);
    }
    let asked = json!({ "subject": bob_as_admin(), "resource": archived });
    assert_eq!(finds(&pdp, SEARCH_ACTION, &asked).await, [action("read"), action("write")]);
    // Pages.
    let mut token = Value::Null;
    let mut found = Vec::new();
    loop {
        let page = if token.is_null() { json!({ "limit": 1 }) } else { json!({ "token": token, "limit": 1 }) };
        let answer = pdp.ask(SEARCH_SUBJECT, &with(readers.clone(), "page", page)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let results = answer.body["results"].as_array().unwrap().clone();
        assert_eq!(answer.body["page"]["count"], results.len());
        assert!(results.len() <= 1);
        found.extend(results);
        token = answer.body["page"]["next_token"].clone();
        if token == "" {
            break;
        }
    }
    assert_eq!(sorted(found), [user("alice"), user("bob")]);
    // Nobody is found, which is no error.
    let unknown = json!({ "subject": user("nonexistent-user"), "resource": record("record-1") });
    assert!(finds(&pdp, SEARCH_ACTION, &unknown).await.is_empty());
    let unknown = evaluation(json!({ "type": "spaceship" }), action("read"), record("record-1"));
    assert!(finds(&pdp, SEARCH_SUBJECT, &unknown).await.is_empty());
    // Errors: what is searched for needs no id, all else does.
    let no_ids = evaluation(json!({ "type": "user" }), action("read"), json!({ "type": "record" }));
    for (path, asked) in [
        (SEARCH_SUBJECT, without(readers.clone(), "action")),
        (SEARCH_SUBJECT, without(readers.clone(), "subject")),
        (SEARCH_RESOURCE, without(no_ids.clone(), "subject")),
        (SEARCH_ACTION, json!({ "subject": user("alice") })),
        (SEARCH_SUBJECT, no_ids.clone()),
        (SEARCH_RESOURCE, no_ids),
        (SEARCH_ACTION, json!({ "subject": { "type": "user" }, "resource": record("record-1") })),
        (SEARCH_SUBJECT, with(readers, "page", json!({ "limit": -1 }))),
    ] {
        let answer = pdp.ask(path, &asked).await;
        assert_eq!(answer.status, 400, "{path} {asked}: {answer:?}");
        assert_ne!(answer.reason(), "UNSUPPORTED_RESOURCE_TYPE", "{answer:?}");
    }
    pdp.node.end().await;
}

#[tokio::test]
async fn discovery() {
    let pdp = Pdp::new().await;
    for protocol in ["--http1.1", "--http2"] {
        // Also for who has no certificate.
        let answer = pdp.curl(None, METADATA, &[protocol], None).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{answer:?}");
        let base = pdp.base();
        let at = |path: &str| format!("{base}{path}");
        let expected = json!({
            "policy_decision_point": base,
            "access_evaluation_endpoint": at(EVALUATION),
            "access_evaluations_endpoint": at(EVALUATIONS),
            "search_subject_endpoint": at(SEARCH_SUBJECT),
            "search_resource_endpoint": at(SEARCH_RESOURCE),
            "search_action_endpoint": at(SEARCH_ACTION),
        });
        assert_eq!(answer.body, expected);
    }
    pdp.node.end().await;
}
