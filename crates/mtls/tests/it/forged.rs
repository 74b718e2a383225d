//! Certificates that we would never issue, made by OpenSSL past all of our code.

use std::{fs, path::Path, process::Command};

use signet_testkit::pki::Authority;
use signet_x509::{KeyPair, pem};

/// The extensions of a good leaf of `acme/worker/w-1`, to take one away or change it.
pub(crate) const GOOD: [&str; 7] = [
    "keyUsage=critical,digitalSignature",
    "extendedKeyUsage=clientAuth",
    "authorityKeyIdentifier=keyid",
    "subjectAltName=URI:spiffe://acme.test.example.com/worker/w-1",
    "1.3.6.1.4.1.99999.1.1=ASN1:UTF8String:worker",
    "1.3.6.1.4.1.99999.1.2=ASN1:UTF8String:w-1",
    "1.3.6.1.4.1.99999.1.3=ASN1:UTF8String:acme",
];

/// A leaf with these extensions, signed by `ca`, or by itself; chain and key, DER.
pub(crate) fn leaf(ca: Option<&Authority>, extensions: &[String]) -> (Vec<Vec<u8>>, Vec<u8>) {
    named(ca, "/O=acme/CN=w-1", extensions)
}

/// The same with another subject, as OpenSSL writes it.
pub(crate) fn named(ca: Option<&Authority>, subject: &str, extensions: &[String]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let key = KeyPair::generate().unwrap();
    fs::write(path("key.pem"), key.to_pkcs8_pem().as_bytes()).unwrap();
    fs::write(path("extensions"), extensions.join("\n")).unwrap();
    run(openssl(folder.path()).args(["req", "-new", "-subj", subject, "-key", "key.pem", "-out", "csr.pem"]));
    let mut sign = openssl(folder.path());
    // No UUIDv7, which would tell that it is older than its CA.
    sign.args(["x509", "-req", "-in", "csr.pem", "-days", "1", "-set_serial", "0x0197f0c0ffee40008000000000000001"]);
    sign.args(["-extfile", "extensions", "-outform", "DER", "-out", "leaf.der"]);
    if let Some(ca) = ca {
        fs::write(path("ca.pem"), pem::encode_certificate(&ca.ca.certificate_der)).unwrap();
        fs::write(path("ca-key.pem"), ca.key.to_pkcs8_pem().as_bytes()).unwrap();
        run(sign.args(["-CA", "ca.pem", "-CAkey", "ca-key.pem"]));
    } else {
        run(sign.args(["-signkey", "key.pem"]));
    }
    let mut chain = vec![fs::read(path("leaf.der")).unwrap()];
    chain.extend(ca.map(|ca| ca.ca.certificate_der.clone()));
    (chain, key.pkcs8_der().to_vec())
}

/// [`GOOD`] with the line that starts with `prefix` replaced, or removed if `by` is empty.
pub(crate) fn but(prefix: &str, by: &str) -> Vec<String> {
    let lines = GOOD.iter().map(|line| if line.starts_with(prefix) { by } else { line });
    lines.filter(|line| !line.is_empty()).map(ToString::to_string).collect()
}

fn openssl(folder: &Path) -> Command {
    let mut command = Command::new("openssl");
    command.current_dir(folder);
    command
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
