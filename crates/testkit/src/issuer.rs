//! An OpenID Connect issuer on this machine: its discovery document and its key, over plain HTTP.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use serde_json::{Value, json};

/// Answers until the process ends.
#[derive(Debug)]
pub struct Issuer {
    name: String,
    key: EcdsaKeyPair,
}

impl Issuer {
    /// With a new key, on a free port.
    pub fn start() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = format!("http://{}", listener.local_addr().unwrap());
        let (x, y) = key.public_key().as_ref()[1..].split_at(32);
        let jwk = json!({ "kty": "EC", "crv": "P-256", "kid": "1", "use": "sig", "alg": "ES256",
            "x": BASE64.encode(x), "y": BASE64.encode(y) });
        let discovery = json!({ "issuer": name, "jwks_uri": format!("{name}/keys") }).to_string();
        let keys = json!({ "keys": [jwk] }).to_string();
        thread::spawn(move || serve(&listener, &discovery, &keys));
        Self { name, key }
    }

    /// As tokens have it in `iss`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A JWT with `claims` (an object) and `iss`, signed.
    pub fn token(&self, mut claims: Value) -> String {
        claims["iss"] = json!(self.name);
        let header = json!({ "alg": "ES256", "kid": "1", "typ": "JWT" });
        let signed = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", BASE64.encode(signature))
    }
}

/// One request for each connection.
fn serve(listener: &TcpListener, discovery: &str, keys: &str) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let mut request = [0; 4096];
        let length = stream.read(&mut request).unwrap_or(0);
        let (status, body) = match String::from_utf8_lossy(&request[..length]).split(' ').nth(1) {
            Some("/.well-known/openid-configuration") => ("200 OK", discovery),
            Some("/keys") => ("200 OK", keys),
            _ => ("404 Not Found", ""),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        // Who hangs up gets nothing.
        let _ = stream.write_all((head + body).as_bytes());
    }
}
