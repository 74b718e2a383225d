//! Clients and verifiers of others: openid-client and jose, authlib and pyjwt.

use std::path::{Path, PathBuf};

use signet_client::Credentials;
use signet_proto::v1::CreateBrokerTokenRequest;
use tokio::process::Command;

use super::{Site, WORKER, broker, events};

impl Site {
    /// Certificate and key as files.
    fn files(&self, who: &Credentials) -> [PathBuf; 2] {
        let name = &who.facts().serial_number;
        let chain = self.world.file(&format!("{name}.pem"), &who.chain_pem());
        [chain, self.world.file(&format!("{name}.key"), &who.key_pem())]
    }

    fn roots(&self) -> PathBuf {
        self.world.file("roots.pem", &signet_x509::bundle::to_pem(self.world.roots.iter().map(Vec::as_slice)))
    }

    fn host(&self) -> String {
        format!("localhost:{}", self.node.running.grpc_addr.port())
    }
}

/// What a judge prints last: the token that it got.
async fn judged(command: &str, script: &str, arguments: &[PathBuf]) -> String {
    let judges = std::env::var("SIGNET_JUDGES").expect("SIGNET_JUDGES names the judges: run ./scripts/test");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/tokens").join(script);
    let mut judge = Command::new(Path::new(&judges).join(command));
    let output = judge.arg(script).args(arguments).kill_on_drop(true).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn openid_client_gets_a_token_and_jose_verifies_it() {
    let site = Site::new().await;
    let ([cert, key], [service_cert, service_key]) = (site.files(&site.worker), site.files(&site.service));
    let (worker, service) = (PathBuf::from("w-1"), PathBuf::from("api"));
    let issuer = PathBuf::from("https://id.example.com/t/acme");
    let arguments = [issuer, site.host().into(), site.roots(), cert, key, worker, service_cert, service_key, service];
    let token = judged("oauth-client", "judge.mjs", &arguments).await;
    assert!(site.look(&token).await.is_ok());
    site.node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn authlib_gets_a_token_and_pyjwt_verifies_it() {
    let site = Site::new().await;
    let [cert, key] = site.files(&site.worker);
    let endpoint = format!("https://{}/oauth/token", site.host());
    let key_set = format!("http://{}/t/acme/jwks.json", site.node.running.public_addr);
    let issuer = "https://id.example.com/t/acme".into();
    let arguments = [issuer, endpoint.into(), key_set.into(), site.roots(), cert, key, "w-1".into()];
    let token = judged("python", "judge.py", &arguments).await;
    assert!(site.look(&token).await.is_ok());
    site.node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pyjwt_verifies_a_broker_token_and_each_of_its_forms_says_the_same() {
    let site = Site::new().await;
    broker::grant(&site, &["mqtt:publish", "mqtt:subscribe"]).await;
    let wanted = CreateBrokerTokenRequest {
        client_id_suffix: "pump".into(),
        ..broker::filters(&["tenant/acme/pump/telemetry/#"], &["tenant/acme/pump/commands"])
    };
    let made = broker::broker_token(&mut site.tokens(&site.service), wanted).await.unwrap();
    let key_set = format!("http://{}/t/acme/broker/jwks.json", site.node.running.public_addr);
    let token = site.world.file("broker.jwt", &made.broker_token);
    let issuer = "https://id.example.com/t/acme/broker".into();
    judged("python", "judge_broker.py", &[issuer, key_set.into(), "acme/api:pump".into(), token]).await;
    site.node.end().await;
}

/// Polls by the standard's words alone, and is told while it waits.
#[tokio::test(flavor = "multi_thread")]
async fn requests_polls_security_events_and_pyjwt_verifies_them() {
    let site = Site::new().await;
    let [cert, key] = site.files(&site.service);
    let public = format!("http://{}", site.node.running.public_addr);
    let arguments = [
        "https://id.example.com/t/acme".into(),
        format!("https://{}{}", site.host(), events::POLL).into(),
        format!("{public}/.well-known/ssf-configuration/t/acme").into(),
        format!("{public}{}", events::KEYS).into(),
        site.roots(),
        cert,
        key,
        events::SERVICE.into(),
    ];
    let deed = async {
        events::until_told(&site.node, 1).await;
        events::suspend(&site.world, &site.node, "acme", "w-1").await;
    };
    let (printed, ()) = tokio::join!(judged("python", "judge_events.py", &arguments), deed);
    assert_eq!(printed.lines().collect::<Vec<_>>(), ["begun", WORKER]);
    site.node.end().await;
}
