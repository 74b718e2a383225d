//! Quotas: how much of what a tenant may have, and the counts that hold it to that.
//!
//! Rules and CAs are read as a whole wherever one is added, and so counted as they are. Principals and join tokens are
//! too many for that: each that is made adds one to a count in its own transaction. Live certificates need no count: a
//! tenant has at most as many as its principals may hold together ([`crate::tenants::Tenant::max_certificates`] each).

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    Lifetime, TenantId, Time,
    store::layout::{Entity, Key, Query, SortRange, Table},
};

/// What a tenant may have a limited number of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quota {
    /// Principals; a deleted one counts until its id is free.
    Principals,
    /// Join tokens that have not expired, used and revoked ones too: they are on record until then.
    JoinTokens,
    /// Enrollment rules.
    EnrollmentRules,
    /// Certificate authorities, retired ones too: each has a key that is paid for.
    CertificateAuthorities,
}

impl Quota {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Principals, Self::JoinTokens, Self::EnrollmentRules, Self::CertificateAuthorities];

    /// How much a tenant may have whose operator set nothing else.
    const fn default_limit(self) -> u32 {
        match self {
            Self::Principals => 100_000,
            Self::JoinTokens => 10_000,
            Self::EnrollmentRules => 100,
            Self::CertificateAuthorities => 20,
        }
    }

    /// The most that an operator may set: what is read as a whole at each enrollment stays short.
    pub const fn most(self) -> u32 {
        match self {
            Self::Principals => 10_000_000,
            Self::JoinTokens => 1_000_000,
            Self::EnrollmentRules => 1_000,
            Self::CertificateAuthorities => 200,
        }
    }

    /// Its field in requests and stored records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Principals => "principals",
            Self::JoinTokens => "join_tokens",
            Self::EnrollmentRules => "enrollment_rules",
            Self::CertificateAuthorities => "certificate_authorities",
        }
    }

    /// UPPER_SNAKE_CASE, for programs that reach it.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Principals => "PRINCIPAL_QUOTA",
            Self::JoinTokens => "JOIN_TOKEN_QUOTA",
            Self::EnrollmentRules => "ENROLLMENT_RULE_QUOTA",
            Self::CertificateAuthorities => "CERTIFICATE_AUTHORITY_QUOTA",
        }
    }

    const fn what(self) -> &'static str {
        match self {
            Self::Principals => "principals (deleted ones count until their ids are free)",
            Self::JoinTokens => "join tokens (used ones count until they expire)",
            Self::EnrollmentRules => "enrollment rules",
            Self::CertificateAuthorities => "certificate authorities (retired ones count: each has a key)",
        }
    }

    const fn advice(self) -> &'static str {
        match self {
            Self::JoinTokens => "wait until some expire, or create tokens with more uses; ",
            Self::EnrollmentRules => "delete one; ",
            Self::Principals | Self::CertificateAuthorities => "",
        }
    }

    /// Parts of a count. Writers of one tenant who meet in one part start over, so that there are several; readers add
    /// them up.
    pub const fn shards(self) -> u32 {
        match self {
            Self::Principals => 16,
            Self::JoinTokens | Self::EnrollmentRules | Self::CertificateAuthorities => 4,
        }
    }

    /// Things that stop to count by themselves are counted together with those that do so within this time.
    pub(crate) const fn bucket(self) -> Lifetime {
        match self {
            Self::Principals => Lifetime::days(7),
            Self::JoinTokens | Self::EnrollmentRules | Self::CertificateAuthorities => Lifetime::hours(1),
        }
    }
}

/// Limits of one tenant; `None` or 0: the default. Also numbers of what it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quotas {
    /// See [`Quota::Principals`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principals: Option<u32>,
    /// See [`Quota::JoinTokens`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_tokens: Option<u32>,
    /// See [`Quota::EnrollmentRules`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrollment_rules: Option<u32>,
    /// See [`Quota::CertificateAuthorities`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authorities: Option<u32>,
}

impl Quotas {
    /// What holds for `quota`.
    pub fn limit(&self, quota: Quota) -> u32 {
        let set = match quota {
            Quota::Principals => self.principals,
            Quota::JoinTokens => self.join_tokens,
            Quota::EnrollmentRules => self.enrollment_rules,
            Quota::CertificateAuthorities => self.certificate_authorities,
        };
        set.filter(|set| *set > 0).unwrap_or(quota.default_limit())
    }

