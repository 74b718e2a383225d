//! Who a client is: the check of its certificate inside of the TLS handshake, so that a refused client gets the right
//! alert, and again after each handshake, since rustls does not verify the certificate of a resumed session.

use std::{
    cell::Cell,
    fmt,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lru::LruCache;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use signet_core::{
    Identity, Serial, TenantId, Time,
    spiffe::SpiffeId,
    trust::{Anchor, Refusal, Trust},
};
use signet_x509::{CertificateView, ChainError, Environment, leaf::spiffe_id, verify_client};
use thiserror::Error;

/// Verified certificates that are remembered, so that a resumed or repeated handshake costs a hash.
const CACHE_ENTRIES: usize = 16_384;

/// Why a client's certificate is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CertificateRefusal {
    /// Nobody whom we trust says so.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// True, but it may not act.
    #[error(transparent)]
    Trust(#[from] Refusal),
}

impl CertificateRefusal {
    /// UPPER_SNAKE_CASE, for audit events and metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Chain(error) => error.reason(),
            Self::Trust(refusal) => refusal.reason(),
        }
    }

    /// The alert that the client gets (RFC 8446 section 6.2), in rustls' words.
    fn alert(self) -> CertificateError {
        match self {
            Self::Chain(ChainError::Expired) | Self::Trust(Refusal::Expired) => CertificateError::Expired,
            Self::Chain(ChainError::NotYetValid) | Self::Trust(Refusal::NotYetValid) => CertificateError::NotValidYet,
            Self::Trust(Refusal::Revoked | Refusal::Unrecorded) => CertificateError::Revoked,
            Self::Chain(
                ChainError::UnknownTenant
                | ChainError::ForeignTrustDomain
                | ChainError::UntrustedIssuer
                | ChainError::IssuerReplaced
                | ChainError::BadSignature
                | ChainError::SelfSigned,
            )
            | Self::Trust(Refusal::UnknownTenant | Refusal::TenantReplaced | Refusal::IssuerRetired) => {
                CertificateError::UnknownIssuer
            }
            Self::Chain(ChainError::WrongKeyUsage) => CertificateError::InvalidPurpose,
            Self::Chain(_) => CertificateError::BadEncoding,
            Self::Trust(
                Refusal::PrincipalDenied | Refusal::TenantSuspended | Refusal::TenantUnreadable | Refusal::Stale,
            ) => CertificateError::ApplicationVerificationFailure,
        }
    }
}

/// What a refused certificate says of itself, for the audit log. Unless `verified`, anybody may have written it; and
/// even then who presented it may not hold its key, since the handshake asks for the proof after the certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presented {
    /// The identity in its URI, if it is one of this environment's.
    pub id: Option<SpiffeId>,
    /// Its serial number, if it is one of ours in form.
    pub serial: Option<Serial>,
    /// Whether its tenant's CA signed it, be it valid now or not.
    pub verified: bool,
}

/// A refusal and what was presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RefusedCertificate {
    pub(crate) refusal: CertificateRefusal,
    pub(crate) presented: Presented,
}

impl Presented {
    /// The certificate of a known identity.
    pub(crate) fn of(identity: &Identity) -> Self {
        let id = SpiffeId {
            tenant: identity.tenant.clone(),
            principal_type: identity.principal_type,
            principal: identity.principal.clone(),
        };
        Self { id: Some(id), serial: Some(identity.serial), verified: true }
    }
}

impl RefusedCertificate {
    /// The certificate of a known identity, which may not act.
    pub(crate) fn of(identity: &Identity, refusal: Refusal) -> Self {
        Self { refusal: refusal.into(), presented: Presented::of(identity) }
    }
}

/// SHA-256 of a client's certificate.
pub(crate) type LeafDigest = [u8; 32];

/// What is known of a client during its handshake.
#[derive(Default)]
pub(crate) struct Handshake {
    /// Why it is refused: rustls itself hands on no more than the alert.
    pub(crate) refused: Cell<Option<RefusedCertificate>>,
    /// Its certificate, presented now or when the session that it resumes began.
    pub(crate) leaf: Cell<Option<LeafDigest>>,
}

tokio::task_local! {
    /// Of the task that runs it.
    pub(crate) static HANDSHAKE: Handshake;
}

#[derive(Clone, Debug)]
struct Verified {
    identity: Arc<Identity>,
    anchors: Arc<[Anchor]>,
}

/// See the module's words. One per node.
pub struct ClientVerifier {
    environment: Environment,
    trust: Arc<Trust>,
    provider: Arc<CryptoProvider>,
    anonymous: bool,
    cache: Mutex<LruCache<LeafDigest, Verified>>,
}

