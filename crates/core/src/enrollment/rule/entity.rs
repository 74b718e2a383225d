//! A rule as it is kept.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    PrincipalType, Role, RuleId, TenantId, Time,
    store::layout::{Entity, Key, Table},
};

/// Whom a rule believes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "proof", rename_all = "snake_case")]
pub enum Source {
    /// AWS STS.
    AwsIam,
    /// An OpenID Connect issuer.
    Oidc {
        /// Its URL, as the tokens' `iss` has it.
        issuer: String,
        /// What the tokens' `aud` must name.
        audience: String,
    },
    /// CAs of others.
    X509 {
        /// Their certificates, DER.
        #[serde(with = "crate::store::layout::byte_strings")]
        anchors_der: Vec<Vec<u8>>,
    },
}

/// One condition: some value of the fact matches some pattern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// Name of the fact, see [`crate::enrollment::attestation::fact`].
    pub fact: String,
    /// `*` stands for any run of characters, everything else for itself.
    pub patterns: Vec<String>,
}

/// What a caller becomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleTemplate {
    /// Type of the principal.
    pub principal_type: PrincipalType,
    /// Its id; `{fact}` stands for the fact's only value, see [`IdTemplate`].
    pub id: String,
    /// Roles of a new principal.
    #[serde(default)]
    pub roles: Vec<Role>,
}

/// One rule. All its conditions must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct EnrollmentRule {
    pub tenant: TenantId,
    /// Unique in the tenant; rules are tried in the order of their ids.
    pub id: RuleId,
    /// Whom it believes.
    #[serde(flatten)]
    pub source: Source,
    /// All of them must hold.
    pub conditions: Vec<Condition>,
    /// What the caller becomes.
    pub template: RuleTemplate,
    /// Who made it.
    pub created_by: String,
    pub created_at: Time,
}

impl EnrollmentRule {
    /// What all rules' sort keys start with, in their tenant's partition.
    pub const SORT_PREFIX: &'static str = "rule#";

    /// Key of the rule `id` of `tenant`.
    pub fn key_of(tenant: &TenantId, id: &RuleId) -> Key {
        Key::new(Table::Tenants, tenant.as_str(), &format!("{}{id}", Self::SORT_PREFIX))
    }
}

impl Entity for EnrollmentRule {
    fn key(&self) -> Key {
        Self::key_of(&self.tenant, &self.id)
    }
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
}

/// Why a rule does not let a caller in.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{reason}: {detail}")]
pub struct Miss {
    /// UPPER_SNAKE_CASE.
    pub reason: &'static str,
    /// What was found and what was wanted; for those who may read the rules.
    pub detail: String,
}

impl Miss {
    pub(crate) fn new(reason: &'static str, detail: String) -> Self {
        Self { reason, detail }
    }
}
