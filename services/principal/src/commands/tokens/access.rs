//! `principal access-token`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::Value;
use signet_jwt::Token;
use signet_proto::v1::{self, token_service_client::TokenServiceClient as Client};

use crate::{
    exit::Exit,
    failure::Failure,
    output::to_value,
    run::Run,
    session::{Session, rpc},
    values,
};

/// OAuth access tokens, bound to a certificate.
#[derive(Debug, Subcommand)]
pub enum AccessTokenCommand {
    /// Get an access token for yourself: the token on standard output, what it says on standard error
    Get(GetArgs),
    /// Ask whether an access token is good now; exits with 7 if not
    Introspect {
        /// File with the token; `-`: standard input
        #[arg(value_name = "FILE", default_value = "-")]
        file: PathBuf,
    },
}

/// What for.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// Service that the token is for: what stands before the colon of its permissions, e.g. jobs
    #[arg(long, value_name = "NAME")]
    audience: String,
    /// Permission that the token allows, e.g. jobs:submit; may be repeated; default: all of the audience that you have
    #[arg(long = "scope", value_name = "PERMISSION")]
    scopes: Vec<String>,
    /// How long it is good, 10s to 15m; default: as the server sets
    #[arg(long, value_name = "TIME", value_parser = values::seconds)]
    valid_for: Option<u32>,
}

/// Carries out a command.
pub async fn run(run: &Run, command: AccessTokenCommand) -> Result<Exit, Failure> {
    match command {
        AccessTokenCommand::Get(args) => get(run, args).await,
        AccessTokenCommand::Introspect { file } => introspect(run, &file).await,
    }
}

/// A session for what concerns the caller's own tenant alone.
pub(super) fn own(run: &Run) -> Result<Session, Failure> {
    let session = Session::of(run)?;
    if session.is_elsewhere() {
        let message = "tokens are of the context's own tenant: leave out --tenant, or use a context of that tenant";
        return Err(Failure::usage(message.to_owned()));
    }
    Ok(session)
}

async fn get(run: &Run, args: GetArgs) -> Result<Exit, Failure> {
    let session = own(run)?;
    let GetArgs { audience, scopes, valid_for } = args;
    let request = v1::CreateAccessTokenRequest { audience, scopes, lifetime_seconds: valid_for.unwrap_or(0) };
    let made = rpc!(session, "getting an access token", Client.create_access_token(request)).await?;
    if !run.printer.format.is_for_people() {
        let shown = to_value("signet.v1.AccessToken", &made)?;
        run.printer.record(&shown, &["access_token"])?;
        return Ok(Exit::Ok);
    }
    run.printer.note(&decoded(&made.access_token));
    run.printer.note(&format!(
        "bound to this context's certificate ({}): of no use with another one, and after its renewal",
        made.certificate_thumbprint
    ));
    run.printer.text(&made.access_token).map(|()| Exit::Ok)
}

/// A token's claims, for people; whoever relies on them asks the server.
pub(super) fn decoded(token: &str) -> String {
    decoded_claims(token).and_then(|claims| serde_json::to_string_pretty(&claims).ok()).unwrap_or_default()
}

fn decoded_claims(token: &str) -> Option<Value> {
    let token = Token::parse(token, &[signet_jwt::Algorithm::ES256, signet_jwt::Algorithm::RS256]);
    token.ok().and_then(|token| token.claimed())
}

fn is_of(claims: Option<&Value>, tenant: &str) -> bool {
    let issuer = claims.and_then(|claims| claims["iss"].as_str());
    issuer.is_some_and(|issuer| issuer.ends_with(&format!("/t/{tenant}")))
}

async fn introspect(run: &Run, file: &std::path::Path) -> Result<Exit, Failure> {
    let session = own(run)?;
    let text = values::read_input(file)?;
    let token = String::from_utf8_lossy(&text).trim().to_owned();
    let request = v1::IntrospectAccessTokenRequest { token: token.clone() };
    let found = rpc!(session, "looking at the access token", Client.introspect_access_token(request)).await?;
    if !found.active && !is_of(decoded_claims(&token).as_ref(), session.tenant_name()) {
        let tenant = session.tenant_name();
        run.printer
            .note(&format!("the token does not say that it is of tenant {tenant}, as this context is: use --context"));
    }
    let exit = if found.active { Exit::Ok } else { Exit::Found };
    let shown = to_value("signet.v1.IntrospectAccessTokenResponse", &found)?;
    run.printer.record(&shown, &["active"])?;
    Ok(exit)
}
