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
async fn the_server_identity_lives_in_ssm_and_secrets_manager() {
    let aws = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .test_credentials()
        .endpoint_url(variable("SIGNET_TEST_AWS_ENDPOINT"))
        .load()
        .await;
    let store = AwsServerIdentity::new(&aws, &format!("/{}", unique("signet-")));
    assert!(store.get().await.unwrap().is_none());
    assert!(store.get_public(PublicMaterial::Root).await.unwrap().is_none());
    for key in [KEY.to_owned(), KEY.replace("AAAA", "BBBB")] {
        let credentials = ServerCredentials { chain_pem: CHAIN.into(), key_pem: SecretString::from(key.as_str()) };
        store.put(&credentials).await.unwrap();
        let found = store.get().await.unwrap().unwrap();
        assert_eq!((found.chain_pem.as_str(), found.key_pem.expose_secret()), (CHAIN, key.as_str()));
    }
    for text in ["one", "another"] {
        store.put_public(PublicMaterial::AdminChain, text).await.unwrap();
        assert_eq!(store.get_public(PublicMaterial::AdminChain).await.unwrap().as_deref(), Some(text));
    }
    assert!(!store.renewed_by_server());
}

#[test]
fn a_configuration_for_aws_opens_tables_and_keys() {
    let (endpoint, prefix) = (variable("SIGNET_TEST_AWS_ENDPOINT"), variable("SIGNET_TEST_AWS_PREFIX"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("signet.toml");
    let check = |prefix: &str| {
        let config = format!(
            "environment = {{ name = 'test', trust_domain_suffix = 'test.example.com' }}\n\
             storage = {{ kind = 'dynamodb', prefix = '{prefix}' }}\n\
             keys = {{ kind = 'kms', prefix = '{prefix}' }}\n\
             server_identity = {{ kind = 'aws', prefix = '/{}' }}\n\
             aws = {{ region = 'eu-central-1', endpoint_url = '{endpoint}' }}\n\
             listen = {{ grpc = '127.0.0.1:0', public = '127.0.0.1:0', metrics = '127.0.0.1:0' }}",
            unique("signet-")
        );
        std::fs::write(&file, config).unwrap();
        let mut signetd = Command::new(env!("CARGO_BIN_EXE_signetd"));
        signetd.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        signetd.args(["check", "--config"]).arg(&file).output().unwrap()
    };
    let good = check(&prefix);
    let (out, err) = (String::from_utf8(good.stdout).unwrap(), String::from_utf8(good.stderr).unwrap());
    assert!(good.status.success(), "{out}{err}");
    assert!(
        out.contains(&format!("audit key kms:alias/{prefix}-audit")) && out.contains("no certificate yet"),
        "{out}"
    );
    let elsewhere = check("signet-nowhere");
    let err = String::from_utf8(elsewhere.stderr).unwrap();
    assert_eq!(elsewhere.status.code(), Some(1));
    assert!(err.contains("[storage]") && err.contains("signet-nowhere"), "{err}");
}
