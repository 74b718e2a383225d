//! `principal device secret`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use signet_core::PrincipalId;
use signet_proto::v1::{self, message_service_client::MessageServiceClient as Client};

use crate::{
    confirm::confirm,
    context::private,
    exit::Exit,
    failure::Failure,
    output::to_value,
    run::Run,
    session::{Page, Session, rpc},
    values::{ListArgs, Yes},
};

/// Secrets that devices sign messages with.
#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// Make a device's first secret, or the next one; it is shown only once
    ///
    /// The secret before verifies for an hour more: put the next one onto the device within that hour. While it does,
    /// no third one is made, so that the device is not locked out.
    Rotate(RotateArgs),
    /// Show what is known of a device's secrets, without them
    Show {
        /// Id of the device
        #[arg(value_name = "PRINCIPAL")]
        id: PrincipalId,
    },
    /// List the devices that have secrets, without them
    List(ListArgs),
    /// Delete a device's secrets: nothing that it signs is verified any more
    Delete {
        /// Id of the device
        #[arg(value_name = "PRINCIPAL")]
        id: PrincipalId,
        /// Says yes in advance.
        #[command(flatten)]
        yes: Yes,
    },
}

/// Whose secret, and where to put it.
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// Id of the device
    #[arg(value_name = "PRINCIPAL")]
    id: PrincipalId,
    /// End the secrets before at once: for when others may know one
    #[arg(long)]
    now: bool,
    /// Write the secret to this file (0600, replaced if it exists) instead of standard output
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Says yes in advance.
    #[command(flatten)]
    yes: Yes,
}

/// Carries out a command.
pub async fn run(run: &Run, command: SecretCommand) -> Result<Exit, Failure> {
    match command {
        SecretCommand::Rotate(args) => rotate(run, args).await,
        SecretCommand::Show { id } => show(run, &id).await,
        SecretCommand::List(args) => list(run, &args).await,
        SecretCommand::Delete { id, yes } => delete(run, &id, yes).await,
    }
}

async fn rotate(run: &Run, args: RotateArgs) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    if let Some(path) = &args.secret_file {
        if path.is_dir() {
            return Err(Failure::usage(format!("{} is a folder: give a file for the secret", path.display())));
        }
        private::check_writable(path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
    }
    if args.now {
        let what = format!(
            "end the secrets of {} in tenant {} at once? What the device signs is refused until it has the new one",
            args.id,
            session.tenant_name()
        );
        confirm(&what, args.yes)?;
    }
    let request = v1::RotateMessageSecretRequest {
        tenant_id: session.tenant(),
        principal_id: args.id.to_string(),
        now: args.now,
        request_id: session.request_id(),
    };
    let again = request.request_id.clone();
    let made = rpc!(session, "making the secret", Client.rotate_message_secret(request)).await?;
    let secret = SecretString::from(made.secret);
    let metadata = made.metadata.ok_or_else(|| Failure::other("the server sent no secret"))?;
    if let Some(path) = &args.secret_file {
        let written = private::write(path, format!("{}\n", secret.expose_secret()).as_bytes());
        written.map_err(|failure| {
            failure
                .hint(format!("free some disk space, then run the same with --request-id {again}: it is shown again"))
        })?;
        run.printer.note(&format!("the secret is in {}", path.display()));
        return run.printer.changed(&metadata).map(|()| Exit::Ok);
    }
    shown(run, &args.id, &metadata, &secret)
}

/// Shows the secret, this once.
fn shown(run: &Run, id: &PrincipalId, metadata: &v1::MessageSecret, secret: &SecretString) -> Result<Exit, Failure> {
    if run.printer.format.is_for_people() {
        // The secret alone on standard output, so that it can be piped.
        run.printer.note(&format!("secret {} of {id}; it is shown only once:", metadata.secret_id));
        return run.printer.text(secret.expose_secret()).map(|()| Exit::Ok);
    }
    let mut value = to_value("signet.v1.MessageSecret", metadata)?;
    if let Value::Object(fields) = &mut value {
        fields.insert("secret".into(), secret.expose_secret().into());
    }
    run.printer.record(&value, &["principal_id"])?;
    if run.printer.leaves_out(&value, secret.expose_secret()) {
        run.printer.warn(&format!("the secret is shown only once: {}", secret.expose_secret()));
    }
    Ok(Exit::Ok)
}

async fn show(run: &Run, id: &PrincipalId) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    let request = v1::GetMessageSecretRequest { tenant_id: session.tenant(), principal_id: id.to_string() };
    let found = rpc!(session, "reading the secret's record", Client.get_message_secret(request)).await?;
    run.printer.one(&found).map(|()| Exit::Ok)
}

async fn list(run: &Run, args: &ListArgs) -> Result<Exit, Failure> {
    let session = &Session::of(run)?;
    let found = session
        .pages(args.limit(&run.printer.format), |page_size, page_token| async move {
            let request = v1::ListMessageSecretsRequest { tenant_id: session.tenant(), page_size, page_token };
            let page = rpc!(session, "listing secrets", Client.list_message_secrets(request)).await?;
            Ok(Page { items: page.secrets, next_page_token: page.next_page_token, unreadable: page.unreadable })
        })
        .await?;
    found.print(&run.printer, args)
}

async fn delete(run: &Run, id: &PrincipalId, yes: Yes) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    let question = format!(
        "delete the secrets of {id} in tenant {}: nothing that it signs is verified any more",
        session.tenant_name()
    );
    confirm(&question, yes)?;
    let request = v1::DeleteMessageSecretRequest {
        tenant_id: session.tenant(),
        principal_id: id.to_string(),
        request_id: session.request_id(),
    };
    rpc!(session, "deleting the secret", Client.delete_message_secret(request)).await?;
    run.printer.note(&format!("the secrets of {id} are deleted"));
    Ok(Exit::Ok)
}
