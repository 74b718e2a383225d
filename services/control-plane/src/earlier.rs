//! An earlier state of the store, to restore from.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
};

use signet_core::Store;
use signet_dynamodb::DynamoStore;
use signet_sqlite::{OpenError, SqliteStore};

use crate::{
    config::{Config, Storage},
    wiring::{WiringError, sdk_config},
};

/// An earlier state of the store.
#[derive(Clone, Debug)]
pub enum Earlier {
    /// A backup of the SQLite store.
    File(PathBuf),
    /// DynamoDB tables that were restored beside the environment's, as `<prefix>-<table>-<suffix>`.
    Suffix(String),
}

/// An [`Earlier`] store that is open for reading.
#[derive(Debug)]
pub struct OpenedEarlier {
    /// As messages name it.
    pub name: String,
    /// Its records.
    pub store: Arc<dyn Store>,
    /// Of a backup, which stays as it is. Removed at the end.
    _copy: Option<CopyOfBackup>,
}

/// Opens an earlier state of the store that `config` names. It must be of the same kind, and another than the present
/// one.
pub async fn open_earlier(config: &Config, earlier: &Earlier) -> Result<OpenedEarlier, WiringError> {
    let wrong = |problem: String| WiringError::Storage { problem };
    match (&config.storage, earlier) {
        (Storage::Sqlite { path }, Earlier::File(file)) => {
            let bad = |problem: String| WiringError::Backup { file: file.clone(), problem };
            let (present, earlier) = (fs::canonicalize(path), fs::canonicalize(file));
            let found = earlier.map_err(|error| bad(format!("cannot be read: {error}")))?;
            if present.is_ok_and(|present| present == found) {
                return Err(bad("is the store itself; name a backup of it".into()));
            }
            let copy = CopyOfBackup::beside(path).map_err(|error| wrong(format!("{}: {error}", path.display())))?;
            let opened = SqliteStore::back_up(&found, &copy.path).and_then(|()| SqliteStore::open(&copy.path));
            let store = Arc::new(opened.map_err(|error| bad(objection(&error)))?);
            Ok(OpenedEarlier { name: found.display().to_string(), store, _copy: Some(copy) })
        }
        (Storage::Dynamodb { prefix }, Earlier::Suffix(suffix)) => {
            let store = DynamoStore::new(&sdk_config(&config.aws).await, prefix, signet_dynamodb::Limits::default());
            let (name, store) = (format!("{prefix}-*-{suffix}"), Arc::new(store.restored(suffix)));
            Ok(OpenedEarlier { name, store, _copy: None })
        }
        (Storage::Sqlite { .. }, Earlier::Suffix(_)) => Err(wrong("is SQLite: name a backup with --from-file".into())),
        (Storage::Dynamodb { .. }, Earlier::File(_)) => Err(wrong(
            "is DynamoDB: restore its tables beside the present ones and name them with --from-suffix".into(),
        )),
    }
}

/// What is wrong with a backup, in words that do not speak of a store.
fn objection(error: &OpenError) -> String {
    match error {
        OpenError::Foreign { .. } => "is a database of another program; name a backup of Signet's store".into(),
        OpenError::Damaged { .. } => {
            "is damaged, was cut short, or is not a database; name another one, from `signetd backup`".into()
        }
        OpenError::Newer { .. } | OpenError::Io { .. } | OpenError::Sqlite { .. } | OpenError::Copy { .. } => {
            format!("cannot be opened: {error}")
        }
    }
}

/// The ends of a copy's names, its lock last.
const ENDINGS: [&str; 6] = ["", ".partial", "-wal", "-shm", "-reserve", "-lock"];

/// The place of a copy of a backup, beside the store. It is locked: what nobody locks, a run that was killed has left.
#[derive(Debug)]
struct CopyOfBackup {
    path: PathBuf,
    _lock: File,
}

impl CopyOfBackup {
    fn beside(store: &Path) -> std::io::Result<Self> {
        remove_leftovers(store)?;
        let path = store.with_added_extension(format!("restoring-{}", std::process::id()));
        let lock = File::create(with_ending(&path, "-lock"))?;
        lock.lock()?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for CopyOfBackup {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

fn remove_leftovers(store: &Path) -> std::io::Result<()> {
    let folder = store.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = store.with_added_extension("restoring-");
    let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for entry in fs::read_dir(folder)? {
        let found = entry?.file_name().to_string_lossy().into_owned();
        let Some(process) = found.strip_prefix(&name) else { continue };
        let process: String = process.chars().take_while(char::is_ascii_digit).collect();
        let path = folder.join(format!("{name}{process}"));
        // Without a lock, it is of an older release.
        let locked = File::open(with_ending(&path, "-lock")).map(|lock| lock.try_lock());
        if !matches!(locked, Ok(Err(TryLockError::WouldBlock))) {
            remove(&path);
        }
    }
    Ok(())
}

fn remove(copy: &Path) {
    for ending in ENDINGS {
        // Most of them are not there.
        let _ = fs::remove_file(with_ending(copy, ending));
    }
}

fn with_ending(copy: &Path, ending: &str) -> PathBuf {
    PathBuf::from(format!("{}{ending}", copy.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_run_left_is_removed_and_what_a_live_one_needs_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("signet.db");
        let names = || {
            let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
            names.sort();
            names
        };
        for name in ["signet.db", "signet.db-wal", "signet.db.restoring-1", "signet.db.restoring-1-wal"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        for name in ["signet.db.restoring-2", "signet.db.restoring-2-lock", "signet.db.restoring-3.partial"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let live = File::create(folder.path().join("signet.db.restoring-2-lock")).unwrap();
        live.lock().unwrap();
        let copy = CopyOfBackup::beside(&store).unwrap();
        let own = format!("signet.db.restoring-{}-lock", std::process::id());
        let mut expected =
            vec!["signet.db", "signet.db-wal", "signet.db.restoring-2", "signet.db.restoring-2-lock", &own];
        expected.sort_unstable();
        assert_eq!(names(), expected);
        drop((copy, live));
        let _next = CopyOfBackup::beside(&store).unwrap();
        assert_eq!(names().len(), 3, "{:?}", names());
    }
}
