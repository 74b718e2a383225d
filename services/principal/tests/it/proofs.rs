//! `principal enroll` with each proof, through the real server and as far as there are any the real others.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    process::Command,
};

use serde_json::Value;

use crate::{
    run::{Machine, Outcome},
    server::{Server, bootstrap, ready},
};

/// AWS's example credentials.
const AWS: &[(&str, &str)] = &[
    ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
];

struct World {
    machine: Machine,
    server: Server,
}

impl World {
    /// An environment with the tenant `acme`, whose STS is the emulator's.
    async fn new(more: &str) -> Self {
        let machine = Machine::new();
        bootstrap(&machine);
        let config = machine.path("env/signet.toml");
        let mut file = fs::OpenOptions::new().append(true).open(&config).unwrap();
        writeln!(file, "\n[enrollment]\n{more}").unwrap();
        let server = Server::start(&config).await;
        ready(&machine);
        machine.principal(&["tenant", "create", "acme"]).ok();
        fs::copy(machine.home().join("contexts/local/ca.pem"), machine.path("ca.pem")).unwrap();
        Self { machine, server }
    }

    fn rule(&self, arguments: &[&str]) {
        let fixed = ["enrollment", "rule", "create", "--tenant", "acme"];
        self.machine.principal(&[&fixed[..], arguments].concat()).ok();
    }

