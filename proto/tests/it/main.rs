//! Messages as releases sent them, kept in `fixtures/messages`: today's code reads each and loses nothing.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod full;
mod words;

use std::collections::BTreeSet;

use full::{full, messages, shape};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::{Map, Value, json};
use signet_proto::DESCRIPTORS;
use signet_testkit::releases::Releases;

fn pool() -> DescriptorPool {
    DescriptorPool::decode(DESCRIPTORS).unwrap()
}

fn releases() -> Releases {
    Releases::of(env!("CARGO_MANIFEST_DIR"), "fixtures/messages")
}

/// For each message that a method takes or gives: its fields at any depth, and its bytes with all of them.
fn today() -> Value {
    let of = |name: &String| {
        let all = full(&pool().get_message_by_name(name).unwrap());
        let sent: Vec<_> = all.iter().map(|message| hex::encode(message.encode_to_vec())).collect();
        json!({ "fields": shape(&all), "hex": sent })
    };
    Value::Object(messages(&pool()).iter().map(|name| (name.clone(), of(name))).collect::<Map<_, _>>())
}

#[test]
fn messages_of_every_release_are_read_and_lose_nothing() {
    let pool = pool();
    for (file, fixture) in releases().all() {
        for (name, sent) in fixture.as_object().unwrap() {
            let known = pool.get_message_by_name(name).unwrap_or_else(|| panic!("{file}: {name} is gone"));
            let read = |hex: &Value| {
                let bytes = hex::decode(hex.as_str().unwrap()).unwrap();
                DynamicMessage::decode(known.clone(), &*bytes).unwrap_or_else(|error| panic!("{file}: {name}: {error}"))
            };
            let read: Vec<_> = sent["hex"].as_array().unwrap().iter().map(read).collect();
            // A field that was removed, or has another number or type, is not among these.
            assert_eq!(json!(shape(&read)), sent["fields"], "{file}: {name}");
            let again: Vec<_> = read.iter().map(|message| hex::encode(message.encode_to_vec())).collect();
            assert_eq!(json!(again), sent["hex"], "{file}: {name}");
        }
    }
}

#[test]
fn the_form_of_every_message_has_a_fixture() {
    let today = today();
    let shapes = |value: &Value| -> BTreeSet<String> {
        value.as_object().unwrap().iter().map(|(name, sent)| format!("{name} {}", sent["fields"])).collect()
    };
    releases().require(
        &today,
        |fixture| shapes(fixture) == shapes(&today),
        "the form of a message has changed. Older releases talk with this one: a field is only added, and keeps its number, name and type.",
    );
}
