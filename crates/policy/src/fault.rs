//! What is wrong with policies, where, and what to do.

use std::fmt;

use miette::Diagnostic;

/// A place in the text of policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

impl Position {
    fn at(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(start..).unwrap_or_default().chars().count() + 1;
        Self { line: before.matches('\n').count() + 1, column }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where, if it has a place.
    pub place: Option<Position>,
    /// What.
    pub message: String,
    /// What to do, where Cedar knows it.
    pub hint: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Position { line, column }) = self.place {
            write!(f, "line {line}, column {column}: ")?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl Fault {
    /// Without a place.
    pub(crate) fn plain(message: impl Into<String>) -> Self {
        Self { place: None, message: message.into(), hint: None }
    }

    /// What Cedar says about `text`.
    pub(crate) fn of(text: &str, told: &dyn Diagnostic) -> Self {
        let label = told.labels().and_then(|mut labels| labels.next());
        let place = label.as_ref().map(|label| Position::at(text, label.offset()));
        let mut message = told.to_string();
        // A parser's label says what it expected.
        if let Some(more) = label.as_ref().and_then(|label| label.label()).filter(|more| !message.contains(more)) {
            message = format!("{message}: {more}");
        }
        Self { place, message, hint: told.help().map(|hint| hint.to_string()) }
    }
}
