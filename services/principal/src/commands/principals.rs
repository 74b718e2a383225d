//! The commands on principals, which stand at the top level.

use clap::{Args, ValueEnum};
use prost_types::FieldMask;
use serde_json::Value;
use signet_core::{PrincipalId, PrincipalType, Role};
use signet_proto::v1::{self, principal_service_client::PrincipalServiceClient as Client};

use crate::{
    confirm::{self, confirm},
    exit::Exit,
    failure::Failure,
    output::to_value,
    run::Run,
    session::{Page, Session, rpc},
    values::{self, ListArgs, Yes},
};

/// What a new principal is.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// admin, user, worker, service or device
    #[arg(value_name = "TYPE")]
    kind: PrincipalType,
    /// 1 to 64 of A-Z a-z 0-9 . _ -
    #[arg(value_name = "PRINCIPAL")]
    id: PrincipalId,
    /// Display name
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    display_name: String,
    /// Role, e.g. operator or viewer; may be repeated
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<Role>,
    /// Group; may be repeated
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
}

/// Which principal.
#[derive(Debug, Args)]
pub struct IdArgs {
    /// Id of the principal
    #[arg(value_name = "PRINCIPAL")]
    id: PrincipalId,
}

/// Which principal, or the caller.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// Id of the principal; default: the caller
    #[arg(value_name = "PRINCIPAL")]
    id: Option<PrincipalId>,
}

/// Which principal, and a yes.
#[derive(Debug, Args)]
pub struct RiskyArgs {
    /// Id of the principal
    #[arg(value_name = "PRINCIPAL")]
    id: PrincipalId,
    /// Says yes in advance.
    #[command(flatten)]
    yes: Yes,
}

/// What changes.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Id of the principal
    #[arg(value_name = "PRINCIPAL")]
    id: PrincipalId,
    /// Display name
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// Replace all roles; may be repeated
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<Role>,
    /// Remove all roles
    #[arg(long, conflicts_with = "roles")]
    no_roles: bool,
    /// Replace all groups; may be repeated
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// Remove all groups
    #[arg(long, conflicts_with = "groups")]
    no_groups: bool,
}

/// Which principals to list.
#[derive(Debug, Args)]
pub struct PrincipalListArgs {
    /// Only of this type; may be repeated
    #[arg(long = "type", value_name = "TYPE")]
    kinds: Vec<PrincipalType>,
    /// Only those that are active, suspended or deleted
    #[arg(long, value_name = "STATUS", value_enum)]
    status: Option<Status>,
    /// Only with this role
    #[arg(long, value_name = "ROLE")]
    role: Option<Role>,
    /// Only in this group
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// How many, and how.
    #[command(flatten)]
    list: ListArgs,
}

/// A principal's status.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Status {
    /// Admitted
    Active,
    /// Refused until it is activated
    Suspended,
    /// Refused for good
    Deleted,
}

impl PrincipalListArgs {
    fn is_wanted(&self, principal: &v1::Principal) -> bool {
        let status = self.status.is_none_or(|status| {
            principal.status()
                == match status {
                    Status::Active => v1::PrincipalStatus::Active,
                    Status::Suspended => v1::PrincipalStatus::Suspended,
                    Status::Deleted => v1::PrincipalStatus::Deleted,
                }
        });
        let kind = |kind: &PrincipalType| values::kind_to_proto(*kind) == principal.principal_type();
        status
            && (self.kinds.is_empty() || self.kinds.iter().any(kind))
            && self.role.as_ref().is_none_or(|role| principal.roles.iter().any(|has| *has == role.to_string()))
            && self.group.as_ref().is_none_or(|group| principal.groups.contains(group))
    }

    const fn chooses(&self) -> bool {
        !self.kinds.is_empty() || self.status.is_some() || self.role.is_some() || self.group.is_some()
    }
}

fn names(roles: &[Role]) -> Vec<String> {
    roles.iter().map(Role::to_string).collect()
}

/// `principal create`.
pub async fn create(run: &Run, args: CreateArgs) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    let principal = v1::Principal {
        tenant_id: session.tenant(),
        principal_id: args.id.to_string(),
        principal_type: values::kind_to_proto(args.kind).into(),
        display_name: args.display_name,
        roles: names(&args.roles),
        groups: args.groups,
        ..Default::default()
    };
    let request = v1::CreatePrincipalRequest { principal: Some(principal), request_id: session.request_id() };
    let made = rpc!(session, "creating the principal", Client.create_principal(request)).await?;
    run.printer.changed(&made).map(|()| Exit::Ok)
}

