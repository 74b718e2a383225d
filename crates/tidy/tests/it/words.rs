//! A word means one thing: no two libraries give their users a type of the same name.

use std::collections::{BTreeMap, BTreeSet};

use syn::{Item, Visibility};

use crate::{files, name, read};

/// Libraries, other than those for tests.
const LIBRARIES: &[&str] = &[
    "crates/app",
    "crates/attest",
    "crates/client",
    "crates/core",
    "crates/dynamodb",
    "crates/enroll-http",
    "crates/kms",
    "crates/mtls",
    "crates/policy",
    "crates/softkey",
    "crates/sqlite",
    "crates/x509",
];

/// Names that two libraries have, and why.
const SHARED: &[(&str, &str)] = &[
    ("Identity", "a program's own in the SDK, whose users import no other; else a caller's"),
    ("Limits", "time limits and attempts of an AWS adapter; each has its own defaults"),
];

fn public_types(library: &str) -> BTreeSet<String> {
    let mut types = BTreeSet::new();
    for path in files(&[&format!("{library}/src")], &[".rs"]) {
        let file = syn::parse_file(&read(&path)).unwrap_or_else(|error| panic!("{}: {error}", name(&path)));
        types.extend(file.items.into_iter().filter_map(|item| {
            let (visibility, ident) = match item {
                Item::Enum(item) => (item.vis, item.ident),
                Item::Struct(item) => (item.vis, item.ident),
                Item::Trait(item) => (item.vis, item.ident),
                Item::Type(item) => (item.vis, item.ident),
                _ => return None,
            };
            matches!(visibility, Visibility::Public(_)).then(|| ident.to_string())
        }));
    }
    types
}

#[test]
fn no_two_libraries_name_a_type_alike() {
    let mut libraries: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for library in LIBRARIES {
        for name in public_types(library) {
            libraries.entry(name).or_default().push(library);
        }
    }
    libraries.retain(|_, of| of.len() > 1);
    let stale: Vec<_> = SHARED.iter().filter(|(name, _)| !libraries.contains_key(*name)).collect();
    assert!(stale.is_empty(), "no longer shared: {stale:?}");
    libraries.retain(|name, _| SHARED.iter().all(|(shared, _)| shared != name));
    assert!(libraries.is_empty(), "rename one of each: {libraries:?}");
}
