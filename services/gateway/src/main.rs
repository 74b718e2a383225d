//! `signet-gateway` lets a tenant's principals through to servers that know nothing of certificates.

use std::process::ExitCode;

use clap::Parser;
use signet_gateway::cli::{Arguments, run};

#[tokio::main]
async fn main() -> ExitCode {
    run(Arguments::parse()).await
}
