//! Tables without lines, so that `grep`, `awk` and the clipboard like them too.

use comfy_table::{Attribute, Cell as Shown, Color, ContentArrangement, Table, presets::NOTHING};
use jiff::Timestamp;
use serde_json::Value;

use super::{plain, time};

/// One column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// The heading.
    pub title: &'static str,
    /// What stands in it.
    pub cell: Cell,
}

/// What stands in a column.
#[derive(Clone, Copy, Debug)]
pub enum Cell {
    /// A field as it is.
    Field(&'static str),
    /// A field that says how something stands: coloured.
    Status(&'static str),
    /// A text made of the whole record.
    With(fn(&Value) -> String),
}

/// A table with a heading.
pub(super) fn grid(columns: &[Column], values: &[Value], now: Timestamp) -> String {
    let mut table = plain();
    table.set_header(columns.iter().map(|column| Shown::new(column.title).add_attribute(Attribute::Bold)));
    for value in values {
        table.add_row(columns.iter().map(|column| cell(column.cell, value, now)));
    }
    lines(table)
}

/// One record, a line for each field: those of `order` first.
pub(super) fn sheet(value: &Value, order: &[&str], now: Timestamp) -> String {
    let mut table = plain();
    let place = |name: &str| order.iter().position(|next| *next == name).unwrap_or(order.len());
    let mut fields: Vec<(&String, &Value)> = value.as_object().into_iter().flatten().collect();
    fields.sort_by_key(|(name, _)| place(name));
    for (name, field) in fields {
        let value = if name.ends_with("status") || name.ends_with("state") {
            status(&text(field, now))
        } else {
            Shown::new(text(field, now))
        };
        table.add_row([Shown::new(name).add_attribute(Attribute::Bold), value]);
    }
    lines(table)
}

fn plain() -> Table {
    let mut table = Table::new();
    // `anstream` takes the colours out again where they are not wanted.
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled).enforce_styling();
    table
}

fn lines(mut table: Table) -> String {
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 2));
    });
    table.lines().map(|line| trimmed(&line)).collect::<Vec<_>>().join("\n")
}

/// Without spaces at the end, even where they are styled.
fn trimmed(line: &str) -> String {
    let line = line.trim_end();
    let escape = line.rfind('\u{1b}').filter(|_| line.ends_with('m'));
    match escape.and_then(|at| line.split_at_checked(at)) {
        Some((text, codes)) if codes.matches('m').count() == 1 => format!("{}{codes}", trimmed(text)),
        _ => line.to_owned(),
    }
}

fn cell(cell: Cell, value: &Value, now: Timestamp) -> Shown {
    match cell {
        Cell::Field(name) => Shown::new(text(value.get(name).unwrap_or(&Value::Null), now)),
        Cell::Status(name) => status(&text(value.get(name).unwrap_or(&Value::Null), now)),
        Cell::With(make) => Shown::new(plain::line(&make(value))),
    }
}

fn status(text: &str) -> Shown {
    let color = match text {
        "active" | "issued" | "valid" | "ok" | "created" => Color::Green,
        "changed" | "suspended" | "retiring" | "prepared" | "reserved" | "warn" => Color::Yellow,
        "deleted" | "revoked" | "retired" | "abandoned" | "expired" | "missing" | "fail" => Color::Red,
        _ => return Shown::new(text),
    };
    Shown::new(text).fg(color)
}

/// A field for people: times with their distance, lists with commas, long blobs by their size; sentences as they are.
fn text(value: &Value, now: Timestamp) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) if text.is_empty() => "-".into(),
        Value::String(text) => match text.parse::<Timestamp>() {
            Ok(at) => time::absolute(at, now),
            Err(_) if text.len() > 160 && !text.contains(' ') => {
                format!("{} characters (see --output json)", text.len())
            }
            Err(_) => plain::line(text),
        },
        Value::Array(items) if items.is_empty() => "-".into(),
        Value::Array(items) => {
            let separator = if items.iter().any(Value::is_object) { "\n" } else { ", " };
            items.iter().map(|item| text(item, now)).collect::<Vec<_>>().join(separator)
        }
        Value::Object(fields) => {
            let pairs = fields.iter().map(|(name, value)| format!("{name}={}", text(value, now)));
            pairs.collect::<Vec<_>>().join(if fields.len() > 4 { "\n" } else { " " })
        }
        other => other.to_string(),
    }
}
