//! `SIGNET_<SECTION>__<KEY>` as a source of values.

use figment::{
    Error, Metadata, Profile, Provider,
    value::{Dict, Map, Value},
};

/// What errors call this source.
pub(super) const ALL: &str = "environment variables SIGNET_<SECTION>__<KEY>";

const PREFIX: &str = "SIGNET_";
/// Between section and key; a variable without it is not a setting (SIGNET_CONFIG, SIGNET_HOME).
const BETWEEN: &str = "__";

/// Settings by section and key, in lower case.
#[derive(Debug)]
pub(super) struct Variables(Dict);

impl Variables {
    pub(super) fn of_process() -> Self {
        let texts =
            std::env::vars_os().filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)));
        let pairs: Vec<(String, String)> = texts.collect();
        Self::new(pairs.iter().map(|(name, text)| (name.as_str(), text.as_str())))
    }

    pub(super) fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut sections = Dict::new();
        for (name, text) in pairs {
            let Some((section, key)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once(BETWEEN)) else {
                continue;
            };
            let section = sections.entry(section.to_lowercase()).or_insert_with(|| Value::from(Dict::new()));
            if let Value::Dict(_, section) = section {
                section.insert(key.to_lowercase(), value(text));
            }
        }
        Self(sections)
    }
}

/// A list is a JSON array; a whole number and `true` and `false` are what they look like, but for digits that no number is
/// written with (`0042`); all else is text, and so is whatever stands in double quotes (`"42"`).
fn value(text: &str) -> Value {
    if let (true, Ok(quoted)) = (text.starts_with('"'), serde_json::from_str::<String>(text)) {
        return Value::from(quoted);
    }
    if text.len() > 1 && text.starts_with('0') {
        return Value::from(text);
    }
    if let (true, Ok(list)) = (text.starts_with('['), serde_json::from_str::<Vec<Value>>(text)) {
        return Value::from(list);
    }
    match (text.parse::<bool>(), text.parse::<u64>()) {
        (Ok(flag), _) => Value::from(flag),
        (_, Ok(number)) => Value::from(number),
        _ => Value::from(text),
    }
}

impl Provider for Variables {
    fn metadata(&self) -> Metadata {
        Metadata::named(ALL)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Profile::Default.collect(self.0.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_a_number_unless_no_number_is_written_so_or_they_are_quoted() {
        for (text, number) in [("0", 0_u64), ("42", 42), ("123456789012", 123_456_789_012)] {
            assert_eq!(value(text).to_u128(), Some(number.into()), "{text}");
        }
        for (text, expected) in
            [("0042", "0042"), ("000123", "000123"), ("\"42\"", "42"), ("\"true\"", "true"), ("\"", "\""), ("x", "x")]
        {
            assert_eq!(value(text).as_str(), Some(expected), "{text}");
        }
    }
}