impl ClientVerifier {
    /// With `anonymous`, a client may come without a certificate (to enroll); one that it does present must be good.
    pub fn new(environment: Environment, trust: Arc<Trust>, provider: Arc<CryptoProvider>, anonymous: bool) -> Self {
        let cache = LruCache::new(NonZeroUsize::new(CACHE_ENTRIES).unwrap_or(NonZeroUsize::MIN));
        Self { environment, trust, provider, anonymous, cache: Mutex::new(cache) }
    }

    /// The identity of the holder of `leaf_der`, who has proved to hold its key, if it may act at `now`.
    pub(crate) fn authenticate(&self, leaf_der: &[u8], now: Time) -> Result<Arc<Identity>, RefusedCertificate> {
        let identity = self.identify(leaf_der, now).map_err(|error| self.refused(leaf_der, error))?;
        match self.trust.admit(&identity, now) {
            // A stale node answers every call with the reason: better than a handshake that fails.
            Ok(_) | Err(Refusal::Stale) => Ok(identity),
            Err(refusal) => Err(RefusedCertificate::of(&identity, refusal)),
        }
    }

    /// Whether the holder of a certificate that was verified lately may act at `now`.
    pub(crate) fn is_admitted(&self, leaf: &LeafDigest, now: Time) -> bool {
        // As in `authenticate`, a stale node answers every call.
        self.verified(leaf).is_some_and(|known| matches!(self.trust.admit(&known, now), Ok(_) | Err(Refusal::Stale)))
    }

    /// Who it is, if it has been verified against the anchors of now.
    fn verified(&self, leaf: &LeafDigest) -> Option<Arc<Identity>> {
        let known = self.cache().get(leaf)?.clone();
        let anchors = self.trust.tenant(&known.identity.tenant)?.anchors;
        Arc::ptr_eq(&anchors, &known.anchors).then_some(known.identity)
    }

    /// A poisoned lock means that another thread panicked while it hashed; the cache is whole.
    fn cache(&self) -> MutexGuard<'_, LruCache<LeafDigest, Verified>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose certificate it is, if one of its tenant's CAs signed it. Whether it may act now is for [`Trust::admit`] to
    /// say: one that was seen before is not looked at again, and may be over.
    pub fn identify(&self, leaf_der: &[u8], now: Time) -> Result<Arc<Identity>, ChainError> {
        let key = sha256(leaf_der);
        if let Some(identity) = self.verified(&key) {
            return Ok(identity);
        }
        // The anchors as they are before the check: a change meanwhile makes the entry useless, not wrong.
        let anchors = Cell::new(None);
        let trust_of = |tenant: &TenantId| {
            self.trust.tenant(tenant).inspect(|known| anchors.set(Some(Arc::clone(&known.anchors))))
        };
        let identity = Arc::new(verify_client(leaf_der, &self.environment, trust_of, now)?);
        if let Some(anchors) = anchors.take() {
            self.cache().put(key, Verified { identity: Arc::clone(&identity), anchors });
        }
        Ok(identity)
    }

    /// What this node cannot read is not unknown: holders must not take that as the end of their certificates.
    fn refused(&self, leaf_der: &[u8], error: ChainError) -> RefusedCertificate {
        let presented = self.read(leaf_der, error);
        let lacks_records = presented.id.as_ref().is_some_and(|id| self.trust.lacks_records(&id.tenant));
        let refusal = match error {
            ChainError::UnknownTenant | ChainError::UntrustedIssuer if lacks_records => {
                Refusal::TenantUnreadable.into()
            }
            error => error.into(),
        };
        RefusedCertificate { refusal, presented }
    }

    fn read(&self, leaf_der: &[u8], error: ChainError) -> Presented {
        let Ok(view) = CertificateView::from_der(leaf_der) else { return Presented::default() };
        let id = spiffe_id(&view, &self.environment).ok();
        // Its time is looked at before its signature: whether it ever was ours is not known yet.
        let verified = matches!(error, ChainError::Expired | ChainError::NotYetValid)
            && self.identify(leaf_der, view.not_before).is_ok();
        Presented { id, serial: view.serial(), verified }
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        !self.anonymous
    }

    /// Empty: the list of tenants is nobody's business.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        self.authenticate(end_entity, Time::from_unix_seconds(seconds)).map_err(|refused| {
            let alert = refused.refusal.alert();
            // Outside of a handshake of ours there is nobody to tell.
            let _ = HANDSHAKE.try_with(|handshake| handshake.refused.set(Some(refused)));
            rustls::Error::from(alert)
        })?;
        let _ = HANDSHAKE.try_with(|handshake| handshake.leaf.set(Some(sha256(end_entity))));
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not supported".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl fmt::Debug for ClientVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientVerifier").field("anonymous", &self.anonymous).finish_non_exhaustive()
    }
}

fn sha256(bytes: &[u8]) -> LeafDigest {
    let mut out = [0; 32];
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    out.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    out
}
