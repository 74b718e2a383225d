//! Enrollment: the first certificate, against a proof that is none of ours.

use secrecy::{ExposeSecret, SecretString};
use signet_core::{
    Error, PrincipalId, TenantId, TenantScope,
    attestation::Evidence,
    certificate::CertificateState,
    commit::{Commit, Write},
    enrollment::EnrollmentToken,
    principal::Principal,
    request::Outcome,
    store::Versioned,
};
use signet_x509::Csr;

use crate::{
    App, AuditEntry, Call, CreatePrincipal, IssuedLeaf,
    issuance::{Admission, Begun, Order, key_digest, parse_csr, require_active_principal},
    ledger::fingerprint,
    principals::new_principal,
    reservation::CREATED,
};

/// What speaks for the caller.
#[derive(Debug)]
pub enum Proof {
    /// The text of a join token.
    JoinToken(SecretString),
    /// Evidence that the rules of a tenant may accept.
    Attested {
        /// The tenant to be enrolled in.
        tenant: TenantId,
        /// What the caller presents.
        evidence: Evidence,
    },
}

/// A request for a first certificate.
#[derive(Debug)]
pub struct Enroll {
    /// What speaks for the caller.
    pub proof: Proof,
    /// The id to take, if the proof leaves it open.
    pub principal: Option<PrincipalId>,
    /// PKCS#10, DER.
    pub csr_der: Vec<u8>,
}

impl App {
    /// Redeems a proof. The use of the token, a new principal and the reservation are one transaction, so that of any
    /// number of callers with a single-use token one gets a certificate. The same request id and key take up what a
    /// crash left behind, and use nothing a second time.
    pub async fn enroll(&self, call: &Call, input: Enroll) -> Result<IssuedLeaf, Error> {
        if call.request_id.is_none() {
            return Err(Error::invalid("request_id", "REQUIRED", "is needed: it makes a retry safe"));
        }
        let csr = parse_csr(&input.csr_der)?;
        let secret = match &input.proof {
            Proof::JoinToken(secret) => secret,
            Proof::Attested { tenant, .. } => {
                return self.refuse_proof(call, tenant, refused("NO_RULE_FOR_PROOF")).await;
            }
        };
        let digest = EnrollmentToken::digest(secret.expose_secret());
        let Some(token) = self.find_token(call, &digest).await? else {
            return self.refuse_proof(call, &TenantId::system(), refused("TOKEN_UNKNOWN")).await;
        };
        match self.redeem(call, &token, input.principal.as_ref(), &csr).await {
            Ok(leaf) => Ok(leaf),
            Err(error) => self.refuse_proof(call, &token.tenant, error).await,
        }
    }

    async fn redeem(
        &self,
        call: &Call,
        token: &EnrollmentToken,
        wanted: Option<&PrincipalId>,
        csr: &Csr,
    ) -> Result<IssuedLeaf, Error> {
        let scope = TenantScope::of_token(token);
        let digest = &token.secret_sha256;
        let fingerprint = fingerprint(call, &(digest, wanted, key_digest(csr)))?;
        let order = Order { call, scope: &scope, csr, fingerprint, renews: None };
        let admit = || async {
            // Read again: somebody may have used it since.
            let token = self.find_token_record(call, digest).await?.ok_or_else(|| refused("TOKEN_UNKNOWN"))?;
            self.admit_holder(call, &scope, token, wanted).await
        };
        let begun = {
            // Callers with the same token queue here instead of meeting in the store.
            let _turn = self.turns.of(digest).lock().await;
            self.begin(&order, admit).await?
        };
        if let Begun::Known(Outcome::Certificate { issuer, serial }) = &begun {
            let record = self.certificate(&scope, issuer, serial, call.now).await?;
            if record.value.state == CertificateState::Reserved && token.revoked_at.is_some() {
                self.abandon(call, &record, "TOKEN_REVOKED").await?;
                return Err(refused("TOKEN_REVOKED"));
            }
        }
        self.conclude(&order, begun).await
    }

