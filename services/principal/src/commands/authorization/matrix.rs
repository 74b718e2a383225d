//! `principal authz matrix`: who may do what, at a glance.

use std::collections::BTreeSet;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde_json::{Map, Value};
use signet_control_plane::authorization::{Access, Table};
use signet_core::{
    PrincipalType, Role, TenantId,
    authorization::{PERMISSIONS, Policy, Reach, model::BUILT_IN_ROLES},
};
use signet_policy::{Policies, Whom};
use signet_proto::v1::{self, authorization_grant::To};

use super::whose::{Whose, model};
use crate::{
    exit::Exit,
    failure::Failure,
    output::{Cell::Field, Column},
    run::Run,
    session::Session,
    values::{self, ListArgs},
};

/// Which permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Service {
    /// Those of the tenant's services, and the environment's
    Tenants,
    /// Signet's own
    Signet,
    /// Both
    All,
}

/// What to show.
#[derive(Debug, Args)]
pub struct MatrixArgs {
    /// Whose permissions
    #[arg(long, value_enum, default_value_t = Service::Tenants)]
    service: Service,
    /// Whose rules.
    #[command(flatten)]
    whose: Whose,
    /// How much, and how.
    #[command(flatten)]
    list: ListArgs,
}

/// Whom a column is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Type(PrincipalType),
    Role(String),
    Group(String),
}

/// What decides: the tenant's rules, the environment's, and Signet's own table.
struct Deciding {
    tenant: TenantId,
    rules: Vec<v1::AuthorizationRules>,
    policies: Policies,
    policy: Policy,
    table: Table,
    now: Timestamp,
}

/// `principal authz matrix`.
pub(super) async fn matrix(run: &Run, session: &Session, args: MatrixArgs) -> Result<Exit, Failure> {
    let found = model(session, &args.whose.tenant(session), None).await?;
    let own = found.rules.unwrap_or_default();
    let policies = Policies::unvalidated(&own.policies).map_err(|faults| {
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        Failure::other(format!("the policies cannot be read: {}", faults.join("; ")))
    })?;
    let policy = Policy::new();
    let deciding = Deciding {
        tenant: found.tenant_id.parse().map_err(Failure::other)?,
        rules: [own].into_iter().chain(found.inherited).collect(),
        policies,
        table: Table::from_descriptors(signet_proto::DESCRIPTORS, &policy).map_err(Failure::other)?,
        policy,
        now: run.printer.now,
    };
    let who = deciding.who();
    let columns: Vec<Column> =
        std::iter::once(Column::new("PERMISSION", Field("permission"))).chain(who.iter().map(Who::column)).collect();
    let rows =
        deciding.permissions(args.service).into_iter().map(|permission| deciding.row(&permission, &who)).collect();
    let view = args.list.view(&run.printer.format);
    let left_out = run.printer.rows_counted(&columns, &["permission"], rows, &view)?;
    if run.printer.format.is_for_people() {
        if left_out > 0 {
            run.printer.note(&format!("{left_out} roles and groups have no room: see --output wide, or --columns"));
        }
        run.printer.note("built-in: by Signet's table; itself: about itself only; permit, forbid: a policy may");
    }
    Ok(Exit::Ok)
}

impl Who {
    /// Roles and groups give way where there is no room.
    fn column(&self) -> Column {
        let (title, is_wide) = match self {
            Self::Type(of) => (of.to_string().to_uppercase(), false),
            Self::Role(role) => (format!("role:{role}"), true),
            Self::Group(group) => (format!("group:{group}"), true),
        };
        // Columns have names for ever, and a command shows one table.
        let (title, name): (&'static str, &'static str) = (title.leak(), self.name().leak());
        if is_wide { Column::wide(title, Field(name)) } else { Column::new(title, Field(name)) }
    }

    fn name(&self) -> String {
        match self {
            Self::Type(of) => of.to_string(),
            Self::Role(role) => format!("role:{role}"),
            Self::Group(group) => format!("group:{group}"),
        }
    }
}

impl Deciding {
    fn who(&self) -> BTreeSet<Who> {
        let types = PrincipalType::ALL.into_iter().map(Who::Type);
        let roles = self.rules.iter().flat_map(|rules| rules.roles.keys().cloned());
        let roles = BUILT_IN_ROLES.into_iter().map(str::to_owned).chain(roles).map(Who::Role);
        let groups = self.rules.iter().flat_map(|rules| rules.groups.keys().cloned()).map(Who::Group);
        types.chain(roles).chain(groups).collect()
    }

