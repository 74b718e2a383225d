//! `provision.log`: what was done for which device, a line of JSON each, so that a run goes on where another one
//! stopped.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Its name in the folder of a fleet.
pub(super) const FILE: &str = "provision.log";

/// A line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) time: Timestamp,
    pub(super) principal_id: String,
    /// `provisioned`, `resumed`, `completed` or `kept`: its files are there. `failed`: they are not, `error` says why.
    pub(super) result: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) spiffe_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) serial_number: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

/// The log, open for more lines.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    /// The last line of each device.
    last: HashMap<String, Entry>,
}

impl Journal {
    /// Opens the log in `directory`, which is made if it is missing. Lines that cannot be read count as not written:
    /// one was cut off, or the disk was full.
    pub(super) fn open(directory: &Path) -> Result<Self, Failure> {
        let path = directory.join(FILE);
        let failed = |error: io::Error| Failure::file(&path, &error);
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path);
        let mut file = file.map_err(failed)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        if !bytes.is_empty() && !bytes.ends_with(b"\n") {
            file.write_all(b"\n").map_err(failed)?;
        }
        let entries = bytes.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice::<Entry>(line).ok());
        let last = entries.map(|entry| (entry.principal_id.clone(), entry)).collect();
        Ok(Self { file, path, last })
    }

    /// The SPIFFE ID of a device whose files are in their place.
    pub(super) fn done(&self, principal_id: &str) -> Option<&str> {
        self.last.get(principal_id)?.spiffe_id.as_deref()
    }

    /// Adds a line, which is on disk when this returns. Of a write that fails, nothing stays.
    pub(super) fn add(&mut self, entry: Entry) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(&entry).map_err(Failure::other)?;
        line.push(b'\n');
        let end = self.file.seek(SeekFrom::End(0)).map_err(|error| Failure::file(&self.path, &error))?;
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        written.map_err(|error| {
            // Were that to fail too, the next run leaves the half line out.
            let _: io::Result<()> = self.file.set_len(end);
            Failure::file(&self.path, &error)
        })?;
        self.last.insert(entry.principal_id.clone(), entry);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_off_counts_as_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let entry = |id: &str, done: bool| Entry {
            time: Timestamp::UNIX_EPOCH,
            principal_id: id.into(),
            result: String::new(),
            spiffe_id: done.then(|| format!("spiffe://{id}")),
            serial_number: None,
            error: None,
        };
        let mut journal = Journal::open(folder.path()).unwrap();
        for (id, done) in [("a", false), ("a", true), ("b", true), ("b", false)] {
            journal.add(entry(id, done)).unwrap();
        }
        drop(journal);
        let path = folder.path().join(FILE);
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{{\"time\":\"1970-01-01T00:00:00Z\",\"principal_id\":\"c\",\"spif"))
            .unwrap();
        let mut journal = Journal::open(folder.path()).unwrap();
        let done = |journal: &Journal, id| journal.done(id).map(str::to_owned);
        assert_eq!(["a", "b", "c"].map(|id| done(&journal, id)), [Some("spiffe://a".into()), None, None]);
        journal.add(entry("c", true)).unwrap();
        assert_eq!(done(&Journal::open(folder.path()).unwrap(), "c"), Some("spiffe://c".into()));
    }
}
