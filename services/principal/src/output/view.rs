//! How a list is shown: which columns, in which order, with headings or without.

use std::cmp::Ordering;

use clap::Args;
use serde_json::Value;

use super::table::Column;
use crate::failure::Failure;

/// Columns and order of a list.
#[derive(Clone, Debug, Default, Args)]
pub struct View {
    /// Columns to show, by heading with - for blanks, e.g. status,trust-domain; not in JSON and YAML
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    columns: Vec<String>,
    /// Sort by a column; with a - before it, the other way round
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true)]
    sort: Option<String>,
    /// No headings
    #[arg(long)]
    pub(super) no_headers: bool,
    /// Of a sorted list, at most so many; 0: all.
    #[arg(skip)]
    pub(super) first: u32,
}

impl View {
    /// Whether the whole list has to be read before anything of it is shown.
    pub const fn sorts(&self) -> bool {
        self.sort.is_some()
    }

    /// With the first so many rows only; 0: all.
    #[must_use]
    pub fn cut_to(mut self, first: u32) -> Self {
        self.first = first;
        self
    }

    /// The chosen columns; `None`: none were chosen.
    pub(super) fn chosen(&self, all: &[Column]) -> Result<Option<Vec<Column>>, Failure> {
        if self.columns.is_empty() {
            return Ok(None);
        }
        self.columns.iter().map(|name| named(all, name)).collect::<Result<_, _>>().map(Some)
    }

    /// Puts the rows in order. Those that are equal stay as they came.
    pub(super) fn sort(&self, all: &[Column], rows: &mut [Value]) -> Result<(), Failure> {
        let Some(name) = &self.sort else { return Ok(()) };
        let (name, reversed) = name.strip_prefix('-').map_or((name.as_str(), false), |name| (name, true));
        let column = named(all, name)?;
        rows.sort_by(|a, b| {
            let order = compare(&column.value(a), &column.value(b));
            if reversed { order.reverse() } else { order }
        });
        Ok(())
    }
}

/// `trust-domain`, `TRUST_DOMAIN`.
fn named(all: &[Column], name: &str) -> Result<Column, Failure> {
    let wanted = name.to_lowercase().replace('_', "-");
    all.iter().find(|column| column.name() == wanted).copied().ok_or_else(|| {
        let known: Vec<String> = all.iter().map(Column::name).collect();
        Failure::usage(format!("there is no column {name:?}")).hint(format!("columns: {}", known.join(", ")))
    })
}

/// Nothing comes last, whatever else there is.
fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal),
        (Value::String(a), Value::String(b)) => a.is_empty().cmp(&b.is_empty()).then_with(|| a.cmp(b)),
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Greater,
        (_, Value::Null) => Ordering::Less,
        (a, b) => a.to_string().cmp(&b.to_string()),
    }
}
