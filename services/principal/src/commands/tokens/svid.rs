//! `principal svid`.

use clap::{Args, Subcommand};
use signet_proto::v1::{self, token_service_client::TokenServiceClient as Client};

use super::access::{decoded, own};
use crate::{exit::Exit, failure::Failure, output::to_value, run::Run, session::rpc, values};

/// SPIFFE JWT-SVIDs.
#[derive(Debug, Subcommand)]
pub enum SvidCommand {
    /// Get a JWT-SVID for yourself: the token on standard output, what it says on standard error
    ///
    /// Nothing binds it to your key: whoever has it is you, to its audiences.
    Jwt(JwtArgs),
}

/// What for.
#[derive(Debug, Args)]
pub struct JwtArgs {
    /// Who will verify it, e.g. sts.amazonaws.com; may be repeated
    #[arg(long = "audience", value_name = "NAME", required = true)]
    audiences: Vec<String>,
    /// How long it is good, 10s to 15m; default: as the server sets
    #[arg(long, value_name = "TIME", value_parser = values::seconds)]
    valid_for: Option<u32>,
}

/// Carries out a command.
pub async fn run(run: &Run, SvidCommand::Jwt(args): SvidCommand) -> Result<Exit, Failure> {
    let session = own(run)?;
    let JwtArgs { audiences, valid_for } = args;
    let request = v1::CreateJwtSvidRequest { audiences, lifetime_seconds: valid_for.unwrap_or(0) };
    let made = rpc!(session, "getting a JWT-SVID", Client.create_jwt_svid(request)).await?;
    if !run.printer.format.is_for_people() {
        let shown = to_value("signet.v1.JwtSvid", &made)?;
        return run.printer.record(&shown, &["svid"]).map(|()| Exit::Ok);
    }
    run.printer.note(&decoded(&made.svid));
    run.printer.text(&made.svid).map(|()| Exit::Ok)
}
