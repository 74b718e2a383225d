//! Enums of requests. Where a value is required, neither 0, which is what nobody set (AIP-126), nor a number that this
//! server does not know stands for any: the error names those that do.

use signet_app::RotationAction;
use signet_core::{
    Error, PrincipalType,
    authorities::CaKind,
    certificates::RevocationReason,
    enrollment::attestation::ProofKind,
    tenants::Isolation,
    tokens::{TokenAlgorithm, TokenUse},
};
use signet_proto::v1 as pb;

/// The values of an enum and what they stand for; `name` writes one as the .proto does.
struct Choices<W: 'static, T: 'static> {
    name: fn(&W) -> &'static str,
    all: &'static [(W, T)],
}

impl<W: Copy + Into<i32>, T: Copy> Choices<W, T> {
    fn get(&self, field: &'static str, number: i32) -> Result<T, Error> {
        let found = self.all.iter().find(|(wire, _)| (*wire).into() == number);
        found.map(|(_, ours)| *ours).ok_or_else(|| self.refused(field, number))
    }

    fn refused(&self, field: &'static str, number: i32) -> Error {
        let names: Vec<_> = self.all.iter().map(|(wire, _)| (self.name)(wire)).collect();
        let names = names.join(", ");
        match number {
            0 => Error::invalid(field, "REQUIRED", format!("is required, one of {names}")),
            _ => Error::invalid(field, "UNKNOWN_VALUE", format!("is {number}; this server knows {names}")),
        }
    }
}

pub(super) fn principal_type(field: &'static str, number: i32) -> Result<PrincipalType, Error> {
    use pb::PrincipalType as Wire;
    const TYPES: Choices<Wire, PrincipalType> = Choices {
        name: Wire::as_str_name,
        all: &[
            (Wire::Admin, PrincipalType::Admin),
            (Wire::User, PrincipalType::User),
            (Wire::Worker, PrincipalType::Worker),
            (Wire::Service, PrincipalType::Service),
            (Wire::Device, PrincipalType::Device),
        ],
    };
    TYPES.get(field, number)
}

pub(super) fn proof_kind(number: i32) -> Result<ProofKind, Error> {
    use pb::ProofKind as Wire;
    const KINDS: Choices<Wire, ProofKind> = Choices {
        name: Wire::as_str_name,
        all: &[(Wire::AwsIam, ProofKind::AwsIam), (Wire::Oidc, ProofKind::Oidc), (Wire::X509, ProofKind::X509)],
    };
    KINDS.get("proof_kind", number)
}

pub(super) fn token_use(number: i32) -> Result<TokenUse, Error> {
    use pb::TokenUse as Wire;
    const USES: Choices<Wire, TokenUse> = Choices {
        name: Wire::as_str_name,
        all: &[
            (Wire::AccessToken, TokenUse::AccessToken),
            (Wire::JwtSvid, TokenUse::JwtSvid),
            (Wire::WitSvid, TokenUse::WitSvid),
            (Wire::SecurityEvent, TokenUse::SecurityEvent),
            (Wire::BrokerToken, TokenUse::BrokerToken),
        ],
    };
    USES.get("use", number)
}

/// Optional.
pub(super) fn token_algorithm(number: i32) -> Result<Option<TokenAlgorithm>, Error> {
    use pb::TokenAlgorithm as Wire;
    const ALGORITHMS: Choices<Wire, Option<TokenAlgorithm>> = Choices {
        name: Wire::as_str_name,
        all: &[
            (Wire::Unspecified, None),
            (Wire::Es256, Some(TokenAlgorithm::Es256)),
            (Wire::Rs256, Some(TokenAlgorithm::Rs256)),
        ],
    };
    ALGORITHMS.get("algorithm", number)
}

/// Optional: a tenant for which none is named gets a key of its own.
pub(super) fn isolation(number: i32) -> Result<Isolation, Error> {
    use pb::Isolation as Wire;
    const ISOLATIONS: Choices<Wire, Isolation> = Choices {
        name: Wire::as_str_name,
        all: &[(Wire::Dedicated, Isolation::Dedicated), (Wire::Shared, Isolation::Shared)],
    };
    if number == 0 { Ok(Isolation::Dedicated) } else { ISOLATIONS.get("tenant.isolation", number) }
}

/// The codes of CRLs, but for 0: whoever states no reason says so.
pub(super) fn revocation_reason(number: i32) -> Result<RevocationReason, Error> {
    use pb::RevocationReason as Wire;
    const REASONS: Choices<Wire, RevocationReason> = Choices {
        name: Wire::as_str_name,
        all: &[
            (Wire::KeyCompromise, RevocationReason::KeyCompromise),
            (Wire::AffiliationChanged, RevocationReason::AffiliationChanged),
            (Wire::Superseded, RevocationReason::Superseded),
            (Wire::CessationOfOperation, RevocationReason::CessationOfOperation),
            (Wire::PrivilegeWithdrawn, RevocationReason::PrivilegeWithdrawn),
            (Wire::NotStated, RevocationReason::Unspecified),
        ],
    };
    REASONS.get("reason", number)
}

/// The CA kind that a rotation is about, for the CAs of the system tenant and of others.
pub(super) fn ca_kind(number: i32) -> Result<CaKind, Error> {
    use pb::CaKind as Wire;
    const KINDS: Choices<Wire, CaKind> = Choices {
        name: Wire::as_str_name,
        all: &[
            (Wire::Root, CaKind::Root),
            (Wire::Shared, CaKind::Shared),
            (Wire::Server, CaKind::Server),
            (Wire::Tenant, CaKind::Tenant),
        ],
    };
    KINDS.get("kind", number)
}

pub(super) fn rotation_action(number: i32, force: bool) -> Result<RotationAction, Error> {
    use pb::RotationAction as Wire;
    const ACTIONS: Choices<Wire, RotationAction> = Choices {
        name: Wire::as_str_name,
        all: &[
            (Wire::Due, RotationAction::Due),
            (Wire::Prepare, RotationAction::Prepare),
            (Wire::Activate, RotationAction::Activate),
            (Wire::Retire, RotationAction::Retire),
        ],
    };
    match ACTIONS.get("action", number)? {
        RotationAction::Activate if force => Ok(RotationAction::ForceActivate),
        _ if force => Err(Error::invalid("force", "ONLY_ACTIVATION", "can be set for an activation only")),
        action => Ok(action),
    }
}
