//! Issued certificates and the reservations that precede them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{
    CaId, Lifetime, PrincipalId, PrincipalType, RequestId, Serial, TenantId, Time,
    certificates::renewal::MAX_GRACE,
    store::layout::{Entity, Index, IndexEntry, Key, Table, shard_of},
};

/// Why a certificate was revoked (RFC 5280 section 5.3.1; the values that fit a leaf).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevocationReason {
    /// 0: no reason given.
    Unspecified,
    /// 1: the private key is known or feared to be in other hands.
    KeyCompromise,
    /// 3: the principal's name or other facts changed.
    AffiliationChanged,
    /// 4: another certificate took its place.
    Superseded,
    /// 5: no longer needed.
    CessationOfOperation,
    /// 9: a right was taken away.
    PrivilegeWithdrawn,
}

impl RevocationReason {
    /// All reasons.
    pub const ALL: [Self; 6] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::PrivilegeWithdrawn,
    ];

    /// The reason's name, as commands and audit events have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "key_compromise",
            Self::AffiliationChanged => "affiliation_changed",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessation_of_operation",
            Self::PrivilegeWithdrawn => "privilege_withdrawn",
        }
    }

    /// The CRLReason code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
            Self::PrivilegeWithdrawn => 9,
        }
    }

    /// From a CRLReason code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }
}

/// Where a certificate is in its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub enum CertificateState {
    /// The to-be-signed bytes are on record; a signature may exist, no certificate was released.
    Reserved,
    /// Committed and released.
    Issued,
    /// The reservation was never committed and was closed by the sweeper; never valid.
    Abandoned,
    /// Revoked.
    Revoked { revoked_at: Time, reason: RevocationReason },
}

/// What a certificate is for. Whatever a CA key signs has a record, made before the signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CertificateKind {
    /// A principal's.
    #[default]
    Leaf,
    /// The control plane's own, as a server; its holder is called `server`.
    Server,
    /// A CA's; its holder is called `ca`, and [`crate::authorities::Ca`] has the rest. Also its OCSP responders', whose
    /// holder is called `ocsp`: release 0.1 reads no other kind.
    Ca,
}

/// One certificate, from its reservation on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct Certificate {
    /// What it is for.
    #[serde(default)]
    pub kind: CertificateKind,
    /// The CA that signs it.
    pub issuer: CaId,
    pub serial: Serial,
    pub tenant: TenantId,
    /// Holder.
    pub principal: PrincipalId,
    /// The holder's type.
    pub principal_type: PrincipalType,
    /// The holder's generation that it was made for.
    pub principal_generation: u64,
    /// When its holder was created, see [`crate::principals::Principal::is_holder_of`]; `None`: from before this was
    /// kept.
    #[serde(default)]
    pub incarnation: Option<Time>,
    /// Where it is in its life.
    #[serde(flatten)]
    pub state: CertificateState,
    /// Start of validity.
    pub not_before: Time,
    /// End of validity.
    pub not_after: Time,
    /// SHA-256 of the subject public key info, hexadecimal.
    pub spki_sha256: String,
    /// The to-be-signed bytes, DER; empty once issued, for the certificate has them.
    #[serde(with = "crate::store::layout::bytes")]
    pub tbs_der: Vec<u8>,
    /// The whole certificate, DER; empty until issued.
    #[serde(with = "crate::store::layout::bytes", default)]
    pub certificate_der: Vec<u8>,
    /// The request that it answers.
    pub request_id: RequestId,
    /// The certificate it was renewed from.
    #[serde(default)]
    pub renews: Option<Serial>,
    /// Its place among the certificates of one holder.
    #[serde(default)]
    pub lineage: Lineage,
    /// When it was reserved.
    pub created_at: Time,
    /// Until when the record is kept, if longer than its own validity asks for: a record outlives all that name it.
    #[serde(default)]
    pub keep_until: Option<Time>,
}

/// The holder in the record of a certificate that was never recorded and was revoked, and the detail of the audit event
/// that tells of it.
pub const UNRECORDED: &str = "unrecorded";
/// A reservation that is older than this was abandoned by its maker; the sweeper may close it.
pub const RESERVATION_LIFETIME: Lifetime = Lifetime::minutes(5);
/// How long a record outlives its certificate: as long as it may be renewed, whatever grace its tenant will give.
const RECORD_RETENTION: Lifetime = MAX_GRACE;
/// Shards of the deadline index.
pub const DEADLINE_SHARDS: u32 = 8;

impl Certificate {
    /// Whether it stands for a certificate that was never recorded and was revoked: no more is known of that than
    /// issuer and serial number.
    pub fn is_unrecorded(&self) -> bool {
        self.spki_sha256.is_empty()
    }

