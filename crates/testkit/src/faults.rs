//! Faults in front of an AWS endpoint, by the proxy that `scripts/aws-emulator` starts beside each emulator.

use std::env;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A variable that `scripts/test` and `scripts/aws-emulator env` set. Without it a test fails: one that skips proves
/// nothing.
pub fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run ./scripts/test, or eval \"$(./scripts/aws-emulator env)\" in this shell")
    })
}

/// The proxy's address; an AWS endpoint like the one behind it.
pub fn endpoint() -> String {
    variable("SIGNET_TEST_AWS_FAULTS")
}

/// Adds a rule for two minutes. It fires for calls of `operation` whose body holds `needle` only, so that tests which
/// share the proxy do not meet; `needle` must be an id of the test's own. `fault`: the rule's other members as JSON
/// text without braces, e.g. `"times": 1, "reset": true` (microburst's documentation lists them).
pub async fn inject(operation: &str, needle: &str, fault: &str) {
    let body = format!(
        r#"[{{"operation": "{operation}", "body": "contains(to_string(@), '{needle}')", "ttl_s": 120, {fault}}}]"#
    );
    let host = endpoint().trim_start_matches("http://").to_owned();
    let request = format!(
        "PATCH /_microburst/rules HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut proxy = TcpStream::connect(&host).await.expect("the fault proxy answers: scripts/aws-emulator starts it");
    proxy.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    proxy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "the fault proxy refused {body}: {answer}");
}

/// Members for [`inject`]: the call is carried out and its answer lost.
pub const ANSWER_LOST: &str = r#""response": {"abort_bytes": 0}"#;
