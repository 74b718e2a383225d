//! Tables without lines, so that `grep`, `awk` and the clipboard like them too.

use comfy_table::{Attribute, Cell as Shown, Color, ContentArrangement, Table, presets::NOTHING};
use jiff::Timestamp;
use serde_json::Value;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::{plain, time};
use crate::failure::Failure;

/// One column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// The heading.
    pub title: &'static str,
    /// What stands in it.
    pub cell: Cell,
    /// Whether it is shown only where there is room for it.
    pub wide: bool,
}

impl Column {
    /// One that is always shown.
    pub const fn new(title: &'static str, cell: Cell) -> Self {
        Self { title, cell, wide: false }
    }

    /// One that is shown where there is room for it.
    pub const fn wide(title: &'static str, cell: Cell) -> Self {
        Self { title, cell, wide: true }
    }

    /// Its name as an argument.
    pub(super) fn name(&self) -> String {
        self.title.to_lowercase().replace(' ', "-")
    }

    /// What a record has there.
    pub(super) fn value(&self, record: &Value) -> Value {
        match self.cell {
            Cell::Field(name) | Cell::Status(name) | Cell::Age(name) | Cell::When(name) | Cell::Sentence(name) => {
                record.get(name).cloned().unwrap_or_default()
            }
            Cell::With(make) => Value::String(make(record)),
        }
    }
}

