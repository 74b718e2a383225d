//! What an operator can write wrongly.

use signet_attest::{Attestors, Options};

#[test]
fn options_that_cannot_be_used_name_their_key() {
    let key = |options: Options| Attestors::new(options).err().map(|error| error.key);
    let none = Options::default;
    assert_eq!(key(none()), None);
    for bad in ["127.0.0.1:4566", "ftp://x", "http://127.0.0.1:4566/sts", "http://127.0.0.1/?x=y"] {
        assert_eq!(key(Options { sts_endpoint: Some(bad.into()), ..none() }), Some("sts_endpoint"), "{bad}");
    }
    for bad in ["", "Frankfurt", "s3-eu-west-1", "eu-central-1.amazonaws.com"] {
        assert_eq!(key(Options { aws_regions: vec![bad.into()], ..none() }), Some("aws_regions"), "{bad}");
    }
    for bad in ["localhost", "http://user@h", "http://h/#x"] {
        assert_eq!(key(Options { private_issuers: vec![bad.into()], ..none() }), Some("private_issuers"), "{bad}");
    }
    for bad in ["", "no certificate"] {
        assert_eq!(key(Options { issuer_ca_pem: Some(bad.into()), ..none() }), Some("issuer_ca_file"), "{bad:?}");
    }
}
