//! The formats of results, as `--output` names them.

use clap::{
    Arg, Command, Error,
    builder::{PossibleValue, TypedValueParser},
    error::{ContextKind, ContextValue, ErrorKind},
};
use serde_json_path::JsonPath;

/// How results are written.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Format {
    /// For people: as many columns as there is room for.
    #[default]
    Table,
    /// For people: all columns, times in full.
    Wide,
    /// One document; streams write one line for each message.
    Json,
    /// One document; streams write one document for each message.
    Yaml,
    /// All columns, RFC 4180.
    Csv,
    /// The names of things, a line for each.
    Name,
    /// What a path finds in the JSON document (RFC 9535), a line for each.
    JsonPath(JsonPath),
}

impl Format {
    /// Whether it is a whole document, or a part of one.
    pub const fn is_document(&self) -> bool {
        matches!(self, Self::Json | Self::Yaml | Self::JsonPath(_))
    }

    /// Whether a person reads it.
    pub const fn is_for_people(&self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}

/// Reads `--output`.
#[derive(Clone, Debug)]
pub struct FormatParser;

const JSON_PATH: &str = "jsonpath=";

impl TypedValueParser for FormatParser {
    type Value = Format;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &std::ffi::OsStr) -> Result<Format, Error> {
        let text = value.to_str().unwrap_or_default();
        Ok(match text {
            "table" => Format::Table,
            "wide" => Format::Wide,
            "json" => Format::Json,
            "yaml" => Format::Yaml,
            "csv" => Format::Csv,
            "name" => Format::Name,
            _ => match text.strip_prefix(JSON_PATH).map(JsonPath::parse) {
                Some(Ok(path)) => Format::JsonPath(path),
                Some(Err(error)) => {
                    let message = format!("not a JSONPath (RFC 9535), e.g. jsonpath=$[*].principal_id: {error}\n");
                    return Err(Error::raw(ErrorKind::ValueValidation, message).with_cmd(command));
                }
                None => return Err(unknown(command, arg, text)),
            },
        })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(possible()))
    }
}

fn possible() -> impl Iterator<Item = PossibleValue> {
    let values = [
        ("table", "As many columns as there is room for"),
        ("wide", "All columns, times in full"),
        ("json", "One document"),
        ("yaml", "One document"),
        ("csv", "All columns"),
        ("name", "Names only, a line for each"),
        ("jsonpath=PATH", "What PATH (RFC 9535) finds in the JSON document, a line for each"),
    ];
    values.into_iter().map(|(name, help)| PossibleValue::new(name).help(help))
}

fn unknown(command: &Command, arg: Option<&Arg>, text: &str) -> Error {
    let mut error = Error::new(ErrorKind::InvalidValue).with_cmd(command);
    let known = possible().map(|value| value.get_name().to_owned()).collect();
    error.insert(ContextKind::InvalidArg, ContextValue::String(arg.map(Arg::to_string).unwrap_or_default()));
    error.insert(ContextKind::InvalidValue, ContextValue::String(text.to_owned()));
    error.insert(ContextKind::ValidValue, ContextValue::Strings(known));
    error
}
