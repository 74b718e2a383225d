//! What is asked for must be possible, or is refused with the key that is wrong.

use std::fs;

use signet_agent::{Config, config::ProofConfig};
use signet_testkit::pki::Pki;

const ROOT: &str = "root.pem";

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(signet_core::Time::from_unix_seconds(1_800_000_000));
    let root = signet_x509::pem::encode_certificate(&pki.root.ca.certificate_der);
    for file in [ROOT, "server-anchor.pem"] {
        fs::write(folder.path().join(file), &root).unwrap();
    }
    folder
}

fn read(more: &str) -> Result<Config, String> {
    let head = "state_dir = \"s\"\n[control_plane]\nendpoint = \"https://localhost:1\"\nca_file = \"root.pem\"\n";
    Config::from_toml(&format!("{head}{more}"), folder().path()).map_err(|error| error.to_string())
}

#[test]
fn the_sample_is_a_configuration() {
    let folder = folder();
    let sample = include_str!("../../agent.sample.toml");
    let config = Config::from_toml(sample, folder.path()).unwrap();
    assert_eq!(config.identities.len(), 2);
    assert_eq!(config.identities[0].pem.as_ref().unwrap().key.mode, 0o640);
    assert_eq!(config.identities[0].pem.as_ref().unwrap().key.group, Some(0));
    // What is commented out is one, too.
    let all = sample.replace("\n#out", "\nout").replace("\n#so", "\nso").replace("\n#server", "\nserver");
    let all = all.replace("\n#fol", "\nfol").replace("\n#work", "\nwork").replace("\n#[work", "\n[work");
    let all = all.replace("\n#ext", "\next");
    let config = Config::from_toml(&all, folder.path()).unwrap();
    assert!(config.control_plane.out_of_band.is_some() && config.identities[0].follow_bundle);
    assert_eq!((config.workload_api.is_some(), config.identities[0].workloads.len()), (true, 2));
    assert_eq!(config.identities[0].ext_authz.as_ref().unwrap().rules.len(), 1);
    let token = sample.lines().find(|line| line.starts_with("enroll")).unwrap();
    let proofs: Vec<_> = sample.lines().filter_map(|line| line.strip_prefix("#enroll")).collect();
    for proof in &proofs {
        Config::from_toml(&sample.replacen(token, &format!("enroll{proof}"), 1), folder.path()).unwrap();
    }
    assert_eq!(proofs.len(), 3);
}

#[test]
fn what_cannot_be_is_refused_by_its_key() {
    let one = |lines: &str| {
        read(&format!("[[identity]]\nname = \"web\"\nenroll = {{ join_token_file = \"t\" }}\n{lines}")).unwrap_err()
    };
    for (lines, words) in [
        ("", "identity.web: it has no output"),
        ("pem = { directory = \"d\", key = { mode = \"0644\" } }", "identity.web.pem.key.mode: \"0644\" must be octal"),
        ("pem = { directory = \"d\", key = { owner = \"nobody-knows\" } }", "owner: \"nobody-knows\" does not exist"),
        ("pem = { directory = \"d\", canary = \"localhost:1\" }", "identity.web.pem.canary: needs crl = true"),
        (
            "pem = { directory = \"d\", crl = true, canary = \"web\" }",
            "canary: must be host:port, or https://host:port/path",
        ),
        ("pem = { directory = \"d\", keys = 1 }", "pem.keys: unknown key; valid keys are directory, key"),
        ("pem = \"d\"", "pem: must be a table, { key = … }, not the string \"d\""),
        ("log = \"text\"", "log: unknown key"),
        ("pkcs12 = { file = \"f\", password_file = \"p\" }", "a join token does not work twice"),
        ("pem = { directory = \"d\" }\nexec = { command = [\"nginx\"] }", "exec.command: must be a list of words"),
        ("pem = { directory = \"d\" }\nworkloads = [{ uid = \"0\" }]", "identity.web.workloads: nobody can ask"),
        ("pem = { directory = \"d\" }\next_authz = {}", "identity.web.ext_authz: nobody can ask"),
        (
            "ext_authz.rules = [{ path = \"/a?b\", permission = \"a\" }]",
            "identity.web.ext_authz.rules.0: path must be /a/b or /a/b/*",
        ),
        ("workloads = [{ executable = \"/bin/sh\" }]", "workloads.0: set at least one of uid"),
        ("pem = { directory = \"d\" }\nsignal = { pid_file = \"p\", signal = \"KILL\" }", "must be HUP"),
    ] {
        let error = one(lines);
        assert!(error.contains(words), "{lines}: {error}");
    }
    assert!(read("").unwrap_err().contains("add an [[identity]]"));
    let both = "[[identity]]\nname = \"web\"\nenroll = { join_token_file = \"t\", oidc_token_file = \"o\" }";
    assert!(read(both).unwrap_err().contains("set one of join_token_file"));
    let without = "[[identity]]\nname = \"web\"\nenroll = { oidc_token_file = \"o\" }";
    assert!(read(without).unwrap_err().contains("identity.web.enroll.tenant"));
    let twice = "[[identity]]\nname = \"web\"\nenroll = { join_token_file = \"t\" }\ncombined = { file = \"f\" }\n";
    let error = read(&format!("{twice}{}", twice.replace("web", "api"))).unwrap_err();
    assert!(error.contains("f is used twice"), "{error}");
}

#[test]
fn a_proof_that_repeats_may_keep_its_key_in_memory() {
    let config = read(
        "[[identity]]\nname = \"web\"\nenroll = { tenant = \"acme\", aws_iam = { region = \"eu-central-1\" } }\n\
         exec = { command = [\"/bin/cat\"], stdin = \"credentials\" }",
    )
    .unwrap();
    assert!(matches!(config.identities[0].enroll.proof, ProofConfig::AwsIam { .. }));
    assert!(!config.identities[0].keeps_its_key());
}

#[test]
fn a_socket_whose_path_no_system_takes_is_refused() {
    let long = "s".repeat(110);
    let text = format!(
        "state_dir = \"{long}\"\n[control_plane]\nendpoint = \"https://localhost:1\"\nca_file = \"root.pem\"\n\
         [[identity]]\nname = \"web\"\nenroll = {{ join_token_file = \"t\" }}\npem = {{ directory = \"d\" }}\n"
    );
    let error = Config::from_toml(&text, folder().path()).unwrap_err().to_string();
    assert!(error.contains("socket: ") && error.contains("at most 107"), "{error}");
}
