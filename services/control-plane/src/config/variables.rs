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

/// The process's environment variables, except those that are not UTF-8.
pub(super) fn of_process() -> Vec<(String, String)> {
    std::env::vars_os().filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?))).collect()
}

impl Variables {
    /// figment's own `Env` parses digits as a number, and lists only in its own syntax. Here a value gets the type of
    /// the setting's default, and is a string where there is no default.
    pub(super) fn new(pairs: &[(String, String)], defaults: &Dict) -> Self {
        let mut sections = Dict::new();
        for (name, text) in pairs {
            let Some((section, key)) = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once(BETWEEN)) else {
                continue;
            };
            let (section, key) = (section.to_lowercase(), key.to_lowercase());
            let default = defaults.get(&section).and_then(|section| section.as_dict()?.get(&key));
            let value = value(text, default);
            if let Value::Dict(_, section) = sections.entry(section).or_insert_with(|| Value::from(Dict::new())) {
                section.insert(key, value);
            }
        }
        Self(sections)
    }
}

/// A value that does not parse as the default's type stays a string, and is rejected as one. A string may be in double
/// quotes: earlier versions required it for digits.
fn value(text: &str, default: Option<&Value>) -> Value {
    let parsed = match default {
        Some(Value::Array(..)) => serde_json::from_str::<Vec<Value>>(text).ok().map(Value::from),
        Some(Value::Num(..)) => text.parse::<u64>().ok().map(Value::from),
        Some(Value::Bool(..)) => text.parse::<bool>().ok().map(Value::from),
        _ => text.starts_with('"').then(|| serde_json::from_str::<String>(text).ok()).flatten().map(Value::from),
    };
    parsed.unwrap_or_else(|| Value::from(text))
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
    fn a_value_gets_the_type_of_its_default() {
        for digits in ["0", "42", "0042", "123456789012", "true", "[]", "\""] {
            assert_eq!(value(digits, None).as_str(), Some(digits));
            assert_eq!(value(digits, Some(&Value::from("dev"))).as_str(), Some(digits));
        }
        assert_eq!(value("\"42\"", None).as_str(), Some("42"));
        assert_eq!(value("42", Some(&Value::from(1))).to_u128(), Some(42));
        assert_eq!(value("false", Some(&Value::from(true))).to_bool(), Some(false));
        assert!(value("[\"a\"]", Some(&Value::from(Vec::<Value>::new()))).as_array().is_some());
        assert_eq!(value("many", Some(&Value::from(1))).as_str(), Some("many"));
    }
}
