//! The AWS side of the wiring, against an emulator: `scripts/aws-emulator start` and `apply`, as `scripts/test` does.

use std::process::Command;

use aws_config::{BehaviorVersion, Region};
use secrecy::{ExposeSecret, SecretString};
use signet_control_plane::{
    PublicMaterial, ServerCredentials, ServerIdentityStore, server_identity::AwsServerIdentity,
};
use signet_testkit::{faults::variable, fixtures::unique};

const KEY: &str = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
const CHAIN: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

#[tokio::test]
async fn the_server_identity_is_one_secret_and_public_parameters() {
    let aws = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .test_credentials()
        .endpoint_url(variable("SIGNET_TEST_AWS_ENDPOINT"))
        .load()
        .await;
    let prefix = format!("/{}", unique("signet-"));
    let store = AwsServerIdentity::new(&aws, &prefix);
    let credentials = ServerCredentials { chain_pem: CHAIN.into(), key_pem: SecretString::from(KEY) };
    assert!(store.get().await.unwrap().is_none());
    let told = store.put(&credentials).await.unwrap_err().to_string();
    assert!(told.contains("Terraform creates it"), "{told}");
    let secrets = aws_sdk_secretsmanager::Client::new(&aws);
    secrets.create_secret().name(format!("{prefix}/server")).send().await.unwrap();
    assert!(store.get().await.unwrap().is_none(), "a secret without a value");
    assert!(store.get_public(PublicMaterial::Root).await.unwrap().is_none());
    for key in [KEY.to_owned(), KEY.replace("AAAA", "BBBB")] {
        let credentials = ServerCredentials { chain_pem: CHAIN.into(), key_pem: SecretString::from(key.as_str()) };
        store.put(&credentials).await.unwrap();
        let found = store.get().await.unwrap().unwrap();
        assert_eq!((found.chain_pem.as_str(), found.key_pem.expose_secret()), (CHAIN, key.as_str()));
    }
    let text = |text: &str| secrets.put_secret_value().secret_id(format!("{prefix}/server")).secret_string(text);
    for bad in [KEY, "{}", r#"{"private_key_pem":"hunter2","certificate_chain_pem":""}"#] {
        text(bad).send().await.unwrap();
        let told = store.get().await.unwrap_err().to_string();
        assert!(told.contains("damaged") && !told.contains("hunter2") && !told.contains("AAAA"), "{told}");
    }
    for text in ["one", "another"] {
        store.put_public(PublicMaterial::AdminChain, text).await.unwrap();
        assert_eq!(store.get_public(PublicMaterial::AdminChain).await.unwrap().as_deref(), Some(text));
    }
    assert!(!store.renewed_by_server());
}

#[test]
fn the_environment_alone_configures_for_aws() {
    let (endpoint, prefix) = (variable("SIGNET_TEST_AWS_ENDPOINT"), variable("SIGNET_TEST_AWS_PREFIX"));
    let empty = tempfile::tempdir().unwrap();
    let check = |prefix: &str| {
        let mut signetd = Command::new(env!("CARGO_BIN_EXE_signetd"));
        signetd.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        signetd
            .env("SIGNET_ENVIRONMENT__NAME", "test")
            .env("SIGNET_ENVIRONMENT__TRUST_DOMAIN_SUFFIX", "test.example.com")
            .env("SIGNET_STORAGE__KIND", "dynamodb")
            .env("SIGNET_STORAGE__PREFIX", prefix)
            .env("SIGNET_KEYS__KIND", "kms")
            .env("SIGNET_KEYS__PREFIX", prefix)
            .env("SIGNET_KEYS__TENANT_KEY_POLICY", r#"{"Version": "2012-10-17", "Statement": []}"#)
            .env("SIGNET_SERVER_IDENTITY__KIND", "aws")
            .env("SIGNET_SERVER_IDENTITY__PREFIX", format!("/{}", unique("signet-")))
            .env("SIGNET_LISTEN__GRPC", "127.0.0.1:0")
            .env("SIGNET_LISTEN__PUBLIC", "127.0.0.1:0")
            .env("SIGNET_LISTEN__METRICS", "127.0.0.1:0")
            .env("SIGNET_AWS__REGION", "eu-central-1")
            .env("SIGNET_AWS__ENDPOINT_URL", &endpoint);
        signetd.arg("check").current_dir(empty.path()).output().unwrap()
    };
    let good = check(&prefix);
    let (out, err) = (String::from_utf8(good.stdout).unwrap(), String::from_utf8(good.stderr).unwrap());
    // Without a root a node would not get ready; another test may have made one.
    let rootless = out.contains("none yet") && err.contains("no root yet");
    assert_eq!(good.status.code(), Some(i32::from(rootless)), "{out}{err}");
    assert!(
        out.contains(&format!("audit key kms:alias/{prefix}-audit")) && out.contains("no certificate yet"),
        "{out}"
    );
    let elsewhere = check("signet-nowhere");
    let err = String::from_utf8(elsewhere.stderr).unwrap();
    assert_eq!(elsewhere.status.code(), Some(1));
    assert!(err.contains("[storage]") && err.contains("signet-nowhere"), "{err}");
}
