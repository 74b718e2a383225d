//! Trust bundles.

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};
use serde_json::Value;
use signet_core::Lifetime;
use signet_x509::{bundle, pem};

use crate::world::World;

#[test]
fn a_pem_bundle_holds_the_certificates_in_order() {
    let world = World::new();
    let text = bundle::to_pem([world.root.der.as_slice(), &world.tenant.der]);
    assert_eq!(pem::decode_certificates(&text), Some(vec![world.root.der.clone(), world.tenant.der.clone()]));
    assert_eq!(pem::decode_certificates("nothing"), None);
    assert_eq!(pem::decode_certificates(&text.replace("MII", "M*I")), None);
}

#[test]
fn a_spiffe_bundle_says_what_the_specification_wants() {
    let world = World::new();
    let ders = [world.tenant.der.as_slice(), &world.shared.der];
    let text = bundle::to_spiffe_json(ders, Vec::new(), 42, Lifetime::minutes(5)).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((json["spiffe_sequence"].as_u64(), json["spiffe_refresh_hint"].as_u64()), (Some(42), Some(300)));
    let keys = json["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2);
    for (key, der) in keys.iter().zip(ders) {
        assert_eq!((&key["use"], &key["kty"], &key["crv"]), (&"x509-svid".into(), &"EC".into(), &"P-256".into()));
        assert_eq!(key["x5c"].as_array().unwrap().len(), 1);
        assert_eq!(BASE64_STANDARD.decode(key["x5c"][0].as_str().unwrap()).unwrap(), der);
        let bytes = |name: &str| BASE64_URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
        let point = [bytes("x"), bytes("y")].concat();
        assert!(point.len() == 64 && der.windows(64).any(|window| window == point));
    }
    assert!(bundle::to_spiffe_json([[0u8; 3].as_slice()], Vec::new(), 1, Lifetime::hours(1)).is_err());
}