/// What stands in a column.
#[derive(Clone, Copy, Debug)]
pub enum Cell {
    /// A field as it is.
    Field(&'static str),
    /// A field that says how something stands: coloured.
    Status(&'static str),
    /// An instant in the past: how long ago.
    Age(&'static str),
    /// An instant: how long ago, or how soon, with the words that tell them apart.
    When(&'static str),
    /// A text that is broken into lines rather than cut.
    Sentence(&'static str),
    /// A text made of the whole record.
    With(fn(&Value) -> String),
}

/// Where a table is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// The terminal's width; `None`: a program or a file reads it.
    pub(super) width: Option<usize>,
    /// Times in full.
    pub(super) full: bool,
    pub(super) headings: bool,
}

/// Between two columns.
const GAP: usize = 2;
/// No cell is cut below this.
const LEAST: usize = 8;

/// The columns there is room for: those that are always shown, and of the others as many as fit.
pub(super) fn fitting(all: &[Column], values: &[Value], layout: Layout, now: Timestamp) -> Vec<Column> {
    let width_of = |column: &Column| widest(column, values, layout, now).saturating_add(GAP);
    let mut taken: usize = all.iter().filter(|column| !column.wide).map(width_of).sum();
    let room = layout.width.map(|width| width.saturating_add(GAP));
    let mut fits = |column: &Column| {
        let width = width_of(column);
        let fits = room.is_some_and(|room| taken.saturating_add(width) <= room);
        taken = taken.saturating_add(if fits { width } else { 0 });
        fits
    };
    all.iter().filter(|column| !column.wide || fits(column)).copied().collect()
}

fn widest(column: &Column, values: &[Value], layout: Layout, now: Timestamp) -> usize {
    let cells = values.iter().map(|value| shown(column.cell, value, layout, now).0.width());
    cells.chain([if layout.headings { column.title.len() } else { 0 }]).max().unwrap_or(0)
}

/// A table.
pub(super) fn grid(columns: &[Column], values: &[Value], layout: Layout, now: Timestamp) -> String {
    let mut table = plain();
    if layout.headings {
        table.set_header(columns.iter().map(|column| Shown::new(column.title).add_attribute(Attribute::Bold)));
    }
    let widths = widths(columns, values, layout, now);
    if let Some(width) = layout.width {
        // The gap after the last column is taken off again.
        let width = u16::try_from(width.saturating_add(GAP)).unwrap_or(u16::MAX);
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    for value in values {
        table.add_row(columns.iter().zip(&widths).map(|(column, width)| {
            let (text, color) = shown(column.cell, value, layout, now);
            let text = if matches!(column.cell, Cell::Sentence(_)) { text } else { cut(&text, *width) };
            let cell = Shown::new(text);
            color.map_or(cell.clone(), |color| cell.fg(color))
        }));
    }
    lines(table)
}

/// How wide each column may be: the widest ones give way until the table fits.
fn widths(columns: &[Column], values: &[Value], layout: Layout, now: Timestamp) -> Vec<usize> {
    let mut widths: Vec<usize> = columns.iter().map(|column| widest(column, values, layout, now)).collect();
    let Some(room) = layout.width else { return widths };
    let gaps = columns.len().saturating_sub(1).saturating_mul(GAP);
    while widths.iter().sum::<usize>().saturating_add(gaps) > room {
        let least = |column: &Column| column.title.len().max(LEAST);
        let wide = widths.iter_mut().zip(columns).filter(|(width, column)| **width > least(column));
        match wide.max_by_key(|(width, _)| **width) {
            Some((width, _)) => *width = width.saturating_sub(1),
            None => break,
        }
    }
    widths
}

/// With `…` at the end of what is left.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let mut short: String = text
        .chars()
        .take_while(|c| {
            let size = c.width().unwrap_or(0);
            let fits = size <= left;
            left = left.saturating_sub(size);
            fits
        })
        .collect();
    short.push('…');
    short
}

/// A line of comma-separated values for each record, after one of their names (RFC 4180).
pub(super) fn csv(columns: &[Column], values: &[Value], headings: bool) -> Result<String, Failure> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    if headings {
        writer.write_record(columns.iter().map(|column| column.name().replace('-', "_"))).map_err(Failure::other)?;
    }
    for value in values {
        writer.write_record(columns.iter().map(|column| bare(&column.value(value)))).map_err(Failure::other)?;
    }
    String::from_utf8(writer.into_inner().map_err(Failure::other)?).map_err(Failure::other)
}

/// The fields of one record, those of `order` first.
pub(super) fn csv_of_one(value: &Value, order: &[&str]) -> Result<String, Failure> {
    let fields = in_order(value, order);
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(fields.iter().map(|(name, _)| name)).map_err(Failure::other)?;
    writer.write_record(fields.iter().map(|(_, field)| bare(field))).map_err(Failure::other)?;
    String::from_utf8(writer.into_inner().map_err(Failure::other)?).map_err(Failure::other)
}

fn in_order<'a>(value: &'a Value, order: &[&str]) -> Vec<(&'a String, &'a Value)> {
    let place = |name: &str| order.iter().position(|next| *next == name).unwrap_or(order.len());
    let mut fields: Vec<_> = value.as_object().into_iter().flatten().collect();
    fields.sort_by_key(|(name, _)| place(name));
    fields
}

/// A value for programs, without quotes.
pub(super) fn bare(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => plain::line(text),
        Value::Array(items) if !items.iter().any(|item| item.is_object() || item.is_array()) => {
            items.iter().map(bare).collect::<Vec<_>>().join(" ")
        }
        other => plain::json(other, false),
    }
}

/// One record, a line for each field: those of `order` first.
pub(super) fn sheet(value: &Value, order: &[&str], now: Timestamp) -> String {
    let mut table = plain();
    for (name, field) in in_order(value, order) {
        let value = if name.ends_with("status") || name.ends_with("state") {
            status(&text(field, now))
        } else if let (true, Some(seconds)) =
            (name.ends_with("_seconds"), field.as_i64().filter(|seconds| *seconds > 0))
        {
            Shown::new(format!("{seconds} ({})", time::span(seconds)))
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

/// A cell's text and colour.
fn shown(cell: Cell, value: &Value, layout: Layout, now: Timestamp) -> (String, Option<Color>) {
    let field = |name: &str| value.get(name).unwrap_or(&Value::Null);
    match cell {
        Cell::Field(name) | Cell::Sentence(name) => (text(field(name), now), None),
        Cell::Status(name) => {
            let text = text(field(name), now);
            let color = color(&text);
            (text, color)
        }
        Cell::Age(name) => (instant(field(name), layout.full, now, time::age), None),
        Cell::When(name) => (instant(field(name), layout.full, now, time::when), None),
        Cell::With(make) => (plain::line(&make(value)), None),
    }
}

fn instant(value: &Value, full: bool, now: Timestamp, short: fn(Timestamp, Timestamp) -> String) -> String {
    match value.as_str().and_then(|text| text.parse::<Timestamp>().ok()) {
        Some(at) if full => time::plain(at),
        Some(at) => short(at, now),
        None => text(value, now),
    }
}

fn status(text: &str) -> Shown {
    let cell = Shown::new(text);
    color(text).map_or(cell.clone(), |color| cell.fg(color))
}

fn color(text: &str) -> Option<Color> {
    Some(match text {
        "active" | "issued" | "valid" | "ok" | "created" => Color::Green,
        "changed" | "suspended" | "retiring" | "prepared" | "reserved" | "warn" => Color::Yellow,
        "deleted" | "revoked" | "retired" | "abandoned" | "expired" | "missing" | "fail" => Color::Red,
        _ => return None,
    })
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
