//! Writes the first corpus: what real clients send. `fixtures` as well, if they are empty, for their keys are not kept.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "run by hand")]

use std::{fs, path::PathBuf};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::json;
use signet_core::{PrincipalType, TenantId};
use signet_testkit::{
    fixtures::NOW,
    pki::{Holder, Pki},
    store_suite,
};
use signet_x509::{KeyAndCsr, OutOfBandStatement, bundle::to_pem, pem};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn seed(target: &str, name: &str, bytes: impl AsRef<[u8]>) {
    let folder = root().join("../../fuzz/corpus").join(target);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), bytes).unwrap();
}

fn main() {
    let pki = Pki::new(NOW);
    let ca = pki.tenant_ca("acme", 1);
    let worker = pki.worker(&ca, "worker-1");
    let fixtures = root().join("fixtures");
    if fs::metadata(fixtures.join("ca.der")).map_or(0, |file| file.len()) == 0 {
        fs::write(fixtures.join("ca.der"), &ca.ca.certificate_der).unwrap();
        fs::write(fixtures.join("leaf.der"), &worker.chain_der[0]).unwrap();
        seed("chain", "leaf", chain(&worker));
        seed("certificate", "worker", &worker.chain_der[0]);
    }
    // One that has the CA's name and not its key.
    let ca = pki.tenant_ca("acme", 1);
    let admin = pki.holder(&ca, PrincipalType::Admin, "a.b", &["operator", "viewer"]);
    seed("certificate", "admin", &admin.chain_der[0]);
    seed("certificate", "service", &pki.holder(&ca, PrincipalType::Service, "web", &[]).chain_der[0]);
    seed("certificate", "ca", &ca.ca.certificate_der);
    seed("certificate", "server", &pki.server_holder().chain_der[0]);
    seed("chain", "foreign", chain(&admin));

    let request = KeyAndCsr::generate().unwrap().csr_der;
    let csr_pem = pem::encode(pem::CERTIFICATE_REQUEST, &request);
    seed("csr", "der", &request);
    seed("csr", "pem", &csr_pem);
    proofs(&csr_pem);
    renewal(&pki, &worker, &request);
    proxies();

    seed("page_token", "first", [2]);
    let of = &signet_core::audit::sha256_hex(b"principals/acme")[..16];
    let place = json!({ "of": of, "shard": 0, "after": null }).to_string();
    let within =
        json!({ "of": of, "shard": 2, "after": { "sort": "worker-1", "key": ["acme#worker-1", "principal"] } });
    seed("page_token", "json", [vec![1], place.clone().into_bytes()].concat());
    seed("page_token", "after", [vec![1], within.to_string().into_bytes()].concat());
    seed("page_token", "text", [vec![2], BASE64_URL_SAFE_NO_PAD.encode(place).into_bytes()].concat());

    let tenant: TenantId = "acme".parse().unwrap();
    for (number, body) in store_suite::full(&tenant).iter().enumerate() {
        let mut body = serde_json::to_value(body).unwrap();
        // The long byte strings teach a fuzzer nothing.
        body.as_object_mut()
            .unwrap()
            .values_mut()
            .filter(|value| value.as_str().is_some_and(|text| text.len() > 300))
            .for_each(|value| *value = json!("AAAA"));
        seed("stored", &format!("{number:02}"), body.to_string());
        body["of_a_later_release"] = json!({ "n": [1, null] });
        seed("stored", &format!("{number:02}-later"), body.to_string());
    }
}

fn chain(holder: &Holder) -> Vec<u8> {
    let signature = holder.key.sign(b"another statement").unwrap();
    let mut bytes = [vec![u8::try_from(signature.len()).unwrap()], signature].concat();
    for der in &holder.chain_der {
        bytes.extend(u16::try_from(der.len()).unwrap().to_be_bytes());
        bytes.extend(der);
    }
    bytes
}

