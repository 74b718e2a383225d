//! Proofs of others, before they are asked.

use std::{cell::OnceCell, collections::BTreeMap};

use signet_attest::{Attestors, Options};
use signet_core::{
    TenantId, Time,
    enrollment::{
        attestation::{AttestationError, Attestor, Challenge, Evidence, Facts},
        rule::Source,
    },
};
use tokio::runtime::{Builder, Runtime};

/// When the recorded request of `aws_presigned.rs` was signed.
const NOW: Time = Time::from_unix_seconds(1_795_327_200);

thread_local! {
    static ATTESTORS: OnceCell<(Runtime, Attestors)> = const { OnceCell::new() };
}

fn attest(evidence: &Evidence, source: Source) -> Result<Facts, AttestationError> {
    let tenant: TenantId = "acme".parse().unwrap();
    let (key_sha256, sources) = ("ab".repeat(32), [source]);
    let challenge = Challenge {
        server_id: "test.example.com",
        tenant: &tenant,
        key_sha256: &key_sha256,
        sources: &sources,
        caller: None,
        now: NOW,
    };
    ATTESTORS.with(|cell| {
        let (runtime, attestors) = cell.get_or_init(|| {
            // Nobody is there, should a request ever be good enough to be sent.
            let options = Options { sts_endpoint: Some("http://127.0.0.1:1".into()), ..Options::default() };
            (Builder::new_current_thread().enable_all().build().unwrap(), Attestors::new(options).unwrap())
        });
        runtime.block_on(attestors.attest(evidence, &challenge))
    })
}

/// A JWT of an issuer that may not be asked: refused by what it says itself, with a reason that names no more of it.
pub fn jwt(data: &[u8]) {
    let evidence = Evidence::Oidc { token: String::from_utf8_lossy(data).into_owned() };
    let source = Source::Oidc { issuer: "http://127.0.0.1:1".into(), audience: "signet".into() };
    refused(&attest(&evidence, source));
    if let Some(digest) = evidence.bearer_sha256() {
        assert_eq!(digest.len(), 64);
    }
}

/// A presigned request for STS, the URL and then a header a line: what is not refused goes to STS and nowhere else.
pub fn sts(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.split('\n');
    let url = lines.next().unwrap_or_default().to_owned();
    let headers: BTreeMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let bound = headers.get("x-signet-key-sha256").is_some_and(|key| *key == "ab".repeat(32));
    match attest(&Evidence::AwsIam { url: url.clone(), headers }, Source::AwsIam) {
        Err(AttestationError::Unavailable { .. } | AttestationError::Busy { .. }) => {
            assert!(bound && url.starts_with("https://sts."), "sent: {url}");
        }
        outcome => refused(&outcome),
    }
}

fn refused(outcome: &Result<Facts, AttestationError>) {
    let Err(AttestationError::Refused { reason, detail }) = outcome else { panic!("not refused: {outcome:?}") };
    assert!(reason.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_'), "{reason}");
    assert!(!detail.chars().any(char::is_control), "goes into a log as it is: {detail:?}");
}