    fn enroll(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Outcome {
        let url = self.server.url();
        let fixed = [
            "enroll",
            "--server",
            &url,
            "--ca-file",
            "ca.pem",
            "--tenant",
            "acme",
            "--replace",
            "--out",
            "out",
            "-o",
            "json",
            "-vv",
        ];
        self.machine.principal_with(&[&fixed[..], arguments].concat(), variables, b"")
    }

    /// What the audit log says about the last refusal.
    fn last_refusal(&self) -> Value {
        let listed = self.machine.principal(&["audit", "list", "--tenant", "acme", "-o", "json"]).ok().json();
        let refused = listed.as_array().unwrap().iter().filter(|event| event["outcome"].as_str() != Some("OK"));
        refused.max_by_key(|event| event["event_time"].to_string()).cloned().unwrap_or_default()
    }
}

fn identity(outcome: Outcome) -> String {
    outcome.ok().json()["spiffe_id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aws_identity_enrolls_through_the_emulators_sts() {
    let endpoint = env::var("SIGNET_TEST_AWS_ENDPOINT")
        .unwrap_or_else(|_| panic!("SIGNET_TEST_AWS_ENDPOINT is not set: scripts/aws-emulator start"));
    let world = World::new(&format!("sts_endpoint = \"{endpoint}\"")).await;
    let aws = ["--aws-iam", "--aws-region", "eu-central-1"];
    let unknown = world.enroll(&aws, AWS);
    assert_eq!(unknown.code, 4, "no rule yet: {unknown:?}");
    world.rule(&["root", "--aws-account", "000000000000", "--type", "worker", "--id-template", "w-{account}"]);
    let outcome = world.enroll(&aws, AWS);
    assert!(!outcome.err.contains("X-Amz-Signature") && !outcome.err.contains("wJalr"), "{outcome:?}");
    assert_eq!(identity(outcome), "spiffe://acme.signet.internal/worker/w-000000000000");
    // Without credentials, without a region.
    let none = world.enroll(&aws, &[("AWS_EC2_METADATA_DISABLED", "true")]);
    assert!(none.code == 6 && none.err.contains("AWS IAM"), "{none:?}");
    let nowhere = world.enroll(&["--aws-iam"], AWS);
    assert!(nowhere.code == 2 && nowhere.err.contains("--aws-region"), "{nowhere:?}");
    world.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_enrolls_with_its_makers_certificate() {
    let world = World::new("").await;
    let openssl = |line: &str| {
        let mut command = Command::new("openssl");
        let done = command.args(line.split(' ')).current_dir(world.machine.path(".")).output().unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    };
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -keyout maker.key -out maker.pem -subj /O=Maker/CN=Root -days 9",
    );
    world.rule(&[
        "pumps",
        "--x509-ca",
        "maker.pem",
        "--condition",
        "ou=pumps",
        "--type",
        "device",
        "--id-template",
        "{cn}",
    ]);
    fs::write(world.machine.path("ext"), "keyUsage = digitalSignature\n").unwrap();
    for (name, key) in [
        ("p256", "ec -pkeyopt ec_paramgen_curve:P-256"),
        ("p384", "ec -pkeyopt ec_paramgen_curve:P-384"),
        ("rsa", "rsa:2048"),
    ] {
        openssl(&format!(
            "req -new -newkey {key} -nodes -keyout {name}.key -out {name}.csr -subj /OU=pumps/CN=d-{name}"
        ));
        openssl(&format!(
            "x509 -req -in {name}.csr -CA maker.pem -CAkey maker.key -out {name}.pem -days 9 -extfile ext"
        ));
        let (certificate, secret) = (format!("{name}.pem"), format!("{name}.key"));
        let outcome = world.enroll(&["--x509-cert", &certificate, "--x509-key", &secret], &[]);
        assert_eq!(identity(outcome), format!("spiffe://acme.signet.internal/device/d-{name}"));
    }
    // Older programs write keys in forms of their own.
    openssl("rsa -in rsa.key -traditional -out rsa1.key");
    openssl("ec -in p256.key -out sec1.key");
    identity(world.enroll(&["--x509-cert", "rsa.pem", "--x509-key", "rsa1.key"], &[]));
    identity(world.enroll(&["--x509-cert", "p256.pem", "--x509-key", "sec1.key"], &[]));
    let other = world.enroll(&["--x509-cert", "rsa.pem", "--x509-key", "p256.key"], &[]);
    assert!(other.code == 2 && other.err.contains("does not belong"), "{other:?}");
    openssl("req -x509 -newkey rsa:2048 -nodes -keyout own.key -out own.pem -subj /OU=pumps/CN=own -days 9");
    let refused = world.enroll(&["--x509-cert", "own.pem", "--x509-key", "own.key"], &[]);
    assert!(
        refused.code == 4 && !refused.err.contains("X509_") && refused.err.contains("audit list"),
        "only the audit log says why: {refused:?}"
    );
    let refusal = world.last_refusal();
    assert!(
        refusal.to_string().contains("X509_IS_A_CA") || refusal.to_string().contains("X509_UNTRUSTED"),
        "{refusal}"
    );
    world.server.stop().await;
}

/// Answers like the token service of GitHub Actions; returns its URL.
fn github(token: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/token?api-version=2.0", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).unwrap();
            let request = String::from_utf8_lossy(&request[..length]).to_lowercase();
            let good = request.starts_with("get /token?api-version=2.0&audience=signet%20test ")
                || request.starts_with("get /token?api-version=2.0&audience=signet+test ");
            let (status, body) = match good && request.contains("authorization: bearer job-secret") {
                true => ("200 OK", format!("{{\"count\":1,\"value\":\"{token}\"}}")),
                false => ("401 Unauthorized", String::new()),
            };
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).unwrap();
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_come_from_files_and_from_github_and_are_not_shown() {
    let world = World::new("").await;
    // Well-formed, of an issuer that no rule names: it gets as far as the server's refusal.
    const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwczovL25vYm9keS5leGFtcGxlIn0.c2lnbmF0dXJl";
    fs::write(world.machine.path("jwt"), format!("{TOKEN}\n")).unwrap();
    let file = world.enroll(&["--oidc-token-file", "jwt"], &[]);
    let url = github(TOKEN);
    let job = [("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()), ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "job-secret")];
    let arguments = ["--github-actions", "--oidc-audience", "signet test"];
    let job_token = world.enroll(&arguments, &job);
    for outcome in [file, job_token] {
        assert_eq!(outcome.code, 4, "{outcome:?}");
        assert!(!outcome.err.contains("eyJ") && !outcome.err.contains("job-secret"), "{outcome:?}");
    }
    assert!(world.last_refusal().to_string().contains("OIDC_ISSUER_NOT_TRUSTED"), "{}", world.last_refusal());
    let wrong = [job[0], ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "other")];
    let wrong = world.enroll(&arguments, &wrong);
    assert!(wrong.code == 6 && wrong.err.contains("GitHub returned no token"), "{wrong:?}");
    let elsewhere = world.enroll(&arguments, &[]);
    assert!(elsewhere.code == 2 && elsewhere.err.contains("id-token: write"), "{elsewhere:?}");
    fs::write(world.machine.path("jwt"), "a secret of another kind").unwrap();
    let other = world.enroll(&["--oidc-token-file", "jwt"], &[]);
    assert!(other.code == 2 && !other.err.contains("another kind"), "{other:?}");
    world.server.stop().await;
}

#[test]
fn proofs_exclude_each_other_and_need_a_tenant() {
    let machine = Machine::new();
    let fixed = ["enroll", "--server", "https://127.0.0.1:1", "--ca-file", "ca.pem", "--out", "out"];
    let code = |more: &[&str]| machine.principal(&[&fixed[..], more].concat()).code;
    assert_eq!(code(&["--aws-iam"]), 2);
    assert_eq!(code(&["--aws-iam", "--tenant", "acme", "--oidc-token-file", "f"]), 2);
    assert_eq!(code(&["--x509-cert", "f", "--tenant", "acme"]), 2);
    assert_eq!(code(&["--github-actions", "--tenant", "acme"]), 2);
}
