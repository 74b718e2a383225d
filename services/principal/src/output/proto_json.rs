//! API messages as JSON: the field names of the .proto, short enum names, RFC 3339 times, base64 or hex bytes.
//! Every field is there, so that scripts need not guess: an absent message is `null`.

use std::sync::LazyLock;

use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _,
    Value as Field, prost::Message,
};
use serde_json::{Map, Value};

use super::time;
use crate::failure::Failure;

/// `message` as JSON; `name` is its full name in the .proto.
pub fn to_value(name: &str, message: &impl Message) -> Result<Value, Failure> {
    let bytes = message.encode_to_vec();
    let dynamic = DynamicMessage::decode(descriptor(name)?, bytes.as_slice()).map_err(Failure::other)?;
    let mut value = object(&dynamic);
    value.sort_all_objects();
    Ok(value)
}

/// The fields of a message in the order of the .proto.
pub(super) fn field_names(name: &str) -> Result<Vec<String>, Failure> {
    let mut fields: Vec<FieldDescriptor> = descriptor(name)?.fields().collect();
    fields.sort_by_key(FieldDescriptor::number);
    Ok(fields.iter().map(|field| field.name().to_owned()).collect())
}

fn descriptor(name: &str) -> Result<MessageDescriptor, Failure> {
    static POOL: LazyLock<Option<DescriptorPool>> =
        LazyLock::new(|| DescriptorPool::decode(signet_proto::DESCRIPTORS).ok());
    let found = POOL.as_ref().and_then(|pool| pool.get_message_by_name(name));
    found.ok_or_else(|| Failure::other(format!("{name} is not in the API's descriptors")))
}

fn object(message: &DynamicMessage) -> Value {
    let descriptor = message.descriptor();
    let fields = descriptor.fields().filter(|field| present(message, field));
    let pairs = fields.map(|field| {
        let value = if field.supports_presence() && !message.has_field(&field) {
            Value::Null
        } else {
            convert(&field, &message.get_field(&field))
        };
        (field.name().to_owned(), value)
    });
    Value::Object(pairs.collect::<Map<_, _>>())
}

/// Of a oneof only the member that is set.
fn present(message: &DynamicMessage, field: &FieldDescriptor) -> bool {
    field.containing_oneof().is_none() || message.has_field(field)
}

fn convert(field: &FieldDescriptor, value: &Field) -> Value {
    match value {
        Field::List(items) => items.iter().map(|item| convert(field, item)).collect(),
        Field::Map(entries) => {
            let entry = |(key, value): (&prost_reflect::MapKey, &Field)| {
                (key.as_str().unwrap_or_default().to_owned(), scalar(value))
            };
            Value::Object(entries.iter().map(entry).collect())
        }
        Field::Message(message) => self::message(message),
        Field::EnumNumber(number) => match field.kind() {
            Kind::Enum(kind) => short_name(&kind, *number),
            _ => Value::from(*number),
        },
        Field::Bytes(bytes) if field.name().ends_with("sha256") => Value::from(hex::encode(bytes)),
        Field::Bytes(bytes) => Value::from(base64(bytes)),
        other => scalar(other),
    }
}

fn scalar(value: &Field) -> Value {
    match value {
        Field::Bool(value) => Value::from(*value),
        Field::I32(value) => Value::from(*value),
        Field::I64(value) => Value::from(*value),
        Field::U32(value) => Value::from(*value),
        Field::U64(value) => Value::from(*value),
        Field::F32(value) => Value::from(*value),
        Field::F64(value) => Value::from(*value),
        Field::String(value) => Value::from(value.clone()),
        _ => Value::Null,
    }
}

fn message(message: &DynamicMessage) -> Value {
    if message.descriptor().full_name() != "google.protobuf.Timestamp" {
        return object(message);
    }
    let part = |name| message.get_field_by_name(name).and_then(|v| v.as_i64().or(v.as_i32().map(i64::from)));
    let (seconds, nanos) = (part("seconds").unwrap_or(0), part("nanos").unwrap_or(0));
    time::rfc3339(seconds, i32::try_from(nanos).unwrap_or(0)).map_or(Value::Null, Value::from)
}

/// `PRINCIPAL_TYPE_ADMIN` of `PrincipalType` is `admin`.
fn short_name(kind: &EnumDescriptor, number: i32) -> Value {
    let Some(value) = kind.get_value(number) else { return Value::from(number) };
    let mut prefix = String::new();
    for letter in kind.name().chars() {
        if letter.is_ascii_uppercase() && !prefix.is_empty() {
            prefix.push('_');
        }
        prefix.push(letter.to_ascii_uppercase());
    }
    prefix.push('_');
    let name = value.name();
    Value::from(name.strip_prefix(&prefix).unwrap_or(name).to_ascii_lowercase())
}

/// RFC 4648 section 4, with padding.
fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
