//! An OpenID Connect issuer that can be made to misbehave.

use std::sync::{Arc, Mutex};

use aws_lc_rs::{
    encoding::AsDer,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
        Ed25519KeyPair, KeyPair as _,
    },
};
use axum::{extract::Request, response::Response};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use serde_json::{Value, json};
use signet_attest::{Attestors, Options};
use signet_core::enrollment::{attestation::Evidence, rule::Source};
use tokio::sync::Semaphore;

use crate::world::{NOW, Server, quick, response, silence};

pub(crate) const AUDIENCE: &str = "signet-test";

/// A signing key of an issuer.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) id: &'static str,
    pub(crate) algorithm: Algorithm,
    secret: EncodingKey,
    jwk: Value,
}

impl Key {
    pub(crate) fn new(id: &'static str, algorithm: Algorithm) -> Self {
        let secret = match algorithm {
            Algorithm::ES256 => EncodingKey::from_ec_der(&ec(&ECDSA_P256_SHA256_ASN1_SIGNING)),
            Algorithm::ES384 => EncodingKey::from_ec_der(&ec(&ECDSA_P384_SHA384_ASN1_SIGNING)),
            Algorithm::EdDSA => {
                let pair = Ed25519KeyPair::generate().unwrap();
                let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(pair.public_key()) });
                let secret = EncodingKey::from_ed_der(pair.to_pkcs8v1().unwrap().as_ref());
                return Self { id, algorithm, secret, jwk };
            }
            _ => rsa(KeySize::Rsa2048),
        };
        let jwk = serde_json::to_value(Jwk::from_encoding_key(&secret, algorithm).unwrap()).unwrap();
        Self { id, algorithm, secret, jwk }
    }

    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = self.jwk.clone();
        jwk["kid"] = json!(self.id);
        jwk["use"] = json!("sig");
        jwk
    }

    /// A token with these claims, signed with this key.
    pub(crate) fn token(&self, claims: &Value) -> Evidence {
        self.token_with(&Header { kid: Some(self.id.into()), ..Header::new(self.algorithm) }, claims)
    }

    pub(crate) fn token_with(&self, header: &Header, claims: &Value) -> Evidence {
        Evidence::Oidc { token: encode(header, claims, &self.secret).unwrap() }
    }
}

fn ec(algorithm: &'static EcdsaSigningAlgorithm) -> Vec<u8> {
    EcdsaKeyPair::generate(algorithm).unwrap().to_pkcs8v1().unwrap().as_ref().to_vec()
}

fn rsa(size: KeySize) -> EncodingKey {
    let pkcs8 = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&RsaKeyPair::generate(size).unwrap()).unwrap();
    let pem = signet_x509::pem::encode(signet_x509::pem::PRIVATE_KEY, pkcs8.as_ref());
    EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap()
}

/// How the issuer behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Honest,
    /// Honest, once it is released.
    Held,
    Silent,
    Failing,
    /// Calls itself otherwise.
    Lying,
    Redirecting,
    Huge,
    /// Says that its keys are on another host, in clear.
    Elsewhere,
    Empty,
}

#[derive(Clone)]
pub(crate) struct Issuer {
    server: Server,
    state: Arc<Mutex<(Mood, Vec<Value>)>>,
    released: Arc<Semaphore>,
}

impl Issuer {
    pub(crate) async fn start(keys: &[&Key]) -> Self {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        let state = Arc::new(Mutex::new((Mood::Honest, keys)));
        let (shared, released) = (Arc::clone(&state), Arc::new(Semaphore::new(0)));
        let gate = Arc::clone(&released);
        let server = Server::start(move |request: Request| {
            let ((mood, keys), gate) = (shared.lock().unwrap().clone(), Arc::clone(&gate));
            async move {
                if mood == Mood::Held {
                    let _forever = gate.acquire().await.unwrap();
                }
                answer(mood, &keys, request).await
            }
        });
        Self { server: server.await, state, released }
    }

    /// As tokens have it: with a path and a slash at its end.
    pub(crate) fn name(&self) -> String {
        format!("{}/realm/", self.server.url())
    }

    pub(crate) fn becomes(&self, mood: Mood) {
        self.state.lock().unwrap().0 = mood;
    }

    /// Answers what is held, and holds nothing more.
    pub(crate) fn releases(&self) {
        self.released.add_permits(1);
    }

    pub(crate) fn publishes(&self, keys: &[Value]) {
        self.state.lock().unwrap().1 = keys.to_vec();
    }

    pub(crate) fn requests(&self) -> usize {
        self.server.requests()
    }

    pub(crate) fn sources(&self) -> Vec<Source> {
        vec![Source::Oidc { issuer: self.name(), audience: AUDIENCE.into() }]
    }

    /// Somebody who may reach this issuer.
    pub(crate) fn attestors(&self) -> Attestors {
        Attestors::new(Options { private_issuers: vec![self.name()], ..quick() }).unwrap()
    }

    /// Claims that count for five minutes.
    pub(crate) fn claims(&self) -> Value {
        let now = NOW.unix_seconds();
        json!({ "iss": self.name(), "aud": AUDIENCE, "sub": "somebody", "iat": now, "exp": now + 300 })
    }
}

async fn answer(mood: Mood, keys: &[Value], request: Request) -> Response {
    let host = request.headers()["host"].to_str().unwrap().to_owned();
    let issuer = format!("http://{host}/realm/");
    let discovery = |issuer: &str, keys: &str| {
        response(200, json!({ "issuer": issuer, "jwks_uri": keys, "more": [1] }).to_string())
    };
    let own_keys = format!("http://{host}/keys");
    match (mood, request.uri().path()) {
        (Mood::Silent, _) => silence().await,
        (Mood::Failing, _) => response(503, ""),
        (Mood::Redirecting, _) => Response::builder().status(307).header("location", own_keys).body("".into()).unwrap(),
        (Mood::Lying, "/realm/.well-known/openid-configuration") => discovery("https://other.example", &own_keys),
        (Mood::Elsewhere, "/realm/.well-known/openid-configuration") => discovery(&issuer, "http://localhost:1/keys"),
        (_, "/realm/.well-known/openid-configuration") => discovery(&issuer, &own_keys),
        (Mood::Huge, "/keys") => response(200, json!({ "keys": keys, "x": "x".repeat(300_000) }).to_string()),
        (Mood::Empty, "/keys") => response(200, json!({ "keys": [] }).to_string()),
        (_, "/keys") => response(200, json!({ "keys": keys }).to_string()),
        (_, path) => panic!("an unexpected request for {path}"),
    }
}
