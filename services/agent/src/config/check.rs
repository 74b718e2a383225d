//! Checks of values, and of values together.

use std::{fs, path::Path, time::Duration};

use nix::{
    sys::signal::Signal,
    unistd::{Group, User},
};
use serde::{Deserialize, Deserializer, de::Error};
use signet_client::{IdentitySettings, OutOfBand};
use signet_x509::pem;

use super::{Config, ConfigError, ControlPlane, File, IdentityConfig, Log, ProofConfig, Stdin};

/// unix(7): 108 bytes with the zero at the end.
const MAX_SOCKET_PATH: usize = 107;

type Result<T, E = ConfigError> = std::result::Result<T, E>;

fn bad(key: impl Into<String>, problem: impl Into<String>) -> ConfigError {
    ConfigError::Value { key: key.into(), problem: problem.into() }
}

/// A string that `read` accepts.
fn read<'de, D: Deserializer<'de>, T>(
    from: D,
    read: impl FnOnce(&str) -> Option<T>,
    rule: &str,
) -> Result<T, D::Error> {
    let text = String::deserialize(from)?;
    read(&text).ok_or_else(|| D::Error::custom(format!("{text:?} {rule}")))
}

pub(super) fn name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let named = |text: &str| ((1..=64).contains(&text.len()) && text.chars().all(fits)).then(|| text.to_owned());
    read(from, named, "must be 1 to 64 of a-z 0-9 -")
}

pub(super) fn https<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    read(from, |url| url.starts_with("https://").then(|| url.to_owned()), "must start with https://")
}

pub(super) fn mode<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let fits = |mode: &u32| mode & !0o770 == 0 && mode & 0o400 != 0;
    let rule = "must be octal digits such as \"0640\"; other users must not read a key";
    read(from, |text| u32::from_str_radix(text, 8).ok().filter(fits), rule)
}

pub(super) fn owner<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    known(from, |name| Ok(User::from_name(name)?.map(|user| user.uid.as_raw())))
}

pub(super) fn group<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    known(from, |name| Ok(Group::from_name(name)?.map(|group| group.gid.as_raw())))
}

/// A number, or a name that this machine knows.
fn known<'de, D: Deserializer<'de>>(
    from: D,
    find: impl Fn(&str) -> nix::Result<Option<u32>>,
) -> Result<Option<u32>, D::Error> {
    let name = String::deserialize(from)?;
    if let Ok(number) = name.parse() {
        return Ok(Some(number));
    }
    let found = find(&name).map_err(|error| D::Error::custom(format!("{name:?} cannot be looked up: {error}")))?;
    found.map(Some).ok_or_else(|| D::Error::custom(format!("{name:?} does not exist on this machine")))
}

pub(super) fn timeout<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let seconds = Some(u32::deserialize(from)?).filter(|seconds| (1..=3600).contains(seconds));
    seconds.map(|seconds| Duration::from_secs(seconds.into())).ok_or_else(|| D::Error::custom("must be 1 to 3600"))
}

pub(super) fn signal<'de, D: Deserializer<'de>>(from: D) -> Result<Signal, D::Error> {
    const ALLOWED: [Signal; 4] = [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGWINCH];
    let short = |name: &str| name.trim_start_matches("SIG").to_owned();
    let named = |text: &str| ALLOWED.into_iter().find(|signal| short(signal.as_str()) == short(text));
    read(from, named, "must be HUP, USR1, USR2 or WINCH")
}

pub(super) fn config(mut file: File, base: &Path) -> Result<Config> {
    let state_dir = base.join(&file.state_dir);
    for path in file.identity.iter_mut().flat_map(IdentityConfig::paths) {
        *path = base.join(&*path);
    }
    let identities = file.identity;
    if identities.is_empty() {
        return Err(bad("identity", "add an [[identity]] section, see agent.sample.toml"));
    }
    identities.iter().try_for_each(identity)?;
    nothing_shared(&identities)?;
    let socket = file.socket.map_or_else(|| state_dir.join("agent.sock"), |socket| base.join(socket));
    let length = socket.as_os_str().len();
    if length > MAX_SOCKET_PATH {
        let problem =
            format!("{} has {length} bytes; a socket path can have at most {MAX_SOCKET_PATH}", socket.display());
        return Err(bad("socket", problem));
    }
    let (metrics, log_json) = (file.metrics, file.log == Log::Json);
    Ok(Config {
        socket,
        state_dir,
        metrics,
        log_json,
        control_plane: control_plane(file.control_plane, base)?,
        identities,
    })
}

fn control_plane(written: ControlPlane, base: &Path) -> Result<IdentitySettings> {
    let path = base.join(&written.ca_file);
    let key = "control_plane.ca_file";
    let text =
        fs::read_to_string(&path).map_err(|error| bad(key, format!("cannot read {}: {error}", path.display())))?;
    let none = || bad(key, format!("{} has no PEM certificate", path.display()));
    let roots = pem::decode_certificates(&text).filter(|roots| !roots.is_empty()).ok_or_else(none)?;
    let mut settings = IdentitySettings::new(written.endpoint, roots);
    settings.server_name = written.server_name;
    settings.out_of_band = written.out_of_band.map(|way| OutOfBand { url: way.url, pinned: way.pinned });
    settings.check().map_err(|error| bad("control_plane", error.to_string()))?;
    Ok(settings)
}

fn identity(this: &IdentityConfig) -> Result<()> {
    let key = format!("identity.{}", this.name);
    if this.enroll.tenant.is_none() && !matches!(this.enroll.proof, ProofConfig::JoinToken(_)) {
        return Err(bad(format!("{key}.enroll.tenant"), "is required, except with a join token"));
    }
    let in_memory = this.exec.as_ref().is_some_and(|exec| exec.stdin == Stdin::Credentials);
    if !this.keeps_its_key() && this.pkcs12.is_none() && !in_memory {
        return Err(bad(key, "it has no output: add pem, combined or pkcs12, or an exec with stdin = \"credentials\""));
    }
    if !this.keeps_its_key() && !this.enroll.proof.repeats() {
        let problem = "no readable key would be stored (neither pem nor combined), so each start enrolls again; a join \
                       token does not work twice";
        return Err(bad(key, problem));
    }
    Ok(())
}

/// Two identities of one name, or in one place, would replace each other for ever.
fn nothing_shared(identities: &[IdentityConfig]) -> Result<()> {
    let (mut names, mut places): (Vec<&str>, Vec<&Path>) = Default::default();
    for one in identities {
        let key = format!("identity.{}", one.name);
        if names.contains(&one.name.as_str()) {
            return Err(bad(key, "another identity has this name"));
        }
        names.push(&one.name);
        let pem = one.pem.as_ref().map(|pem| pem.directory.as_path());
        let combined = one.combined.as_ref().map(|file| file.file.as_path());
        let pkcs12 = one.pkcs12.as_ref().map(|pkcs12| pkcs12.file.as_path());
        for path in [pem, combined, pkcs12].into_iter().flatten() {
            if places.contains(&path) {
                return Err(bad(key, format!("{} is used twice", path.display())));
            }
            places.push(path);
        }
    }
    Ok(())
}
