//! `signetd`, the control plane. Wiring and nothing else; see the library.

use std::process::ExitCode;

use clap::Parser;
use signet_control_plane::cli::{Arguments, run};

#[tokio::main]
async fn main() -> ExitCode {
    run(Arguments::parse()).await
}
