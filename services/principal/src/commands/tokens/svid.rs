//! `principal svid`.

use clap::{Args, Subcommand};
use serde_json::Value;
use signet_proto::v1::{self, token_service_client::TokenServiceClient as Client};
use signet_x509::CertificateSummary;

use super::access::{decoded, own};
use crate::{exit::Exit, failure::Failure, output::to_value, run::Run, session::rpc, values};

/// SPIFFE JWT-SVIDs and WIT-SVIDs.
#[derive(Debug, Subcommand)]
pub enum SvidCommand {
    /// Get a JWT-SVID for yourself: the token on standard output, what it says on standard error
    ///
    /// Nothing binds it to your key: whoever has it is you, to its audiences.
    Jwt(JwtArgs),
    /// Get a WIT-SVID for yourself: the token on standard output, what it says on standard error
    ///
    /// It is bound to the key of this context's certificate: whoever shows it proves that it has the key.
    Wit(WitArgs),
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

/// How long.
#[derive(Debug, Args)]
pub struct WitArgs {
    /// How long it is good, 10s to 15m; default: as the server sets
    #[arg(long, value_name = "TIME", value_parser = values::seconds)]
    valid_for: Option<u32>,
}

/// Carries out a command.
pub async fn run(run: &Run, command: SvidCommand) -> Result<Exit, Failure> {
    match command {
        SvidCommand::Jwt(args) => jwt(run, args).await,
        SvidCommand::Wit(args) => wit(run, &args).await,
    }
}

async fn jwt(run: &Run, args: JwtArgs) -> Result<Exit, Failure> {
    let session = own(run)?;
    let JwtArgs { audiences, valid_for } = args;
    let request = v1::CreateJwtSvidRequest { audiences, lifetime_seconds: valid_for.unwrap_or(0) };
    let made = rpc!(session, "getting a JWT-SVID", Client.create_jwt_svid(request)).await?;
    print(run, &to_value("signet.v1.JwtSvid", &made)?, &made.svid)
}

async fn wit(run: &Run, args: &WitArgs) -> Result<Exit, Failure> {
    let session = own(run)?;
    let facts = session.certificate().and_then(CertificateSummary::from_der);
    let facts = facts.ok_or_else(|| Failure::other("the context's certificate cannot be read"))?;
    let request =
        v1::CreateWitSvidRequest { public_key_der: facts.spki_der, lifetime_seconds: args.valid_for.unwrap_or(0) };
    let made = rpc!(session, "getting a WIT-SVID", Client.create_wit_svid(request)).await?;
    print(run, &to_value("signet.v1.WitSvid", &made)?, &made.svid)
}

fn print(run: &Run, made: &Value, svid: &str) -> Result<Exit, Failure> {
    if !run.printer.format.is_for_people() {
        return run.printer.record(made, &["svid"]).map(|()| Exit::Ok);
    }
    run.printer.note(&decoded(svid));
    run.printer.text(svid).map(|()| Exit::Ok)
}
