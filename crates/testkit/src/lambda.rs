//! Lambdas on the emulator: the real program zipped as `bootstrap`, run by it, behind its API Gateway.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use crate::faults::variable;

/// Zips a program without its debugging symbols and makes a function of it; both by Python's standard library.
const DEPLOY: &str = include_str!("deploy_lambda.py");

/// An answer over HTTP.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// Body.
    pub body: String,
}

/// A call of the emulator for one of its services, or of an API on it (`host`).
fn curl(arguments: &[&str], body: &str) -> Answer {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--include", "--max-time", "60", "--data-binary", "@-"]).args(arguments);
    let mut curl = curl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("curl is installed");
    curl.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
    let output = curl.wait_with_output().unwrap();
    assert!(output.status.success(), "curl {arguments:?}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// One call of an AWS service that speaks REST.
pub fn rest(service: &str, method: &str, path: &str, body: &str) -> String {
    let signed = format!("aws:amz:eu-central-1:{service}");
    let url = format!("{}{path}", variable("SIGNET_TEST_AWS_ENDPOINT"));
    let json = "content-type: application/json";
    let answer =
        curl(&["--aws-sigv4", &signed, "--user", "test:test", "--request", method, "--header", json, &url], body);
    assert!(answer.status < 300, "{method} {path}: {answer:?}");
    answer.body
}

/// Makes the function `name` of the program at `binary`, with these variables.
pub fn deploy(name: &str, binary: &str, variables: &[(&str, String)]) {
    assert!(Path::new(binary).exists(), "{binary}");
    let mut python = Command::new("python3");
    python.args(["-c", DEPLOY, &variable("SIGNET_TEST_AWS_ENDPOINT"), name, binary]);
    python.args(variables.iter().map(|(name, value)| format!("{name}={value}")));
    let output = python.output().expect("python3 is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Invokes a function and waits for its answer; that of a failure has the member `errorMessage`.
pub fn invoke(name: &str, event: &str) -> String {
    rest("lambda", "POST", &format!("/2015-03-31/functions/{name}/invocations"), event)
}

/// Gives a function a URL that anybody may call; returns its host name.
pub fn function_url(function: &str) -> String {
    let path = format!("/2021-10-31/functions/{function}/url");
    let made = field(&rest("lambda", "POST", &path, r#"{"AuthType":"NONE"}"#), "FunctionUrl");
    let id = made.trim_start_matches("https://").split('.').next().unwrap();
    format!("{id}.lambda-url.eu-central-1.localhost")
}

/// The text of a member of the emulator's JSON.
fn field(text: &str, name: &str) -> String {
    let rest = text.split_once(&format!("\"{name}\": \"")).unwrap_or_else(|| panic!("no {name}: {text}")).1;
    rest.split_once('"').unwrap().0.to_owned()
}

/// Puts an HTTP API (payload version 2.0) with these routes before a function; returns its host name.
pub fn http_api(function: &str, routes: &[&str]) -> String {
    let made = rest("apigateway", "POST", "/v2/apis", &format!(r#"{{"name":"{function}","protocolType":"HTTP"}}"#));
    let api = field(&made, "apiId");
    let arn = format!("arn:aws:lambda:eu-central-1:000000000000:function:{function}");
    let integration = format!(
        r#"{{"integrationType":"AWS_PROXY","integrationUri":"{arn}","integrationMethod":"POST","payloadFormatVersion":"2.0"}}"#
    );
    let made = rest("apigateway", "POST", &format!("/v2/apis/{api}/integrations"), &integration);
    let target = format!("integrations/{}", field(&made, "integrationId"));
    for route in routes {
        let route = format!(r#"{{"routeKey":"{route}","target":"{target}"}}"#);
        rest("apigateway", "POST", &format!("/v2/apis/{api}/routes"), &route);
    }
    rest("apigateway", "POST", &format!("/v2/apis/{api}/stages"), r#"{"stageName":"$default","autoDeploy":true}"#);
    format!("{api}.execute-api.localhost")
}

/// POSTs JSON to an API on the emulator.
pub fn post(host: &str, path: &str, body: &str) -> Answer {
    let endpoint = variable("SIGNET_TEST_AWS_ENDPOINT");
    let port = endpoint.rsplit(':').next().unwrap();
    let host = format!("host: {host}:{port}");
    curl(&["--header", &host, "--header", "content-type: application/json", &format!("{endpoint}{path}")], body)
}
