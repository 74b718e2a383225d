//! Records as releases wrote them, kept in `fixtures/records`: today's code reads each, and writes it back with all it
//! holds.

use serde_json::Value;
use signet_core::store::{Body, Write};

use super::{
    raw::{RawStore, extend},
    support::{get, write},
};
use crate::releases::Releases;

fn releases() -> Releases {
    Releases::of(env!("CARGO_MANIFEST_DIR"), "fixtures/records")
}

/// `Store`: what a release before this one wrote is read and replaced without a loss, also what nobody here knows of
/// it.
pub async fn records_of_every_release_are_read_and_lose_nothing((store, raw): RawStore) {
    for (file, fixture) in releases().all() {
        let schema = u32::try_from(fixture["schema_version"].as_u64().unwrap()).unwrap();
        for record in fixture["records"].as_array().unwrap() {
            let body: Body =
                serde_json::from_value(record.clone()).unwrap_or_else(|error| panic!("{file}: {error}: {record}"));
            let key = body.key();
            let mut extended = record.clone();
            extend(&mut extended);
            // The reader's promise: the present form and the one before.
            for (form, schema) in [(record, schema), (&extended, schema), (record, schema.saturating_sub(1))] {
                let change = match get(&*store, &key).await {
                    None => Write::Create(body.clone()),
                    Some(found) => Write::Replace(body.clone(), found.version),
                };
                write(&*store, change).await.unwrap();
                raw.set_body(&key, form.clone()).await;
                raw.set_schema(&key, schema).await;
                let found = get(&*store, &key).await.unwrap();
                assert!(found.value == body || form == &extended, "{file}: {key}");
                write(&*store, Write::Replace(found.value, found.version)).await.unwrap();
                let kept = raw.body(&key).await;
                assert!(holds(&kept, form), "{file}: {key}: of {form} only {kept}");
            }
        }
    }
}

/// Whether nothing of `before` is missing or another. Fields that were added since may be there too.
fn holds(now: &Value, before: &Value) -> bool {
    match (now, before) {
        (Value::Object(now), Value::Object(before)) => {
            before.iter().all(|(name, value)| now.get(name).is_some_and(|now| holds(now, value)))
        }
        (now, before) => now == before,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;
    use signet_core::store::SCHEMA_VERSION;

    use super::*;
    use crate::fixtures::unique_tenant;

    /// The names of all fields at any depth, and what kind of value each has.
    fn shape(value: &Value, path: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                fields.iter().for_each(|(name, value)| shape(value, &format!("{path}.{name}"), found));
            }
            Value::Array(list) => list.iter().for_each(|value| shape(value, &format!("{path}[]"), found)),
            Value::String(_) => drop(found.insert(format!("{path}: string"))),
            Value::Number(_) => drop(found.insert(format!("{path}: number"))),
            Value::Bool(_) => drop(found.insert(format!("{path}: bool"))),
            Value::Null => drop(found.insert(format!("{path}: null"))),
        }
    }

    fn shape_of(fixture: &Value) -> BTreeSet<String> {
        let mut found = BTreeSet::from([format!("schema_version {}", fixture["schema_version"])]);
        for record in fixture["records"].as_array().unwrap() {
            shape(record, record["entity"].as_str().unwrap(), &mut found);
        }
        found
    }

    #[test]
    fn the_form_of_every_record_has_a_fixture() {
        let today = json!({ "schema_version": SCHEMA_VERSION, "records": super::super::full(&unique_tenant()) });
        let same = |fixture: &Value| shape_of(fixture) == shape_of(&today);
        releases().require(
            &today,
            same,
            "the form of a record has changed. Older releases run beside this one: a new field has a default, and none changes its meaning.",
        );
    }
}
