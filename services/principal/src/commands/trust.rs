//! `principal trust`.

use clap::{Args, Subcommand};
use signet_proto::v1::{self, trust_service_client::TrustServiceClient as Client};

use crate::{exit::Exit, failure::Failure, output::to_value, run::Run, session::Session};

/// Trust bundles.
#[derive(Debug, Subcommand)]
pub enum TrustCommand {
    /// Print the tenant's trust bundle now and whenever it changes, until the stream ends
    Watch(WatchArgs),
}

/// How long.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// Stop after this many bundles
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

/// Carries out a command.
pub async fn run(run: &Run, command: TrustCommand) -> Result<Exit, Failure> {
    let TrustCommand::Watch(args) = command;
    let session = Session::of(run)?;
    let request = v1::WatchTrustBundleRequest { tenant_id: session.tenant() };
    let mut stream = session
        .open_stream("opening the stream", request, |channel, request| async move {
            Client::new(channel).watch_trust_bundle(request).await
        })
        .await?;
    let mut left = args.count;
    while left != Some(0) {
        let Some(bundle) = stream.message().await? else {
            return Err(Failure::new(Exit::Unavailable, "the server ended the stream").hint("try again"));
        };
        let anchors: Vec<String> = bundle.anchor_der.iter().map(|der| signet_core::audit::sha256_hex(der)).collect();
        let summary = format!("{}  {}  anchors {}", run.printer.clock(), bundle.trust_domain, anchors.join(" "));
        run.printer.streamed(&to_value("signet.v1.TrustBundle", &bundle)?, &summary)?;
        left = left.map(|n| n.saturating_sub(1));
    }
    Ok(Exit::Ok)
}
