//! Parsers that need nothing around them.

use secrecy::ExposeSecret;
use serde_json::Value;
use signet_client::JoinUri;
use signet_core::{
    PrincipalType,
    brokers::{BrokerTopics, TopicPattern, default_rules},
    store::{Body, Version, stored::Stored},
};
use signet_mtls::proxy::{self, Header};

/// A PROXY v2 header: read from a stream as from memory, not one byte more, and the address is the one that was sent.
pub fn proxy(data: &[u8]) {
    let mut rest = data;
    let Ok(header) = futures::executor::block_on(proxy::read(&mut rest)) else { return };
    let (prefix, body) = data[..data.len() - rest.len()].split_first_chunk::<16>().expect("a header has a prefix");
    assert_eq!(proxy::parse(prefix, body).expect("it was read"), header);
    assert_eq!(body.len(), proxy::body_length(prefix).expect("it was read"));
    if let Header::Relayed(source) = header {
        let port = if prefix[13] == 0x11 { &body[8..10] } else { &body[32..34] };
        assert_eq!(source.port().to_be_bytes(), port);
        assert!(source.ip().to_canonical() == source.ip(), "a mapped address is not another client");
    }
}

/// The line of a QR code: what is read is written so that it is read again, and no error shows a part of the token.
pub fn join_uri(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match JoinUri::parse(text) {
        Ok(uri) => {
            let written = uri.to_text();
            let again = JoinUri::parse(written.expose_secret()).expect("what is written is read");
            assert_eq!(again.to_text().expose_secret(), written.expose_secret());
            assert_eq!(
                (&again.server, &again.server_name, &again.ca_url),
                (&uri.server, &uri.server_name, &uri.ca_url)
            );
            assert!(!format!("{uri:?}").contains(uri.token.0.expose_secret()));
        }
        Err(error) => assert!(!error.to_string().contains("sgt_A"), "{error}"),
    }
}

/// A topic filter that a broker token is asked for: what is given is of the client's own tenant, and says to every
/// broker what it says here; what is refused is named.
pub fn topic_filter(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let rules = default_rules();
    for (of, granted) in [(PrincipalType::Service, [true, true]), (PrincipalType::Device, [false, false])] {
        let wish = || vec![text.to_owned()];
        for wanted in [
            BrokerTopics { publish: wish(), subscribe: Vec::new() },
            BrokerTopics { publish: Vec::new(), subscribe: wish() },
        ] {
            match rules.narrowed(rules.rights(of, &granted), ("acme", "d1"), &wanted) {
                Ok(BrokerTopics { publish, subscribe }) => {
                    assert_eq!(publish.len() + subscribe.len(), 1);
                    for filter in publish.iter().chain(&subscribe) {
                        assert!(
                            format!("{filter}/").starts_with("tenant/acme/") && !filter.contains(['{', '}', '\0']),
                            "{filter:?}"
                        );
                        let again: TopicPattern = filter.parse().expect("what is given is a filter");
                        assert_eq!(again.filled("globex", "d2"), *filter, "no names are left to fill in");
                    }
                }
                Err(fault) => assert_eq!(fault.filter, text),
            }
        }
    }
}

/// A stored record: what is read is written as it was, and what this version does not know of it survives that.
pub fn stored(data: &[u8]) {
    // No store writes a field twice, and what has one twice is another record afterwards.
    let Ok(kept) = serde_json::from_slice::<Value>(data) else { return };
    let text = kept.to_string();
    let Ok(body) = serde_json::from_str::<Body>(&text) else { return };
    let understood = serde_json::to_value(&body).expect("a body is JSON");
    assert_eq!(serde_json::from_value::<Body>(understood.clone()).expect("what is written is read"), body);
    let (key, at) = (body.key(), body.expires_at());
    let stored = Stored { body: text, beside: serde_json::Map::new() };
    let form = Version::read(1, stored).form_of(&body).expect("a body is JSON").unwrap_or_else(|| understood.clone());
    let again: Body = serde_json::from_value(form.clone()).expect("a replacement is read");
    assert_eq!((again.key(), again.expires_at(), &again), (key, at, &body));
    keeps(&understood, &kept, &form);
}

/// Every field that is stored and not understood is in the form.
fn keeps(understood: &Value, stored: &Value, form: &Value) {
    let (Value::Object(understood), Value::Object(stored)) = (understood, stored) else { return };
    for (name, value) in stored {
        match understood.get(name) {
            None => assert_eq!(form.get(name), Some(value), "{name} was lost"),
            Some(understood) => keeps(understood, value, &form[name.as_str()]),
        }
    }
}
