//! `principal tenant`.

mod deletion;
mod export;

use clap::{Args, Subcommand, ValueEnum};
use prost_types::FieldMask;
use signet_core::{TenantId, tenants::quota::Quota};
use signet_proto::v1::{self, tenant_service_client::TenantServiceClient as Client};

use crate::{
    confirm::{self, confirm},
    exit::Exit,
    failure::Failure,
    output::{Cell, Column},
    run::Run,
    session::{Page, Session, rpc},
    values::{self, FailureLimit, ListArgs, Yes},
};

/// Tenants of the environment.
#[derive(Debug, Subcommand)]
pub enum TenantCommand {
    /// Create a tenant and its issuing CA
    Create(CreateArgs),
    /// List tenants
    List(TenantListArgs),
    /// Show a tenant; default: the caller's own
    Get {
        /// Id of the tenant
        #[arg(value_name = "TENANT")]
        id: Option<TenantId>,
    },
    /// Change a tenant's name, lifetimes, subjects, quotas, failure limit or renewal grace period
    Update(UpdateArgs),
    /// Suspend a tenant: refuse all its principals, within a second
    Suspend {
        /// Id of the tenant
        #[arg(value_name = "TENANT")]
        id: TenantId,
        /// Says yes in advance.
        #[command(flatten)]
        yes: Yes,
    },
    /// Reactivate a suspended tenant
    Activate {
        /// Id of the tenant
        #[arg(value_name = "TENANT")]
        id: TenantId,
    },
    /// Delete a suspended tenant; after its grace time it is purged, keys too
    ///
    /// Until then `principal tenant undelete` takes it back. Its id is never given again.
    Delete {
        /// Id of the tenant
        #[arg(value_name = "TENANT")]
        id: TenantId,
        /// Says yes in advance.
        #[command(flatten)]
        yes: Yes,
    },
    /// Take back the deletion of a tenant that is not purged yet; it is suspended then
    Undelete {
        /// Id of the tenant
        #[arg(value_name = "TENANT")]
        id: TenantId,
    },
    /// Write all that is on record of a tenant to a file, as lines of JSON
    ///
    /// The tenant, its CAs, rules, principals, their certificates, and its audit events as far back as they are kept:
    /// `{"message": "signet.v1.Principal", "value": {…}}`. No keys, no join tokens. For suspended and deleted tenants
    /// too, until they are purged.
    Export(export::ExportArgs),
}

/// Which tenants.
#[derive(Debug, Args)]
pub struct TenantListArgs {
    /// Deleted tenants too, until they are purged
    #[arg(long)]
    show_deleted: bool,
    /// How many.
    #[command(flatten)]
    list: ListArgs,
}

/// What a new tenant is.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// One lower-case DNS label; becomes part of the trust domain
    #[arg(value_name = "TENANT")]
    id: TenantId,
    /// Display name
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    display_name: String,
    /// Which key signs the tenant's certificates
    #[arg(long, value_enum, default_value_t)]
    isolation: Isolation,
    /// What may be changed later.
    #[command(flatten)]
    limits: Limits,
}

/// Whose key signs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Isolation {
    /// The tenant's own key
    #[default]
    Dedicated,
    /// The environment's shared key
    Shared,
}

/// What may be changed later.
#[derive(Debug, Args)]
pub struct Limits {
    /// Lifetime of certificates of one type, e.g. worker=12h; may be repeated
    #[arg(long = "lifetime", value_name = "TYPE=TIME", value_parser = values::lifetime)]
    lifetimes: Vec<v1::LifetimeOverride>,
    /// Subject of certificates of one type, e.g. device=tenant-cn,ou=Fleet; may be repeated. Forms:
    /// plain, tenant-cn (CN=TENANT/ID), ou=TEXT, tenant-cn,ou=TEXT
    #[arg(long = "subject", value_name = "TYPE=FORM", value_parser = values::subject)]
    subjects: Vec<v1::SubjectOverride>,
    /// Maximum number of unexpired certificates of one principal, 1 to 100
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    max_certificates: Option<u32>,
    /// Grace period after expiry in which certificates can be renewed, at most 30d; 0: none
    #[arg(long, value_name = "TIME", value_parser = values::grace)]
    renewal_grace: Option<u32>,
    /// Quota, e.g. principals=5000; 0: the default; may be repeated. Names and defaults:
    /// principals (100000), join_tokens (10000), enrollment_rules (100), certificate_authorities (20)
    #[arg(long = "quota", value_name = "WHAT=N", value_parser = values::quota)]
    quotas: Vec<(Quota, u32)>,
    /// Refused calls that suspend a principal, within a time: e.g. 10/5m (the default), off, default
    #[arg(long, value_name = "N/TIME", value_parser = values::failure_limit)]
    failure_limit: Option<FailureLimit>,
}

