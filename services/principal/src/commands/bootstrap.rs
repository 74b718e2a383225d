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
        Column,
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
#[command(next_help_heading = "With --local, for a new configuration")]
pub struct NewConfiguration {
    /// Short name of the environment
    #[arg(long, value_name = "NAME", default_value = "local", conflicts_with_all = ["config", "from_terraform"])]
    environment: TenantId,
    /// A tenant's trust domain is <tenant>.<suffix>
    #[arg(long, value_name = "DOMAIN", default_value = "signet.internal", conflicts_with_all = ["config", "from_terraform"])]
    trust_domain_suffix: TrustDomainSuffix,
    /// Address for gRPC; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8443", conflicts_with_all = ["config", "from_terraform"])]
    grpc_address: SocketAddr,
    /// Address for health checks and public material
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", conflicts_with_all = ["config", "from_terraform"])]
    public_address: SocketAddr,
    /// Address for metrics
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9464", conflicts_with_all = ["config", "from_terraform"])]
    metrics_address: SocketAddr,
    /// Name or address that clients connect to; may be repeated
    #[arg(long = "server-name", value_name = "NAME", default_values = ["localhost", "127.0.0.1"], conflicts_with_all = ["config", "from_terraform"])]
    server_names: Vec<ServerName>,
    /// Seconds between the end of a minute and the sealing of its audit events
    #[arg(long, value_name = "N", default_value_t = 10, conflicts_with_all = ["config", "from_terraform"])]
    seal_delay_seconds: u32,
}

const COLUMNS: &[Column] =
    &[Column { title: "STATUS", cell: Status("status") }, Column { title: "ITEM", cell: Field("item") }];

/// Carries out the command.
pub async fn run(run: &Run, args: BootstrapArgs) -> Result<Exit, Failure> {
    let mut items: Vec<Item> = Vec::new();
    let (mut wish, next) = match (&args.from_terraform, &args.config, &args.local) {
        (Some(source), ..) => from_terraform(run, source, &args).await?,
        (None, Some(file), _) => from_file(file, &args)?,
        (None, None, dir) => {
            let (file, written) = bootstrap::local::prepare(&local(dir.clone().unwrap_or_default(), args.new.clone()))?;
            items.extend(written);
            from_file(&file, &args)?
        }
    };
    wish.endpoint = args.endpoint.clone().or(wish.endpoint);
    let made = progress::watch("creating the environment", run.printer.quiet, bootstrap::carry_out(run, &wish)).await?;
    items.extend(made);
    let values = items.iter().map(serde_json::to_value).collect::<Result<Vec<Value>, _>>().map_err(Failure::other)?;
    run.printer.rows(COLUMNS, values)?;
    run.printer.note(&next);
    Ok(Exit::Ok)
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
