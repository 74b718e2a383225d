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
use signet_policy::{About, Policies, Whom};
use signet_proto::v1::{self, authorization_grant::To};

use super::{
    document::instant,
    whose::{Whose, model},
};
use crate::{
    exit::Exit,
    failure::Failure,
    output::{Cell::Field, Column, Format, View},
    run::Run,
    session::Session,
    values,
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
    /// How to show it.
    #[command(flatten)]
    view: View,
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
    let is_table = run.printer.format == Format::Table;
    let permissions = deciding.permissions(args.service);
    let rows = permissions.iter().map(|permission| deciding.row(permission, &who, is_table)).collect();
    let left_out = run.printer.rows_that_fit(&columns, &["permission"], rows, &args.view)?;
    if !left_out.is_empty() {
        let forbids = |who: &&Who| permissions.iter().any(|name| deciding.forbids_just(name, who));
        let hidden = who.iter().filter(|who| left_out.contains(&who.name().as_str()));
        let forbidden: Vec<_> = hidden.filter(forbids).map(Who::name).collect();
        let (count, hint) = (left_out.len(), "see --output wide, or --columns");
        match forbidden.as_slice() {
            [] => run.printer.note(&format!("{count} roles and groups have no room: {hint}")),
            names => {
                let names = names.join(", ");
                run.printer.warn(&format!("{count} roles and groups have no room, with a forbid for {names}: {hint}"));
            }
        }
    }
    if is_table {
        run.printer.note(
            "F: forbid, P: permit (a policy may); G: granted, T: granted for a time\n\
             B: built-in, by Signet's table; I: about itself only; --output wide has words",
        );
    } else if run.printer.format.is_for_people() {
        run.printer.note("built-in: by Signet's table; itself: about itself only; permit, forbid: a policy may");
    }
    Ok(Exit::Ok)
}

/// Why somebody may, or may not.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mark {
    BuiltIn,
    Itself,
    Granted,
    Until(Timestamp),
    Permit,
    Forbid,
}

impl Mark {
    fn word(&self) -> String {
        match self {
            Self::BuiltIn => "built-in".to_owned(),
            Self::Itself => "itself".to_owned(),
            Self::Granted => "granted".to_owned(),
            Self::Until(end) => format!("until {}", until(*end)),
            Self::Permit => "permit".to_owned(),
            Self::Forbid => "forbid".to_owned(),
        }
    }

    /// Where there is little room.
    const fn letter(&self) -> char {
        match self {
            Self::BuiltIn => 'B',
            Self::Itself => 'I',
            Self::Granted => 'G',
            Self::Until(_) => 'T',
            Self::Permit => 'P',
            Self::Forbid => 'F',
        }
    }
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

    fn row(&self, permission: &str, who: &BTreeSet<Who>, is_short: bool) -> Value {
        let cell = |who: &Who| {
            let marks = self.marks(permission, who);
            let marks: Vec<_> = match is_short {
                // What takes comes first: a cell is cut at its end.
                true => marks.iter().rev().map(|mark| mark.letter().to_string()).collect(),
                false => marks.iter().map(Mark::word).collect(),
            };
            Value::from(marks.join(" "))
        };
        let mut row = Map::from_iter([("permission".to_owned(), Value::from(permission))]);
        row.extend(who.iter().map(|who| (who.name(), cell(who))));
        Value::Object(row)
    }

    /// A `forbid` is the last.
    fn marks(&self, permission: &str, who: &Who) -> Vec<Mark> {
        let granted = self.rules.iter().flat_map(|rules| &rules.grants).filter(|grant| is_for(grant.to.as_ref(), who));
        let granted = granted.filter(|grant| grant.permissions.iter().any(|name| name == permission));
        let mut marks: Vec<Mark> = self.built_in(permission, who).into_iter().collect();
        // One for good says all; of several for a time the longest.
        let ends: Vec<_> = granted.map(|grant| grant.expire_time.as_ref().map(instant)).collect();
        let latest = ends.iter().flatten().filter(|end| **end > self.now).max();
        match latest {
            _ if ends.contains(&None) => marks.push(Mark::Granted),
            Some(end) => marks.push(Mark::Until(*end)),
            None => {}
        }
        if !PERMISSIONS.contains(&permission) {
            let about = self.policies.policies_about(permission);
            let has = |permits| about.iter().any(|about| about.permits == permits && concerns(about, who));
            marks.extend(
                [(true, Mark::Permit), (false, Mark::Forbid)]
                    .into_iter()
                    .filter(|(of, _)| has(*of))
                    .map(|(_, mark)| mark),
            );
        }
        marks
    }

    /// Whether a `forbid` is about just them: one for everybody is seen in the columns of types.
    fn forbids_just(&self, permission: &str, who: &Who) -> bool {
        let about = self.policies.policies_about(permission);
        about.iter().any(|about| !about.permits && about.whom != Whom::All && concerns(about, who))
    }

    /// By Signet's own table. A permission that only others may call with says nothing.
    fn built_in(&self, permission: &str, who: &Who) -> Option<Mark> {
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
            Reach::Itself => Some(Mark::Itself),
            Reach::OwnTenant | Reach::AnyTenant => Some(Mark::BuiltIn),
        }
    }
}

/// Whether a policy's first words name them. What is forbidden to everybody is so whatever role or group one has.
fn concerns(about: &About, who: &Who) -> bool {
    match (&about.whom, who) {
        (Whom::All, who) => !about.permits || matches!(who, Who::Type(_)),
        (Whom::Type(of), Who::Type(own)) => of == own,
        (Whom::Role(role), Who::Role(own)) | (Whom::Group(role), Who::Group(own)) => role == own,
        _ => false,
    }
}

fn is_for(to: Option<&To>, who: &Who) -> bool {
    match (to, who) {
        (Some(To::PrincipalType(of)), Who::Type(own)) => i32::from(values::kind_to_proto(*own)) == *of,
        (Some(To::Role(role)), Who::Role(own)) | (Some(To::Group(role)), Who::Group(own)) => role == own,
        _ => false,
    }
}

/// The day, where it is the beginning of one.
fn until(end: Timestamp) -> String {
    let text = end.to_string();
    text.strip_suffix("T00:00:00Z").map_or(text.clone(), str::to_owned)
}
