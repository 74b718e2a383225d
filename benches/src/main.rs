//! Measures the budgets of the design: each row against a floor or a limit, in one run on one machine. Reports what it
//! finds; only what breaks makes it fail.

mod clock;
mod front;
mod machine;
mod measure;
mod node;
mod pki;
mod report;
mod rows;
mod server;
mod shop;
mod simulation;
mod slow;

use std::{
    error::Error,
    fs,
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
};

use clap::{Parser, ValueEnum};

use crate::{
    machine::Machine,
    node::Environment,
    pki::Pki,
    report::{Report, Row},
    rows::handshake::Clients,
};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Measures the budgets of the design; scripts/bench prepares what it needs.
#[derive(Debug, Parser)]
#[command(name = "signet-bench", version, max_term_width = 100)]
struct Arguments {
    /// How to print
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// Only these subjects
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Subject>,
    /// Rounds of floor and ours, after one that does not count
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Divide all counts by this, for a quick look
    #[arg(long, default_value_t = Scale(1), value_parser = |text: &str| text.parse().map(Scale))]
    divide: Scale,
    /// Folder for databases, on the disk that is to be measured
    #[arg(long, default_value = ".local/bench")]
    state: PathBuf,
    #[command(flatten)]
    environment: Environment,
    /// Prefix of empty tables in DynamoDB, found by the usual variables of AWS
    #[arg(long)]
    dynamodb: Option<String>,
    /// cfssl, to compare with
    #[arg(long)]
    cfssl: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Subject {
    Decision,
    Unary,
    Handshake,
    Issuance,
    Latency,
    Revocation,
    Feed,
    Wire,
    Fleet,
    Neighbour,
    Peers,
    Renewals,
    Lists,
    Ocsp,
    Layer,
    ExtAuthz,
    Tokens,
    Messages,
    Denies,
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
struct Scale(usize);

impl Scale {
    fn of(self, count: usize) -> usize {
        (count / self.0.max(1)).max(10)
    }
}

impl std::fmt::Display for Scale {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let report = measure(&arguments)?;
    let text = match arguments.output {
        Output::Table => report.table(),
        Output::Json => report.json()?,
    };
    Ok(writeln!(io::stdout(), "{text}")?)
}

fn measure(arguments: &Arguments) -> Result<Report> {
    let Arguments { rounds, divide: scale, state, .. } = arguments;
    fs::create_dir_all(state)?;
    let mut report = Report { machine: Machine::read(), rounds: *rounds, rows: Vec::new(), left_out: Vec::new() };
    let pki = Arc::new(Pki::new()?);
    let clients = Clients::new(&pki, *scale)?;
    // The denies come last: they fill the memory, and stay.
    for subject in Subject::value_variants() {
        if !arguments.only.is_empty() && !arguments.only.contains(subject) {
            continue;
        }
        // Progress, for people.
        let _ = writeln!(io::stderr(), "measuring: {subject:?}");
        match subject.rows(&pki, &clients, arguments) {
            Ok(rows) => report.rows.extend(rows),
            Err(error) => report.left_out.push(format!("{subject:?}: {error:?}")),
        }
    }
    Ok(report)
}

impl Subject {
    /// An error: why there are none.
    fn rows(self, pki: &Arc<Pki>, clients: &Clients, arguments: &Arguments) -> Result<Vec<Row>> {
        let Arguments { rounds, divide: scale, state, environment, .. } = arguments;
        let (rounds, scale) = (*rounds, *scale);
        let signetd = || environment.signetd.as_ref().ok_or("needs --signetd and an environment; see scripts/bench");
        match self {
            Self::Decision => rows::decision::rows(pki, rounds, scale),
            Self::Unary => rows::unary::rows(pki, rounds, scale),
            Self::Handshake => rows::handshake::rows(clients, rounds, scale),
            Self::Issuance => rows::issuance::rows(pki, state, rounds, scale),
            Self::Latency => rows::issuance::slow(state, scale),
            Self::Revocation => rows::revocation::rows(state, scale),
            Self::Feed => rows::feed::rows(state, arguments.dynamodb.as_deref(), scale),
            Self::Lists => rows::lists::rows(pki, rounds, scale),
            Self::Ocsp => rows::ocsp::rows(signetd()?, environment, rounds, scale),
            Self::Layer => rows::layer::rows(signetd()?, environment, rounds, scale),
            Self::ExtAuthz => rows::ext_authz::rows(signetd()?, environment, state, rounds, scale),
            Self::Tokens => rows::tokens::rows(signetd()?, environment, rounds, scale),
            Self::Messages => rows::messages::rows(rounds, scale),
            Self::Denies => rows::denies::rows(pki, clients, rounds, scale),
            Self::Wire => rows::wire::rows(pki, signetd()?, environment, rounds, scale),
            Self::Fleet => rows::fleet::rows((pki, clients), signetd()?, environment, rounds, scale),
            Self::Neighbour => rows::neighbour::rows(signetd()?, environment, rounds, scale),
            Self::Renewals => rows::renewals::rows(state, scale),
            Self::Peers => {
                let program = arguments.cfssl.as_ref().ok_or("not asked for (--peers) or not installed")?;
                rows::peers::cfssl(pki, program, state, rounds, scale)
            }
        }
    }
}
