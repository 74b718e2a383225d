//! What RFCs say of keys and tokens, with their own examples.

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der},
    rand::SystemRandom,
    rsa,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use serde_json::{Value, json};

use super::*;

fn ec() -> SigningKey {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    SigningKey::from_pkcs8(Algorithm::ES256, pkcs8.as_ref()).unwrap()
}

fn rsa() -> SigningKey {
    let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
    let pkcs8: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    SigningKey::from_pkcs8(Algorithm::RS256, pkcs8.as_ref()).unwrap()
}

#[test]
fn what_a_key_signs_its_public_half_verifies_and_no_other() {
    for (key, other) in [(ec(), ec()), (rsa(), rsa())] {
        let claims = json!({ "sub": "a", "n": 1 });
        let text = key.sign("at+jwt", &claims).unwrap();
        let token = Token::parse(&text, &[Algorithm::ES256, Algorithm::RS256]).unwrap();
        assert_eq!((token.typ(), token.key_id()), (Some("at+jwt"), Some(key.id())));
        assert_eq!(token.claimed::<Value>().unwrap(), claims);
        assert_eq!(token.verify::<Value>(&key.public().decoding_key().unwrap()), Ok(claims));
        let wrong = token.verify::<Value>(&other.public().decoding_key().unwrap());
        assert_eq!(wrong, Err(TokenFault::Signature));
    }
}

#[test]
fn a_token_that_was_changed_does_not_verify() {
    let key = ec();
    let verifies = key.public().decoding_key().unwrap();
    let (one, two) = (key.sign("", &json!({ "sub": "a" })).unwrap(), key.sign("", &json!({ "sub": "b" })).unwrap());
    let parts: Vec<&str> = one.split('.').collect();
    let mixed = [parts[0], two.split('.').nth(1).unwrap(), parts[2]].join(".");
    let token = Token::parse(&mixed, &[Algorithm::ES256]).unwrap();
    assert_eq!(token.verify::<Value>(&verifies), Err(TokenFault::Signature));
}

#[test]
fn what_is_no_token_of_an_allowed_algorithm_is_refused_before_anything_is_verified() {
    let header = |json: &Value| format!("{}.e30.AA", encode(json.to_string()));
    let parse = |text: &str| Token::parse(text, &[Algorithm::ES256]).map(drop);
    for algorithm in ["none", "HS256", "RS256", "es256", ""] {
        let refused = parse(&header(&json!({ "alg": algorithm })));
        assert_eq!(refused, Err(TokenFault::Algorithm(algorithm.into())));
    }
    let malformed = |text: &str| matches!(parse(text), Err(TokenFault::Malformed(_)));
    assert!(malformed(&header(&json!({ "alg": "ES256", "crit": ["b64"] }))));
    assert!(malformed(&header(&json!({ "typ": "JWT" }))));
    for text in ["", "a", "a.b", "a.b.c", "a.b.c.d", "..", &format!("{}.e30.AA", "A".repeat(17 * 1024))] {
        assert!(malformed(text), "{text:.20}");
    }
}

/// RFC 7638 section 3.1.
#[test]
fn the_thumbprint_of_the_rfcs_key_is_the_rfcs() {
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknj\
             hMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQ\
             vRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzK\
             nqDKgw";
    let bytes = |text: &str| base64::Engine::decode(&URL_SAFE_NO_PAD, text).unwrap();
    let mut der = vec![0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00];
    der.extend(bytes(n));
    der.extend([0x02, 0x03, 0x01, 0x00, 0x01]);
    let key = public::from_pkcs1(&der).unwrap();
    assert_eq!(key.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

/// RFC 8705 section 3.1: 43 characters, no padding.
#[test]
fn a_certificates_thumbprint_is_base64url_of_its_digest() {
    assert_eq!(x5t_s256(b""), "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU");
}

#[test]
fn a_key_is_published_without_its_private_half() {
    let key = ec();
    let published = key.public().published(Use::JwtSvid);
    let mut names: Vec<_> = published.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
    assert_eq!(published["use"], "jwt-svid");
    assert!(!format!("{key:?}").contains("pair"));
}

/// A published key may be taken by anybody as the secret of an HMAC.
#[test]
fn a_sets_key_is_found_by_its_id_for_its_own_algorithm_and_use_only() {
    let (ec, rsa) = (ec(), rsa());
    let keys = [ec.public().published(Use::Signature), rsa.public().published(Use::JwtSvid)];
    let set =
        json!({ "keys": [keys[0], keys[1], { "kty": "oct", "k": "AA", "kid": "o", "use": "sig" }, 7] }).to_string();
    let found = KeySet::parse(set.as_bytes(), Use::Signature).unwrap();
    assert_eq!(
        (found.jwks(), found.has(ec.id()), found.has(rsa.id()), found.has("o")),
        (&keys[..1], true, false, false)
    );
    let all = [Algorithm::ES256, Algorithm::RS256, Algorithm::HS256];
    let by = |text: &str| found.of(&Token::parse(text, &all).unwrap()).is_some();
    let own = ec.sign("at+jwt", &json!({})).unwrap();
    assert!(by(&own) && !by(&rsa.sign("at+jwt", &json!({})).unwrap()));
    for alg in ["RS256", "HS256"] {
        let header = encode(json!({ "alg": alg, "kid": ec.id() }).to_string());
        let (_, rest) = own.split_once('.').unwrap();
        assert!(!by(&format!("{header}.{rest}")), "{alg}");
    }
    assert!(KeySet::parse(b"{}", Use::Signature).is_none());
}
