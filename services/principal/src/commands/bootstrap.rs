//! `principal bootstrap`.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::{Args, ValueHint};
use serde_json::Value;
use signet_control_plane::Config;
use signet_core::{PrincipalId, TenantId, spiffe::TrustDomainSuffix};
use signet_x509::ServerName;

use crate::{
    bootstrap::{self, Item, Wish, local::Local, terraform},
    context,
    exit::Exit,
    failure::Failure,
    output::{
        Cell::{Field, Status},
        Column, View,
    },
    progress,
    run::Run,
    values,
};

/// What to make.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("source").required(true).args(["config", "local", "from_terraform"]))]
pub struct BootstrapArgs {
    /// Configuration of signetd; bootstrap fills the store and keys that it names
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,
    /// Create everything in this folder: configuration, SQLite, encrypted keys
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    local: Option<PathBuf>,
    /// Terraform's environment: its directory (runs `terraform output`), or a file with the output of
    /// `terraform output -json`, - for standard input
    #[arg(long, value_name = "DIR|FILE", value_hint = ValueHint::AnyPath)]
    from_terraform: Option<PathBuf>,
    /// Id of the first admin
    #[arg(long, value_name = "ID", default_value = "admin")]
    admin: PrincipalId,
    /// Name of the admin's context; default: the environment's name
    #[arg(long, value_name = "NAME", value_parser = context::parse_name)]
    context_name: Option<String>,
    /// URL of the server from this machine; default: the first DNS name (or address) and the port in the configuration
    #[arg(long, value_name = "URL", value_parser = values::https)]
    endpoint: Option<String>,
    /// What a new configuration says.
    #[command(flatten)]
    new: NewConfiguration,
}

/// What a new configuration says.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "With --local, for a new configuration; an existing one must agree")]
pub struct NewConfiguration {
    /// Short name of the environment; default: local
    #[arg(long, value_name = "NAME", conflicts_with_all = ["config", "from_terraform"])]
    environment: Option<TenantId>,
    /// A tenant's trust domain is <tenant>.<suffix>; default: signet.internal
    #[arg(long, value_name = "DOMAIN", conflicts_with_all = ["config", "from_terraform"])]
    trust_domain_suffix: Option<TrustDomainSuffix>,
    /// Address for gRPC; port 0 picks a free one; default: 127.0.0.1:8443
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["config", "from_terraform"])]
    grpc_address: Option<SocketAddr>,
    /// Address for health checks and public material; default: 127.0.0.1:8080
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["config", "from_terraform"])]
    public_address: Option<SocketAddr>,
    /// Address for metrics; default: 127.0.0.1:9464
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["config", "from_terraform"])]
    metrics_address: Option<SocketAddr>,
    /// Name or address that clients connect to; may be repeated; default: localhost and 127.0.0.1
    #[arg(long = "server-name", value_name = "NAME", conflicts_with_all = ["config", "from_terraform"])]
    server_names: Vec<ServerName>,
    /// Seconds between the end of a minute and the sealing of its audit events; default: 10
    #[arg(long, value_name = "N", conflicts_with_all = ["config", "from_terraform"])]
    seal_delay_seconds: Option<u32>,
}

const COLUMNS: &[Column] = &[Column::new("STATUS", Status("status")), Column::new("ITEM", Field("item"))];

/// Carries out the command.
pub async fn run(run: &Run, args: BootstrapArgs) -> Result<Exit, Failure> {
    let prepared = match (&args.local, &args.config, &args.from_terraform) {
        (Some(dir), None, None) => Some(bootstrap::local::prepare(&local(dir.clone(), args.new.clone()))?),
        _ => None,
    };
    let made = make(run, &args, prepared.as_ref().map(|prepared| prepared.config.as_path())).await;
    if let (Err(_), Some(prepared)) = (&made, &prepared) {
        prepared.undo();
    }
    let (made, next) = made?;
    let items = prepared.into_iter().flat_map(|prepared| prepared.items).chain(made);
    let values = items.map(serde_json::to_value).collect::<Result<Vec<Value>, _>>().map_err(Failure::other)?;
    run.printer.rows(COLUMNS, &["item"], values, &View::default())?;
    run.printer.note(&next);
    Ok(Exit::Ok)
}

/// What was made, and what to do next. `prepared`: the configuration of a local environment.
async fn make(run: &Run, args: &BootstrapArgs, prepared: Option<&Path>) -> Result<(Vec<Item>, String), Failure> {
    let (mut wish, next) = match (&args.from_terraform, prepared.or(args.config.as_deref())) {
        (Some(source), _) => from_terraform(run, source, args).await?,
        // clap demands one of the three.
        (None, file) => from_file(file.unwrap_or(Path::new("signet.toml")), args)?,
    };
    wish.endpoint = args.endpoint.clone().or(wish.endpoint);
    let made = progress::watch("creating the environment", run.printer.quiet, bootstrap::carry_out(run, &wish)).await?;
    Ok((made, next))
}

/// What to make, and what to do afterwards.
fn from_file(file: &Path, args: &BootstrapArgs) -> Result<(Wish, String), Failure> {
    let config = Config::load(file).map_err(|error| Failure::usage(error.to_string()))?;
    let next = format!("start the server: signetd --config {}", file.display());
    Ok((wish(config, args, "fix that, then run it again".into()), next))
}

async fn from_terraform(run: &Run, source: &Path, args: &BootstrapArgs) -> Result<(Wish, String), Failure> {
    let outputs = progress::watch("running terraform output", run.printer.quiet, terraform::read(source)).await?;
    let wish = Wish {
        endpoint: Some(outputs.endpoint.clone()),
        public_endpoint: Some(outputs.public_url.clone()),
        ..wish(outputs.config()?, args, terraform::after_apply(source))
    };
    let enroll = outputs.enroll_url.map(|url| format!("; workers enroll at {url}")).unwrap_or_default();
    Ok((
        wish,
        format!(
            "the nodes at {} load the certificate within a minute; check with principal doctor{enroll}",
            outputs.endpoint
        ),
    ))
}

fn wish(config: Config, args: &BootstrapArgs, remedy: String) -> Wish {
    let (admin, context) = (args.admin.clone(), args.context_name.clone());
    Wish { config, admin, context, endpoint: None, public_endpoint: None, remedy }
}

fn local(dir: PathBuf, new: NewConfiguration) -> Local {
    Local {
        dir,
        environment: new.environment,
        suffix: new.trust_domain_suffix,
        grpc: new.grpc_address,
        public: new.public_address,
        metrics: new.metrics_address,
        names: new.server_names,
        seal_delay_seconds: new.seal_delay_seconds,
    }
}
