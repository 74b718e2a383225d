//! `principal login`.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::{Args, ValueHint};
use secrecy::SecretString;
use signet_client::{CA_FILE, Enrollment, OidcToken};

use crate::{
    context::{self, Context, Contexts, Login},
    enrolling::{self, Place, Replace},
    exit::Exit,
    failure::Failure,
    login::{
        self,
        sign_in::{Flow, SignIn},
    },
    run::Run,
    values,
};

/// Where to sign in, and for which server.
#[derive(Debug, Args)]
#[command(
    after_help = "\
The first time, give all options:
  principal login --save-context work --server https://signet.example.com:8443 --ca-url http://signet.example.com:8080 \\
      --ca-sha256 HEX --issuer https://login.example.com --client-id signet --tenant acme
After that, `principal login` (or `principal --context work login`) is enough.",
    group = clap::ArgGroup::new("trust").args(["ca_sha256", "ca_file"]),
    group = clap::ArgGroup::new("flow").args(["device", "browser"])
)]
pub struct LoginArgs {
    /// Create or update this context; default: the current one
    #[arg(long, value_name = "NAME", value_parser = context::parse_name)]
    save_context: Option<String>,
    /// Replace the key and certificate of somebody else that are there
    #[arg(long)]
    replace: bool,
    /// The OpenID Connect issuer, exactly as in its tokens' `iss`
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// Client id at the issuer; also the audience of the Signet rule
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// File with the client secret, for issuers that require one
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    client_secret_file: Option<PathBuf>,
    /// Scope to request besides openid; may be repeated
    #[arg(long = "scope", value_name = "NAME")]
    scopes: Vec<String>,
    /// Sign in on any device, with a code (RFC 8628); the default
    #[arg(long)]
    device: bool,
    /// Sign in with a browser on this machine
    #[arg(long)]
    browser: bool,
    /// How long to wait for the sign-in, e.g. 5m
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = values::duration)]
    patience: Duration,
    /// The control plane, e.g. https://signet.example.com:8443
    #[arg(long, value_name = "URL", value_parser = values::https)]
    server: Option<String>,
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
}

/// Carries out the command.
pub async fn run(run: &Run, args: LoginArgs) -> Result<Exit, Failure> {
    let contexts = Contexts::load(&run.home)?;
    let (name, known) = named(run, &args, &contexts)?;
    let context = planned(run, &args, &name, known)?;
    let trusted = server_trust(run, &args, known).await?;
    let replace = match known {
        _ if args.replace => Replace::Anything,
        // Its certificate came in another way, maybe an admin's.
        Some(known) if known.login.is_none() => Replace::Nothing,
        _ => Replace::Own,
    };
    let place = Place::context(run, &name, context.clone(), replace)?;
    let connector = enrolling::connector(run, &context.endpoint, context.server_name.as_deref(), &trusted)?;
    let login = context.login.ok_or_else(|| Failure::other("no sign-in settings"))?;
    let tenant_id = Some(login.tenant.clone());
    let token = login::sign_in(&sign_in(run, &args, login)?, &|text| tell(text)).await?;
    let enrollment = Enrollment { proof: Arc::new(OidcToken::Given(token)), tenant_id, principal_id: None };
    enrolling::enroll(run, &connector, &enrollment, place).await
}

/// The context's name, and what it is so far.
fn named<'a>(run: &Run, args: &LoginArgs, contexts: &'a Contexts) -> Result<(String, Option<&'a Context>), Failure> {
    match &args.save_context {
        Some(name) => Ok((name.clone(), contexts.contexts.get(name))),
        None => {
            let (name, context) = contexts.select(run.global.context.as_deref())?;
            if context.login.is_none() && args.issuer.is_none() {
                // Its certificate came in another way, maybe an admin's; a sign-in would replace it.
                let message = format!("context {name} was not created by `principal login`");
                return Err(Failure::usage(message)
                    .hint("choose another with --context NAME, or create one: `principal login --help`"));
            }
            Ok((name.to_owned(), Some(context)))
        }
    }
}

/// The context as it will be: what is given now, else what it says already.
fn planned(run: &Run, args: &LoginArgs, name: &str, known: Option<&Context>) -> Result<Context, Failure> {
    let before = known.and_then(|context| context.login.as_ref());
    let required = |given: Option<String>, before: Option<&String>, option: &str| {
        let missing =
            || Failure::usage(format!("{option} is required the first time")).hint("`principal login --help`");
        given.or_else(|| before.cloned()).ok_or_else(missing)
    };
    let tenant = run.global.tenant.as_ref().map(ToString::to_string);
    let mut scopes = vec!["openid".to_owned()];
    match (args.scopes.as_slice(), before) {
        ([], Some(before)) => scopes.clone_from(&before.scopes),
        (given, _) => scopes.extend(given.iter().filter(|scope| *scope != "openid").cloned()),
    }
    let login = Login {
        issuer: required(args.issuer.clone(), before.map(|login| &login.issuer), "--issuer")?,
        client_id: required(args.client_id.clone(), before.map(|login| &login.client_id), "--client-id")?,
        tenant: required(tenant, before.map(|login| &login.tenant), "--tenant")?,
        browser: args.browser || (!args.device && before.is_some_and(|login| login.browser)),
        scopes,
    };
    Ok(Context {
        endpoint: required(args.server.clone(), known.map(|context| &context.endpoint), "--server")?,
        server_name: args.server_name.clone().or_else(|| known.and_then(|context| context.server_name.clone())),
        public_endpoint: args.ca_url.clone().or_else(|| known.and_then(|context| context.public_endpoint.clone())),
        tenant: known.and_then(|context| context.tenant.clone()),
        credentials: known.map_or_else(|| context::default_directory(name), |context| context.credentials.clone()),
        login: Some(login),
    })
}

/// The anchors that are named, else those that the context trusts already.
async fn server_trust(run: &Run, args: &LoginArgs, known: Option<&Context>) -> Result<Vec<Vec<u8>>, Failure> {
    let (url, pin) = (args.ca_url.as_deref(), args.ca_sha256.as_deref());
    let kept = known.map(|context| context.directory(&run.home).join(CA_FILE)).filter(|file| file.exists());
    match (&args.ca_file, pin, kept) {
        (Some(file), ..) => enrolling::server_trust(Some(file), None, None).await,
        (None, Some(_), _) => enrolling::server_trust(None, url, pin).await,
        (None, None, Some(kept)) => enrolling::server_trust(Some(&kept), None, None).await,
        (None, None, None) => {
            let failure = Failure::usage("no server anchor to trust");
            Err(failure.hint("give --ca-file FILE, or --ca-url URL and --ca-sha256 HEX"))
        }
    }
}

fn sign_in(run: &Run, args: &LoginArgs, login: Login) -> Result<SignIn, Failure> {
    let secret = match &args.client_secret_file {
        Some(file) => {
            let text = String::from_utf8(values::read_input(file)?);
            let text = text.map_err(|_| Failure::usage(format!("{} is not text", file.display())))?;
            Some(SecretString::from(text.trim()))
        }
        None => None,
    };
    Ok(SignIn {
        issuer: login.issuer,
        client_id: login.client_id,
        client_secret: secret,
        scopes: login.scopes,
        flow: if login.browser { Flow::Browser } else { Flow::Device },
        patience: args.patience,
        quiet: run.printer.quiet,
    })
}

/// Said even with --quiet: without it nobody could go on.
fn tell(text: &str) {
    anstream::eprintln!("{text}");
}