impl Limits {
    fn quotas(&self) -> v1::TenantQuotas {
        let of = |quota| self.quotas.iter().rev().find(|(named, _)| *named == quota).map_or(0, |(_, limit)| *limit);
        v1::TenantQuotas {
            principals: of(Quota::Principals),
            join_tokens: of(Quota::JoinTokens),
            enrollment_rules: of(Quota::EnrollmentRules),
            certificate_authorities: of(Quota::CertificateAuthorities),
        }
    }
}

/// What changes.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Id of the tenant
    #[arg(value_name = "TENANT")]
    id: TenantId,
    /// Display name
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// Lifetimes and quotas.
    #[command(flatten)]
    limits: Limits,
    /// Reset to the default lifetimes
    #[arg(long, conflicts_with = "lifetimes")]
    default_lifetimes: bool,
}

/// Carries out a command.
pub async fn run(run: &Run, command: TenantCommand) -> Result<Exit, Failure> {
    match command {
        TenantCommand::Create(args) => create(run, args).await,
        TenantCommand::List(args) => list(run, args).await,
        TenantCommand::Get { id } => get(run, id).await,
        TenantCommand::Update(args) => update(run, args).await,
        TenantCommand::Suspend { id, yes } => suspend(run, &id, yes).await,
        TenantCommand::Activate { id } => activate(run, &id).await,
        TenantCommand::Delete { id, yes } => deletion::delete(run, &id, yes).await,
        TenantCommand::Undelete { id } => deletion::undelete(run, &id).await,
        TenantCommand::Export(args) => export::export(run, args).await,
    }
}

async fn create(run: &Run, args: CreateArgs) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    let isolation = match args.isolation {
        Isolation::Dedicated => v1::Isolation::Dedicated,
        Isolation::Shared => v1::Isolation::Shared,
    };
    let tenant = v1::Tenant {
        tenant_id: args.id.to_string(),
        display_name: args.display_name,
        isolation: isolation.into(),
        quotas: Some(args.limits.quotas()),
        failure_limit: args.limits.failure_limit.and_then(FailureLimit::to_proto),
        lifetimes: args.limits.lifetimes,
        subjects: args.limits.subjects,
        max_certificates: args.limits.max_certificates.unwrap_or(0),
        renewal_grace_seconds: args.limits.renewal_grace.unwrap_or(0),
        ..Default::default()
    };
    let request = v1::CreateTenantRequest { tenant: Some(tenant), request_id: session.request_id() };
    let made = rpc!(session, "creating the tenant", Client.create_tenant(request)).await?;
    run.printer.changed(&made).map(|()| Exit::Ok)
}

async fn list(run: &Run, TenantListArgs { show_deleted, list }: TenantListArgs) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    let session = &session;
    let found = session
        .pages(list.limit(&run.printer.format), |page_size, page_token| async move {
            let request = v1::ListTenantsRequest { page_size, page_token, show_deleted };
            let page = rpc!(session, "listing tenants", Client.list_tenants(request)).await?;
            Ok(Page { items: page.tenants, next_page_token: page.next_page_token, unreadable: page.unreadable })
        })
        .await?;
    let purge = [Column::new("PURGE", Cell::When("expire_time"))];
    found.print_with(&run.printer, if show_deleted { &purge } else { &[] }, &list)
}

async fn get(run: &Run, id: Option<TenantId>) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    let request = v1::GetTenantRequest { tenant_id: id.map_or_else(|| session.tenant(), |id| id.to_string()) };
    let found = rpc!(session, "reading the tenant", Client.get_tenant(request)).await?;
    run.printer.one(&found).map(|()| Exit::Ok)
}

