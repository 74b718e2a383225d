//! An environment on the emulator, bootstrapped, with a secret and a bucket of its own and the function on it.

use aws_config::{BehaviorVersion, Region};
use secrecy::SecretString;
use serde_json::Value;
use signet_app::{Bootstrap, Call, bootstrap};
use signet_control_plane::{Config, ServerCredentials, cli::system_clock, wiring};
use signet_testkit::{
    faults::variable,
    fixtures::unique,
    lambda::{deploy, invoke},
};
use signet_x509::{KeyAndCsr, bundle::to_pem};

pub struct World {
    pub function: String,
    pub secret: String,
    pub bucket: String,
    pub config: Config,
    pub wired: wiring::Wired,
    pub secrets: aws_sdk_secretsmanager::Client,
    pub s3: aws_sdk_s3::Client,
    /// What it was bootstrapped with.
    pub bootstrap: Bootstrap,
}

impl World {
    pub async fn new() -> Self {
        // Tables of its own: the tasks go over all tenants, and other tests' fixtures have keys that nobody can open.
        let (prefix, name) = (format!("{}-rotate", variable("SIGNET_TEST_AWS_PREFIX")), unique("rotate-"));
        let (place, bucket) = (format!("/{name}"), format!("{name}-publication"));
        let variables = variables(&prefix, &place, &bucket);
        let config = Config::from_pairs(variables.iter().map(|(name, value)| (*name, value.as_str()))).unwrap();
        let aws = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .test_credentials()
            .endpoint_url(variable("SIGNET_TEST_AWS_ENDPOINT"))
            .load()
            .await;
        let secrets = aws_sdk_secretsmanager::Client::new(&aws);
        let secret = format!("{place}/server");
        secrets.create_secret().name(&secret).send().await.unwrap();
        let s3 = aws_sdk_s3::config::Builder::from(&aws).force_path_style(true).build();
        let s3 = aws_sdk_s3::Client::from_conf(s3);
        let here = aws_sdk_s3::types::BucketLocationConstraint::EuCentral1;
        let here = aws_sdk_s3::types::CreateBucketConfiguration::builder().location_constraint(here).build();
        s3.create_bucket().bucket(&bucket).create_bucket_configuration(here).send().await.unwrap();
        let wired = wiring::open(&config).await.unwrap();
        let bootstrap = bootstrap(&wired, &config, &name).await;
        secrets.rotate_secret().secret_id(&secret).send().await.unwrap();
        deploy(&name, env!("CARGO_BIN_EXE_signet-rotate"), &variables);
        Self { function: name, secret, bucket, config, wired, secrets, s3, bootstrap }
    }

    /// The function's answer.
    pub async fn invoke(&self, event: Value) -> Value {
        let name = self.function.clone();
        let answer = tokio::task::spawn_blocking(move || invoke(&name, &event.to_string())).await.unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    /// The server's present certificate chain.
    pub async fn chain(&self) -> String {
        self.wired.server_identity.get().await.unwrap().unwrap().chain_pem
    }
}

fn variables(prefix: &str, place: &str, bucket: &str) -> Vec<(&'static str, String)> {
    vec![
        ("AWS_ACCESS_KEY_ID", "test".into()),
        ("AWS_SECRET_ACCESS_KEY", "test".into()),
        ("SIGNET_ENVIRONMENT__NAME", "test".into()),
        ("SIGNET_ENVIRONMENT__TRUST_DOMAIN_SUFFIX", "test.example.com".into()),
        ("SIGNET_STORAGE__KIND", "dynamodb".into()),
        ("SIGNET_STORAGE__PREFIX", prefix.into()),
        ("SIGNET_KEYS__KIND", "kms".into()),
        ("SIGNET_KEYS__PREFIX", prefix.into()),
        ("SIGNET_SERVER_IDENTITY__KIND", "aws".into()),
        ("SIGNET_SERVER_IDENTITY__PREFIX", place.into()),
        ("SIGNET_SERVER__DNS_NAMES", r#"["localhost"]"#.into()),
        ("SIGNET_LISTEN__GRPC", "127.0.0.1:0".into()),
        ("SIGNET_LISTEN__PUBLIC", "127.0.0.1:0".into()),
        ("SIGNET_LISTEN__METRICS", "127.0.0.1:0".into()),
        ("SIGNET_PUBLICATION__BUCKET", bucket.into()),
        ("SIGNET_EVENTS__BUS", "default".into()),
        ("SIGNET_TELEMETRY__LOG", "json".into()),
        ("SIGNET_AWS__REGION", "eu-central-1".into()),
        ("SIGNET_AWS__ENDPOINT_URL", variable("SIGNET_TEST_AWS_ENDPOINT")),
    ]
}

async fn bootstrap(wired: &wiring::Wired, config: &Config, admin: &str) -> Bootstrap {
    let (server, admin_csr) = (KeyAndCsr::generate().unwrap(), KeyAndCsr::generate().unwrap());
    let input = Bootstrap {
        keys: wired.environment_keys.clone(),
        server: config.server.clone(),
        server_csr_der: server.csr_der,
        admin: admin.parse().unwrap(),
        admin_csr_der: admin_csr.csr_der,
    };
    let report = bootstrap::bootstrap(&wired.app, &Call::process("bootstrap", system_clock()()), &input).await.unwrap();
    let credentials = ServerCredentials {
        chain_pem: to_pem(report.server_chain_der.iter().map(Vec::as_slice)),
        key_pem: SecretString::from(server.key.to_pkcs8_pem().as_str()),
    };
    wired.server_identity.put(&credentials).await.unwrap();
    input
}
