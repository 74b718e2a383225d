//! Presigned requests: one recorded from botocore 1.43, others made by AWS's own Rust signer.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign},
    sign::v4,
};
use signet_core::{Time, enrollment::attestation::Evidence};

use crate::world::{NOW, SERVER_ID, key};

/// `botocore.auth.SigV4QueryAuth(creds, "sts", "eu-central-1", expires=60)` at [`NOW`], with AWS's example credentials.
pub(crate) const RECORDED: &str = "https://sts.eu-central-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15\
    &X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=ASIAIOSFODNN7EXAMPLE%2F20261122%2Feu-central-1%2Fsts%2Faws4_request\
    &X-Amz-Date=20261122T060000Z&X-Amz-Expires=60\
    &X-Amz-SignedHeaders=host%3Bx-signet-key-sha256%3Bx-signet-server-id%3Bx-signet-tenant\
    &X-Amz-Security-Token=IQoJb3JpZ2luX2VjEXAMPLE%2F%2F%2F%2F%2F%2F%2F%2F%2F%2FwEaDGV1LWNlbnRyYWwtMSJGMEQCIEXAMPLE%2Btoken%2F%3D%3D\
    &X-Amz-Signature=314b2b762d2abdeb26fb3585e8ec88c89090e44dec2894f538f558f46e768033";

pub(crate) fn headers() -> BTreeMap<String, String> {
    let key = key();
    let bound = [("x-signet-server-id", SERVER_ID), ("x-signet-tenant", "acme"), ("x-signet-key-sha256", &key)];
    bound.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

pub(crate) fn recorded() -> Evidence {
    Evidence::AwsIam { url: RECORDED.to_owned(), headers: headers() }
}

/// The recorded one with something else in its URL. What is replaced must be there.
pub(crate) fn altered(from: &str, to: &str) -> Evidence {
    assert!(RECORDED.contains(from), "{from}");
    Evidence::AwsIam { url: RECORDED.replacen(from, to, 1), headers: headers() }
}

/// Signs a request for STS of `region` with `credentials`, as one who holds them could at any time.
pub(crate) fn presign(credentials: Credentials, host: &str, region: &str, at: Time, expires: u64) -> Evidence {
    let identity = credentials.into();
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(Duration::from_secs(expires));
    let time: SystemTime = UNIX_EPOCH + Duration::from_millis(at.unix_millis().try_into().unwrap());
    let params = v4::SigningParams::builder().identity(&identity).region(region).name("sts").time(time);
    let params = params.settings(settings).build().unwrap().into();
    let url = format!("https://{host}/?Action=GetCallerIdentity&Version=2011-06-15");
    let headers = headers();
    let named = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let request = SignableRequest::new("GET", &url, named, SignableBody::Bytes(&[])).unwrap();
    let (instructions, _) = sign(request, &params).unwrap().into_parts();
    let added = instructions.params().iter().map(|(name, value)| {
        let value: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
        format!("&{name}={value}")
    });
    Evidence::AwsIam { url: url.clone() + &added.collect::<String>(), headers }
}

/// AWS's example credentials.
pub(crate) fn example() -> Credentials {
    let token = "IQoJb3JpZ2luX2VjEXAMPLE//////////wEaDGV1LWNlbnRyYWwtMSJGMEQCIEXAMPLE+token/==";
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    Credentials::new("ASIAIOSFODNN7EXAMPLE", secret, Some(token.to_owned()), None, "test")
}

/// Two signers that know nothing of each other agree, so what is tested below is what AWS's clients send.
#[test]
fn the_rust_signer_signs_as_botocore_does() {
    let Evidence::AwsIam { url, .. } = presign(example(), "sts.eu-central-1.amazonaws.com", "eu-central-1", NOW, 60)
    else {
        panic!("another kind of proof")
    };
    let parts = |url: &str| url.split('&').map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(parts(&url), parts(RECORDED));
}
