//! `SIGNET_<SECTION>__<KEY>` as a source of values.

use figment::{
    Error, Metadata, Profile, Provider,
    value::{Dict, Map, Value},
};

/// Settings of kinds that the sample does not show, by section.
const OF_OTHER_KINDS: [(&str, &str); 5] = [
    ("storage", "prefix"),
    ("keys", "prefix"),
    ("keys", "tenant_key_policy"),
    ("keys", "tenant_key_policy_file"),
    ("server_identity", "prefix"),
];

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

/// Whether any of them is a setting.
pub(super) fn has_settings(pairs: &[(String, String)]) -> bool {
    pairs.iter().any(|(name, _)| name.strip_prefix(PREFIX).is_some_and(|rest| rest.contains(BETWEEN)))
}

/// A variable that differs from a setting's in underscores only, which would be ignored; and the setting's name.
pub(super) fn misspelt<'a>(pairs: &'a [(String, String)], sample: &str) -> Option<(&'a str, String)> {
    let bare = |name: &str| name.replace('_', "");
    let known: Vec<String> = settings(sample).collect();
    let ignored = pairs.iter().map(|(name, _)| name.as_str());
    let mut ignored = ignored.filter(|name| name.strip_prefix(PREFIX).is_some_and(|rest| !rest.contains(BETWEEN)));
    ignored.find_map(|name| Some((name, known.iter().find(|known| bare(known) == bare(name))?.clone())))
}

/// The names of all settings: those of the sample, also where they are commented out.
fn settings(sample: &str) -> impl Iterator<Item = String> {
    let name = |section: &str, key: &str| format!("{PREFIX}{section}{BETWEEN}{key}").to_uppercase();
    let mut section = String::new();
    let of_sample = sample.lines().filter_map(move |line| {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if let Some(named) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            named.clone_into(&mut section);
            return None;
        }
        let (key, _) = line.split_once(" = ").filter(|(key, _)| !key.contains(' '))?;
        Some(name(&section, key))
    });
    of_sample.chain(OF_OTHER_KINDS.map(|(section, key)| name(section, key)))
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
    fn a_setting_with_too_few_underscores_is_named() {
        let sample = "[listen]\ngrpc = 1\n# health = 2\n# [events]\n# bus = 3\n";
        let found = |name: &str| misspelt(&[(name.to_owned(), String::new())], sample).map(|(_, known)| known);
        assert_eq!(found("SIGNET_LISTEN_GRPC").as_deref(), Some("SIGNET_LISTEN__GRPC"));
        assert_eq!(found("SIGNET_LISTEN_HEALTH").as_deref(), Some("SIGNET_LISTEN__HEALTH"));
        assert_eq!(found("SIGNET_EVENTS_BUS").as_deref(), Some("SIGNET_EVENTS__BUS"));
        assert_eq!(found("SIGNET_KEYS_TENANT_KEY_POLICY").as_deref(), Some("SIGNET_KEYS__TENANT_KEY_POLICY"));
        for other in ["SIGNET_LISTEN__GRPC", "SIGNET_CONFIG", "SIGNET_HOME", "SIGNET_TEST_AWS_ENDPOINT", "LISTEN_GRPC"]
        {
            assert_eq!(found(other), None, "{other}");
        }
    }

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
