//! Events of all ways in, through the adapter that the runtime calls: API Gateway's REST and HTTP APIs, function URLs.

use base64::{Engine, prelude::BASE64_STANDARD};
use lambda_http::{
    Adapter, Context, LambdaEvent, Service,
    request::{LambdaRequest, from_str},
    service_fn,
};
use serde_json::{Value, json};
use signet_app::{AuditWindow, Call, audit::events};
use signet_control_plane::{Config, cli::system_clock, wiring};
use signet_core::{PrincipalType, store::scope::Housekeeper};
use signet_enroll_lambda::{Function, essential};
use signet_x509::{KeyAndCsr, pem};

use crate::{new_token, tenant_and_token};

const ID: &str = "JKJaXmPLvHcESHA=";

/// As an HTTP API sends it, payload version 2.0.
fn api_gateway(source: &str, body: &str) -> Value {
    json!({
        "version": "2.0", "routeKey": "POST /v1/enroll", "rawPath": "/v1/enroll", "rawQueryString": "",
        "headers": {
            "accept": "*/*", "content-length": body.len().to_string(), "content-type": "application/json",
            "host": "a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com", "user-agent": "curl/8.5.0",
            "x-amzn-trace-id": "Root=1-5eb33c07-de25b420912dee103a5db434", "x-forwarded-for": source,
            "x-forwarded-port": "443", "x-forwarded-proto": "https"
        },
        "requestContext": {
            "accountId": "123456789012", "apiId": "a1b2c3d4e5", "domainPrefix": "a1b2c3d4e5",
            "domainName": "a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com",
            "http": { "method": "POST", "path": "/v1/enroll", "protocol": "HTTP/1.1", "sourceIp": source, "userAgent": "curl/8.5.0" },
            "requestId": ID, "routeKey": "POST /v1/enroll", "stage": "$default",
            "time": "22/Nov/2026:09:45:34 +0000", "timeEpoch": 1_795_340_734_837_i64
        },
        "body": body, "isBase64Encoded": false
    })
}

/// As a function URL with AuthType NONE sends it: no route, no stage, the account unnamed.
fn function_url(source: &str, body: &str) -> Value {
    let mut event = api_gateway(source, body);
    let domain = "k3j2h1g4f5d6s7a8p9o0i1u2y3t4r5e6.lambda-url.eu-central-1.on.aws";
    event["routeKey"] = json!("$default");
    event["headers"]["host"] = json!(domain);
    event["headers"]["x-amzn-tls-version"] = json!("TLSv1.3");
    let context = &mut event["requestContext"];
    context["accountId"] = json!("anonymous");
    context["apiId"] = json!("k3j2h1g4f5d6s7a8p9o0i1u2y3t4r5e6");
    context["domainPrefix"] = json!("k3j2h1g4f5d6s7a8p9o0i1u2y3t4r5e6");
    context["domainName"] = json!(domain);
    context["routeKey"] = json!("$default");
    event
}

/// As a REST API sends it: each header twice, and the stage in the context's path.
fn rest_api(source: &str, body: &str) -> Value {
    let http = api_gateway(source, body);
    let headers = http["headers"].as_object().unwrap();
    let lists: serde_json::Map<_, _> = headers.iter().map(|(name, value)| (name.clone(), json!([value]))).collect();
    json!({
        "resource": "/v1/enroll", "path": "/v1/enroll", "httpMethod": "POST", "headers": headers, "multiValueHeaders": lists,
        "queryStringParameters": null, "multiValueQueryStringParameters": null, "pathParameters": null, "stageVariables": null,
        "requestContext": {
            "accountId": "123456789012", "apiId": "a1b2c3d4e5", "domainPrefix": "a1b2c3d4e5",
            "domainName": "a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com", "extendedRequestId": ID,
            "httpMethod": "POST", "path": "/signet/v1/enroll", "protocol": "HTTP/1.1",
            "identity": { "sourceIp": source, "userAgent": "curl/8.5.0" },
            "requestId": "of-the-callers-choice", "requestTime": "22/Nov/2026:09:45:34 +0000", "requestTimeEpoch": 1_795_340_734_837_i64,
            "resourceId": "abc123", "resourcePath": "/v1/enroll", "stage": "signet"
        },
        "body": body, "isBase64Encoded": false
    })
}

/// The same, with its body as function URLs send what they do not take for text.
fn in_base64(mut event: Value) -> Value {
    event["body"] = json!(BASE64_STANDARD.encode(event["body"].as_str().unwrap()));
    event["isBase64Encoded"] = json!(true);
    event
}

