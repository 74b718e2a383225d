//! `principal token`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use signet_core::{Cidr, PrincipalId, PrincipalType, Role, TokenId};
use signet_proto::v1::{self, enrollment_service_client::EnrollmentServiceClient as Client};

use crate::{
    confirm::confirm,
    context::private,
    exit::Exit,
    failure::Failure,
    invitation::Invitation,
    output::to_value,
    run::Run,
    session::{Page, Session, rpc},
    values::{self, ListArgs, Yes},
};

/// Join tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Create a join token; its secret is shown only once
    Create(CreateArgs),
    /// List join tokens, without their secrets
    List(ListArgs),
    /// Revoke a join token
    Revoke {
        /// Id of the token
        #[arg(value_name = "TOKEN")]
        id: TokenId,
        /// Says yes in advance.
        #[command(flatten)]
        yes: Yes,
    },
}

/// What the token is good for.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Type of the principal: admin, user, worker, service or device
    #[arg(value_name = "TYPE")]
    kind: PrincipalType,
    /// Id of the principal; default: the holder chooses a new one
    #[arg(long, value_name = "PRINCIPAL")]
    id: Option<PrincipalId>,
    /// Pattern for the id that the holder chooses, e.g. 'web-*'
    #[arg(long, value_name = "PATTERN", conflicts_with = "id")]
    id_pattern: Option<String>,
    /// Network from which it can be used, e.g. 10.0.0.0/8; may be repeated; default: any
    #[arg(long = "from", value_name = "NETWORK")]
    sources: Vec<Cidr>,
    /// Role of a new principal; may be repeated
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<Role>,
    /// How long it can be used, 1m to 7d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = values::seconds)]
    ttl: u32,
    /// How often it can be used, 1 to 1000; more than once only without a principal id
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    uses: u32,
    /// Write the secret to this file (0600, replaced if it exists) instead of standard output
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Show a QR code of all that a device needs to join, instead of the secret; on a terminal
    #[arg(long, conflicts_with_all = ["secret_file", "qr_file"])]
    qr: bool,
    /// Write that QR code to this file (.svg or .png, 0600, replaced if it exists)
    #[arg(long, value_name = "FILE", conflicts_with = "secret_file")]
    qr_file: Option<PathBuf>,
}

impl CreateArgs {
    /// The file that the secret goes to, if any.
    fn file(&self) -> Option<&Path> {
        self.secret_file.as_deref().or(self.qr_file.as_deref())
    }
}

/// Carries out a command.
pub async fn run(run: &Run, command: TokenCommand) -> Result<Exit, Failure> {
    match command {
        TokenCommand::Create(args) => create(run, args).await,
        TokenCommand::List(args) => list(run, args).await,
        TokenCommand::Revoke { id, yes } => revoke(run, &id, yes).await,
    }
}

async fn create(run: &Run, args: CreateArgs) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    if let Some(path) = args.file() {
        if path.is_dir() {
            return Err(Failure::usage(format!("{} is a folder: give a file for the secret", path.display())));
        }
        private::check_writable(path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
    }
    // Before a token is made that nobody could be shown.
    let invitation = match args.qr || args.qr_file.is_some() {
        true => Some(Invitation::of(run, session.tenant_name(), args.qr_file.as_deref()).await?),
        false => None,
    };
    let made = rpc!(session, "creating the token", Client.create_token(request(&session, &args))).await?;
    let secret = SecretString::from(made.secret);
    let token = made.token.ok_or_else(|| Failure::other("the server sent no token"))?;
    if let Some(invitation) = invitation {
        if let Err(failure) = invitation.hand_over(run, secret, args.qr_file.as_deref()) {
            return Err(take_back(&session, token.token_id, failure).await);
        }
        if args.qr && run.printer.format.is_for_people() {
            // Beside the code, on which the eyes and the camera are.
            run.printer.note(&format!("token {} for {}; the code is shown only once", token.token_id, args.kind));
            return Ok(Exit::Ok);
        }
        return run.printer.changed(&token).map(|()| Exit::Ok);
    }
    if let Some(path) = args.secret_file {
        if let Err(failure) = private::write(&path, format!("{}\n", secret.expose_secret()).as_bytes()) {
            return Err(take_back(&session, token.token_id, failure).await);
        }
        run.printer.note(&format!("the secret is in {}", path.display()));
        return run.printer.changed(&token).map(|()| Exit::Ok);
    }
    show(run, args.kind, &token, &secret)
}

