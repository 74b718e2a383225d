//! `principal message`.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand, ValueHint};
use signet_client::{MessageSigner, SigningSecret};
use signet_core::PrincipalId;
use signet_proto::v1::{self, message_service_client::MessageServiceClient as Client};

use crate::{
    exit::Exit,
    failure::Failure,
    output::to_value,
    run::Run,
    session::{Session, rpc},
};

/// What a request to the server holds.
const LARGEST_BODY: u64 = 60 * 1024;

/// Messages that devices sign.
#[derive(Debug, Subcommand)]
pub enum MessageCommand {
    /// Sign a message as a device does, to try it out: prints the headers
    Sign(SignArgs),
    /// Verify a message: is it from that device, and new? Exit status 7: no
    ///
    /// A message that is good is so once: verified again, it is a replay.
    Verify(VerifyArgs),
}

/// What to sign.
#[derive(Debug, Args)]
pub struct SignArgs {
    /// File with the device's secret
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    secret_file: PathBuf,
    /// File with the body; default: standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    body: Option<PathBuf>,
}

/// A message.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Id of the device
    #[arg(value_name = "PRINCIPAL")]
    device: PrincipalId,
    /// webhook-id
    #[arg(long, value_name = "ID")]
    id: String,
    /// webhook-timestamp
    #[arg(long, value_name = "SECONDS")]
    timestamp: String,
    /// webhook-signature
    #[arg(long, value_name = "SIGNATURES")]
    signature: String,
    /// File with the body; default: standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    body: Option<PathBuf>,
}

/// Carries out a command.
pub async fn run(run: &Run, command: MessageCommand) -> Result<Exit, Failure> {
    match command {
        MessageCommand::Sign(args) => sign(run, &args),
        MessageCommand::Verify(args) => verify(run, args).await,
    }
}

fn sign(run: &Run, args: &SignArgs) -> Result<Exit, Failure> {
    let path = args.secret_file.display();
    let text = zeroize::Zeroizing::new(
        fs::read_to_string(&args.secret_file)
            .map_err(|error| Failure::usage(format!("{path} cannot be read: {error}")))?,
    );
    let secret: SigningSecret = text.trim().parse().map_err(|fault| Failure::usage(format!("{path}: {fault}")))?;
    let signed = MessageSigner::new(secret).sign(&body(args.body.as_deref())?).map_err(Failure::other)?;
    if run.printer.format.is_for_people() {
        let lines = [("id", &signed.id), ("timestamp", &signed.timestamp), ("signature", &signed.signature)];
        let lines: Vec<String> = lines.iter().map(|(name, value)| format!("webhook-{name}: {value}")).collect();
        return run.printer.text(&lines.join("\n")).map(|()| Exit::Ok);
    }
    let value = serde_json::json!({ "id": signed.id, "timestamp": signed.timestamp, "signature": signed.signature });
    run.printer.record(&value, &["id"]).map(|()| Exit::Ok)
}

async fn verify(run: &Run, args: VerifyArgs) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    let message = v1::SignedMessage {
        principal_id: args.device.to_string(),
        message_id: args.id,
        timestamp: args.timestamp,
        signature: args.signature,
        body: body(args.body.as_deref())?,
    };
    let request = v1::VerifyMessageRequest {
        tenant_id: session.tenant(),
        message: Some(message),
        request_id: session.request_id(),
    };
    let answer = rpc!(session, "verifying the message", Client.verify_message(request)).await?;
    let value = to_value("signet.v1.VerifyMessageResponse", &answer)?;
    run.printer.record(&value, &["verified", "reason", "matched"])?;
    Ok(if answer.verified { Exit::Ok } else { Exit::Found })
}

fn body(path: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    let named = path.map_or_else(|| "standard input".to_owned(), |path| path.display().to_string());
    let read = match path {
        Some(path) => fs::File::open(path).and_then(|file| file.take(LARGEST_BODY + 1).read_to_end(&mut body)),
        None => io::stdin().lock().take(LARGEST_BODY + 1).read_to_end(&mut body),
    };
    read.map_err(|error| Failure::usage(format!("{named} cannot be read: {error}")))?;
    if body.len() as u64 > LARGEST_BODY {
        return Err(Failure::usage(format!(
            "{named} has more than {LARGEST_BODY} bytes, which one request cannot hold"
        )));
    }
    Ok(body)
}