    /// Whether they say nothing.
    pub fn is_unset(&self) -> bool {
        *self == Self::default()
    }

    /// The quota that is set beyond what an operator may set, if any.
    pub fn too_high(&self) -> Option<Quota> {
        Quota::ALL.into_iter().find(|quota| self.limit(*quota) > quota.most())
    }

    /// These, and where they say nothing those of `before`. What is the default again is not kept: defaults may change.
    #[must_use]
    pub fn or(self, before: Self) -> Self {
        let or = |new: Option<u32>, old: Option<u32>| new.or(old).filter(|limit| *limit > 0);
        Self {
            principals: or(self.principals, before.principals),
            join_tokens: or(self.join_tokens, before.join_tokens),
            enrollment_rules: or(self.enrollment_rules, before.enrollment_rules),
            certificate_authorities: or(self.certificate_authorities, before.certificate_authorities),
        }
    }

    /// Whether the tenant, which has `used`, may have one more.
    pub fn check(&self, quota: Quota, tenant: &TenantId, used: u64) -> Result<(), OverQuota> {
        let limit = self.limit(quota);
        if used < u64::from(limit) {
            return Ok(());
        }
        Err(OverQuota { quota, tenant: tenant.clone(), used, limit })
    }
}

/// A tenant has as much as it may.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct OverQuota {
    pub quota: Quota,
    pub tenant: TenantId,
    /// How much it has.
    pub used: u64,
    /// How much it may have.
    pub limit: u32,
}

impl fmt::Display for OverQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { quota, tenant, used, limit } = self;
        let (what, advice) = (quota.what(), quota.advice());
        write!(f, "tenant {tenant} has {used} of {limit} {what}; {advice}an operator can raise it: ")?;
        write!(f, "`principal tenant update {tenant} --quota {}=N`", quota.name())
    }
}

/// A part of a tenant's number of something. What counts is the sum over all parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct QuotaCount {
    pub tenant: TenantId,
    pub quota: Quota,
    /// Which of the parts with the same end.
    pub shard: u32,
    /// When what it counts stops to count, all at once; `None`: not by itself.
    #[serde(default)]
    pub until: Option<Time>,
    /// How many. One part may be below zero: what one writer added another may take away.
    pub number: i64,
    /// In the first part without an end: when everything was last counted one by one; earlier if that is to be done
    /// again soon.
    #[serde(default)]
    pub counted_at: Option<Time>,
}

/// How long a count is believed before everything is counted again: nodes of versions before these counts do not keep
/// them, nor does a restore of single tables.
pub(crate) const RECOUNT_AFTER: Lifetime = Lifetime::days(7);

impl QuotaCount {
    /// Partition of all counts of `quota`. No principal id holds a `#`.
    fn partition(tenant: &TenantId, quota: Quota) -> String {
        format!("{tenant}#quota#{}", quota.name())
    }

    fn sort(until: Option<Time>, shard: u32) -> String {
        format!(
            "{}#{shard:02}",
            until.map_or_else(|| "always".to_owned(), |until| format!("{:020}", until.unix_millis()))
        )
    }

    /// All parts of a count, strongly consistent.
    pub fn all_of(tenant: &TenantId, quota: Quota) -> Query {
        Query::table(Table::Principals, Self::partition(tenant, quota)).range(SortRange::All).limit(1000)
    }

    /// The part that says when everything was last counted.
    pub fn first_of(tenant: &TenantId, quota: Quota) -> Key {
        Key::new(Table::Principals, Self::partition(tenant, quota), &Self::sort(None, 0))
    }

    /// Whether everything should be counted again, given the first part.
    pub fn is_due(first: Option<&Self>, now: Time) -> bool {
        let counted_at = first.and_then(|first| first.counted_at);
        // A clock that was set back does not put it off.
        counted_at.is_none_or(|at| now < at || now >= at.plus(RECOUNT_AFTER))
    }
}

impl Entity for QuotaCount {
    fn key(&self) -> Key {
        Key::new(Table::Principals, Self::partition(&self.tenant, self.quota), &Self::sort(self.until, self.shard))
    }
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn expires_at(&self) -> Option<Time> {
        self.until
    }
}
