//! Messages with something in every field.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};

/// The full names of all that a method takes or gives.
pub(crate) fn messages(pool: &DescriptorPool) -> BTreeSet<String> {
    let methods: Vec<_> = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
    methods
        .iter()
        .flat_map(|method| [method.input(), method.output()])
        .map(|message| message.full_name().to_owned())
        .filter(|name| name.starts_with("signet."))
        .collect()
}

/// Messages with a value in each field, as many as it takes for every choice of a oneof and every value of an enum.
pub(crate) fn full(of: &MessageDescriptor) -> Vec<DynamicMessage> {
    let mut all: Vec<DynamicMessage> = Vec::new();
    for choice in 0..MOST_CHOICES {
        let message = Filler { choice, within: Vec::new() }.message(of);
        if !all.contains(&message) {
            all.push(message);
        }
    }
    all
}

/// More than any oneof or enum has.
const MOST_CHOICES: usize = 16;

struct Filler {
    /// Which field of a oneof is set, and which value an enum has.
    choice: usize,
    /// The messages around this one, since one may hold its own kind.
    within: Vec<String>,
}

impl Filler {
    fn choose<T>(&self, of: impl Iterator<Item = T>) -> T {
        let mut all: Vec<T> = of.collect();
        assert!(all.len() < MOST_CHOICES, "more choices than are tried");
        all.swap_remove(self.choice % all.len())
    }

    fn message(&mut self, of: &MessageDescriptor) -> DynamicMessage {
        let mut message = DynamicMessage::new(of.clone());
        if self.within.contains(&of.full_name().to_owned()) {
            return message;
        }
        self.within.push(of.full_name().to_owned());
        for field in of.fields() {
            if field.containing_oneof().is_some_and(|oneof| self.choose(oneof.fields()) != field) {
                continue;
            }
            let value = match field.kind() {
                Kind::Message(entry) if field.is_map() => {
                    let value = self.value(&entry.map_entry_value_field());
                    Value::Map([(MapKey::String("key".into()), value)].into())
                }
                _ if field.is_list() => Value::List(vec![self.value(&field), self.value(&field)]),
                _ => self.value(&field),
            };
            message.set_field(&field, value);
        }
        self.within.pop();
        message
    }

    /// Never the default, which is not sent.
    fn value(&mut self, field: &FieldDescriptor) -> Value {
        let number = field.number();
        match field.kind() {
            Kind::Bool => Value::Bool(true),
            Kind::String => Value::String(format!("Ünï {number}")),
            Kind::Bytes => Value::Bytes(vec![0, 0xff, u8::try_from(number).unwrap()].into()),
            Kind::Double => Value::F64(0.5),
            Kind::Float => Value::F32(0.5),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(i32::MAX),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(i64::MAX),
            Kind::Uint32 | Kind::Fixed32 => Value::U32(u32::MAX),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(u64::MAX),
            Kind::Enum(of) => {
                let numbers = of.values().map(|value| value.number()).filter(|number| *number != 0);
                Value::EnumNumber(self.choose(numbers))
            }
            Kind::Message(of) => Value::Message(self.message(&of)),
        }
    }
}

/// Each field at any depth that is set in one of `messages`: its path by names, with its number, its type, and of an
/// enum the values.
pub(crate) fn shape(messages: &[DynamicMessage]) -> Shape {
    let mut found = BTreeMap::new();
    messages.iter().for_each(|message| note(message, "", &mut found));
    found
}

pub(crate) type Shape = BTreeMap<String, BTreeSet<String>>;

fn note(message: &DynamicMessage, path: &str, found: &mut Shape) {
    if let Some(unknown) = message.unknown_fields().next() {
        found.entry(format!("{path}?")).or_default().insert(format!("{} unknown", unknown.number()));
    }
    for (field, value) in message.fields() {
        let path = format!("{path}{}", field.name());
        let many = if field.is_list() { " repeated" } else { "" };
        let told = format!("{}{many} {}", field.number(), kind(&field.kind(), value));
        found.entry(path.clone()).or_default().insert(told);
        for_each_message(value, &mut |inner| note(inner, &format!("{path}."), found));
    }
}

/// Of an enum, the value too: by its name.
fn kind(kind: &Kind, value: &Value) -> String {
    match (kind, value) {
        (Kind::Enum(of), Value::EnumNumber(number)) => {
            let known = of.get_value(*number).map(|value| value.name().to_owned());
            format!("{} {number} {}", of.full_name(), known.unwrap_or_default())
        }
        (Kind::Enum(_), Value::List(list)) => list.first().map(|value| self::kind(kind, value)).unwrap_or_default(),
        _ => format!("{kind:?}"),
    }
}

fn for_each_message(value: &Value, tell: &mut dyn FnMut(&DynamicMessage)) {
    match value {
        Value::Message(message) => tell(message),
        Value::List(list) => list.iter().for_each(|value| for_each_message(value, tell)),
        Value::Map(map) => map.values().for_each(|value| for_each_message(value, tell)),
        _ => {}
    }
}