    /// The principal that the token's holder becomes, and what must be written for it.
    async fn admit_holder(
        &self,
        call: &Call,
        scope: &TenantScope,
        token: Versioned<EnrollmentToken>,
        wanted: Option<&PrincipalId>,
    ) -> Result<Admission, Error> {
        check_live(&token.value, call)?;
        let id = holder_id(&token.value, wanted)?;
        let found = self.find_principal(scope, &id, call.now).await?;
        if let Some(found) = &found {
            may_take(&token.value, &found.value)?;
        }
        let template = &token.value.template;
        let input = CreatePrincipal {
            id,
            principal_type: template.principal_type,
            display_name: String::new(),
            roles: template.roles.clone(),
            groups: Vec::new(),
        };
        let created = found.is_none();
        let principal = match found {
            Some(found) => found,
            None => Versioned { value: new_principal(call, scope, &input)?, version: CREATED },
        };
        let entry = AuditEntry::done(call, "token", &token.value.id)
            .detail("principal", &principal.value.id)
            .detail("principal_created", created)
            .detail("uses_left", token.value.uses_left.saturating_sub(1));
        let used = EnrollmentToken { uses_left: token.value.uses_left.saturating_sub(1), ..token.value };
        let commit = Commit::audited(self.event(call, scope.tenant(), &entry))
            .write(Write::replace(used, token.version))
            .writes(created.then(|| Write::create(principal.value.clone())));
        Ok(Admission { principal, commit })
    }

    async fn find_token(&self, call: &Call, digest: &str) -> Result<Option<EnrollmentToken>, Error> {
        Ok(self.find_token_record(call, digest).await?.map(|found| found.value))
    }

    /// The token with this digest, whosever it is: the secret is the right to find it.
    async fn find_token_record(&self, call: &Call, digest: &str) -> Result<Option<Versioned<EnrollmentToken>>, Error> {
        let scope = signet_core::scope::EnvironmentScope::housekeeping();
        Ok(scope.get(&*self.store, &EnrollmentToken::key_of(digest), call.now).await?)
    }

    /// Records a refusal and says no more than that; other failures pass as they are.
    async fn refuse_proof<T>(&self, call: &Call, tenant: &TenantId, error: Error) -> Result<T, Error> {
        let reason = match error {
            Error::ProofRefused { reason } => reason,
            Error::Precondition { reason: "RESERVATION_ABANDONED", .. }
            | Error::Invalid { .. }
            | Error::Conflict(_)
            | Error::Unavailable { .. }
            | Error::Internal { .. } => return Err(error),
            other => other.reason(),
        };
        if let Err(error) = self.refuse(call, tenant, &AuditEntry::refused(call, reason)).await {
            tracing::error!(%error, reason, tenant.id = %tenant, "a refused enrollment could not be recorded");
        }
        Err(refused(reason))
    }
}

fn refused(reason: &'static str) -> Error {
    Error::ProofRefused { reason }
}

fn check_live(token: &EnrollmentToken, call: &Call) -> Result<(), Error> {
    if token.revoked_at.is_some() {
        return Err(refused("TOKEN_REVOKED"));
    }
    if call.now >= token.not_after {
        return Err(refused("TOKEN_EXPIRED"));
    }
    if token.is_live(call.now) { Ok(()) } else { Err(refused("TOKEN_USED_UP")) }
}

fn holder_id(token: &EnrollmentToken, wanted: Option<&PrincipalId>) -> Result<PrincipalId, Error> {
    match (&token.template.id, wanted) {
        (Some(id), None) => Ok(id.clone()),
        (Some(id), Some(wanted)) if id == wanted => Ok(id.clone()),
        (Some(_), Some(_)) => Err(refused("OTHER_PRINCIPAL")),
        (None, Some(wanted)) => Ok(wanted.clone()),
        (None, None) => Err(Error::invalid("principal_id", "REQUIRED", "the token leaves the id open: choose one")),
    }
}

/// Whether the token may speak for a principal that exists: only one that it names, and that has got no other rights
/// than its maker knew of.
fn may_take(token: &EnrollmentToken, principal: &Principal) -> Result<(), Error> {
    let template = &token.template;
    if template.id.is_none() {
        return Err(refused("PRINCIPAL_EXISTS"));
    }
    require_active_principal(principal)?;
    if principal.principal_type != template.principal_type {
        return Err(refused("PRINCIPAL_TYPE_DIFFERS"));
    }
    let more = principal.roles.iter().any(|role| !template.roles.contains(role));
    if more { Err(refused("PRINCIPAL_ROLES_CHANGED")) } else { Ok(()) }
}
