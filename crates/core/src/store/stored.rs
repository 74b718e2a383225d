//! A record as it is stored, so that replacing it loses nothing that this version does not know: a later release's
//! fields survive an earlier one's writes while both run.

use std::{fmt, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// How often a record was written: 1 after its creation. One that was read knows the record's stored form, so that what
/// this version does not understand of it survives a replacement.
#[derive(Clone)]
pub struct Version {
    number: u64,
    stored: Option<Arc<Stored>>,
}

impl Version {
    /// Of a record whose form is known: this version has just written it.
    pub const fn new(number: u64) -> Self {
        Self { number, stored: None }
    }

    /// Of a record that was read.
    pub fn read(number: u64, stored: Stored) -> Self {
        Self { number, stored: Some(Arc::new(stored)) }
    }

    /// Of the record that replaces one of this version.
    #[must_use]
    pub fn next(&self) -> Self {
        Self { number: self.number.saturating_add(1), stored: self.stored.clone() }
    }

    /// How often it was written.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The body to be stored for `next` in place of the record of this version; `None`: `next` as it is.
    pub fn form_of<B: Serialize + DeserializeOwned>(&self, next: &B) -> serde_json::Result<Option<Value>> {
        self.stored.as_ref().map_or(Ok(None), |stored| stored.form_of(next))
    }

    /// See [`Stored::beside`].
    pub fn beside(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.stored.iter().flat_map(|stored| &stored.beside)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Version {}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({})", self.number)
    }
}

/// A value and the version it was read at; the handle for a compare-and-swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The value as it was read.
    pub value: T,
    /// Its version then.
    pub version: Version,
}

/// A record's stored form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Its body, JSON.
    pub body: String,
    /// What the store keeps beside the body under names that this version does not write.
    pub beside: Map<String, Value>,
}

impl Stored {
    /// The form of `next`, which replaces this record: as this version writes it, with what it does not know of this
    /// one. `None`: it knows all of it.
    pub(crate) fn form_of<B: Serialize + DeserializeOwned>(&self, next: &B) -> serde_json::Result<Option<Value>> {
        let understood: B = serde_json::from_str(&self.body)?;
        if serde_json::to_string(&understood)? == self.body {
            return Ok(None);
        }
        let (understood, stored) = (serde_json::to_value(understood)?, serde_json::from_str(&self.body)?);
        let (mut form, mut elements) = (serde_json::to_value(next)?, Vec::new());
        changed_elements(&understood, &stored, &mut elements);
        restore(&mut form, Some((&understood, &stored)), &elements);
        Ok(Some(form))
    }
}

/// A value as this version understands it, and as it is stored.
type Pair<'a> = (&'a Value, &'a Value);

/// Finds the elements of lists, at any depth, that are stored with more than is understood of them.
fn changed_elements<'a>(understood: &'a Value, stored: &'a Value, found: &mut Vec<Pair<'a>>) {
    match (understood, stored) {
        (Value::Object(understood), Value::Object(stored)) => {
            for (name, understood) in understood {
                if let Some(stored) = stored.get(name) {
                    changed_elements(understood, stored, found);
                }
            }
        }
        (Value::Array(understood), Value::Array(stored)) if understood.len() == stored.len() => {
            for (understood, stored) in understood.iter().zip(stored) {
                if understood != stored {
                    found.push((understood, stored));
                    changed_elements(understood, stored, found);
                }
            }
        }
        _ => {}
    }
}

/// Puts into `form` what is stored but not understood. An object keeps its unknown fields; an element of a list takes
/// them along wherever the list of the record it moves to, for as long as it is otherwise the same.
fn restore(form: &mut Value, was: Option<Pair<'_>>, elements: &[Pair<'_>]) {
    match form {
        Value::Object(form) => {
            if let Some((Value::Object(understood), Value::Object(stored))) = was {
                for (name, value) in stored.iter().filter(|(name, _)| !understood.contains_key(*name)) {
                    form.entry(name).or_insert_with(|| value.clone());
                }
            }
            for (name, value) in form {
                let was = was.and_then(|(understood, stored)| Some((understood.get(name)?, stored.get(name)?)));
                restore(value, was, elements);
            }
        }
        Value::Array(list) => {
            for element in list {
                let was = elements.iter().find(|(understood, _)| *understood == element).copied();
                restore(element, was, elements);
            }
        }
        _ => {}
    }
}
