//! `principal bootstrap --from-terraform`: what it reads, and which step it names when one is missing.

use std::{env, fs, os::unix::fs::PermissionsExt as _};

use serde_json::{Value, json};

use crate::run::{Machine, Outcome};

/// The output `signet` of an environment whose names start with `prefix`.
fn output(prefix: &str) -> Value {
    json!({
        "environment": "dev", "region": "eu-central-1", "name_prefix": prefix, "trust_domain_suffix": "dev.example.com",
        "storage_prefix": prefix, "key_prefix": prefix, "server_identity_prefix": format!("/{prefix}"),
        "server_dns_names": ["signet.dev.example.com"], "endpoint": "https://signet.dev.example.com:443",
        "public_url": "http://signet.dev.example.com", "enroll_url": "https://api.example.com",
    })
}

fn bootstrap(machine: &Machine, source: &str, input: &str) -> Outcome {
    let endpoint = env::var("SIGNET_TEST_AWS_ENDPOINT").unwrap_or_default();
    let path = format!("{}:/usr/bin:/bin", machine.path("bin").display());
    let aws = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_ENDPOINT_URL", &endpoint)];
    let variables = [&aws[..], &[("PATH", &path)]].concat();
    machine.principal_with(&["bootstrap", "--from-terraform", source], &variables, input.as_bytes())
}

#[test]
fn an_environment_that_is_not_applied_says_so() {
    let machine = Machine::new();
    let nothing = bootstrap(&machine, "-", "{}");
    assert!(nothing.code == 2 && nothing.err.contains("there is no output `signet`"), "{nothing:?}");
    assert!(nothing.err.contains("terraform apply"), "{nothing:?}");
    let mut half = output("signet-dev");
    half.as_object_mut().unwrap().remove("key_prefix");
    let half = bootstrap(&machine, "-", &json!({ "signet": { "value": half } }).to_string());
    assert!(half.code == 2 && half.err.contains("`key_prefix`") && half.err.contains("terraform apply"), "{half:?}");
    let absent = bootstrap(&machine, "outputs.json", "");
    assert!(absent.code == 2 && absent.err.contains("outputs.json"), "{absent:?}");
    assert!(!machine.home().join("contexts/dev").exists());
}

#[test]
fn a_directory_is_asked_by_terraform() {
    let machine = Machine::new();
    fs::create_dir_all(machine.path("bin")).unwrap();
    fs::create_dir_all(machine.path("environment")).unwrap();
    let terraform = |script: &str| {
        fs::write(machine.path("bin/terraform"), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(machine.path("bin/terraform"), fs::Permissions::from_mode(0o700)).unwrap();
        bootstrap(&machine, "environment", "")
    };
    let nothing = terraform(r#"[ "$*" = "-chdir=environment output -json -no-color" ] && echo '{}'"#);
    assert!(nothing.code == 2 && nothing.err.contains("complete `terraform apply` in environment"), "{nothing:?}");
    let refused = terraform("echo 'Error: Backend initialization required' >&2; exit 1");
    assert!(refused.code == 1 && refused.err.contains("Backend initialization required"), "{refused:?}");
    assert!(refused.err.contains("terraform init"), "{refused:?}");
    fs::remove_file(machine.path("bin/terraform")).unwrap();
    let absent = bootstrap(&machine, "environment", "");
    assert!(absent.code == 1 && absent.err.contains("install Terraform"), "{absent:?}");
}

/// Needs an emulator of AWS: SIGNET_TEST_AWS_ENDPOINT.
#[test]
fn tables_that_are_missing_are_named_with_the_step_that_makes_them() {
    assert!(env::var("SIGNET_TEST_AWS_ENDPOINT").is_ok(), "set SIGNET_TEST_AWS_ENDPOINT (scripts/aws-emulator env)");
    let machine = Machine::new();
    let outcome = bootstrap(&machine, "-", &output("signet-nowhere").to_string());
    assert_eq!(outcome.code, 1, "{outcome:?}");
    for table in ["tenants", "principals", "certificates", "enrollments", "requests", "changes", "audit"] {
        assert!(outcome.err.contains(&format!("signet-nowhere-{table} does not exist")), "{outcome:?}");
    }
    assert!(outcome.err.contains("hint: complete `terraform apply`"), "{outcome:?}");
}