/// `principal list`.
pub async fn list(run: &Run, args: PrincipalListArgs) -> Result<Exit, Failure> {
    let session = &Session::of(run)?;
    let is_wanted = |principal: &v1::Principal| args.is_wanted(principal);
    let keep = args.chooses().then_some(&is_wanted as &dyn Fn(&_) -> bool);
    let found = session
        .matching(args.list.limit(&run.printer.format), keep, |page_size, page_token| async move {
            let request = v1::ListPrincipalsRequest { tenant_id: session.tenant(), page_size, page_token };
            let page = rpc!(session, "listing principals", Client.list_principals(request)).await?;
            Ok(Page { items: page.principals, next_page_token: page.next_page_token, unreadable: page.unreadable })
        })
        .await?;
    found.print(&run.printer, &args.list)
}

/// `principal get`.
pub async fn get(run: &Run, args: GetArgs) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    let principal_id = args.id.map(|id| id.to_string()).unwrap_or_default();
    let request = v1::GetPrincipalRequest { tenant_id: session.tenant(), principal_id };
    let found = rpc!(session, "reading the principal", Client.get_principal(request)).await?;
    run.printer.one(&found).map(|()| Exit::Ok)
}

/// `principal update`.
pub async fn update(run: &Run, args: UpdateArgs) -> Result<Exit, Failure> {
    let changes = [
        (args.display_name.is_some(), "display_name"),
        (args.no_roles || !args.roles.is_empty(), "roles"),
        (args.no_groups || !args.groups.is_empty(), "groups"),
    ];
    let paths: Vec<String> = changes.iter().filter(|(changed, _)| *changed).map(|(_, n)| (*n).to_owned()).collect();
    if paths.is_empty() {
        return Err(Failure::usage("nothing to change").hint("give --display-name, --role or --group"));
    }
    let session = Session::of(run)?;
    let principal = v1::Principal {
        tenant_id: session.tenant(),
        principal_id: args.id.to_string(),
        display_name: args.display_name.unwrap_or_default(),
        roles: names(&args.roles),
        groups: args.groups,
        ..Default::default()
    };
    let request = v1::UpdatePrincipalRequest {
        principal: Some(principal),
        update_mask: Some(FieldMask { paths }),
        request_id: session.request_id(),
    };
    let changed = rpc!(session, "updating the principal", Client.update_principal(request)).await?;
    run.printer.changed(&changed).map(|()| Exit::Ok)
}

/// `principal suspend`.
pub async fn suspend(run: &Run, args: RiskyArgs) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    let whom = described(&session, &args).await?;
    confirm(&format!("suspend {whom}: it is refused everywhere until it is activated"), args.yes)?;
    let (tenant_id, request_id) = (session.tenant(), session.request_id());
    let request = v1::SuspendPrincipalRequest { tenant_id, principal_id: args.id.to_string(), request_id };
    let changed = rpc!(session, "suspending the principal", Client.suspend_principal(request)).await?;
    run.printer.changed(&changed).map(|()| Exit::Ok)
}

/// For the question: what it is, and how much is at stake. What the server cannot read can still be stopped.
async fn described(session: &Session, args: &RiskyArgs) -> Result<String, Failure> {
    let name = format!("{} of tenant {}", args.id, session.tenant_name());
    if !confirm::asks(args.yes) {
        return Ok(name);
    }
    let request = v1::GetPrincipalRequest { tenant_id: session.tenant(), principal_id: args.id.to_string() };
    match rpc!(session, "reading the principal", Client.get_principal(request)).await {
        Ok(found) => {
            let shown = to_value("signet.v1.Principal", &found)?;
            let kind = shown.get("principal_type").and_then(Value::as_str).unwrap_or("principal");
            Ok(format!("{kind} {name} (certificates: {})", found.certificate_count))
        }
        Err(failure) if matches!(failure.exit, Exit::NotFound | Exit::Denied | Exit::Unavailable) => Err(failure),
        Err(_) => Ok(name),
    }
}

/// `principal activate`.
pub async fn activate(run: &Run, args: IdArgs) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    let (tenant_id, request_id) = (session.tenant(), session.request_id());
    let request = v1::ActivatePrincipalRequest { tenant_id, principal_id: args.id.to_string(), request_id };
    let changed = rpc!(session, "activating the principal", Client.activate_principal(request)).await?;
    run.printer.changed(&changed).map(|()| Exit::Ok)
}

/// `principal delete`.
pub async fn delete(run: &Run, args: RiskyArgs) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    let whom = described(&session, &args).await?;
    confirm(&format!("delete {whom} permanently: its certificates are revoked"), args.yes)?;
    let (tenant_id, request_id) = (session.tenant(), session.request_id());
    let request = v1::DeletePrincipalRequest { tenant_id, principal_id: args.id.to_string(), request_id };
    let gone = rpc!(session, "deleting the principal", Client.delete_principal(request)).await?;
    run.printer.changed(&gone).map(|()| Exit::Ok)
}

/// `principal whoami`.
pub async fn whoami(run: &Run) -> Result<Exit, Failure> {
    let session = Session::of(run)?;
    let caller = rpc!(session, "asking", Client.who_am_i(v1::WhoAmIRequest {})).await?;
    run.printer.one(&caller).map(|()| Exit::Ok)
}
