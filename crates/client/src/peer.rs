//! Other principals of the tenant, met over mTLS without the control plane in between.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use signet_core::{Identity as Verified, PrincipalId, PrincipalType, Role, Serial, TenantId, Time, trust::TenantTrust};
use signet_x509::{ChainError, Environment, Leaf, verify_client, verify_service};

use crate::authorizer::PeerCertificate;

/// Who is at the other end of a connection that was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct Peer {
    /// Its tenant: always our own.
    pub tenant: TenantId,
    pub principal_type: PrincipalType,
    pub principal: PrincipalId,
    /// Roles that its certificate carries.
    pub roles: Arc<[Role]>,
    /// Its certificate's serial number.
    pub serial: Serial,
    /// End of its certificate's validity. A connection may outlive it: end long ones yourself.
    pub not_after: Time,
    /// What it showed.
    pub certificate: PeerCertificate,
}

impl Peer {
    /// From the certificates of a finished handshake, e.g. `connection.peer_certificates()`, of a connection with one
    /// of our configurations: they were verified there.
    pub fn of_handshake(certificates: Option<&[CertificateDer<'_>]>, environment: &Environment) -> Option<Self> {
        let der = certificates?.first()?;
        let leaf = Leaf::from_der(der, environment).ok()?;
        Some(Self {
            certificate: PeerCertificate::from_der(der),
            tenant: leaf.id.tenant,
            principal_type: leaf.id.principal_type,
            principal: leaf.id.principal,
            roles: leaf.roles,
            serial: leaf.serial,
            not_after: leaf.not_after,
        })
    }
}

type Rule = dyn Fn(&Peer) -> bool + Send + Sync;

/// Whom to talk to, of those whose certificates are good.
#[derive(Clone)]
pub struct PeerPolicy(Arc<Rule>);

impl PeerPolicy {
    /// Every principal of the tenant.
    pub fn anybody() -> Self {
        Self::of(|_| true)
    }

    /// Principals of these types.
    pub fn types(types: &'static [PrincipalType]) -> Self {
        Self::of(move |peer| types.contains(&peer.principal_type))
    }

    /// This principal alone.
    pub fn principal(principal_type: PrincipalType, id: PrincipalId) -> Self {
        Self::of(move |peer| peer.principal_type == principal_type && peer.principal == id)
    }

    /// Those for whom `rule` says yes.
    pub fn of(rule: impl Fn(&Peer) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(rule))
    }
}

impl fmt::Debug for PeerPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerPolicy")
    }
}

/// What the verifiers look at: replaced when the trust bundle changes.
#[derive(Debug)]
pub(crate) struct Anchors {
    pub(crate) tenant: TenantId,
    pub(crate) environment: Environment,
    pub(crate) trust: ArcSwap<TenantTrust>,
}

/// Checks the other side against the tenant's bundle as it is at that moment.
#[derive(Debug)]
pub(crate) struct PeerVerifier {
    anchors: Arc<Anchors>,
    policy: PeerPolicy,
    provider: Arc<CryptoProvider>,
}

impl PeerVerifier {
    pub(crate) fn new(anchors: Arc<Anchors>, policy: PeerPolicy) -> Self {
        Self { anchors, policy, provider: Arc::new(aws_lc_rs::default_provider()) }
    }

    fn admit(&self, der: &CertificateDer<'_>, found: Result<Verified, ChainError>) -> Result<(), Error> {
        let id = found.map_err(|error| Error::from(alert(error)))?;
        let peer = Peer {
            tenant: id.tenant,
            principal_type: id.principal_type,
            principal: id.principal,
            roles: id.roles,
            serial: id.serial,
            not_after: id.not_after,
            certificate: PeerCertificate::from_der(der),
        };
        if (self.policy.0)(&peer) {
            return Ok(());
        }
        // `access_denied` (RFC 8446 section 6.2): a good certificate of somebody who is not wanted.
        Err(Error::from(CertificateError::ApplicationVerificationFailure))
    }

    fn trust_of(&self, tenant: &TenantId) -> Option<TenantTrust> {
        (*tenant == self.anchors.tenant).then(|| TenantTrust::clone(&self.anchors.trust.load()))
    }

    fn signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }
}

fn alert(error: ChainError) -> CertificateError {
    match error {
        ChainError::Expired => CertificateError::Expired,
        ChainError::NotYetValid => CertificateError::NotValidYet,
        ChainError::WrongKeyUsage => CertificateError::InvalidPurpose,
        ChainError::Malformed | ChainError::MissingExtension | ChainError::ExtensionDisagrees => {
            CertificateError::BadEncoding
        }
        _ => CertificateError::UnknownIssuer,
    }
}

fn seconds(now: UnixTime) -> Time {
    Time::from_unix_seconds(i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}

fn no_tls12() -> Error {
    Error::General("TLS 1.2 is not supported".into())
}

impl ServerCertVerifier for PeerVerifier {
    /// The name that was dialled says nothing: the policy does.
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = verify_service(end_entity, &self.anchors.environment, |tenant| self.trust_of(tenant), seconds(now));
        self.admit(end_entity, found).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let found = verify_client(end_entity, &self.anchors.environment, |tenant| self.trust_of(tenant), seconds(now));
        self.admit(end_entity, found).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
