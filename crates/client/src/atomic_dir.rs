//! A folder whose files change together: nobody ever finds a key beside another key's certificate.
//!
//! The files stand in a generation of their own, `..<name>`; `..data` is a symbolic link to the present one, and what
//! users open, e.g. `cert.pem`, a link to `..data/cert.pem`. One rename of `..data` replaces them all (as Kubernetes
//! does with mounted secrets). Who needs several files of one moment resolves `..data` first and reads below that.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
};

use crate::credentials::CredentialsError;

const DATA: &str = "..data";
const NEXT_LINK: &str = "..next";
/// How often a reader looks again when the generation that it reads is replaced meanwhile.
const READS: usize = 20;

/// Who may read what is written. Ids are numeric; none: this process's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Permission bits.
    pub mode: u32,
    /// User id.
    pub owner: Option<u32>,
    /// Group id.
    pub group: Option<u32>,
}

impl Access {
    /// With these permission bits, for this process's user.
    pub const fn mode(mode: u32) -> Self {
        Self { mode, owner: None, group: None }
    }
}

/// A file to be.
#[derive(Clone, Copy)]
pub struct NewFile<'a> {
    /// Its name in the folder.
    pub name: &'a str,
    /// What it holds.
    pub bytes: &'a [u8],
    /// Who may read it.
    pub access: Access,
}

/// See the module's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtomicDir {
    path: PathBuf,
    access: Access,
}

