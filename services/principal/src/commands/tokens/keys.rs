//! `principal token-key`.

use clap::{Args, Subcommand, ValueEnum};
use signet_proto::v1::{self, token_service_client::TokenServiceClient as Client};

use crate::{
    confirm::confirm,
    exit::Exit,
    failure::Failure,
    output::View,
    run::Run,
    session::{Session, rpc},
    values::{ListArgs, Yes},
};

/// Keys that sign a tenant's tokens.
#[derive(Debug, Subcommand)]
pub enum TokenKeyCommand {
    /// List the keys that are published
    List(ListArgs),
    /// Make the next key, beside what Signet does by itself every 30 days
    Rotate(RotateArgs),
}

/// Which key.
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// What it signs
    #[arg(long = "use", value_name = "KIND")]
    for_use: Kind,
    /// What it signs with, it and those after it; default: as the present one
    #[arg(long, value_name = "NAME")]
    algorithm: Option<Algorithm>,
    /// Replace all keys at once, so that tokens they signed are good no more; default: publish it an hour before it
    /// signs
    #[arg(long)]
    now: bool,
    /// Says yes in advance.
    #[command(flatten)]
    yes: Yes,
}

/// A kind of token.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Kind {
    /// OAuth access tokens.
    AccessToken,
    /// JWT-SVIDs.
    JwtSvid,
    /// WIT-SVIDs.
    WitSvid,
    /// Security event tokens.
    SecurityEvent,
    /// Broker tokens.
    BrokerToken,
}

/// What tokens are signed with.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Algorithm {
    /// ECDSA with P-256.
    #[value(name = "ES256")]
    Es256,
    /// RSA of 2048 bits.
    #[value(name = "RS256")]
    Rs256,
}

/// Carries out a command.
pub async fn run(run: &Run, command: TokenKeyCommand) -> Result<Exit, Failure> {
    match command {
        TokenKeyCommand::List(args) => list(run, &args).await,
        TokenKeyCommand::Rotate(args) => rotate(run, args).await,
    }
}

async fn list(run: &Run, args: &ListArgs) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    let request = v1::GetTokenKeysRequest { tenant_id: session.tenant() };
    let found = rpc!(session, "listing keys", Client.get_token_keys(request)).await?;
    run.printer.list(&found.keys, &args.view(&run.printer.format)).map(|()| Exit::Ok)
}

async fn rotate(run: &Run, args: RotateArgs) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    let RotateArgs { for_use, algorithm, now, yes } = args;
    if now {
        let kind = for_use.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let what = format!(
            "replace all {kind} keys of {} now? Tokens that they signed are refused at once; verifiers that keep keys go by the old ones \
             until they fetch again",
            session.tenant_name()
        );
        confirm(&what, yes)?;
    }
    let for_use = match for_use {
        Kind::AccessToken => v1::TokenUse::AccessToken,
        Kind::JwtSvid => v1::TokenUse::JwtSvid,
        Kind::WitSvid => v1::TokenUse::WitSvid,
        Kind::SecurityEvent => v1::TokenUse::SecurityEvent,
        Kind::BrokerToken => v1::TokenUse::BrokerToken,
    };
    let algorithm = match algorithm {
        None => v1::TokenAlgorithm::Unspecified,
        Some(Algorithm::Es256) => v1::TokenAlgorithm::Es256,
        Some(Algorithm::Rs256) => v1::TokenAlgorithm::Rs256,
    };
    let request = v1::RotateTokenKeysRequest {
        tenant_id: session.tenant(),
        r#use: for_use.into(),
        algorithm: algorithm.into(),
        now,
        request_id: session.request_id(),
    };
    let rotated = rpc!(session, "rotating keys", Client.rotate_token_keys(request)).await?;
    run.printer.list(&rotated.keys, &View::default()).map(|()| Exit::Ok)
}
