//! Results on standard output as table, JSON or YAML; remarks on standard error.

mod columns;
mod format;
mod plain;
mod proto_json;
mod table;
mod time;
mod view;

use std::io::{self, Write as _};

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use serde_json::Value;
use serde_json_path::JsonPath;
use table::Layout;

use crate::failure::Failure;

pub use columns::{Shown, event_summary};
pub use format::{Format, FormatParser};
pub use proto_json::to_value;
pub use table::{Cell, Column};
pub use time::{absolute, relative};
pub use view::View;

/// Writes results and remarks.
#[derive(Clone, Debug)]
pub struct Printer {
    /// Output format.
    pub format: Format,
    /// When the command started.
    pub now: Timestamp,
    /// No remarks.
    pub quiet: bool,
    /// More remarks.
    pub verbose: bool,
}

impl Printer {
    /// A list of API messages.
    pub fn list<T: Shown>(&self, items: &[T], view: &View) -> Result<(), Failure> {
        self.list_with(items, &[], view)
    }

    /// The same with `more` columns.
    pub fn list_with<T: Shown>(&self, items: &[T], more: &[Column], view: &View) -> Result<(), Failure> {
        let values = items.iter().map(|item| to_value(T::MESSAGE, item)).collect::<Result<Vec<_>, _>>()?;
        self.rows(&[T::COLUMNS, more].concat(), T::NAME, values, view)
    }

    /// A list of other records. `name`: the fields that name one.
    pub fn rows(&self, all: &[Column], name: &[&str], values: Vec<Value>, view: &View) -> Result<(), Failure> {
        self.rows_that_fit(all, name, values, view).map(drop)
    }

