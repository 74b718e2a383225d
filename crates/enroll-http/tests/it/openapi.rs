//! The API's description: good by an independent judge, and its examples are what the handlers read.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::world::World;

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/openapi/enrollment.yaml")
}

fn description() -> Value {
    serde_norway::from_str(&std::fs::read_to_string(path()).unwrap()).unwrap()
}

#[test]
fn the_descriptions_are_valid_openapi() {
    let judges = std::env::var_os("SIGNET_JUDGES")
        .unwrap_or_else(|| panic!("SIGNET_JUDGES is not set: export SIGNET_JUDGES=$(scripts/judges)"));
    for file in ["enrollment.yaml", "authzen.yaml", "oauth.yaml", "security-events.yaml"] {
        let mut judge = Command::new(Path::new(&judges).join("openapi-spec-validator"));
        let output = judge.arg(path().with_file_name(file)).output().unwrap();
        assert!(
            output.status.success(),
            "{file}: {}",
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat())
        );
    }
}

#[tokio::test]
async fn the_examples_are_read_as_requests() {
    let (world, description) = (World::new().await, description());
    let paths = description["paths"].as_object().unwrap();
    let mut seen = 0;
    for (path, operations) in paths {
        let content = &operations["post"]["requestBody"]["content"]["application/json"];
        for (name, example) in content["examples"].as_object().unwrap() {
            let answer = world.post(path, &example["value"]).await;
            // Their certificates and requests are cut short; everything before that is good.
            let reason = answer.body["reason"].as_str().unwrap();
            assert!(matches!(reason, "CSR_MALFORMED" | "ENROLLMENT_REFUSED"), "{path} {name}: {}", answer.body);
            seen += 1;
        }
    }
    assert_eq!(seen, 6);
}

/// Whoever builds one without our SDK has these two texts and no other.
#[test]
fn an_aws_proof_is_described_as_it_is_checked() {
    let description = description();
    let schema = &description["components"]["schemas"]["AwsIam"]["properties"]["headers"];
    let mut names: Vec<&str> = schema["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    names.sort_unstable();
    let examples =
        &description["paths"]["/v1/enroll"]["post"]["requestBody"]["content"]["application/json"]["examples"];
    let example = examples["aws_iam"]["value"]["proof"]["aws_iam"]["headers"].as_object().unwrap();
    assert_eq!(example.keys().collect::<Vec<_>>(), names);
    let signed = format!("host;{}", names.join(";"));
    for file in
        ["proto/openapi/enrollment.yaml", "proto/signet/v1/enrollment.proto", "crates/attest/src/aws_iam/request.rs"]
    {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file)).unwrap();
        assert!(text.contains(&signed), "{file} does not name the signed headers {signed}");
    }
}

#[tokio::test]
async fn answers_have_the_members_that_the_description_requires() {
    let (world, description) = (World::new().await, description());
    let members = |schema: &str| -> Vec<String> {
        let required = description["components"]["schemas"][schema]["required"].as_array().unwrap();
        required.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    let csr = signet_x509::KeyAndCsr::generate().unwrap().csr_der;
    let issued = world.post("/v1/enroll", &crate::world::enrollment("r-1", &world.token().await, &csr)).await;
    let mut names: Vec<String> = issued.body.as_object().unwrap().keys().cloned().collect();
    let mut required = members("Issued");
    names.sort();
    required.sort();
    assert_eq!(names, required);
    let problem = world.post("/v1/enroll", &Value::Null).await.body;
    assert!(members("Problem").iter().all(|name| problem.get(name).is_some()), "{problem}");
    let status = problem["status"].to_string();
    assert!(description["paths"]["/v1/enroll"]["post"]["responses"].get(&status).is_some());
}
