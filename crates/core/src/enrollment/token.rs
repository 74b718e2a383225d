//! Enrollment tokens: the first proof, which is no certificate of ours.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    Cidr, PrincipalId, PrincipalType, Role, TenantId, Time, TokenId,
    principals::{Principal, PrincipalStatus},
    store::layout::{Entity, Index, IndexEntry, Key, Table},
};

/// What a token's holder becomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrincipalTemplate {
    /// Type of the principal.
    pub principal_type: PrincipalType,
    /// The id it must take; `None`: the caller chooses, and the id must be new.
    #[serde(default)]
    pub id: Option<PrincipalId>,
    /// Roles a new principal gets.
    #[serde(default)]
    pub roles: Vec<Role>,
}

/// A join token. Its secret is known to the holder only; the store has its SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct EnrollmentToken {
    pub tenant: TenantId,
    /// Public name.
    pub id: TokenId,
    /// SHA-256 of the token's text, hexadecimal.
    pub secret_sha256: String,
    /// What its holder becomes.
    pub template: PrincipalTemplate,
    /// What an id that the holder chooses must match, see [`crate::enrollment::rule::matches`]; `None`: any id.
    #[serde(default)]
    pub id_pattern: Option<String>,
    /// Networks from which it can be used; empty: from anywhere.
    #[serde(default)]
    pub source_networks: Vec<Cidr>,
    /// How many enrollments are left; 0 once used up.
    pub uses_left: u32,
    /// Set when an admin revoked it.
    #[serde(default)]
    pub revoked_at: Option<Time>,
    /// Who made it.
    pub created_by: String,
    /// Whose right it hands on, and ends with; `None`: of Signet's own processes, or from before this was kept.
    #[serde(default)]
    pub maker: Option<Maker>,
    /// When it was made.
    pub created_at: Time,
    /// When it stops to work.
    pub not_after: Time,
}

/// The principal whose right a token hands on, as it was then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct Maker {
    /// Its tenant: the token's, or `system`.
    pub tenant: TenantId,
    pub principal: PrincipalId,
    /// When it was created: another life of the id made nothing.
    pub incarnation: Time,
    /// See [`Principal::compromises`].
    #[serde(default)]
    pub compromises: u32,
    #[serde(default)]
    pub roles: Vec<Role>,
}

/// Why a token's maker speaks for nobody any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MakerLost {
    /// It is suspended or deleted, or the id is another's now.
    Inactive,
    /// It has lost a role, or one of its keys was found in other hands since.
    Right,
}

impl Maker {
    /// The maker `principal`, now.
    pub fn of(principal: &Principal) -> Self {
        Self {
            tenant: principal.tenant.clone(),
            principal: principal.id.clone(),
            incarnation: principal.created_at,
            compromises: principal.compromises,
            roles: principal.roles.clone(),
        }
    }
}

impl EnrollmentToken {
    /// SHA-256 of a token's text, hexadecimal. A plain digest is enough: the text has 256 random bits.
    pub fn digest(text: &str) -> String {
        hex::encode(Sha256::digest(text.as_bytes()))
    }

    /// Key of the token with this digest.
    pub fn key_of(secret_sha256: &str) -> Key {
        Key::new(Table::Enrollments, secret_sha256, "token")
    }

    /// Who made it; `None`: one of Signet's own processes.
    pub fn made_by(&self) -> Option<(TenantId, PrincipalId)> {
        if let Some(maker) = &self.maker {
            return Some((maker.tenant.clone(), maker.principal.clone()));
        }
        // From before makers were kept: as `Actor` is written.
        let mut parts = self.created_by.splitn(3, '/');
        let (tenant, _type, principal) = (parts.next()?, parts.next()?, parts.next()?);
        Some((tenant.parse().ok()?, principal.parse().ok()?))
    }

    /// Whether its maker may still hand on what it did: `now` is the record under the maker's id. Its type never
    /// changes, and what it may do comes of its roles, so that none of those it had may be missing.
    pub fn check_maker(&self, now: Option<&Principal>) -> Result<(), MakerLost> {
        let now = now.filter(|now| now.status == PrincipalStatus::Active).ok_or(MakerLost::Inactive)?;
        let Some(maker) = &self.maker else {
            // It was this life if that had begun by then.
            let same_life = now.created_at <= self.created_at;
            return if same_life && now.compromises == 0 { Ok(()) } else { Err(MakerLost::Inactive) };
        };
        if now.created_at != maker.incarnation {
            return Err(MakerLost::Inactive);
        }
        let kept = maker.roles.iter().all(|role| now.roles.contains(role));
        if kept && now.compromises == maker.compromises { Ok(()) } else { Err(MakerLost::Right) }
    }

    /// Whether it can be redeemed at `now`.
    pub fn is_live(&self, now: Time) -> bool {
        self.uses_left > 0 && self.revoked_at.is_none() && now < self.not_after
    }
}

impl Entity for EnrollmentToken {
    fn key(&self) -> Key {
        Self::key_of(&self.secret_sha256)
    }
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn indexes(&self) -> Vec<IndexEntry> {
        vec![IndexEntry::new(Index::Listing, self.tenant.as_str(), self.id.as_str())]
    }
    fn expires_at(&self) -> Option<Time> {
        // A day longer than it works, so that a late redemption is told "expired", not "unknown".
        Some(self.not_after.plus(crate::Lifetime::days(1)))
    }
}

/// A bearer proof that was used. It serves nobody else any more, until it has expired anyway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedProof {
    /// The tenant it was used in; `system` in the record that holds for the whole environment.
    pub tenant: TenantId,
    /// See [`crate::enrollment::attestation::Evidence::bearer_sha256`].
    pub bearer_sha256: String,
    /// SHA-256 of the subject public key info that it was used for, hexadecimal: the same key may use it again.
    pub spki_sha256: String,
    /// When it can be forgotten.
    pub until: Time,
}

impl UsedProof {
    /// Key of the proof with this digest.
    pub fn key_of(tenant: &TenantId, bearer_sha256: &str) -> Key {
        Key::new(Table::Enrollments, format!("{tenant}#{bearer_sha256}"), "proof")
    }
}

impl Entity for UsedProof {
    fn key(&self) -> Key {
        Self::key_of(&self.tenant, &self.bearer_sha256)
    }
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn expires_at(&self) -> Option<Time> {
        Some(self.until)
    }
}