    fn permissions(&self, service: Service) -> Vec<String> {
        let signets = PERMISSIONS.iter().map(|name| (*name).to_owned());
        let declared = self.rules.iter().flat_map(|rules| rules.permissions.keys().cloned());
        let mut all: Vec<String> = match service {
            Service::Tenants => declared.collect(),
            Service::Signet => signets.collect(),
            Service::All => declared.chain(signets).collect(),
        };
        all.sort_unstable();
        all.dedup();
        all
    }

    fn row(&self, permission: &str, who: &BTreeSet<Who>) -> Value {
        let mut row = Map::from_iter([("permission".to_owned(), Value::from(permission))]);
        row.extend(who.iter().map(|who| (who.name(), Value::from(self.marks(permission, who).join(" ")))));
        Value::Object(row)
    }

    /// All that speaks for `who`, or against it.
    fn marks(&self, permission: &str, who: &Who) -> Vec<String> {
        let granted = self.rules.iter().flat_map(|rules| &rules.grants).filter(|grant| is_for(grant.to.as_ref(), who));
        let granted = granted.filter(|grant| grant.permissions.iter().any(|name| name == permission));
        let mut marks: Vec<String> = self.built_in(permission, who).map(str::to_owned).into_iter().collect();
        // One for good says all; of several for a time the longest.
        let ends: Vec<_> = granted.map(|grant| grant.expire_time.as_ref().map(instant)).collect();
        let latest = ends.iter().flatten().filter(|end| **end > self.now).max();
        match latest {
            _ if ends.contains(&None) => marks.push("granted".to_owned()),
            Some(end) => marks.push(format!("until {}", until(*end))),
            None => {}
        }
        if !PERMISSIONS.contains(&permission) {
            marks.extend(self.by_policy(permission, who).into_iter().map(str::to_owned));
        }
        marks
    }

    fn by_policy(&self, permission: &str, who: &Who) -> BTreeSet<&'static str> {
        let concerns = |whom: &Whom| match (whom, who) {
            (Whom::All, Who::Type(_)) => true,
            (Whom::Type(of), Who::Type(own)) => of == own,
            (Whom::Role(role), Who::Role(own)) | (Whom::Group(role), Who::Group(own)) => role == own,
            _ => false,
        };
        let about = self.policies.policies_about(permission).into_iter().filter(|about| concerns(&about.whom));
        about.map(|about| if about.permits { "permit" } else { "forbid" }).collect()
    }

    /// By Signet's own table. A permission that only others may call with says nothing.
    fn built_in(&self, permission: &str, who: &Who) -> Option<&'static str> {
        let id = self.policy.permission(permission)?;
        let reach = |of, roles: &[Role]| self.policy.grants(&self.tenant, of, roles).reach(id);
        let (of, reach) = match who {
            Who::Type(of) => (*of, reach(*of, &[])),
            // Only users have them by the table; what they have without is not repeated.
            Who::Role(role) => {
                let with = reach(PrincipalType::User, &[role.parse().ok()?]);
                (PrincipalType::User, with.filter(|with| Some(*with) > reach(PrincipalType::User, &[])))
            }
            Who::Group(_) => return None,
        };
        let admits = |access: Access<'_>| matches!(access, Access::Rule(rule) if rule.permission == id && rule.callers.admits(of));
        let called = self.table.iter().any(|(_, route)| admits(route.access()));
        match reach.filter(|_| called)? {
            Reach::Itself => Some("itself"),
            Reach::OwnTenant | Reach::AnyTenant => Some("built-in"),
        }
    }
}

fn is_for(to: Option<&To>, who: &Who) -> bool {
    match (to, who) {
        (Some(To::PrincipalType(of)), Who::Type(own)) => i32::from(values::kind_to_proto(*own)) == *of,
        (Some(To::Role(role)), Who::Role(own)) | (Some(To::Group(role)), Who::Group(own)) => role == own,
        _ => false,
    }
}

fn instant(time: &prost_types::Timestamp) -> Timestamp {
    Timestamp::new(time.seconds, time.nanos).unwrap_or(Timestamp::MAX)
}

/// The day, where it is the beginning of one.
fn until(end: Timestamp) -> String {
    let text = end.to_string();
    text.strip_suffix("T00:00:00Z").map_or(text.clone(), str::to_owned)
}