fn enrollment(request_id: &str, token: &str) -> String {
    let csr = pem::encode(pem::CERTIFICATE_REQUEST, &KeyAndCsr::generate().unwrap().csr_der);
    let proof = json!({ "join_token": token });
    json!({ "request_id": request_id, "principal_id": "w-1", "csr_pem": csr, "proof": proof }).to_string()
}

struct Lambda {
    config: Config,
    function: Function,
    _folder: tempfile::TempDir,
}

impl Lambda {
    /// The function over an embedded environment with nothing in it, one call a second for each source.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("passphrase"), "correct horse battery staple").unwrap();
        let config = Config::from_pairs([
            ("SIGNET_ENVIRONMENT__NAME", "test"),
            ("SIGNET_ENVIRONMENT__TRUST_DOMAIN_SUFFIX", "test.example.com"),
            ("SIGNET_STORAGE__KIND", "sqlite"),
            ("SIGNET_STORAGE__PATH", &path("store")),
            ("SIGNET_KEYS__KIND", "softkey"),
            ("SIGNET_KEYS__DIR", &path("keys")),
            ("SIGNET_KEYS__PASSPHRASE_FILE", &path("passphrase")),
            ("SIGNET_SERVER_IDENTITY__KIND", "files"),
            ("SIGNET_SERVER_IDENTITY__DIR", &path("server")),
            ("SIGNET_LIMITS__ANONYMOUS_CALLS_PER_SECOND_PER_ADDRESS", "1"),
        ]);
        let config = config.unwrap();
        let function = Function::open(&config).await.unwrap();
        Self { config, function, _folder: folder }
    }

    /// What the runtime sends back for an event.
    async fn answer(&self, event: &Value) -> Value {
        let request: LambdaRequest = serde_json::from_str(&event.to_string()).unwrap();
        let mut adapter = Adapter::from(service_fn(|request| self.function.call(request)));
        let event = essential(LambdaEvent::new(request, Context::default()));
        let answer = adapter.call(event).await.unwrap();
        serde_json::to_value(answer).unwrap()
    }

    async fn status(&self, event: &Value) -> u64 {
        self.answer(event).await["statusCode"].as_u64().unwrap()
    }
}

#[tokio::test]
async fn a_function_url_answers_as_the_api_gateway_does() {
    let lambda = Lambda::new().await;
    let wired = wiring::open(&lambda.config).await.unwrap();
    let token = tenant_and_token(&wired, "edge").await;
    let body = enrollment("r-1", &token);
    let expected = lambda.answer(&api_gateway("198.51.100.7", &body)).await;
    assert_eq!(expected["statusCode"], 200, "{expected}");
    // The request id makes the others repetitions, which get the same certificate.
    for event in [function_url("198.51.100.7", &body), in_base64(function_url("198.51.100.7", &body))] {
        assert_eq!(lambda.answer(&event).await, expected, "{event}");
    }
    for event in [rest_api("198.51.100.7", &body), in_base64(rest_api("198.51.100.7", &body))] {
        let answer = lambda.answer(&event).await;
        assert_eq!((&answer["statusCode"], &answer["body"]), (&expected["statusCode"], &expected["body"]), "{event}");
    }
    let used = enrollment("r-2", &token);
    let refused = lambda.answer(&api_gateway("198.51.100.8", &used)).await;
    assert!(refused["statusCode"] == 403 && refused["body"].as_str().unwrap().contains(ID), "{refused}");
    assert_eq!(lambda.answer(&in_base64(function_url("2001:db8::8", &used))).await, refused);
    let by_rest = lambda.answer(&rest_api("198.51.100.10", &used)).await;
    assert_eq!((&by_rest["statusCode"], &by_rest["body"]), (&refused["statusCode"], &refused["body"]));

    let call = Call::process("test", system_clock()());
    let window = AuditWindow::new(None, None, call.now).unwrap();
    let scope = Housekeeper::appoint().tenant(&"edge".parse().unwrap());
    let page = events::list_audit_events(&wired.app, &call, &scope, &window, &Default::default()).await.unwrap();
    let payloads = page.events.iter().map(|event| serde_json::from_str::<Value>(&event.payload).unwrap());
    let refusals = payloads.filter(|payload| payload["outcome"] == "TOKEN_USED_UP");
    let mut sources: Vec<String> = refusals.map(|payload| payload["source"].as_str().unwrap().to_owned()).collect();
    sources.sort();
    assert_eq!(sources, ["198.51.100.10", "198.51.100.8", "2001:db8::8"]);

    let operators = new_token(&wired, "system", PrincipalType::Admin).await;
    let answer = lambda.answer(&function_url("198.51.100.9", &enrollment("r-3", &operators))).await;
    assert_eq!(answer["statusCode"], 409, "{answer}");
    let problem: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    assert_eq!(problem["reason"], "OPERATORS_ENROLL_AT_CONTROL_PLANE");
    assert_eq!(problem["detail"], "operators enroll and renew at the control plane, not here: https://localhost");
}

