//! `principal broker-token`.

use clap::{Args, Subcommand};
use signet_proto::v1::{self, token_service_client::TokenServiceClient as Client};

use super::access::{decoded, own};
use crate::{exit::Exit, failure::Failure, output::to_value, run::Run, session::rpc, values};

/// Passwords for message brokers.
#[derive(Debug, Subcommand)]
pub enum BrokerTokenCommand {
    /// Get a broker token for yourself: the token on standard output, what it says on standard error
    ///
    /// Nothing binds it to your key: whoever has it is you, to brokers.
    Get(BrokerTokenArgs),
}

/// What for.
#[derive(Debug, Args)]
pub struct BrokerTokenArgs {
    /// Topic filter that the token allows to publish to; may be repeated; {tenant} and {id} are your own; default: all
    /// that you may, or nothing beside --subscribe
    #[arg(long, value_name = "FILTER")]
    publish: Vec<String>,
    /// The same for what it allows to subscribe to
    #[arg(long, value_name = "FILTER")]
    subscribe: Vec<String>,
    /// Client id that the token is for: your own, a colon and this; default: any that begins so
    #[arg(long, value_name = "TEXT")]
    client_id_suffix: Option<String>,
    /// How long it is good, 10s to 24h; default: 1h
    #[arg(long, value_name = "TIME", value_parser = values::seconds)]
    valid_for: Option<u32>,
}

/// Carries out a command.
pub async fn run(run: &Run, BrokerTokenCommand::Get(args): BrokerTokenCommand) -> Result<Exit, Failure> {
    let session = own(run)?;
    let BrokerTokenArgs { publish, subscribe, client_id_suffix, valid_for } = args;
    let request = v1::CreateBrokerTokenRequest {
        publish,
        subscribe,
        client_id_suffix: client_id_suffix.unwrap_or_default(),
        lifetime_seconds: valid_for.unwrap_or(0),
    };
    let made = rpc!(session, "getting a broker token", Client.create_broker_token(request)).await?;
    if !run.printer.format.is_for_people() {
        let shown = to_value("signet.v1.BrokerToken", &made)?;
        return run.printer.record(&shown, &["broker_token"]).map(|()| Exit::Ok);
    }
    run.printer.note(&decoded(&made.broker_token));
    run.printer.note(&format!("connect with client id {} and the token as password, over TLS", made.client_id));
    run.printer.text(&made.broker_token).map(|()| Exit::Ok)
}
