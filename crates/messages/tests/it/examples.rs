//! The reference clients in `examples/device-messages`, and this crate, against the vectors there.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use signet_messages::{SecretPair, SignedBy, SignedMessage, SigningSecret};

#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    secret: String,
    id: String,
    timestamp: String,
    body_base64: String,
    signature: String,
}

impl Vector {
    fn body(&self) -> Vec<u8> {
        BASE64_STANDARD.decode(&self.body_base64).unwrap()
    }

    fn headers(&self) -> String {
        let Self { id, timestamp, signature, .. } = self;
        format!("webhook-id: {id}\nwebhook-timestamp: {timestamp}\nwebhook-signature: {signature}\n")
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/device-messages")
}

fn vectors() -> Vec<Vector> {
    let text = fs::read(folder().join("vectors.json")).unwrap();
    let Vectors { vectors } = serde_json::from_slice(&text).unwrap();
    assert!(vectors.len() >= 6);
    vectors
}

/// Has `client` sign each vector.
fn assert_signs(client: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret.txt");
    for vector in vectors() {
        fs::write(&file, format!("{}\n", vector.secret)).unwrap();
        let (program, arguments) = client.split_first().unwrap();
        let mut command = Command::new(program);
        command.args(arguments).arg(&file).args([&vector.id, &vector.timestamp]);
        let mut running = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        running.stdin.take().unwrap().write_all(&vector.body()).unwrap();
        let output = running.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), vector.headers(), "{}", vector.name);
        assert!(output.status.success());
    }
}

#[test]
fn this_crate_signs_and_verifies_as_the_vectors_say() {
    for vector in vectors() {
        let secret: SigningSecret = vector.secret.parse().unwrap();
        let (body, now) = (vector.body(), vector.timestamp.parse().unwrap());
        assert_eq!(secret.sign(&vector.id, now, &body), vector.signature, "{}", vector.name);
        let message =
            SignedMessage { id: &vector.id, timestamp: &vector.timestamp, signatures: &vector.signature, body: &body };
        assert_eq!(SecretPair::new(secret, None).verify(&message, now), Ok(SignedBy::Current), "{}", vector.name);
        // What the clients print, an empty line and the body are the form without headers.
        assert_eq!(message.to_lines(), [vector.headers().as_bytes(), b"\n", &body].concat(), "{}", vector.name);
    }
}

#[test]
fn the_python_client_signs_as_the_vectors_say() {
    assert_signs(&["python3", folder().join("device.py").to_str().unwrap()]);
}

/// Needs a C compiler, and OpenSSL's headers (Debian: libssl-dev).
#[test]
fn the_c_client_signs_as_the_vectors_say() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("device");
    let built = Command::new("cc")
        .args(["-Wall", "-Wextra", "-Werror", "-O2", "-o"])
        .arg(&program)
        .arg(folder().join("device.c"))
        .arg("-lcrypto")
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    assert_signs(&[program.to_str().unwrap()]);
}