/// A caller chooses query, path and host; what no URL holds must not end in a panic.
#[tokio::test]
async fn what_no_url_holds_is_an_ordinary_request() {
    let lambda = Lambda::new().await;
    let long = "x".repeat(70_000);
    for (number, odd) in
        ["\"", "<>", " ", "\u{1}", "\u{7f}", "é", "\\", "#", "%", "^`{|}", long.as_str()].into_iter().enumerate()
    {
        let event = api_gateway(&format!("198.51.100.{number}"), "{}");
        let mut query = event.clone();
        query["rawQueryString"] = json!(odd);
        assert_eq!(lambda.status(&query).await, 400, "{odd:.20}");
        let mut host = function_url(&format!("203.0.113.{number}"), "{}");
        host["requestContext"]["domainName"] = json!(odd);
        host["headers"].as_object_mut().unwrap().remove("host");
        assert_eq!(lambda.status(&host).await, 400, "{odd:.20}");
        let mut path = event;
        path["rawPath"] = json!(format!("/{odd}"));
        path["requestContext"]["stage"] = json!(odd);
        assert_eq!(lambda.status(&path).await, 404, "{odd:.20}");
        let mut rest = rest_api(&format!("192.0.2.{number}"), "{}");
        rest["queryStringParameters"] = json!({ odd: odd });
        rest["multiValueQueryStringParameters"] = json!({ odd: [odd] });
        rest["requestContext"]["domainName"] = json!(odd);
        rest["requestContext"]["stage"] = json!(odd);
        assert_eq!(lambda.status(&rest).await, 400, "{odd:.20}");
        rest["path"] = json!(format!("/{odd}"));
        assert_eq!(lambda.status(&rest).await, 404, "{odd:.20}");
    }
}

#[tokio::test]
async fn all_ways_in_count_against_one_limit_of_the_source() {
    let lambda = Lambda::new().await;
    let mut through_the_url = 0;
    // Ten at once and one a second are given; in between one may have come back.
    for _ in 0..5 {
        while lambda.status(&api_gateway("203.0.113.9", "{}")).await != 429 {}
        through_the_url = lambda.status(&function_url("203.0.113.9", "{}")).await;
        if through_the_url == 429 {
            break;
        }
    }
    assert_eq!(through_the_url, 429);
    assert_eq!(lambda.status(&rest_api("203.0.113.9", "{}")).await, 429);
    assert_eq!(lambda.status(&function_url("203.0.113.10", "{}")).await, 400, "another source");
    let mut forwarded = function_url("203.0.113.9", "{}");
    forwarded["headers"]["x-forwarded-for"] = json!("203.0.113.77, 203.0.113.9");
    assert_eq!(lambda.status(&forwarded).await, 429, "what the caller says of itself does not count");
}

#[tokio::test]
async fn events_that_do_not_say_who_calls_are_not_answered_as_calls() {
    let lambda = Lambda::new().await;
    let good = function_url("198.51.100.7", "{}");
    for source in [json!(null), json!(""), json!("unknown")] {
        let mut event = good.clone();
        event["requestContext"]["http"]["sourceIp"] = source;
        let answer = lambda.answer(&event).await;
        assert!(answer["statusCode"] == 500 && answer["body"].as_str().unwrap().contains("INTERNAL"), "{answer}");
    }
    for source in [json!(null), json!(""), json!("unknown")] {
        let mut event = rest_api("198.51.100.7", "{}");
        event["requestContext"]["identity"]["sourceIp"] = source;
        assert_eq!(lambda.status(&event).await, 500, "{event}");
    }
    // The runtime reports these as failed invocations, which callers see as 500 or 502, and goes on.
    let scheduled = json!({ "version": "0", "detail-type": "Scheduled Event", "source": "aws.events", "detail": {} });
    for event in [scheduled, json!({}), json!(null), json!([good]), json!("POST /v1/enroll")] {
        assert!(from_str(&event.to_string()).is_err(), "{event}");
    }
}
