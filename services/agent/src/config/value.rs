//! Checks of single values, where a setting is read.

use std::time::Duration;

use nix::{
    sys::signal::Signal,
    unistd::{Group, User},
};
use serde::{Deserialize, Deserializer, de::Error};

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

pub(crate) fn owner<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    known(from, |name| Ok(User::from_name(name)?.map(|user| user.uid.as_raw())))
}

pub(crate) fn group<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
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
