//! What policies may speak of: Signet's types as a Cedar schema.

use std::{collections::HashMap, fmt::Write as _, str::FromStr as _, sync::LazyLock};

use cedar_policy::{EntityId, EntityTypeName, EntityUid, Schema};
use signet_core::PrincipalType;
use thiserror::Error;

/// Entity types, context and Signet's own actions; the permissions of a tenant follow.
const TYPES: &str = r#"
entity Tenant;
entity Role;
entity Group;
entity Admin, User, Worker, Service, Device in [Role, Group] = { "tenant": Tenant, "id": String };
entity Resource = { "tenant": Tenant, "kind": String, "id": String, "owner"?: String } tags String;
type Context = { "now": datetime, "source"?: ipaddr, "method"?: String, "path"?: String, "host"?: String };
"#;

/// Types of principals, as Cedar names them.
const PRINCIPALS: &str = "[Admin, User, Worker, Service, Device]";

/// What a tenant's own permissions may be about.
const RESOURCES: &str = "[Resource, Tenant, Admin, User, Worker, Service, Device]";

/// The permissions that policies may name: those that the environment and the tenant add for their services. Signet's
/// own are given by its table, roles and grants alone, so that no policy makes an admin, or locks one out.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    pub(crate) schema: Schema,
    own: Vec<Box<str>>,
}

/// A permission that cannot be an action in Cedar.
#[derive(Debug, Error)]
#[error("the permissions make no Cedar schema: {0}")]
pub struct VocabularyError(String);

impl Vocabulary {
    /// The permissions of a tenant and its environment.
    pub fn new<'a>(permissions: impl IntoIterator<Item = &'a str>) -> Result<Self, VocabularyError> {
        let mut text = TYPES.to_owned();
        let own: Vec<Box<str>> = permissions.into_iter().map(Box::from).collect();
        for name in &own {
            let name = quoted(name);
            // Writing into a string does not fail.
            let _ = writeln!(
                text,
                "action {name} appliesTo {{ principal: {PRINCIPALS}, resource: {RESOURCES}, context: Context }};"
            );
        }
        let parsed = Schema::from_cedarschema_str(&text).map_err(|error| VocabularyError(error.to_string()))?;
        Ok(Self { schema: parsed.0, own })
    }

    /// The permissions.
    pub fn own(&self) -> impl Iterator<Item = &str> {
        self.own.iter().map(|name| &**name)
    }
}

/// A string literal of Cedar.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}

/// The Cedar type of principals of this type.
pub(crate) const fn type_of(principal_type: PrincipalType) -> &'static str {
    match principal_type {
        PrincipalType::Admin => "Admin",
        PrincipalType::User => "User",
        PrincipalType::Worker => "Worker",
        PrincipalType::Service => "Service",
        PrincipalType::Device => "Device",
    }
}

/// The schema's types, parsed once: a decision names some ten.
static TYPE_NAMES: LazyLock<HashMap<&str, EntityTypeName>> = LazyLock::new(|| {
    let others = ["Tenant", "Role", "Group", "Resource", "Action"].into_iter();
    let all = others.chain(PrincipalType::ALL.into_iter().map(type_of));
    all.filter_map(|of| Some((of, EntityTypeName::from_str(of).ok()?))).collect()
});

/// `Type::"id"`. The type is one of the schema's.
pub(crate) fn uid(of: &str, id: &str) -> EntityUid {
    let name = TYPE_NAMES.get(of).unwrap_or_else(|| unreachable!("{of} is a type of the schema"));
    EntityUid::from_type_name_and_id(name.clone(), EntityId::new(id))
}
