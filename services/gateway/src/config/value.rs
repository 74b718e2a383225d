//! Checks of single values, where a setting is read.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

/// The control plane's limit for a text of a question, bytes.
pub(crate) const MAX_TEXT: usize = 512;

fn read<'de, D: Deserializer<'de>>(from: D, fits: impl FnOnce(&str) -> bool, rule: &str) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    if fits(&text) { Ok(text) } else { Err(D::Error::custom(format!("{text:?} {rule}"))) }
}

pub(super) fn name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    read(from, |text| (1..=64).contains(&text.len()) && text.chars().all(fits), "must be 1 to 64 of a-z 0-9 -")
}

pub(super) fn permission<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    read(from, |text| (1..=MAX_TEXT).contains(&text.len()), "must be a permission, e.g. \"jobs:submit\", or \"none\"")
}

pub(super) fn header<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(from)?;
    match names.iter().find(|name| http::HeaderName::try_from(name.as_str()).is_err()) {
        Some(name) => Err(D::Error::custom(format!("{name:?} is not the name of a header"))),
        None => Ok(names),
    }
}

fn seconds<'de, D: Deserializer<'de>>(from: D, most: u32) -> Result<Duration, D::Error> {
    let seconds = Some(u32::deserialize(from)?).filter(|seconds| (1..=most).contains(seconds));
    let rule = || D::Error::custom(format!("must be 1 to {most} seconds"));
    seconds.map(|seconds| Duration::from_secs(seconds.into())).ok_or_else(rule)
}

pub(super) fn timeout<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    seconds(from, 86_400)
}

/// RFC 9068 tokens are short; 15 minutes at most.
pub(super) fn token_lifetime<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    seconds(from, 900)
}

pub(super) fn at_least_one<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    match usize::deserialize(from)? {
        0 => Err(D::Error::custom("must be at least 1")),
        number => Ok(number),
    }
}
