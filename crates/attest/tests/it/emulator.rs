//! A real STS API, as far as the emulator has one.

use signet_attest::{Attestors, Options};
use signet_core::{Time, enrollment::rule::Source};

use crate::{
    aws_presigned::{example, presign},
    world::{attest, value},
};

#[tokio::test]
async fn the_emulators_sts_vouches() {
    let endpoint = std::env::var("SIGNET_TEST_AWS_ENDPOINT")
        .unwrap_or_else(|_| panic!("SIGNET_TEST_AWS_ENDPOINT is not set: scripts/aws-emulator start"));
    let attestors = Attestors::new(Options { sts_endpoint: Some(endpoint), ..Options::default() }).unwrap();
    let now = Time::from_unix_millis(jiff::Timestamp::now().as_millisecond());
    let evidence = presign(example(), "sts.eu-central-1.amazonaws.com", "eu-central-1", now, 60);
    let facts = attest(&attestors, &evidence, &[Source::AwsIam], now).await.unwrap();
    assert_eq!(value(&facts, "account").len(), 12);
    assert!(value(&facts, "arn").starts_with("arn:aws:iam::"), "{facts:?}");
}
