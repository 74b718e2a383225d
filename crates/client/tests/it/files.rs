//! Credentials on disk.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use signet_client::{CA_FILE, CERT_FILE, Credentials, CredentialsError, KEY_FILE};

use crate::server::World;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_is_saved_is_loaded_and_replaced() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("a/b");
    for id in ["w-1", "w-2"] {
        let credentials = world.worker(id).0;
        credentials.save(&directory).unwrap();
        let loaded = Credentials::load(&directory).unwrap();
        assert_eq!(loaded.facts(), credentials.facts());
        assert_eq!(loaded.chain_der(), credentials.chain_der());
        assert_eq!(loaded.root_der(), credentials.root_der());
        assert_eq!(loaded.key().public_key(), credentials.key().public_key());
    }
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join(KEY_FILE)), 0o600);
    assert_eq!(mode(&directory.join(CERT_FILE)), 0o644);
    let mut names: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [CA_FILE, CERT_FILE, KEY_FILE], "nothing else is left behind");
}

#[test]
fn a_key_file_that_others_could_read_is_replaced_not_rewritten() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join(KEY_FILE);
    for path in [key.clone(), key.with_added_extension("next")] {
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    }
    world.worker("w-1").0.save(folder.path()).unwrap();
    assert_eq!(mode(&key), 0o600);
}

/// A replacement that is cut off between any two renames leaves credentials that work.
#[test]
fn no_crash_leaves_a_key_without_its_certificate() {
    let world = World::new();
    let (old, new) = (world.worker("w-1").0, world.worker("w-2").0);
    let (before, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    old.save(before.path()).unwrap();
    new.save(after.path()).unwrap();
    let names = [KEY_FILE, CERT_FILE, CA_FILE];
    for renamed in 0..=names.len() {
        let crashed = tempfile::tempdir().unwrap();
        for (number, name) in names.iter().enumerate() {
            let path = crashed.path().join(name);
            if number < renamed {
                fs::copy(after.path().join(name), path).unwrap();
            } else {
                fs::copy(before.path().join(name), &path).unwrap();
                fs::copy(after.path().join(name), path.with_added_extension("next")).unwrap();
            }
        }
        let expected = if renamed == 0 { &old } else { &new };
        assert_eq!(Credentials::load(crashed.path()).unwrap().facts(), expected.facts(), "{renamed} renamed");
        // Also the first time, when there is nothing to replace.
        for name in &names[renamed..] {
            fs::remove_file(crashed.path().join(name)).unwrap();
        }
        assert_eq!(Credentials::load(crashed.path()).unwrap().facts(), new.facts(), "{renamed} renamed the first time");
        // And the next replacement goes through.
        old.save(crashed.path()).unwrap();
        assert_eq!(Credentials::load(crashed.path()).unwrap().facts(), old.facts());
    }
}

#[test]
fn damage_is_named() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let load = || Credentials::load(folder.path()).unwrap_err();
    assert!(matches!(load(), CredentialsError::File { action: "read", .. }));
    world.worker("w-1").0.save(folder.path()).unwrap();
    fs::write(folder.path().join(CERT_FILE), world.worker("w-2").0.chain_pem()).unwrap();
    assert_eq!(load(), CredentialsError::Mismatch);
    fs::write(folder.path().join(CERT_FILE), "nothing").unwrap();
    assert_eq!(load(), CredentialsError::Certificates("the chain"));
    fs::write(folder.path().join(KEY_FILE), "nothing").unwrap();
    assert!(matches!(load(), CredentialsError::Key(_) | CredentialsError::Certificates(_)));
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(world.worker("w-1").0.save(&file), Err(CredentialsError::File { action: "create", .. })));
}
