//! What releases kept in an identity's folder, in `fixtures/state`: today's code reads each file and loses nothing.
//! (The keys in them are of tests and open nothing.)

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Map, Value};
use signet_client::{Directory, Identity, Storage};
use signet_testkit::releases::Releases;
use tempfile::TempDir;

use crate::{
    once::{cut_off, settings, token},
    server::{World, eventually},
};

/// All that is kept beyond the life of a program.
const FILES: [&str; 5] = ["cert.pem", "key.pem", "ca.pem", "signet.json", ".signet.enrolling"];

fn releases() -> Releases {
    Releases::of(env!("CARGO_MANIFEST_DIR"), "fixtures/state")
}

/// The files of a folder: JSON as such, all else as text.
fn state_of(home: &Path) -> Map<String, Value> {
    let read = |name: &&str| {
        let text = fs::read_to_string(home.join(name)).ok()?;
        let value = if name.ends_with(".pem") { Value::String(text) } else { serde_json::from_str(&text).unwrap() };
        Some(((*name).to_owned(), value))
    };
    FILES.iter().filter_map(read).collect()
}

/// What today's code keeps of an identity whose renewal failed once, and of an enrollment that was cut off.
async fn today() -> Value {
    let world = World::new();
    let address = world.start(true).await;
    let (home, begun) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let identity = Identity::enroll(settings(&world, address, home.path()), &token("the-token")).await.unwrap();
    world.script.lock().unwrap().push_back(tonic::Status::unavailable("the store is away"));
    identity.renew_now();
    eventually("the failure is noted", || {
        identity.status().borrow().failures > 0 && state_of(home.path())["signet.json"]["schedule"]["failures"] == 1
    })
    .await;
    cut_off(&world, settings(&world, address, begun.path()), token("another-token")).await;
    let mut state = state_of(home.path());
    state.extend(state_of(begun.path()));
    Value::Object(state)
}

/// The names of all files, and of all fields in them at any depth.
fn shape(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    if let Value::Object(fields) = value {
        for (name, value) in fields {
            let path = format!("{path} {name}");
            shape(value, &path, found);
            found.insert(path);
        }
    }
}

fn shape_of(state: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    shape(state, "", &mut found);
    found
}

#[test]
fn the_state_of_every_release_is_read_and_loses_nothing() {
    for (file, fixture) in releases().all() {
        let (old, new) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        for (name, value) in fixture.as_object().unwrap() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            fs::write(old.path().join(name), text).unwrap();
        }
        let (from, to) = (Directory::new(old.path()), Directory::new(new.path()));
        let (credentials, notes) = from.load().unwrap().unwrap();
        to.save(&credentials, &notes.unwrap_or_else(|| panic!("{file}: its notes cannot be read"))).unwrap();
        to.keep_pending(&from.pending().unwrap().unwrap_or_else(|| panic!("{file}: its enrollment is lost"))).unwrap();
        assert_eq!(Value::Object(state_of(new.path())), fixture, "{file}");
    }
}

#[tokio::test]
async fn the_form_of_every_file_has_a_fixture() {
    let today = today().await;
    assert_eq!(today.as_object().unwrap().len(), FILES.len());
    releases().require(
        &today,
        |fixture| shape_of(fixture) == shape_of(&today),
        "the form of what is kept has changed. A program may go back to the release before: a new field has a default, and none changes its meaning.",
    );
}
