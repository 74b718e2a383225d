//! A device maker's PKI, made by openssl.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const CONFIG: &str = "[ca]\ndefault_ca = d\n[d]\ndatabase = index.txt\nnew_certs_dir = .\ndefault_md = sha256\npolicy = p\n\
    unique_subject = no\npreserve = yes\nrand_serial = yes\n[p]\ncountryName = optional\norganizationName = optional\n\
    organizationalUnitName = optional\nserialNumber = optional\ncommonName = optional\n";

pub(crate) const CA: &str = "basicConstraints = critical, CA:true\nkeyUsage = critical, keyCertSign, cRLSign\n";
pub(crate) const FOR_EVER: &str = "99991231235959Z";
pub(crate) const YEARS: &str = "20361122000000Z";
const START: &str = "20260101000000Z";

/// What `openssl req -newkey` takes.
pub(crate) const P256: &[&str] = &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
pub(crate) const P384: &[&str] = &["ec", "-pkeyopt", "ec_paramgen_curve:P-384"];
pub(crate) const P521: &[&str] = &["ec", "-pkeyopt", "ec_paramgen_curve:P-521"];
pub(crate) const RSA: &[&str] = &["rsa:2048"];

/// What a certificate is to say.
#[derive(Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) subject: &'a str,
    pub(crate) key: &'a [&'a str],
    pub(crate) extensions: &'a str,
    pub(crate) start: &'a str,
    pub(crate) end: &'a str,
    pub(crate) digest: &'a str,
}

impl<'a> Wish<'a> {
    pub(crate) const fn new(subject: &'a str, key: &'a [&'a str], extensions: &'a str) -> Self {
        Self { subject, key, extensions, start: START, end: YEARS, digest: "sha256" }
    }
}

/// The folder of all its keys and certificates.
pub(crate) struct Maker(tempfile::TempDir);

impl Maker {
    pub(crate) fn new() -> Self {
        let maker = Self(tempfile::tempdir().unwrap());
        fs::write(maker.path("config"), CONFIG).unwrap();
        fs::write(maker.path("index.txt"), "").unwrap();
        maker
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl").args(arguments).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Certifies a new key `name` by the CA `by`, or by itself; its DER.
    pub(crate) fn issue(&self, name: &str, by: Option<&str>, wish: Wish<'_>) -> Vec<u8> {
        let [key, request, certificate, extensions] =
            ["key", "csr", "pem", "ext"].map(|ending| format!("{name}.{ending}"));
        fs::write(self.path(&extensions), wish.extensions).unwrap();
        let fixed = ["req", "-new", "-nodes", "-batch", "-config", "/dev/null", "-subj", wish.subject];
        self.openssl(&[&fixed[..], &["-keyout", &key, "-out", &request, "-newkey"], wish.key].concat());
        let signer = by.map_or_else(|| name.to_owned(), str::to_owned);
        let signer_key = format!("{signer}.key");
        let signer_certificate = format!("{signer}.pem");
        let mut arguments = vec!["ca", "-batch", "-notext", "-config", "config", "-in", &request, "-out", &certificate];
        arguments.extend(["-extfile", &extensions, "-startdate", wish.start, "-enddate", wish.end]);
        arguments.extend(["-md", wish.digest, "-keyfile", &signer_key]);
        match by {
            Some(_) => arguments.extend(["-cert", &signer_certificate]),
            None => arguments.push("-selfsign"),
        }
        self.openssl(&arguments);
        der(&self.path(&certificate))
    }

    /// Signs with the key `name`.
    pub(crate) fn sign(&self, name: &str, digest: &str, message: &str) -> Vec<u8> {
        fs::write(self.path("message"), message).unwrap();
        self.openssl(&["dgst", digest, "-sign", &format!("{name}.key"), "-out", "signature", "message"]);
        fs::read(self.path("signature")).unwrap()
    }
}

fn der(path: &Path) -> Vec<u8> {
    let text = fs::read_to_string(path).unwrap();
    signet_x509::pem::decode_certificates(&text).unwrap().remove(0)
}
