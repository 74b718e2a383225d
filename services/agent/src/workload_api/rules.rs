//! Which callers an identity is for.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::caller::Facts;
use crate::config::value;

/// One rule: a caller has to be all that it names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Workload {
    uid: Option<u32>,
    gid: Option<u32>,
    executable: Option<Executable>,
    systemd_unit: Option<String>,
    container_id: Option<String>,
}

/// A program of this machine, by its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable(pub(crate) PathBuf);

/// How that is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, deserialize_with = "value::owner")]
    uid: Option<u32>,
    #[serde(default, deserialize_with = "value::group")]
    gid: Option<u32>,
    executable: Option<PathBuf>,
    systemd_unit: Option<String>,
    container_id: Option<String>,
}

impl TryFrom<Written> for Workload {
    type Error = &'static str;
    fn try_from(written: Written) -> Result<Self, &'static str> {
        let Written { uid, gid, executable, systemd_unit, container_id } = written;
        // Whoever runs a program can hand its own connection over to it, and keep it.
        if uid.is_none() && systemd_unit.is_none() && container_id.is_none() {
            return Err("set at least one of uid, systemd_unit, container_id");
        }
        if executable.as_ref().is_some_and(|path| !path.is_absolute()) {
            return Err("executable must be an absolute path");
        }
        if systemd_unit.as_ref().is_some_and(|unit| !is_unit(unit)) {
            return Err("systemd_unit must end in .service or .scope");
        }
        if container_id.as_ref().is_some_and(|id| !is_container(id)) {
            return Err("container_id must be its 64 hexadecimal digits, a-f in lower case");
        }
        Ok(Self { uid, gid, executable: executable.map(Executable), systemd_unit, container_id })
    }
}

impl Workload {
    /// The program that it names, if it names one.
    pub(crate) fn executable(&self) -> Option<&Path> {
        self.executable.as_ref().map(|file| file.0.as_path())
    }

    pub(crate) fn admits(&self, facts: &Facts) -> bool {
        let cgroup = facts.cgroup.as_deref();
        self.uid.is_none_or(|uid| uid == facts.uid)
            && self.gid.is_none_or(|gid| gid == facts.gid)
            && self.executable.as_ref().is_none_or(|file| file.id().is_some_and(|id| facts.executable == Some(id)))
            && self.systemd_unit.as_deref().is_none_or(|unit| cgroup.and_then(unit_of) == Some(unit))
            && self.container_id.as_deref().is_none_or(|id| cgroup.and_then(container_of) == Some(id))
    }
}

impl Executable {
    /// Device and inode, as the agent sees them now: a program that was replaced since it started is another one.
    fn id(&self) -> Option<(u64, u64)> {
        fs::metadata(&self.0).ok().map(|file| (file.dev(), file.ino()))
    }
}

fn is_unit(name: &str) -> bool {
    name.ends_with(".service") || name.ends_with(".scope")
}