fn request(session: &Session, args: &CreateArgs) -> v1::CreateTokenRequest {
    v1::CreateTokenRequest {
        tenant_id: session.tenant(),
        principal_type: values::kind_to_proto(args.kind).into(),
        principal_id: args.id.as_ref().map(PrincipalId::to_string).unwrap_or_default(),
        roles: args.roles.iter().map(Role::to_string).collect(),
        ttl_seconds: args.ttl,
        uses: args.uses,
        request_id: session.request_id(),
        principal_id_pattern: args.id_pattern.clone().unwrap_or_default(),
        source_networks: args.sources.iter().map(Cidr::to_string).collect(),
    }
}

/// Shows the secret, this once.
fn show(run: &Run, kind: PrincipalType, token: &v1::Token, secret: &SecretString) -> Result<Exit, Failure> {
    if run.printer.format.is_for_people() {
        // The secret alone on standard output, so that it can be piped.
        run.printer.note(&format!("token {} for {kind}; the secret is shown only once:", token.token_id));
        return run.printer.text(secret.expose_secret()).map(|()| Exit::Ok);
    }
    let mut shown = to_value("signet.v1.Token", token)?;
    if let Value::Object(fields) = &mut shown {
        fields.insert("secret".into(), secret.expose_secret().into());
    }
    run.printer.record(&shown, &["token_id"])?;
    if run.printer.leaves_out(&shown, secret.expose_secret()) {
        run.printer.warn(&format!("the secret is shown only once: {}", secret.expose_secret()));
    }
    Ok(Exit::Ok)
}

/// A token whose secret nobody has is revoked.
async fn take_back(session: &Session, token_id: String, failure: Failure) -> Failure {
    let request = v1::RevokeTokenRequest {
        tenant_id: session.tenant(),
        token_id: token_id.clone(),
        // The command's own is the creation's.
        request_id: signet_client::request_id(),
    };
    match rpc!(session, "revoking the token", Client.revoke_token(request)).await {
        Ok(_) => failure.hint(format!("token {token_id} has been revoked: free some disk space, then create another")),
        Err(_) => failure.hint(format!("its secret is lost; revoke it: `principal token revoke {token_id}`")),
    }
}

async fn list(run: &Run, args: ListArgs) -> Result<Exit, Failure> {
    let session = &Session::of(run)?;
    let found = session
        .pages(args.limit(&run.printer.format), |page_size, page_token| async move {
            let request = v1::ListTokensRequest { tenant_id: session.tenant(), page_size, page_token };
            let page = rpc!(session, "listing tokens", Client.list_tokens(request)).await?;
            Ok(Page { items: page.tokens, next_page_token: page.next_page_token, unreadable: page.unreadable })
        })
        .await?;
    found.print(&run.printer, &args)
}

async fn revoke(run: &Run, id: &TokenId, yes: Yes) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    confirm(
        &format!("revoke token {id} of tenant {}: nobody can enroll with it any more", session.tenant_name()),
        yes,
    )?;
    let (tenant_id, request_id) = (session.tenant(), session.request_id());
    let request = v1::RevokeTokenRequest { tenant_id, token_id: id.to_string(), request_id };
    let gone = rpc!(session, "revoking the token", Client.revoke_token(request)).await?;
    run.printer.changed(&gone).map(|()| Exit::Ok)
}
