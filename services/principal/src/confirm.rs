//! Asks before what cannot be undone.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use crate::{failure::Failure, values::Yes};

/// Whether [`confirm`] would ask somebody, who then wants to know how much is at stake.
pub fn asks(yes: Yes) -> bool {
    !yes.yes && io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks `question` on a terminal; elsewhere only `--yes` says yes.
pub fn confirm(question: &str, yes: Yes) -> Result<(), Failure> {
    if yes.yes {
        return Ok(());
    }
    if !asks(yes) {
        return Err(Failure::usage(format!("{question}: confirmation required")).hint("pass --yes"));
    }
    write!(io::stderr(), "{question}? [y/N] ")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::other("cancelled")),
    }
}