impl AtomicDir {
    /// The folder at `path`, made with `access` when it is missing.
    pub fn new(path: impl Into<PathBuf>, access: Access) -> Self {
        Self { path: path.into(), access }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces all files at once. `generation` is part of a folder's name: letters and digits. Files of the folder
    /// that are not ours stay; plain files of the same names become part of it first.
    pub fn replace(&self, generation: &str, files: &[NewFile<'_>]) -> Result<(), CredentialsError> {
        let failed = |action| move |error: io::Error| failed(action, &self.path, &error);
        self.make()?;
        let name = self.unused(generation);
        self.write(&name, files).map_err(failed("write"))?;
        self.adopt_plain_folder().and_then(|()| self.adopt_plain_files(files)).map_err(failed("prepare"))?;
        self.point(DATA, Path::new(&name)).map_err(failed("replace"))?;
        for file in files {
            self.link(file.name).map_err(failed("link"))?;
        }
        self.sweep(&name).map_err(failed("clean up"))?;
        File::open(&self.path).and_then(|dir| dir.sync_all()).map_err(failed("sync"))
    }

    /// Calls `read` with a folder that holds files of one moment; again, if that was replaced meanwhile. Where somebody
    /// has put plain files over the links since, that is the folder itself.
    pub fn read<T>(&self, mut read: impl FnMut(&Path) -> Result<T, CredentialsError>) -> Result<T, CredentialsError> {
        let mut attempt = 0;
        loop {
            let generation = self.generation();
            attempt += 1;
            match read(generation.as_deref().unwrap_or(&self.path)) {
                Err(_) if attempt < READS && self.generation() != generation => {}
                done => return done,
            }
        }
    }

    /// The present generation's folder, if what users open are links into it.
    fn generation(&self) -> Option<PathBuf> {
        let folder = self.path.join(fs::read_link(self.path.join(DATA)).ok()?);
        let names = fs::read_dir(&folder).ok()?.filter_map(|entry| Some(entry.ok()?.file_name()));
        let overlaid = names.into_iter().any(|name| is_plain(&self.path.join(name)));
        (!overlaid).then_some(folder)
    }

    /// Makes the folder if it is missing; one that is there stays as it is.
    pub fn make(&self) -> Result<(), CredentialsError> {
        if self.path.is_dir() {
            return Ok(());
        }
        let made = make_folder(&self.path, self.access.mode)
            .and_then(|()| chown(&self.path, self.access.owner, self.access.group));
        made.map_err(|error| failed("create", &self.path, &error))
    }

    fn unused(&self, generation: &str) -> String {
        let names = std::iter::successors(Some(0_u32), |n| n.checked_add(1)).map(|n| format!("..{generation}-{n}"));
        let mut free = names.skip_while(|name| fs::symlink_metadata(self.path.join(name)).is_ok());
        free.next().unwrap_or_default()
    }

    fn write(&self, name: &str, files: &[NewFile<'_>]) -> io::Result<()> {
        let folder = self.path.join(name);
        DirBuilder::new().mode(0o700).create(&folder)?;
        for file in files {
            write_new(&folder.join(file.name), file.bytes, file.access)?;
        }
        File::open(&folder)?.sync_all()?;
        // Open to others only when everything in it has its own permissions.
        chown(&folder, self.access.owner, self.access.group)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(self.access.mode))
    }

    /// Who copies a folder and follows its links (`cp -L`, `scp -r`, `tar -h`, a backup) gets a folder for the link.
    fn adopt_plain_folder(&self) -> io::Result<()> {
        let data = self.path.join(DATA);
        if !fs::symlink_metadata(&data).is_ok_and(|meta| meta.is_dir()) {
            return Ok(());
        }
        let generation = self.unused("copied");
        fs::rename(&data, self.path.join(&generation))?;
        self.point(DATA, Path::new(&generation))
    }

    /// Plain files become links to a generation that holds the same bytes, so that the switch is one rename even then.
    fn adopt_plain_files(&self, files: &[NewFile<'_>]) -> io::Result<()> {
        if !files.iter().any(|file| is_plain(&self.path.join(file.name))) {
            return Ok(());
        }
        let generation = self.unused("plain");
        make_folder(&self.path.join(&generation), self.access.mode)?;
        let present = |name: &&str| fs::exists(self.path.join(name)).unwrap_or(false);
        let names: Vec<_> = files.iter().map(|file| file.name).filter(present).collect();
        for name in &names {
            fs::hard_link(fs::canonicalize(self.path.join(name))?, self.path.join(&generation).join(name))?;
        }
        self.point(DATA, Path::new(&generation))?;
        names.iter().try_for_each(|name| self.link(name))
    }

    fn link(&self, name: &str) -> io::Result<()> {
        let target = Path::new(DATA).join(name);
        if fs::read_link(self.path.join(name)).is_ok_and(|found| found == target) {
            return Ok(());
        }
        self.point(name, &target)
    }

    fn point(&self, name: &str, target: &Path) -> io::Result<()> {
        let next = self.path.join(NEXT_LINK);
        remove(&next)?;
        symlink(target, &next)?;
        fs::rename(&next, self.path.join(name))
    }

    /// Removes the other generations, old keys with them, and links to files that are no more.
    fn sweep(&self, present: &str) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(text) = name.to_str() else { continue };
            let path = entry.path();
            if entry.file_type()?.is_dir() && text.starts_with("..") && text != present {
                fs::remove_dir_all(&path)?;
            } else if fs::read_link(&path).is_ok_and(|to| to.starts_with(DATA)) && !path.exists() {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

/// Replaces one file by a rename: readers see the old one or the new one. Missing parent folders are made (0755). Where
/// `path` is a symbolic link, what it leads to is replaced, and the link stays.
pub fn replace_file(path: &Path, bytes: &[u8], access: Access) -> Result<(), CredentialsError> {
    let failed = |action| move |error: io::Error| failed(action, path, &error);
    let path = link_target(path);
    let folder = folder_of(&path);
    make_folder(folder, 0o755).map_err(failed("create the folder of"))?;
    let next = folder.join(beside(&path));
    remove(&next).and_then(|()| write_new(&next, bytes, access)).map_err(failed("write"))?;
    fs::rename(&next, &path).map_err(failed("replace"))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync the folder of"))
}

/// Whether [`replace_file`] would succeed with a file of some 8 KiB, found out by writing one beside it. Nothing
/// replaces a folder, or a file that something is mounted on (as container runtimes do with single files).
pub fn can_replace(path: &Path) -> Result<(), CredentialsError> {
    fits(path)?;
    let path = link_target(path);
    let probe = folder_of(&path).join(format!("{}.probe", beside(&path).to_string_lossy()));
    replace_file(&probe, &[0; 8192], Access::mode(0o600))?;
    remove(&probe).map_err(|error| failed("remove", &probe, &error))
}

/// The part of [`can_replace`] that writes nothing.
pub fn fits(path: &Path) -> Result<(), CredentialsError> {
    let refused = |reason: &str| CredentialsError::File {
        action: "replace",
        path: path.display().to_string(),
        reason: reason.to_owned(),
    };
    let target = link_target(path);
    if target.is_dir() {
        return Err(refused("it is a folder, and must be a file"));
    }
    if is_mount_point(&target) {
        return Err(refused("something is mounted on it: mount its folder instead, a mounted file cannot be replaced"));
    }
    Ok(())
}

/// What a file name leads to at last, whether that is there or not.
fn link_target(path: &Path) -> PathBuf {
    // As many as Linux follows (path_resolution(7)).
    const LINKS: usize = 40;
    let mut target = path.to_owned();
    for _ in 0..LINKS {
        let Ok(next) = fs::read_link(&target) else { break };
        target = folder_of(&target).join(next);
    }
    target
}

/// Whether the kernel lists it as a mount point; a file bound from the same file system has its folder's device number.
fn is_mount_point(path: &Path) -> bool {
    let Ok(path) = fs::canonicalize(path) else { return false };
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else { return false };
    lists(&mounts, &path)
}

/// proc_pid_mountinfo(5): the fifth field, in which blanks and backslashes are octal.
fn lists(mounts: &str, path: &Path) -> bool {
    let plain = |text: &str| text.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\");
    mounts.lines().filter_map(|line| line.split(' ').nth(4)).any(|point| Path::new(&plain(point)) == path)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The name of a file that is whole and not in its place yet.
fn beside(path: &Path) -> std::ffi::OsString {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".next");
    name
}

/// A folder with its parents; those that are missing get exactly these permission bits, whatever the umask.
pub fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_folder(parent, mode)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
        // Somebody else was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// A new file, on disk; nobody reads it before it belongs to its owner.
fn write_new(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(access.mode & 0o600).open(path)?;
    file.write_all(bytes)?;
    if access.owner.is_some() || access.group.is_some() {
        std::os::unix::fs::fchown(&file, access.owner, access.group)?;
    }
    // Explicitly, since the umask takes from the mode that a file is made with.
    file.set_permissions(fs::Permissions::from_mode(access.mode))?;
    file.sync_all()
}

fn is_plain(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn failed(action: &'static str, path: &Path, error: &io::Error) -> CredentialsError {
    CredentialsError::File { action, path: path.display().to_string(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_as_the_kernel_writes_them() {
        let mounts =
            "22 1 0:21 / /proc rw - proc proc rw\n36 35 98:0 /a /etc/my\\040file.pem rw,noatime - ext4 /dev/sda rw\n";
        let is = |path: &str| lists(mounts, Path::new(path));
        assert!(is("/proc") && is("/etc/my file.pem"));
        assert!(!is("/etc") && !is("/a") && !is("/etc/my\\040file.pem"));
    }
}
