//! `principal device`.

mod bulk;
mod caller;
mod device;
mod fleet;
mod journal;
mod place;
mod provision;

use std::{path::PathBuf, sync::Arc};

use clap::{Args, Subcommand, ValueHint};
use signet_core::{PrincipalId, Role};

use self::{bulk::Bulk, device::Device, provision::Site};
use crate::{
    commands::messages::{SecretCommand, run_secret},
    exit::Exit,
    failure::Failure,
    progress,
    run::Run,
};

/// Devices.
#[derive(Debug, Subcommand)]
pub enum DeviceCommand {
    /// Provision a device, or a fleet from a CSV file: principal, certificate and key, as files
    ///
    /// Makes the principal if it is not there, and gets its first certificate with a key made here and a join token
    /// that is used at once and shown to nobody. Stopped at any moment and run again, it goes on. The folder has
    /// cert.pem, key.pem, ca.pem (the server's anchor) and bundle.pem (the tenant's anchors), as signet-agent keeps
    /// them.
    Provision(ProvisionArgs),
    /// Secrets that devices sign messages with
    #[command(subcommand)]
    Secret(SecretCommand),
}

/// Which devices, and where to put them.
#[derive(Debug, Args)]
#[command(
    after_help = "\
Examples:
  principal device provision sensor-001 --out sensor-001 --group sensors --tenant acme
  principal device provision -f devices.csv --out fleet --dry-run --tenant acme
  principal device provision -f devices.csv --out fleet --tenant acme

The first line of the CSV file names its columns: id, and display_name, roles and groups as needed; lists have ; between
their values. A column that is missing, like an option that is not given, says nothing about principals that exist. With
a file, every device gets a folder DIR/<id>, and DIR/provision.log says what is done. To stop, press Ctrl-C.

How long certificates live is the tenant's setting: `principal tenant update acme --lifetime device=7d`.",
    group = clap::ArgGroup::new("which").required(true).args(["id", "file"])
)]
pub struct ProvisionArgs {
    /// Id of the device
    #[arg(value_name = "PRINCIPAL")]
    id: Option<PrincipalId>,
    /// CSV file with the devices of a fleet; - for standard input
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// Folder for the files; with --file, for a folder of each device
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    out: PathBuf,
    /// Display name
    #[arg(long, value_name = "NAME", conflicts_with = "file")]
    display_name: Option<String>,
    /// Role; may be repeated
    #[arg(long = "role", value_name = "ROLE", conflicts_with = "file")]
    roles: Vec<Role>,
    /// Group; may be repeated
    #[arg(long = "group", value_name = "GROUP", conflicts_with = "file")]
    groups: Vec<Role>,
    /// Replace what is in the way: another principal's identity, or one that is over; it is named
    #[arg(long)]
    force: bool,
    /// Only check what would be done, and count it
    #[arg(long, requires = "file")]
    dry_run: bool,
    /// How many devices at once
    #[arg(long, value_name = "N", default_value_t = 8, requires = "file", value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
}

/// Carries out a command.
pub async fn run(run: &Run, command: DeviceCommand) -> Result<Exit, Failure> {
    let args = match command {
        DeviceCommand::Provision(args) => args,
        DeviceCommand::Secret(command) => return run_secret(run, command).await,
    };
    if run.global.request_id.is_some() {
        return Err(Failure::usage("--request-id is for commands that change one thing")
            .hint("leave it out: this command can be run again as it is"));
    }
    match &args.file {
        Some(file) => {
            // Before the server is asked anything.
            let devices = fleet::read(file)?;
            let site = Arc::new(Site::open(run, args.force, args.dry_run).await?);
            let bulk = Bulk { run, site, out: args.out, jobs: args.jobs.into(), dry_run: args.dry_run };
            bulk.carry_out(devices).await
        }
        None => one(run, args).await,
    }
}

async fn one(run: &Run, args: ProvisionArgs) -> Result<Exit, Failure> {
    // clap demands one of the two.
    let id = args.id.ok_or_else(|| Failure::usage("no device").hint("give its id, or --file"))?;
    let list = |names: Vec<Role>| Some(names).filter(|names| !names.is_empty());
    let (roles, groups) = (list(args.roles), list(args.groups));
    let device = Device { id, display_name: args.display_name, roles, groups };
    let site = Site::open(run, args.force, false).await?;
    let work = provision::provision(&site, &device, &args.out);
    let done = progress::watch("provisioning the device", run.printer.quiet, work).await?;
    let printer = &run.printer;
    let (id, out) = (&done.id, done.directory.display());
    if done.is_new {
        printer.note(&format!("created device {id} in tenant {}", site.caller.session.tenant_name()));
    }
    if let Some(replaced) = &done.replaced {
        printer.warn(&format!("replaced {replaced}"));
    }
    printer.note(&match done.result {
        "kept" => format!("{out} has a good identity of it already: nothing was changed"),
        "resumed" => format!("an earlier run was stopped; its certificate is in {out} now"),
        "completed" => format!("the missing files are in {out} now; the key is the same"),
        _ => format!("its key and certificate are in {out}"),
    });
    if done.result == "provisioned" && done.others > 0 {
        let (others, tenant) = (done.others, site.caller.session.tenant_name());
        printer.note(&format!(
            "it has {others} other certificates in use: `principal cert list {id} --tenant {tenant}` shows them"
        ));
    }
    printer.note(&format!(
        "next: scp -p {out}/*.pem root@{id}:/etc/signet/device/   # signet-agent keeps them fresh there"
    ));
    if printer.quiet && printer.format.is_for_people() {
        return Ok(Exit::Ok);
    }
    printer.record(&done.to_json(), &["principal_id", "spiffe_id"]).map(|()| Exit::Ok)
}
