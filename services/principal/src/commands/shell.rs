//! `principal completion` and `principal man`.

use std::{fs, path::PathBuf};

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::{cli::Cli, exit::Exit, failure::Failure, run::Run};

/// For which shell.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Where to.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Folder for the pages; created if missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// `principal completion`.
pub fn completion(run: &Run, args: &CompletionArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "principal", &mut script);
    run.printer.text(&String::from_utf8(script).map_err(Failure::other)?).map(|()| Exit::Ok)
}

/// `principal man`.
pub fn man(run: &Run, args: &ManArgs) -> Result<Exit, Failure> {
    fs::create_dir_all(&args.out).map_err(|error| Failure::file(&args.out, &error))?;
    clap_mangen::generate_to(Cli::command(), &args.out).map_err(|error| Failure::file(&args.out, &error))?;
    run.printer.note(&format!("manual pages are in {}", args.out.display()));
    Ok(Exit::Ok)
}
