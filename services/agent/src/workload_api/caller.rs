//! Who is at the other end of the socket, as the kernel says.

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{getsockopt, sockopt},
};

/// A process that connected. Its number may be given to another process once it has ended: see [`Self::facts`].
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) pid: i32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Clock ticks from the machine's start to the process's.
    started: u64,
    /// Readable once the process has ended. Before Linux 6.5 there is none, and only `started` tells two apart.
    process: Option<OwnedFd>,
}

/// What rules may ask of a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Device and inode of its executable; `None` if we may not know.
    pub(crate) executable: Option<(u64, u64)>,
    /// `/`-separated, from the root of the control groups.
    pub(crate) cgroup: Option<String>,
}

impl Caller {
    /// SO_PEERCRED and SO_PEERPIDFD are those of whoever called connect(2), and cannot be changed after that.
    pub(crate) fn of(stream: &impl AsFd) -> io::Result<Self> {
        let credentials = getsockopt(&stream.as_fd(), sockopt::PeerCredentials)?;
        let process = match getsockopt(&stream.as_fd(), sockopt::PeerPidfd) {
            Ok(process) => Some(process),
            Err(Errno::ENOPROTOOPT) => None,
            // It has ended already.
            Err(error) => return Err(error.into()),
        };
        let started = start_time(credentials.pid())?;
        let caller = Self { pid: credentials.pid(), uid: credentials.uid(), gid: credentials.gid(), started, process };
        caller.is_alive().then_some(caller).ok_or_else(gone)
    }

    /// Read anew each time. The error: the process has ended; whoever uses its connection now is somebody else.
    pub(crate) fn facts(&self) -> io::Result<Facts> {
        let place = format!("/proc/{}", self.pid);
        // The file itself, whatever its path is called in the caller's mount namespace.
        let executable = fs::metadata(format!("{place}/exe")).ok().map(|file| (file.dev(), file.ino()));
        let cgroup = fs::read_to_string(format!("{place}/cgroup")).ok().and_then(|text| unified(&text));
        // Asked last: what was read is this process's if it still runs.
        let is_same = self.is_alive() && start_time(self.pid).is_ok_and(|started| started == self.started);
        is_same.then_some(Facts { uid: self.uid, gid: self.gid, executable, cgroup }).ok_or_else(gone)
    }

    /// Unlike that of every other process since the machine started.
    pub(crate) const fn process(&self) -> (i32, u64) {
        (self.pid, self.started)
    }

    /// Whether the process that connected still runs, for certain.
    pub(crate) fn surely_lives(&self) -> bool {
        self.process.is_some() && self.is_alive()
    }

    fn is_alive(&self) -> bool {
        let Some(process) = &self.process else { return true };
        let mut wait = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        matches!(poll(&mut wait, PollTimeout::ZERO), Ok(0))
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the calling process has ended")
}

/// proc_pid_stat(5), field 22. The second field is the program's name, in which any character may be.
fn start_time(pid: i32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = text.rsplit_once(')').map(|(_, rest)| rest);
    after_name.and_then(|rest| rest.split_ascii_whitespace().nth(19)?.parse().ok()).ok_or_else(gone)
}

/// cgroups(7): the line of version 2, `0::<path>`.
fn unified(text: &str) -> Option<String> {
    text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read as _,
        os::unix::net::UnixListener,
        process::{Command, Stdio},
    };

    use super::{Caller, unified};

    /// A child takes over the connection, and its parent, which connected, ends.
    const HANDS_OVER: &str = "import os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
if os.fork() == 0:
    os.close(1)
    connection.recv(1)
else:
    sys.stdin.read()";

    #[test]
    fn a_connection_of_a_process_that_has_ended_is_nobodys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let mut command = Command::new("python3");
        command.args(["-c", HANDS_OVER]).arg(&path).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (stream, _) = listener.accept().unwrap();
        let caller = Caller::of(&stream).unwrap();
        assert_eq!(caller.pid, i32::try_from(child.id()).unwrap());
        let facts = caller.facts().unwrap();
        assert!(facts.executable.is_some() && facts.cgroup.is_some(), "{facts:?}");
        // On a kernel without SO_PEERPIDFD.
        let by_time = Caller { process: None, ..Caller::of(&stream).unwrap() };
        let reused = Caller { started: caller.started + 1, process: None, ..Caller::of(&stream).unwrap() };
        assert!(by_time.facts().is_ok() && reused.facts().is_err(), "another process with its number");
        drop(child.stdin.take());
        child.stdout.take().unwrap().read_to_end(&mut Vec::new()).unwrap();
        child.wait().unwrap();
        assert!(caller.facts().is_err() && by_time.facts().is_err());
        assert!(Caller::of(&stream).is_err(), "the child that holds the connection did not connect");
    }

    #[test]
    fn the_unified_control_group_is_found_among_others() {
        assert_eq!(unified("12:cpu:/a\n0::/system.slice/a.service\n").as_deref(), Some("/system.slice/a.service"));
        assert_eq!(unified("12:cpu:/a\n"), None);
    }
}
