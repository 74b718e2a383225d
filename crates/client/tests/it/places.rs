//! Folders and files as people and their tools leave them.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use signet_client::{
    Access, AtomicDir, CERT_FILE, Credentials, JoinToken, KEY_FILE, NewFile, can_replace, fits, replace_file,
};
use tempfile::TempDir;

use crate::server::World;

fn replace(folder: &Path, credentials: &Credentials, root_pem: &str) {
    let (key, chain) = (credentials.key_pem(), credentials.chain_pem());
    let file = |name, bytes, mode| NewFile { name, bytes, access: Access::mode(mode) };
    let files = [
        file(KEY_FILE, key.as_bytes(), 0o600),
        file(CERT_FILE, chain.as_bytes(), 0o644),
        file("ca.pem", root_pem.as_bytes(), 0o644),
    ];
    AtomicDir::new(folder, Access::mode(0o755)).replace(&credentials.facts().serial_number, &files).unwrap();
}

#[test]
fn a_folder_that_was_copied_with_files_for_links_takes_the_next_ones() {
    let (world, home) = (World::new(), TempDir::new().unwrap());
    let (folder, copy) = (home.path().join("tls"), home.path().join("copy"));
    replace(&folder, &world.worker("w-1").0, &world.root_pem);
    assert!(Command::new("cp").arg("-rL").args([&folder, &copy]).status().unwrap().success());
    assert!(fs::symlink_metadata(copy.join("..data")).unwrap().is_dir());
    let files = AtomicDir::new(&copy, Access::mode(0o755));
    assert_eq!(files.read(Credentials::load).unwrap().facts().subject, "CN=w-1,O=acme");
    for id in ["w-2", "w-3"] {
        replace(&copy, &world.worker(id).0, &world.root_pem);
        assert_eq!(files.read(Credentials::load).unwrap().facts().subject, format!("CN={id},O=acme"));
    }
    assert!(fs::read_link(copy.join("..data")).is_ok() && fs::read_link(copy.join(CERT_FILE)).is_ok());
    let folders = fs::read_dir(&copy).unwrap().filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_dir());
    assert_eq!(folders.count(), 1, "old keys are gone");
}

#[test]
fn what_a_link_leads_to_is_replaced_and_the_link_stays() {
    let home = TempDir::new().unwrap();
    let (real, link) = (home.path().join("real/site.pem"), home.path().join("site.pem"));
    symlink("hop", &link).unwrap();
    symlink(&real, home.path().join("hop")).unwrap();
    for text in ["one", "two"] {
        replace_file(&link, text.as_bytes(), Access::mode(0o640)).unwrap();
        assert_eq!(fs::read_to_string(&real).unwrap(), text);
    }
    assert!(fs::read_link(&link).is_ok());
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn what_cannot_be_replaced_is_known_before() {
    let home = TempDir::new().unwrap();
    let folder = home.path().join("site.p12");
    fs::create_dir(&folder).unwrap();
    for error in [fits(&folder).unwrap_err(), can_replace(&folder).unwrap_err()] {
        assert!(error.to_string().contains("it is a folder"), "{error}");
    }
    let file = home.path().join("new/site.pem");
    can_replace(&file).unwrap();
    assert_eq!(fs::read_dir(home.path().join("new")).unwrap().count(), 0, "the probe is gone");
    fs::write(&file, "old").unwrap();
    can_replace(&file).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
}

#[test]
fn what_is_no_token_is_not_sent() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("token");
    let token = format!("sgt_{}", "Aa0-_bcdefghijklmnopqrstuvwxyzABCDEFGHIJKLM".get(..43).unwrap());
    let read = |text: &str| {
        fs::write(&path, text).unwrap();
        JoinToken::read(&path)
    };
    for good in [token.clone(), format!("\u{feff}{token}\r\n"), format!("\n  {token}\t\n")] {
        read(&good).unwrap();
    }
    let twice = format!("{token}\n{token}");
    let long = format!("{token}A");
    for bad in [&twice, &long, &format!("\"{token}\""), &format!("SIGNET_TOKEN={token}"), "sgt_", &token[4..]] {
        let error = read(bad).unwrap_err().to_string();
        assert!(error.contains("it holds no join token") && !error.contains("Aa0"), "{error}");
    }
    assert!(read("\u{feff}\n").unwrap_err().to_string().contains("it is empty"));
}
