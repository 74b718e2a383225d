//! `principal enroll`.

use std::{path::PathBuf, sync::Arc};

use clap::{Args, ValueHint};
use signet_client::{Enrollment, JoinToken, JoinUri};
use signet_core::{PrincipalId, TenantId};
use zeroize::Zeroizing;

use crate::{
    context::{self, Context},
    enrolling::{self, Place, Replace},
    exit::Exit,
    failure::Failure,
    proof::ProofArgs,
    run::Run,
    values,
};

/// Where, with which proof, trusting what, and where to put it.
#[derive(Debug, Args)]
#[command(
    after_help = "\
Pass the join token with --token-file or SIGNET_TOKEN, never on the command line. With any other proof,
--tenant selects the tenant; its rules (`principal enrollment rule`) set type and id. The text of a QR code has the
token, the server and its fingerprint: `zbarimg -q --raw code.png | principal enroll --join-uri-file - --out DIR`.",
    group = clap::ArgGroup::new("trust").required(true).args(["ca_sha256", "ca_file", "join_uri_file"]),
    group = clap::ArgGroup::new("place").required(true).args(["out", "save_context"])
)]
pub struct EnrollArgs {
    /// The control plane, e.g. https://signet.example.com:8443
    #[arg(long, value_name = "URL", value_parser = values::https, required_unless_present = "join_uri_file")]
    server: Option<String>,
    /// File with the text of a QR code (`principal token create --qr`): server, anchor and token; - for standard input
    #[arg(
        long,
        value_name = "FILE",
        value_hint = ValueHint::FilePath,
        conflicts_with_all = ["server", "server_name", "ca_url", "proof"]
    )]
    join_uri_file: Option<PathBuf>,
    /// Name in the server's certificate, if not the server's host
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// The server's public listener, e.g. http://signet.example.com:8080; needed with --ca-sha256
    #[arg(long, value_name = "URL", value_parser = values::http)]
    ca_url: Option<String>,
    /// SHA-256 of the server anchor, which is then fetched from the public listener
    #[arg(long, value_name = "HEX", value_parser = values::sha256, requires = "ca_url")]
    ca_sha256: Option<String>,
    /// File with the server anchors, PEM
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    ca_file: Option<PathBuf>,
    /// Principal id, if the proof does not set it
    #[arg(long, value_name = "ID")]
    principal: Option<PrincipalId>,
    /// Folder for cert.pem, key.pem and ca.pem
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    out: Option<PathBuf>,
    /// Create or update this context
    #[arg(long, value_name = "NAME", value_parser = context::parse_name)]
    save_context: Option<String>,
    /// Replace the key and certificate that are there
    #[arg(long)]
    replace: bool,
    /// What speaks for the caller.
    #[command(flatten)]
    proof: ProofArgs,
}

/// Where to enroll, as the arguments say or one line that has it all.
struct Door {
    server: String,
    server_name: Option<String>,
    ca_url: Option<String>,
    ca_sha256: Option<String>,
    tenant: Option<TenantId>,
    token: Option<JoinToken>,
}

impl Door {
    fn of(run: &Run, args: &EnrollArgs) -> Result<Self, Failure> {
        let Some(file) = &args.join_uri_file else {
            return Ok(Self {
                // clap demands it.
                server: args.server.clone().unwrap_or_default(),
                server_name: args.server_name.clone(),
                ca_url: args.ca_url.clone(),
                ca_sha256: args.ca_sha256.clone(),
                tenant: run.global.tenant.clone(),
                token: None,
            });
        };
        let bytes = Zeroizing::new(values::read_input(file)?);
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        let uri = JoinUri::parse(text)
            .map_err(|error| Failure::usage(format!("{} has no valid join URI: {error}", file.display())))?;
        Ok(Self {
            server: uri.server,
            server_name: uri.server_name,
            ca_url: Some(uri.ca_url),
            ca_sha256: Some(uri.ca_sha256),
            tenant: Some(uri.tenant),
            token: Some(uri.token),
        })
    }
}

/// Carries out the command.
pub async fn run(run: &Run, args: EnrollArgs) -> Result<Exit, Failure> {
    let door = Door::of(run, &args)?;
    let (file, url, pin) = (args.ca_file.as_deref(), door.ca_url.as_deref(), door.ca_sha256.as_deref());
    let trusted = enrolling::server_trust(file, url, pin).await?;
    let place = place(run, &args, &door)?;
    let enrollment = Enrollment {
        proof: match door.token {
            Some(token) => Arc::new(token),
            None => args.proof.source(run, &trusted).await?,
        },
        tenant_id: door.tenant.as_ref().map(ToString::to_string),
        principal_id: args.principal.as_ref().map(ToString::to_string),
    };
    let connector = enrolling::connector(run, &door.server, door.server_name.as_deref(), &trusted)?;
    enrolling::enroll(run, &connector, &enrollment, place).await
}

fn place(run: &Run, args: &EnrollArgs, door: &Door) -> Result<Place, Failure> {
    let replace = if args.replace { Replace::Anything } else { Replace::Nothing };
    let Some(name) = &args.save_context else {
        return Place::folder(args.out.clone().unwrap_or_default(), replace);
    };
    let context = Context {
        endpoint: door.server.clone(),
        server_name: door.server_name.clone(),
        public_endpoint: door.ca_url.clone(),
        tenant: None,
        credentials: context::default_directory(name),
        login: None,
    };
    Place::context(run, name, context, replace)
}
