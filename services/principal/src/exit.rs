//! Exit codes: an interface that scripts rely on.

/// How the program ends. `--help` documents the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok,
    /// Anything that has no code of its own.
    Other,
    /// The command line, a file or a field that was sent is wrong.
    Usage,
    /// No such thing in the caller's reach.
    NotFound,
    /// The caller may not, or its certificate does not count.
    Denied,
    /// It already exists, or its state forbids the change.
    Conflict,
    /// The server or what it needs cannot be reached: try again.
    Unavailable,
    /// A verification was carried out and found something.
    Found,
    /// Some of many things failed; the others are done.
    Partial,
}

impl Exit {
    /// All codes, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Ok,
        Self::Other,
        Self::Usage,
        Self::NotFound,
        Self::Denied,
        Self::Conflict,
        Self::Unavailable,
        Self::Found,
        Self::Partial,
    ];

    /// The process's exit status.
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Other => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Denied => 4,
            Self::Conflict => 5,
            Self::Unavailable => 6,
            Self::Found => 7,
            Self::Partial => 8,
        }
    }

    /// The name in JSON errors.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Other => "other",
            Self::Usage => "usage",
            Self::NotFound => "not_found",
            Self::Denied => "denied",
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
            Self::Found => "found",
            Self::Partial => "partial",
        }
    }

    /// The line in `--help`.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "done",
            Self::Other => "other failure; `doctor`: a check failed",
            Self::Usage => "the command line, a file or a field is wrong",
            Self::NotFound => "not found",
            Self::Denied => "not permitted, or the certificate was refused",
            Self::Conflict => "already exists, or its state forbids the change",
            Self::Unavailable => "unavailable or timed out: retry",
            Self::Found => "verification failed",
            Self::Partial => "some of many failed; the others are done",
        }
    }

    /// The section of `--help`.
    pub fn help() -> String {
        let line = |exit: &Self| format!("\n  {}  {}", exit.code(), exit.meaning());
        format!("Exit codes:{}", Self::ALL.iter().map(line).collect::<String>())
    }
}
