//! What releases wrote or sent, kept as fixtures: they are added, never changed. A file's name is the digest of what is
//! in it.

use std::{fs, path::PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;

/// The fixtures in one folder.
#[derive(Debug)]
pub struct Releases(PathBuf);

impl Releases {
    /// `manifest`: the crate's `CARGO_MANIFEST_DIR`; `folder`: below it.
    pub fn of(manifest: &str, folder: &str) -> Self {
        Self(PathBuf::from(manifest).join(folder))
    }

    /// Every fixture with its name. Panics if one was changed.
    pub fn all(&self) -> Vec<(String, Value)> {
        let files = fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path());
        let read = |path: PathBuf| {
            let text = fs::read_to_string(&path).unwrap();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            assert_eq!(
                name,
                name_of(&text),
                "what a release wrote does not change afterwards: restore {}",
                path.display()
            );
            (name, serde_json::from_str(&text).unwrap())
        };
        files.map(read).collect()
    }

    /// Whether one of the fixtures is as `today`, by `is_same`; `UPDATE_GOLDEN=1` adds today's where none is. Panics
    /// with `advice` otherwise.
    pub fn require(&self, today: &Value, is_same: impl Fn(&Value) -> bool, advice: &str) {
        if self.all().iter().any(|(_, fixture)| is_same(fixture)) {
            return;
        }
        let text = serde_json::to_string_pretty(today).unwrap() + "\n";
        assert!(
            std::env::var_os("UPDATE_GOLDEN").is_some(),
            "{advice} Then add a fixture: run this test with UPDATE_GOLDEN=1"
        );
        fs::write(self.0.join(name_of(&text)), text).unwrap();
    }
}

fn name_of(text: &str) -> String {
    let digest = digest(&SHA256, text.as_bytes());
    let start: String = digest.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("{start}.json")
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn a_fixture_that_was_changed_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let releases = Releases(folder.path().to_owned());
        fs::write(folder.path().join(name_of("{}")), "{}").unwrap();
        assert_eq!(releases.all().len(), 1);
        fs::write(folder.path().join(name_of("{}")), "[]").unwrap();
        assert!(catch_unwind(|| releases.all()).is_err());
    }

    #[test]
    fn a_form_without_a_fixture_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let releases = Releases(folder.path().to_owned());
        let today = Value::from(1);
        assert!(catch_unwind(|| releases.require(&today, |fixture| *fixture == today, "")).is_err());
    }
}
