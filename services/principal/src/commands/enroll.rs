//! `principal enroll`.

use std::{env, fs, path::PathBuf};

use clap::{Args, ValueHint};
use secrecy::SecretString;
use serde_json::json;
use signet_client::{Connector, Retry};
use signet_core::PrincipalId;
use signet_x509::pem;
use zeroize::Zeroize as _;

use super::{Run, values};
use crate::{
    certificate::Held,
    context::{self, Context, Contexts, private},
    exit::Exit,
    failure::Failure,
    output::Format,
    progress,
};

/// The environment variable that may hold the token.
const TOKEN_VARIABLE: &str = "SIGNET_TOKEN";

/// Where, with which token, trusting what, and where to put it.
#[derive(Debug, Args)]
#[command(
    after_help = "The token comes from --token-file or from SIGNET_TOKEN, never from the command line.",
    group = clap::ArgGroup::new("trust").required(true).args(["ca_sha256", "ca_file"]),
    group = clap::ArgGroup::new("place").required(true).args(["out", "save_context"])
)]
pub struct EnrollArgs {
    /// The control plane, e.g. https://signet.example.com:8443
    #[arg(long, value_name = "URL", value_parser = values::https)]
    server: String,
    /// Name in the server's certificate, if not the server's host
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// The server's public listener, e.g. http://signet.example.com:8080; needed with --ca-sha256
    #[arg(long, value_name = "URL", value_parser = values::http)]
    ca_url: Option<String>,
    /// File with the join token; - is standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    token_file: Option<PathBuf>,
    /// SHA-256 of the root certificate, which is then fetched from the public listener
    #[arg(long, value_name = "HEX", value_parser = values::sha256, requires = "ca_url")]
    ca_sha256: Option<String>,
    /// File with the root certificate, PEM
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    ca_file: Option<PathBuf>,
    /// Id to take, if the token leaves it open
    #[arg(long, value_name = "ID")]
    principal: Option<PrincipalId>,
    /// Folder for cert.pem, key.pem and ca.pem
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    out: Option<PathBuf>,
    /// Make (or renew) this context
    #[arg(long, value_name = "NAME", value_parser = context::parse_name)]
    save_context: Option<String>,
}

/// Carries out the command.
pub async fn run(run: &Run, args: EnrollArgs) -> Result<Exit, Failure> {
    let token = token(&args)?;
    let (directory, context) = place(run, &args)?;
    private::check_writable(&directory)?;
    let root = root(&args).await?;
    let connector = Connector::new(&args.server, &[root], None)?;
    let connector = connector.with_deadline(run.global.timeout).with_connect_timeout(run.global.timeout);
    let connector = match &args.server_name {
        Some(name) => connector.with_server_name(name)?,
        None => connector,
    };
    let principal = args.principal.as_ref().map(PrincipalId::as_str);
    let channel = connector.channel();
    let work = signet_client::enroll(&channel, &token, principal, Retry { attempts: 4, ..Retry::default() });
    let credentials = progress::watch("enrolling", run.printer.quiet, work).await?;
    credentials.save(&directory).map_err(Failure::other)?;
    if let Some((name, context)) = context {
        let mut contexts = Contexts::load(&run.home)?;
        contexts.put(&name, context);
        contexts.save(&run.home)?;
    }
    let held = Held::load(&directory)?;
    if run.printer.quiet && run.printer.format == Format::Table {
        return Ok(Exit::Ok);
    }
    let made = json!({
        "spiffe_id": held.spiffe_id,
        "serial_number": held.serial,
        "not_after": held.not_after.to_string(),
        "credentials": directory,
        "context": args.save_context,
    });
    run.printer.record(&made, &["spiffe_id"]).map(|()| Exit::Ok)
}

fn token(args: &EnrollArgs) -> Result<SecretString, Failure> {
    let mut bytes = match (&args.token_file, env::var(TOKEN_VARIABLE)) {
        (Some(path), _) => values::read_input(path)?,
        (None, Ok(text)) if !text.trim().is_empty() => text.into_bytes(),
        (None, _) => {
            return Err(Failure::usage("no join token")
                .hint(format!("give --token-file FILE, --token-file - or {TOKEN_VARIABLE}")));
        }
    };
    let token = std::str::from_utf8(&bytes).map(str::trim).ok().filter(|text| !text.is_empty()).map(SecretString::from);
    bytes.zeroize();
    token.ok_or_else(|| Failure::usage("the join token is empty or not text"))
}

async fn root(args: &EnrollArgs) -> Result<Vec<u8>, Failure> {
    if let Some(path) = &args.ca_file {
        let text = fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
        let first = pem::decode_certificates(&text).and_then(|all| all.into_iter().next());
        return first.ok_or_else(|| Failure::usage(format!("{} holds no certificate in PEM", path.display())));
    }
    // clap demands both.
    let (base, pin) = (args.ca_url.as_deref(), args.ca_sha256.as_deref());
    Ok(signet_client::fetch_root(base.unwrap_or_default(), pin.unwrap_or_default()).await?)
}

/// Where the credentials will be, and in which context. Fails before the token is spent, not after.
fn place(run: &Run, args: &EnrollArgs) -> Result<(PathBuf, Option<(String, Context)>), Failure> {
    let Some(name) = &args.save_context else {
        return Ok((args.out.clone().unwrap_or_default(), None));
    };
    let context = Context {
        endpoint: args.server.clone(),
        server_name: args.server_name.clone(),
        public_endpoint: args.ca_url.clone(),
        tenant: None,
        credentials: context::default_directory(name),
    };
    Contexts::load(&run.home)?.refuse_other_server(name, &context)?;
    Ok((context.directory(&run.home), Some((name.clone(), context))))
}