    /// The first certificate of its instance.
    pub fn instance(&self) -> Serial {
        self.lineage.instance.unwrap_or(self.serial)
    }

    /// Until when the record is kept.
    pub fn kept_until(&self) -> Time {
        let own = self.not_after.plus(RECORD_RETENTION);
        self.keep_until.map_or(own, |until| until.max(own))
    }

    /// Key of the certificate `serial` of `issuer`.
    pub fn key_of(issuer: &CaId, serial: &Serial) -> Key {
        Key::new(Table::Certificates, format!("{issuer}#{serial}"), "certificate")
    }

    /// The serial number of the certificate at `key`, for one whose record cannot be read.
    pub fn serial_in(key: &Key) -> Option<Serial> {
        key.partition.rsplit_once('#')?.1.parse().ok()
    }

    /// Index partition of a principal's certificates; sorted by serial, which is time order.
    pub fn by_principal(tenant: &TenantId, principal: &PrincipalId) -> String {
        format!("{tenant}#{principal}")
    }

    /// Index partition of a tenant's certificates of another kind than [`CertificateKind::Leaf`]; no principal's id
    /// starts with `#`.
    pub fn by_kind(tenant: &TenantId, kind: CertificateKind) -> String {
        match kind {
            CertificateKind::Leaf => format!("{tenant}##leaf"),
            CertificateKind::Server => format!("{tenant}##server"),
            CertificateKind::Ca => format!("{tenant}##ca"),
        }
    }

    /// Index partition of the reservations in `shard`, sorted by [`sort_time`] of their making.
    pub fn reserved(shard: u32) -> String {
        format!("reserved#{shard}")
    }

    /// Index partition of what expires on `day` (days since the Unix epoch) in `shard`, sorted by time.
    pub fn expiring(day: i64, shard: u32) -> String {
        format!("expires#{day}#{shard}")
    }

    /// Index partition of an issuer's revoked certificates in `shard`, sorted by serial.
    pub fn revoked(issuer: &CaId, shard: u32) -> String {
        format!("{issuer}#{shard}")
    }
}

/// An instant as a sort key: 16 digits, so that text order is time order.
pub fn sort_time(time: Time) -> String {
    format!("{:016}", time.unix_millis().max(0))
}

impl Entity for Certificate {
    fn key(&self) -> Key {
        Self::key_of(&self.issuer, &self.serial)
    }
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn principal(&self) -> Option<&PrincipalId> {
        Some(&self.principal)
    }
    fn indexes(&self) -> Vec<IndexEntry> {
        let serial = self.serial.to_string();
        let shard = shard_of(&serial, DEADLINE_SHARDS);
        let at =
            |partition, time| IndexEntry::new(Index::ByDeadline, partition, &format!("{}#{serial}", sort_time(time)));
        let holder = match self.kind {
            CertificateKind::Leaf => Self::by_principal(&self.tenant, &self.principal),
            other => Self::by_kind(&self.tenant, other),
        };
        let held = IndexEntry::new(Index::ByPrincipal, holder, &serial);
        let day = self.not_after.unix_seconds().div_euclid(86_400);
        match self.state {
            CertificateState::Reserved => vec![at(Self::reserved(shard), self.created_at)],
            CertificateState::Abandoned => vec![],
            CertificateState::Issued => vec![held, at(Self::expiring(day, shard), self.not_after)],
            CertificateState::Revoked { .. } => {
                vec![held, IndexEntry::new(Index::Revoked, Self::revoked(&self.issuer, shard), &serial)]
            }
        }
    }
    fn expires_at(&self) -> Option<Time> {
        Some(self.kept_until())
    }
}

/// A certificate's place in its *instance*: the certificate that somebody enrolled, and all that were renewed from it.
/// An instance is held in one place; who renews a certificate whose successor is in use holds a copy of its key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// The first certificate of the instance; `None`: this one.
    #[serde(default)]
    pub instance: Option<Serial>,
    /// How many renewals lie between the first and this one.
    #[serde(default)]
    pub generation: u64,
    /// How often its successor was replaced because the answer was lost.
    #[serde(default)]
    pub answers_lost: u32,
    /// The certificate that was last renewed from this one.
    #[serde(default)]
    pub successor: Option<Successor>,
    /// That its holder has stored it: from then on nobody needs what it was renewed from.
    #[serde(default)]
    pub confirmed: Option<Confirmation>,
    /// When the instance was locked, because a copied key was used.
    #[serde(default)]
    pub locked_at: Option<Time>,
}

/// Names the certificate that took another's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct Successor {
    /// The CA that signed it.
    pub issuer: CaId,
    pub serial: Serial,
}

/// A holder's word that it has stored its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct Confirmation {
    pub at: Time,
    /// Where the call came from.
    pub source: Option<IpAddr>,
}
