//! What callers send is described in one way: `proto/README.md` says which.

use std::collections::BTreeSet;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, Value};

use crate::pool;

/// How the comment of a field that callers send begins (AIP-203). The second is that of a oneof's fields.
const WORDS: [&str; 4] = ["Required.", "Required, or one of", "Optional.", "Output only."];

fn methods() -> Vec<MethodDescriptor> {
    pool().services().flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
}

/// The message and those in it.
fn with_inner(message: &MessageDescriptor, found: &mut Vec<MessageDescriptor>) {
    let is_ours = message.package_name() == "signet.v1" && !message.is_map_entry();
    if !is_ours || found.contains(message) {
        return;
    }
    found.push(message.clone());
    for field in message.fields() {
        if let Kind::Message(inner) = field.kind() {
            with_inner(&inner, found);
        }
    }
}

fn comment(field: &FieldDescriptor) -> String {
    let file = field.parent_file();
    let info = file.file_descriptor_proto().source_code_info.as_ref().expect("source information is kept");
    let place = info.location.iter().find(|location| location.path == field.path());
    place.and_then(|location| location.leading_comments.clone()).unwrap_or_default().trim().to_owned()
}

#[test]
fn each_field_that_callers_send_says_whether_they_must() {
    let mut sent = Vec::new();
    methods().iter().for_each(|method| with_inner(&method.input(), &mut sent));
    let silent: BTreeSet<String> = sent
        .iter()
        .flat_map(|message| message.fields().collect::<Vec<_>>())
        .filter(|field| !WORDS.iter().any(|word| comment(field).starts_with(word)))
        .map(|field| field.full_name().to_owned())
        .collect();
    assert!(silent.is_empty(), "their comments must begin with one of {WORDS:?}: {silent:#?}");
    assert!(sent.len() > 40, "only {} messages: are all found?", sent.len());
}

#[test]
fn a_change_takes_a_request_id_and_nothing_else_does() {
    let rule = pool().get_extension_by_name("signet.v1.authorization").unwrap();
    for method in methods() {
        let options = method.options();
        let options = options.get_extension(&rule);
        let mutates = options.as_message().unwrap().get_field_by_name("mutates").unwrap().into_owned();
        let id = method.input().get_field_by_name("request_id");
        let required = id.is_some_and(|id| id.kind() == Kind::String && comment(&id).starts_with("Required."));
        assert_eq!(Value::Bool(required), mutates, "{}", method.full_name());
    }
}

/// AIP-158: a list that comes whole today cannot come in pages later.
#[test]
fn each_list_comes_in_pages() {
    let lists: Vec<_> = methods().into_iter().filter(|method| method.name().starts_with("List")).collect();
    for method in &lists {
        let of = |message: MessageDescriptor, name: &str| message.get_field_by_name(name).map(|field| field.kind());
        let asked = (of(method.input(), "page_size"), of(method.input(), "page_token"));
        assert_eq!(asked, (Some(Kind::Uint32), Some(Kind::String)), "{}", method.name());
        assert_eq!(of(method.output(), "next_page_token"), Some(Kind::String), "{}", method.name());
    }
    assert!(lists.len() >= 8, "only {}", lists.len());
}
