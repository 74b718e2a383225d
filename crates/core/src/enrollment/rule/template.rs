//! Ids out of facts. What stands for the facts is read back without doubt, so that two callers who differ in a fact
//! that the template names never get one id.

use sha2::{Digest, Sha256};

use super::entity::Miss;
use crate::{PrincipalId, enrollment::attestation::Facts};

/// Marks a placeholder that takes the fact's digest: `{sub:sha256}`.
const DIGEST: &str = ":sha256";
/// Hexadecimal digits of a digest in an id: 160 bits, so that nobody finds two values with the same.
const DIGEST_DIGITS: usize = 40;
/// Most bytes of a template.
const MAX_TEMPLATE: usize = 256;
/// Most placeholders.
const MAX_FACTS: usize = 4;

/// The id of a rule's principals: text, and `{fact}` for the only value of a fact. In a value, every byte but `A-Z a-z
/// 0-9 . -` becomes `_` and two upper-case hexadecimal digits (`repo:acme/api` becomes `repo_3Aacme_2Fapi`), and so do
/// those of `.` and `-` that stand between two placeholders. `{fact:sha256}` takes the first 40 hexadecimal digits of
/// the value's SHA-256 instead, for values that are too long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdTemplate {
    parts: Vec<Part>,
    /// Bytes that separate placeholders and so are escaped in values.
    separators: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Fact { name: String, digest: bool },
}

impl IdTemplate {
    /// Reads a template; the error is the rule that it breaks, as the end of a sentence.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() || text.len() > MAX_TEMPLATE {
            return Err("must have 1 to 256 bytes");
        }
        let parts = parts(text)?;
        let facts = parts.iter().filter(|part| matches!(part, Part::Fact { .. })).count();
        if facts > MAX_FACTS {
            return Err("may name at most 4 facts");
        }
        let separators = separators(&parts)?;
        let template = Self { parts, separators };
        match template.constant().map(|id| id.parse::<PrincipalId>()) {
            Some(Err(_)) => Err("without a {fact} must be a principal id: 1 to 64 of A-Z a-z 0-9 . _ -"),
            _ => Ok(template),
        }
    }

    /// The facts that it names.
    pub fn facts(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Fact { name, .. } => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// Whether it names one principal, whoever calls.
    pub fn is_constant(&self) -> bool {
        self.facts().next().is_none()
    }

    fn constant(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The id for a caller with these facts.
    pub fn expand(&self, facts: &Facts) -> Result<PrincipalId, Miss> {
        let mut id = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => id.push_str(text),
                Part::Fact { name, digest } => {
                    let value = only_value(facts, name)?;
                    if *digest {
                        id.extend(hex::encode(Sha256::digest(value)).chars().take(DIGEST_DIGITS));
                    } else {
                        self.escape(value, &mut id);
                    }
                }
            }
        }
        id.parse().map_err(|error| {
            let hint = if id.len() > 64 { "; use {fact:sha256} for a long fact" } else { "" };
            Miss::new("ID_UNUSABLE", format!("{id:?} cannot be an id, it {error}{hint}"))
        })
    }

    fn escape(&self, value: &str, id: &mut String) {
        for byte in value.bytes() {
            let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
            if plain && !self.separators.contains(&byte) {
                id.push(char::from(byte));
            } else {
                id.push_str(&format!("_{byte:02X}"));
            }
        }
    }
}

fn only_value<'a>(facts: &'a Facts, name: &str) -> Result<&'a str, Miss> {
    let values = facts.values.get(name).map_or(&[][..], Vec::as_slice);
    match values {
        [value] if !value.is_empty() => Ok(value),
        [] => Err(Miss::new("ID_FACT_MISSING", format!("the id needs the fact {name}, which the proof lacks"))),
        [_] => Err(Miss::new("ID_FACT_EMPTY", format!("the id needs the fact {name}, which is empty"))),
        _ => Err(Miss::new("ID_FACT_AMBIGUOUS", format!("the id needs the fact {name}, which has several values"))),
    }
}

fn parts(text: &str) -> Result<Vec<Part>, &'static str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (literal, after) = rest.split_once('{').map_or((rest, None), |(literal, after)| (literal, Some(after)));
        if !literal.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
            return Err("may hold only A-Z a-z 0-9 . _ - and facts in braces, such as {role}");
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal.to_owned()));
        }
        let Some(after) = after else { break };
        let (name, behind) = after.split_once('}').ok_or("has a { without its }")?;
        let (name, digest) = name.strip_suffix(DIGEST).map_or((name, false), |name| (name, true));
        if name.is_empty() || name.contains('{') {
            return Err("has braces without the name of a fact");
        }
        parts.push(Part::Fact { name: name.to_owned(), digest });
        rest = behind;
    }
    Ok(parts)
}

/// Between two facts must stand a `.` or `-`, or nobody could tell where one ends.
fn separators(parts: &[Part]) -> Result<Vec<u8>, &'static str> {
    const RULE: &str = "needs a . or - between two facts";
    let is_fact = |part: &Part| matches!(part, Part::Fact { .. });
    if parts.windows(2).any(|pair| pair.iter().all(is_fact)) {
        return Err(RULE);
    }
    let mut found = Vec::new();
    for three in parts.windows(3) {
        let [Part::Fact { .. }, Part::Text(text), Part::Fact { .. }] = three else { continue };
        let here: Vec<u8> = text.bytes().filter(|byte| matches!(byte, b'.' | b'-')).collect();
        if here.is_empty() {
            return Err(RULE);
        }
        found.extend(here);
    }
    Ok(found)
}
