//! What a body may look like, before anything of it is kept: who sends little must not have much built of it.

use std::{cell::Cell, collections::HashSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Most values of a body, those in others included.
const MAX_VALUES: u32 = 4096;
/// Members that are objects where they are.
const OBJECTS: [&str; 7] = ["subject", "action", "resource", "context", "properties", "page", "options"];

/// Reads a body whose member names are unique (RFC 7493 section 2.3) and which has no more values than a batch needs.
pub(crate) fn read(body: &[u8]) -> Result<Value, serde_json::Error> {
    let left = Cell::new(MAX_VALUES);
    let mut reader = serde_json::Deserializer::from_slice(body);
    Shape(&left).deserialize(&mut reader)?;
    reader.end()?;
    let body = serde_json::from_slice(body)?;
    require_objects(&body)?;
    Ok(body)
}

/// That an array does not pass for an object, by the order of its elements (section 10.1.1).
fn require_objects(value: &Value) -> Result<(), serde_json::Error> {
    let Value::Object(members) = value else { return Err(serde_json::Error::custom("must be an object")) };
    for (name, member) in members {
        match member {
            Value::Array(each) if name == "evaluations" => each.iter().try_for_each(require_objects)?,
            Value::Object(_) if matches!(name.as_str(), "subject" | "action" | "resource") => require_objects(member)?,
            Value::Array(_) if OBJECTS.contains(&name.as_str()) => {
                return Err(serde_json::Error::custom(format!("{name} must be an object")));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Looks at a value and keeps nothing.
#[derive(Clone, Copy)]
struct Shape<'a>(&'a Cell<u32>);

impl<'de> DeserializeSeed<'de> for Shape<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let left = self
            .0
            .get()
            .checked_sub(1)
            .ok_or_else(|| D::Error::custom(format!("has more than {MAX_VALUES} values")))?;
        self.0.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Shape<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            map.next_value_seed(self)?;
            if let Some(twice) = names.replace(name) {
                return Err(A::Error::custom(format!("{twice:?} is there twice")));
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        while sequence.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> String {
        read(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn names_are_unique_and_arrays_are_no_objects() {
        assert!(
            read(br#"{"subject":{"type":"user","id":"u"},"evaluations":[{"action":{"name":"x"}}],"x":[1,[2]]}"#)
                .is_ok()
        );
        assert!(refused(r#"{"a":{"b":1,"b":2}}"#).contains("twice"));
        assert!(refused(r#"{"evaluations":[{"resource":{"id":"1"},"resource":{"id":"2"}}]}"#).contains("twice"));
        assert!(refused(r#"[{"type":"user"}]"#).contains("must be an object"));
        assert!(refused(r#"{"subject":["user","u"]}"#).contains("subject must be an object"));
        assert!(refused(r#"{"evaluations":[["x"]]}"#).contains("must be an object"));
        assert!(refused(r#"{"subject":{"properties":[1]}}"#).contains("properties must be an object"));
        assert!(refused(r#"{} {}"#).contains("trailing"));
    }

    #[test]
    fn little_json_that_becomes_much_is_refused_unread() {
        let many = format!(r#"{{"context":{{"x":[{}0]}}}}"#, r#"{"":0},"#.repeat(9_000));
        assert!(many.len() < 65_536 && refused(&many).contains("more than"));
        assert!(!refused(&format!("{}1{}", "[".repeat(30_000), "]".repeat(30_000))).is_empty());
    }
}
