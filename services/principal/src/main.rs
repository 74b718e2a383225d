//! `principal`: the administrators' command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    signet_principal::main()
}
