//! Files and directories that only their owner can read.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use crate::failure::Failure;

/// Makes a directory, 0700, and those above it.
pub fn make_dir(path: &Path) -> Result<(), Failure> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| Failure::file(path, &error))
}

/// Writes a file, 0600, in one step: readers see the old content or the new one.
pub fn write(path: &Path, content: &[u8]) -> Result<(), Failure> {
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        make_dir(dir)?;
    }
    let name = path.file_name().ok_or_else(|| Failure::usage(format!("{} is not a file", path.display())))?;
    let temporary = path.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    // What a process left that was killed meanwhile.
    let _: std::io::Result<()> = fs::remove_file(&temporary);
    let written = create(&temporary, content).and_then(|()| fs::rename(&temporary, path));
    written.map_err(|error| {
        // The write has failed already; a left-over temporary file adds nothing to that.
        let _: std::io::Result<()> = fs::remove_file(&temporary);
        Failure::file(path, &error)
    })
}

/// The file that a chain of links leads to, which need not exist: who keeps a file elsewhere, e.g. with other settings
/// under version control, wants that one written.
pub fn followed(path: &Path) -> PathBuf {
    const LINKS: usize = 40;
    let mut at = path.to_owned();
    for _ in 0..LINKS {
        match fs::read_link(&at) {
            Ok(target) => at = at.parent().unwrap_or(Path::new("")).join(target),
            Err(_) => break,
        }
    }
    at
}

/// Finds out whether files can be made in `dir`, before something is fetched that cannot be fetched twice.
pub fn check_writable(dir: &Path) -> Result<(), Failure> {
    make_dir(dir)?;
    let probe = dir.join(format!(".probe.{}", std::process::id()));
    create(&probe, b"").and_then(|()| fs::remove_file(&probe)).map_err(|error| Failure::file(dir, &error))
}

fn create(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// The permission bits, e.g. `0o600`.
pub fn mode(path: &Path) -> std::io::Result<u32> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o777)
}

/// Refuses a secret that other users of this machine can read.
pub fn refuse_if_open(path: &Path) -> Result<(), Failure> {
    match mode(path) {
        Ok(mode) if mode & 0o077 != 0 => {
            let message = format!("{} can be read by other users (mode {mode:o})", path.display());
            Err(Failure::usage(message).hint(format!("chmod 600 {}", path.display())))
        }
        _ => Ok(()),
    }
}
