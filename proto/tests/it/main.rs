//! Messages as releases sent them, kept in `fixtures/messages`: today's code reads each and loses nothing.
//!
//! A file is never changed, only added: its name begins with the digest of what is in it. `UPDATE_GOLDEN=1` adds one for
//! today's form.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod full;

use std::{collections::BTreeSet, fs, path::PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use full::{full, messages, shape};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::{Map, Value, json};
use signet_proto::DESCRIPTORS;

fn pool() -> DescriptorPool {
    DescriptorPool::decode(DESCRIPTORS).unwrap()
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/messages")
}

/// Every file: its name, its text, and that read.
fn fixtures() -> Vec<(String, String, Value)> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let value = serde_json::from_str(&text).unwrap();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), text, value)
    };
    files.map(read).collect()
}

fn name_of(text: &str) -> String {
    let digest = hex::encode(digest(&SHA256, text.as_bytes()));
    format!("{}.json", &digest[..12])
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
fn no_fixture_was_changed() {
    let changed: Vec<_> = fixtures().into_iter().filter(|(name, text, _)| *name != name_of(text)).collect();
    assert!(changed.is_empty(), "what a release sent does not change afterwards: restore {:?}", changed[0].0);
}

#[test]
fn messages_of_every_release_are_read_and_lose_nothing() {
    let pool = pool();
    for (file, _, fixture) in fixtures() {
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
    if fixtures().iter().any(|(_, _, fixture)| shapes(fixture) == shapes(&today)) {
        return;
    }
    let text = serde_json::to_string_pretty(&today).unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return fs::write(folder().join(name_of(&text)), text).unwrap();
    }
    panic!(
        "the form of a message has changed. Older releases talk with this one: a field is only added, and keeps its number, \
         name and type. Then add a fixture: UPDATE_GOLDEN=1 cargo test -p signet-proto"
    );
}