async fn update(run: &Run, mut args: UpdateArgs) -> Result<Exit, Failure> {
    let mut mask = FieldMask::default();
    let mut mark = |changed: bool, name: &str| {
        if changed {
            mask.paths.push(name.to_owned());
        }
    };
    mark(args.display_name.is_some(), "display_name");
    mark(args.default_lifetimes || !args.limits.lifetimes.is_empty(), "lifetimes");
    mark(!args.limits.subjects.is_empty(), "subjects");
    mark(args.limits.max_certificates.is_some(), "max_certificates");
    mark(args.limits.renewal_grace.is_some(), "renewal_grace_seconds");
    mark(args.limits.failure_limit.is_some(), "failure_limit");
    for (quota, _) in &args.limits.quotas {
        mark(true, &format!("quotas.{}", quota.name()));
    }
    if mask.paths.is_empty() {
        let hint = "give --display-name, --lifetime, --subject, --max-certificates, --renewal-grace, --quota or \
                    --failure-limit";
        return Err(Failure::usage("nothing to change").hint(hint));
    }
    let session = Session::of(run)?;
    if !args.limits.lifetimes.is_empty() || !args.limits.subjects.is_empty() {
        with_others(&session, &args.id, &mut args.limits).await?;
    }
    let tenant = v1::Tenant {
        tenant_id: args.id.to_string(),
        display_name: args.display_name.unwrap_or_default(),
        quotas: Some(args.limits.quotas()),
        failure_limit: args.limits.failure_limit.and_then(FailureLimit::to_proto),
        lifetimes: args.limits.lifetimes,
        subjects: args.limits.subjects,
        max_certificates: args.limits.max_certificates.unwrap_or(0),
        renewal_grace_seconds: args.limits.renewal_grace.unwrap_or(0),
        ..Default::default()
    };
    let request =
        v1::UpdateTenantRequest { tenant: Some(tenant), update_mask: Some(mask), request_id: session.request_id() };
    let changed = rpc!(session, "updating the tenant", Client.update_tenant(request)).await?;
    run.printer.changed(&changed).map(|()| Exit::Ok)
}

/// The API takes all lifetimes, and all subjects, at once: those of types that are not named stay.
async fn with_others(session: &Session, id: &TenantId, limits: &mut Limits) -> Result<(), Failure> {
    let request = v1::GetTenantRequest { tenant_id: id.to_string() };
    let mut tenant = rpc!(session, "reading the tenant", Client.get_tenant(request)).await?;
    tenant.lifetimes.retain(|other| limits.lifetimes.iter().all(|one| one.principal_type != other.principal_type));
    limits.lifetimes.append(&mut tenant.lifetimes);
    tenant.subjects.retain(|other| limits.subjects.iter().all(|one| one.principal_type != other.principal_type));
    limits.subjects.append(&mut tenant.subjects);
    Ok(())
}

async fn suspend(run: &Run, id: &TenantId, yes: Yes) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    let mut whom = format!("tenant {id} and all its principals");
    if confirm::asks(yes) {
        let request = v1::GetTenantRequest { tenant_id: id.to_string() };
        match rpc!(session, "reading the tenant", Client.get_tenant(request)).await {
            Ok(found) => {
                let used = found.quota_use.map_or(0, |usage| usage.principals);
                whom = format!("tenant {id} and all its principals ({used})");
            }
            Err(failure) if failure.exit == Exit::NotFound => return Err(failure),
            // What the server cannot read can still be stopped.
            Err(_) => {}
        }
    }
    confirm(&format!("suspend {whom}: they are refused everywhere until it is activated"), yes)?;
    let request = v1::SuspendTenantRequest { tenant_id: id.to_string(), request_id: session.request_id() };
    let changed = rpc!(session, "suspending the tenant", Client.suspend_tenant(request)).await?;
    run.printer.changed(&changed).map(|()| Exit::Ok)
}

async fn activate(run: &Run, id: &TenantId) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    let request = v1::ActivateTenantRequest { tenant_id: id.to_string(), request_id: session.request_id() };
    let changed = rpc!(session, "activating the tenant", Client.activate_tenant(request)).await?;
    run.printer.changed(&changed).map(|()| Exit::Ok)
}
