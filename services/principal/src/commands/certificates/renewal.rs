//! `principal renewal`.

use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use signet_proto::v1::{self, tenant_service_client::TenantServiceClient as Client};

use crate::{
    exit::Exit,
    failure::Failure,
    run::Run,
    session::{Session, rpc},
    values,
};

/// Renewals: when a tenant's certificates are renewed.
#[derive(Debug, Subcommand)]
pub enum RenewalCommand {
    /// Spread renewals: existing certificates are renewed within a window that starts now or later
    Steer(SteerArgs),
    /// Show the renewal window
    Show,
    /// Reset to the default: the middle third of each certificate's lifetime
    Clear,
}

/// Which certificates, and when.
#[derive(Debug, Args)]
pub struct SteerArgs {
    /// Length of the window, at least a minute. A shorter window means a higher load
    #[arg(long = "within", value_name = "TIME", value_parser = values::duration)]
    width: Duration,
    /// Delay from now until the window starts
    #[arg(long = "in", value_name = "TIME", value_parser = values::duration)]
    delay: Option<Duration>,
    /// Only certificates issued before: RFC 3339, or a duration before now; default: now
    #[arg(long, value_name = "TIME", value_parser = values::moment)]
    issued_before: Option<values::Moment>,
}

/// Carries out a command.
pub async fn run(run: &Run, command: RenewalCommand) -> Result<Exit, Failure> {
    match command {
        RenewalCommand::Steer(args) => {
            let steering = steering(&args, Timestamp::now())?;
            let session = Session::of(run)?;
            let request = request(&session, Some(steering));
            let tenant = rpc!(session, "steering renewals", Client.steer_renewals(request)).await?;
            run.printer.changed(&tenant).map(|()| Exit::Ok)
        }
        RenewalCommand::Show => show(run).await,
        RenewalCommand::Clear => {
            let session = Session::of(run)?;
            let request = request(&session, None);
            let tenant = rpc!(session, "resetting the steering", Client.steer_renewals(request)).await?;
            run.printer.changed(&tenant).map(|()| Exit::Ok)
        }
    }
}

fn request(session: &Session, steering: Option<v1::RenewalSteering>) -> v1::SteerRenewalsRequest {
    v1::SteerRenewalsRequest { tenant_id: session.tenant(), steering, request_id: session.request_id() }
}

fn steering(args: &SteerArgs, now: Timestamp) -> Result<v1::RenewalSteering, Failure> {
    let too_far = |_| Failure::usage("the window is too far in the future");
    let start = now.checked_add(args.delay.unwrap_or_default()).map_err(too_far)?;
    let end = start.checked_add(args.width).map_err(too_far)?;
    let issued_before = args.issued_before.map_or(now, |moment| moment.resolve(now));
    Ok(v1::RenewalSteering {
        issued_before: Some(values::to_proto(issued_before)),
        window_start: Some(values::to_proto(start)),
        window_end: Some(values::to_proto(end)),
    })
}

async fn show(run: &Run) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    let request = v1::GetTenantRequest { tenant_id: session.tenant() };
    let tenant = rpc!(session, "reading the tenant", Client.get_tenant(request)).await?;
    match tenant.renewal_steering {
        Some(steering) => run.printer.one(&steering).map(|()| Exit::Ok),
        None => {
            run.printer.note("no steering: each certificate is renewed in the middle third of its lifetime");
            Ok(Exit::Ok)
        }
    }
}