fn is_container(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The unit of systemd's own manager: the first below the slices. What follows may have been named by the unit itself,
/// e.g. by a user's manager (`user@1000.service`).
fn unit_of(cgroup: &str) -> Option<&str> {
    cgroup.strip_prefix('/')?.split('/').find(|part| !part.ends_with(".slice")).filter(|part| is_unit(part))
}

/// The outermost container: `docker-<id>.scope`, `cri-containerd-<id>.scope`, `<id>`. Everything above it has to be
/// what systemd and container engines make: below a service, a container or a user's manager, others name groups as
/// they like.
fn container_of(cgroup: &str) -> Option<&str> {
    let id = |part: &'_ str| -> Option<usize> {
        let name = part.strip_suffix(".scope").unwrap_or(part);
        let at = name.rfind(['-', ':']).map_or(0, |at| at + 1);
        name.get(at..).is_some_and(is_container).then_some(at)
    };
    let is_known = |part: &str| {
        let kubernetes = ["kubepods", "burstable", "besteffort", "guaranteed"];
        let engine = ["docker", "libpod_parent"].contains(&part) || kubernetes.contains(&part);
        engine || part.starts_with("pod") || (part.ends_with(".slice") && part != "user.slice")
    };
    let mut below = cgroup.strip_prefix('/')?.split('/').skip_while(|part| is_known(part));
    let part = below.next()?;
    part.strip_suffix(".scope").unwrap_or(part).get(id(part)?..)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::{Facts, Workload, container_of, unit_of};

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn facts() -> Facts {
        let file = std::fs::metadata("/bin/sh").unwrap();
        let executable = Some((file.dev(), file.ino()));
        Facts { uid: 33, gid: 34, executable, cgroup: Some(format!("/system.slice/docker-{ID}.scope")) }
    }

    fn rule(text: &str) -> Result<Workload, String> {
        let read = figment::Figment::from(<figment::providers::Toml as figment::providers::Format>::string(text));
        read.extract().map_err(|error| error.to_string())
    }

    #[test]
    fn a_caller_has_to_be_all_that_a_rule_names() {
        let container = format!("container_id = \"{ID}\"");
        let scope = format!("systemd_unit = \"docker-{ID}.scope\"");
        for (text, admits) in [
            ("uid = \"33\"", true),
            ("uid = \"34\"", false),
            ("uid = \"33\"\ngid = \"34\"", true),
            ("uid = \"33\"\ngid = \"33\"", false),
            ("uid = \"33\"\nexecutable = \"/bin/sh\"", true),
            ("uid = \"33\"\nexecutable = \"/bin/cat\"", false),
            ("uid = \"33\"\nexecutable = \"/not/there\"", false),
            (&scope, true),
            ("systemd_unit = \"web.service\"", false),
            (&container, true),
            (&container.replace("0123", "1123"), false),
            (&format!("{container}\nuid = \"0\""), false),
        ] {
            assert_eq!(rule(text).unwrap().admits(&facts()), admits, "{text}");
        }
        let unknown = Facts { executable: None, cgroup: None, ..facts() };
        assert!(!rule("uid = \"33\"\nexecutable = \"/not/there\"").unwrap().admits(&unknown));
        assert!(!rule(&container).unwrap().admits(&unknown) && !rule(&scope).unwrap().admits(&unknown));
    }

    #[test]
    fn a_rule_that_anybody_could_meet_is_refused() {
        for (text, words) in [
            ("", "at least one of"),
            ("executable = \"/bin/sh\"", "at least one of"),
            ("gid = \"34\"", "at least one of"),
            ("uid = \"33\"\nexecutable = \"sh\"", "absolute"),
            ("systemd_unit = \"web\"", ".service"),
            ("container_id = \"0123\"", "64"),
            ("uid = \"33\"\npath = \"/bin/sh\"", "unknown field"),
        ] {
            let error = rule(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn users_do_not_name_units_or_containers() {
        assert_eq!(unit_of("/system.slice/web.service"), Some("web.service"));
        assert_eq!(unit_of("/system.slice/system-web.slice/web@1.service/worker"), Some("web@1.service"));
        let own = format!("/user.slice/user-1000.slice/user@1000.service/app.slice/{ID}");
        assert_eq!(unit_of(&own.replace(ID, "web.service")), Some("user@1000.service"));
        assert_eq!(unit_of("/../web.service"), None);
        assert_eq!(unit_of("/kubepods/web.service"), None);
        assert_eq!(container_of(&own), None);
        for path in
            ["/docker/ID", "/system.slice/docker-ID.scope", "/kubepods.slice/pod1.slice/cri-containerd-ID.scope"]
        {
            assert_eq!(container_of(&path.replace("ID", ID)), Some(ID), "{path}");
            let inner = format!("{}/{}", path.replace("ID", ID), ID.replace('0', "1"));
            assert_eq!(container_of(&inner), Some(ID), "a group inside of a container");
        }
        for path in [
            "/../ID",
            "/system.slice/ci.service/ID",
            "/lxc.payload.guest/ID",
            "/machine.slice/systemd-nspawn@guest.service/payload/ID",
        ] {
            assert_eq!(container_of(&path.replace("ID", ID)), None, "{path}");
        }
    }
}
