//! Results on standard output as table, JSON or YAML; remarks on standard error.

mod columns;
mod plain;
mod proto_json;
mod table;
mod time;

use std::io::{self, Write as _};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use jiff::Timestamp;
use serde_json::Value;

use crate::failure::Failure;

pub use columns::{Shown, event_summary};
pub use proto_json::to_value;
pub use table::{Cell, Column};
pub use time::{absolute, relative};

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// One document; streams write one line for each message.
    Json,
    /// One document; streams write one document for each message.
    Yaml,
}

/// Writes results and remarks.
#[derive(Clone, Copy, Debug)]
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
    pub fn list<T: Shown>(&self, items: &[T]) -> Result<(), Failure> {
        self.list_with(items, &[])
    }

    /// The same with `more` columns.
    pub fn list_with<T: Shown>(&self, items: &[T], more: &[Column]) -> Result<(), Failure> {
        let values = items.iter().map(|item| to_value(T::MESSAGE, item)).collect::<Result<Vec<_>, _>>()?;
        self.rows(&[T::COLUMNS, more].concat(), values)
    }

    /// A list of other records.
    pub fn rows(&self, columns: &[Column], values: Vec<Value>) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.text(&table::grid(columns, &values, self.clock())),
            _ => self.document(&Value::Array(values)),
        }
    }

    /// One API message.
    pub fn one<T: Shown>(&self, item: &T) -> Result<(), Failure> {
        let value = to_value(T::MESSAGE, item)?;
        match self.format {
            Format::Table => {
                let names = proto_json::field_names(T::MESSAGE)?;
                let order: Vec<&str> = names.iter().map(String::as_str).collect();
                self.text(&table::sheet(&value, &order, self.clock()))
            }
            _ => self.document(&value),
        }
    }

    /// What a change has made of something; with `--quiet`, only programs are told.
    pub fn changed<T: Shown>(&self, item: &T) -> Result<(), Failure> {
        if self.quiet && self.format == Format::Table { Ok(()) } else { self.one(item) }
    }

    /// One record: a line for each field, those of `order` first.
    pub fn record(&self, value: &Value, order: &[&str]) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.text(&table::sheet(value, order, self.clock())),
            _ => self.document(value),
        }
    }

    /// One message of a stream, at once. `summary` is its line in a table.
    pub fn streamed(&self, value: &Value, summary: &str) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.text(&plain::line(summary)),
            Format::Json => self.text(&plain::json(value, false)),
            Format::Yaml => self.text(&format!("---\n{}", plain::yaml(value))),
        }
    }

    fn document(&self, value: &Value) -> Result<(), Failure> {
        match self.format {
            Format::Yaml => self.text(&plain::yaml(value)),
            _ => self.text(&plain::json(value, true)),
        }
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

/// Writes a failure to standard error.
pub fn report(failure: &Failure, format: Format) {
    if format == Format::Json {
        return remark(&plain::json(&failure.to_json(), false));
    }
    let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
    remark(&format!("{red}error:{red:#} {}", plain::lines(&failure.message)));
    if let Some(hint) = &failure.hint {
        remark(&format!("hint: {}", plain::lines(hint)));
    }
}