    /// The same; returns the headings of the columns that had no room.
    pub fn rows_that_fit(
        &self,
        all: &[Column],
        name: &[&str],
        mut values: Vec<Value>,
        view: &View,
    ) -> Result<Vec<&'static str>, Failure> {
        view.sort(all, &mut values)?;
        let chosen = view.chosen(all)?;
        if chosen.is_some() && self.format.is_document() {
            return Err(Failure::usage("--columns is for tables and csv").hint("jsonpath=PATH chooses of a document"));
        }
        let is_cut = view.first > 0 && values.len() > view.first as usize;
        if is_cut {
            values.truncate(view.first as usize);
        }
        let left_out = self.table(all, chosen, name, values, view)?;
        // Last, where it is seen.
        if is_cut {
            self.warn(&cut_off(view.first));
        }
        Ok(left_out)
    }

    fn table(
        &self,
        all: &[Column],
        chosen: Option<Vec<Column>>,
        name: &[&str],
        values: Vec<Value>,
        view: &View,
    ) -> Result<Vec<&'static str>, Failure> {
        let now = self.clock();
        let shown = match &self.format {
            Format::Table | Format::Wide if values.is_empty() => {
                self.note("nothing found");
                Ok(())
            }
            Format::Table | Format::Wide => {
                let full = self.format == Format::Wide;
                let width = terminal_width().filter(|_| !full);
                let layout = Layout { width, full, headings: !view.no_headers };
                let is_chosen = chosen.is_some();
                let columns = chosen.unwrap_or_else(|| match full {
                    true => all.to_vec(),
                    false => table::fitting(all, &values, layout, now),
                });
                self.text(&table::grid(&columns, &values, layout, now))?;
                let left_out = all
                    .iter()
                    .map(|column| column.title)
                    .filter(|title| columns.iter().all(|shown| shown.title != *title));
                return Ok(if is_chosen { Vec::new() } else { left_out.collect() });
            }
            Format::Csv => self.text(&table::csv(&chosen.unwrap_or_else(|| all.to_vec()), &values, !view.no_headers)?),
            Format::Name => self.names(name, &values),
            Format::Json | Format::Yaml | Format::JsonPath(_) => self.document(&Value::Array(values)),
        };
        shown.map(|()| Vec::new())
    }

    /// What names each, a line for each: as other commands take it.
    fn names(&self, name: &[&str], values: &[Value]) -> Result<(), Failure> {
        let line = |value: &Value| {
            let parts = name.iter().map(|field| table::bare(value.get(field).unwrap_or(&Value::Null)));
            parts.collect::<Vec<_>>().join(" ")
        };
        if values.is_empty() { Ok(()) } else { self.text(&values.iter().map(line).collect::<Vec<_>>().join("\n")) }
    }

    /// One API message.
    pub fn one<T: Shown>(&self, item: &T) -> Result<(), Failure> {
        let value = to_value(T::MESSAGE, item)?;
        match &self.format {
            Format::Table | Format::Wide => {
                let names = proto_json::field_names(T::MESSAGE)?;
                let order: Vec<&str> = names.iter().map(String::as_str).collect();
                self.text(&table::sheet(&value, &order, self.clock()))
            }
            Format::Csv => self.text(&table::csv(T::COLUMNS, &[value], true)?),
            Format::Name => self.names(T::NAME, &[value]),
            Format::Json | Format::Yaml | Format::JsonPath(_) => self.document(&value),
        }
    }

    /// What a change has made of something; with `--quiet`, only programs are told.
    pub fn changed<T: Shown>(&self, item: &T) -> Result<(), Failure> {
        if self.quiet && self.format.is_for_people() { Ok(()) } else { self.one(item) }
    }

    /// One record: a line for each field, those of `order` first.
    pub fn record(&self, value: &Value, order: &[&str]) -> Result<(), Failure> {
        match &self.format {
            Format::Table | Format::Wide => self.text(&table::sheet(value, order, self.clock())),
            Format::Csv => self.text(&table::csv_of_one(value, order)?),
            Format::Name => self.names(order.get(..1).unwrap_or_default(), std::slice::from_ref(value)),
            Format::Json | Format::Yaml | Format::JsonPath(_) => self.document(value),
        }
    }

    /// Whether `part` of a record is not among what the format shows of it.
    pub fn leaves_out(&self, value: &Value, part: &str) -> bool {
        match &self.format {
            Format::Name => true,
            Format::JsonPath(path) => {
                !path.query(value).all().into_iter().any(|found| table::bare(found).contains(part))
            }
            _ => false,
        }
    }

    /// One message of a stream, at once. `summary` is its line in a table.
    pub fn streamed(&self, value: &Value, summary: &str) -> Result<(), Failure> {
        match &self.format {
            Format::Table | Format::Wide => self.text(&plain::line(summary)),
            Format::Json | Format::Csv | Format::Name => self.text(&plain::json(value, false)),
            Format::JsonPath(path) => self.found(path, value),
            Format::Yaml => self.text(&format!("---\n{}", plain::yaml(value))),
        }
    }

    fn document(&self, value: &Value) -> Result<(), Failure> {
        match &self.format {
            Format::Yaml => self.text(&plain::yaml(value)),
            Format::JsonPath(path) => self.found(path, value),
            _ => self.text(&plain::json(value, true)),
        }
    }

    fn found(&self, path: &JsonPath, value: &Value) -> Result<(), Failure> {
        let found: Vec<String> = path.query(value).all().into_iter().map(table::bare).collect();
        if found.is_empty() { Ok(()) } else { self.text(&found.join("\n")) }
    }

    /// Text as it is: PEM, completions, a secret.
    pub fn text(&self, text: &str) -> Result<(), Failure> {
        let mut out = anstream::stdout().lock();
        writeln!(out, "{}", text.trim_end_matches('\n'))?;
        Ok(out.flush()?)
    }

    /// The time now, which relative times refer to: who was asked something took a while.
    pub fn clock(&self) -> Timestamp {
        Timestamp::now()
    }

    /// A remark for people.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            remark(&plain::lines(text));
        }
    }

    /// A remark without which the output would mislead: also with `--quiet`.
    pub fn warn(&self, text: &str) {
        remark(&plain::lines(text));
    }

    /// A remark for the curious.
    pub fn detail(&self, text: &str) {
        if self.verbose {
            remark(&plain::lines(text));
        }
    }
}

/// Standard error may be closed: then nobody listens.
fn remark(text: &str) {
    let _: io::Result<()> = writeln!(anstream::stderr(), "{text}");
}

/// Said of a list that is not whole.
pub fn cut_off(limit: u32) -> String {
    format!("showing the first {limit}; raise --limit to see more")
}

/// Of the terminal that standard output is; as COLUMNS says, if that is set.
fn terminal_width() -> Option<usize> {
    let told = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let seen = || Some(terminal_size::terminal_size_of(io::stdout())?.0.0.into());
    told.or_else(seen).filter(|width| *width > 0)
}

/// Writes a failure to standard error.
pub fn report(failure: &Failure, format: &Format) {
    match format {
        Format::Json => return remark(&plain::json(&failure.to_json(), false)),
        Format::Yaml => return remark(plain::yaml(&failure.to_json()).trim_end()),
        _ => {}
    }
    let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
    remark(&format!("{red}error:{red:#} {}", plain::lines(&failure.message)));
    if let Some(hint) = &failure.hint {
        remark(&format!("hint: {}", plain::lines(hint)));
    }
}