fn proofs(csr_pem: &str) {
    let token = "sgt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    seed("join_token", "token", token);
    seed("join_token", "short", "sgt_");
    let pin = "0a".repeat(32);
    let known = format!("ca_url=http://signet.example.com:8080&ca_sha256={pin}&tenant=acme&token={token}");
    seed("join_uri", "whole", format!("signet-join:v1?server=https://signet.example.com:8443&{known}"));
    seed(
        "join_uri",
        "named",
        format!("signet-join:v1?server=https://signet.example.com:8443&name=a%26b%20%C3%A9&{known}"),
    );
    let url = "https://sts.eu-central-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15\
        &X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=ASIAIOSFODNN7EXAMPLE%2F20261122%2Feu-central-1%2Fsts%2Faws4_request\
        &X-Amz-Date=20261122T060000Z&X-Amz-Expires=60\
        &X-Amz-SignedHeaders=host%3Bx-signet-key-sha256%3Bx-signet-server-id%3Bx-signet-tenant\
        &X-Amz-Security-Token=IQoJb3JpZ2lu%2F%3D\
        &X-Amz-Signature=314b2b762d2abdeb26fb3585e8ec88c89090e44dec2894f538f558f46e768033";
    let headers =
        |key: &str| format!("x-signet-server-id: test.example.com\nx-signet-tenant: acme\nx-signet-key-sha256: {key}");
    seed("sts", "other_key", format!("{url}\n{}", headers(&"cd".repeat(32))));
    seed("sts", "other_tenant", format!("{url}\n{}", headers(&"ab".repeat(32)).replace("acme", "globex")));
    let jwt = |header: &str, claims: &str| {
        format!("{}.{}.AAAA", BASE64_URL_SAFE_NO_PAD.encode(header), BASE64_URL_SAFE_NO_PAD.encode(claims))
    };
    let header = r#"{"alg":"ES256","kid":"1","typ":"JWT"}"#;
    let trusted = jwt(header, r#"{"iss":"http://127.0.0.1:1","aud":"signet","exp":1795330800,"iat":1795327200}"#);
    seed("jwt", "trusted", &trusted);
    seed("jwt", "other", jwt(header, r#"{"iss":"https://login.example.com"}"#));
    seed("jwt", "critical", jwt(r#"{"alg":"RS256","crit":["b64"]}"#, r#"{"iss":"x"}"#));
    seed("jwt", "none", jwt(r#"{"alg":"none"}"#, r#"{"iss":"x"}"#));

    let enroll = |proof: serde_json::Value| {
        json!({ "request_id": "r-1", "tenant_id": "acme", "principal_id": "worker-9", "csr_pem": csr_pem, "proof": proof })
            .to_string()
    };
    seed("enroll", "join_token", enroll(json!({ "join_token": token })));
    seed("enroll", "oidc", enroll(json!({ "oidc_token": trusted })));
    seed("enroll", "aws", enroll(json!({ "aws_iam": { "url": url, "headers": { "x-signet-tenant": "acme" } } })));
    let x509 = json!({ "chain_pem": "", "sign_time": "2100-01-01T00:00:00Z", "signature": "AAAA" });
    seed("enroll", "x509", enroll(json!({ "x509": x509 })));
}

fn renewal(pki: &Pki, holder: &Holder, csr_der: &[u8]) {
    let request_id = "renew-1".parse().unwrap();
    let certificate_der = &holder.chain_der[0];
    let statement = OutOfBandStatement {
        environment: &pki.environment,
        certificate_der,
        csr_der,
        request_id: &request_id,
        signed_at: NOW,
    };
    let body = json!({
        "request_id": "renew-1", "certificate_pem": to_pem([certificate_der.as_slice()]),
        "csr_pem": pem::encode(pem::CERTIFICATE_REQUEST, csr_der), "sign_time": "2100-01-01T00:00:00Z",
        "signature": base64::prelude::BASE64_STANDARD.encode(statement.sign(&holder.key).unwrap()),
    });
    seed("renew", "unknown", body.to_string());
}

fn proxies() {
    let header = |command: u8, family: u8, body: &[u8]| {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&signet_mtls::proxy::SIGNATURE[..], &[command, family], &length, body, b"\x16\x03\x01"].concat()
    };
    seed(
        "proxy",
        "ipv4",
        header(0x21, 0x11, &[203, 0, 113, 9, 10, 0, 1, 20, 0xd4, 0x31, 1, 0xbb, 3, 0, 4, 1, 2, 3, 4]),
    );
    let mapped = [&[0; 10][..], &[0xff, 0xff, 192, 0, 2, 1], &[0; 16], &[0x1f, 0x90, 1, 0xbb]].concat();
    seed("proxy", "mapped", header(0x21, 0x21, &mapped));
    seed("proxy", "local", header(0x20, 0, &[]));
}
