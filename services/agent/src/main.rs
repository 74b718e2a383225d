//! `signet-agent` keeps certificates of this machine fresh.

use std::process::ExitCode;

use clap::Parser;
use signet_agent::cli::{Arguments, run};

// One thread: it waits almost always, and should be small.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    run(Arguments::parse()).await
}
