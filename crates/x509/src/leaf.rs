//! What a principal's certificate says, without asking who signed it.

use std::sync::Arc;

use const_oid::ObjectIdentifier;
use der::{Decode, Header, Reader, SliceReader, Tag, TagNumber, asn1::Utf8StringRef};
use signet_core::{Role, Serial, Time, spiffe::SpiffeId};

use crate::{CertificateView, ChainError, Environment, key::sha256, oid};

/// A principal's certificate, read but not verified: for showing it, and for its own holder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct Leaf {
    /// The identity in its URI.
    pub id: SpiffeId,
    /// The roles it carries.
    pub roles: Arc<[Role]>,
    pub serial: Serial,
    /// Start of validity.
    pub not_before: Time,
    /// End of validity.
    pub not_after: Time,
    /// SHA-256 of the subject public key info.
    pub spki_sha256: [u8; 32],
}

impl Leaf {
    /// Reads a certificate; refuses what is not one of this environment's principals', or contradicts itself.
    pub fn from_der(der: &[u8], environment: &Environment) -> Result<Self, ChainError> {
        let view = CertificateView::from_der(der).map_err(|_| ChainError::Malformed)?;
        Self::from_view(&view, spiffe_id(&view, environment)?, environment)
    }

    /// Reads the rest of a certificate whose URI is `id`.
    pub(crate) fn from_view(
        view: &CertificateView<'_>,
        id: SpiffeId,
        environment: &Environment,
    ) -> Result<Self, ChainError> {
        let oids = environment.oids();
        agrees(view, oids.principal_type, id.principal_type.as_str())?;
        agrees(view, oids.principal, id.principal.as_str())?;
        agrees(view, oids.tenant, id.tenant.as_str())?;
        Ok(Self {
            id,
            roles: roles(view, oids.roles)?,
            serial: view.serial().ok_or(ChainError::Malformed)?,
            not_before: view.not_before,
            not_after: view.not_after,
            spki_sha256: sha256(view.spki_der),
        })
    }
}

/// The environment that a certificate's URI names, for the certificate's own holder: nothing is verified.
pub fn environment_of(leaf_der: &[u8], oid_arc: &str) -> Option<Environment> {
    let view = CertificateView::from_der(leaf_der).ok()?;
    let uri = single_uri(view.extension(oid::SUBJECT_ALT_NAME)?.value).ok()?;
    let domain = uri.strip_prefix("spiffe://")?.split('/').next()?;
    // A tenant's id has no dot.
    let (_, suffix) = domain.split_once('.')?;
    Environment::new(suffix.parse().ok()?, oid_arc).ok()
}

/// The identity in the certificate's only URI name, whatever the extensions say.
pub fn spiffe_id(view: &CertificateView<'_>, environment: &Environment) -> Result<SpiffeId, ChainError> {
    let names = view.extension(oid::SUBJECT_ALT_NAME).ok_or(ChainError::NoUriName)?;
    let uri = single_uri(names.value)?;
    SpiffeId::parse(uri, environment.suffix()).ok_or_else(|| {
        let domain = uri.strip_prefix("spiffe://").and_then(|rest| rest.split('/').next());
        match domain.and_then(|domain| environment.suffix().tenant_of(domain)) {
            Some(_) => ChainError::BadSpiffeId,
            None => ChainError::ForeignTrustDomain,
        }
    })
}

/// GeneralNames (RFC 5280 section 4.2.1.6): a URI has the context-specific tag 6.
fn single_uri(general_names: &[u8]) -> Result<&str, ChainError> {
    let uri_tag = Tag::ContextSpecific { constructed: false, number: TagNumber(6) };
    let mut uri = None;
    let mut reader = SliceReader::new(general_names).map_err(malformed)?;
    reader
        .sequence(|names| {
            while !names.is_finished() {
                let header = Header::decode(names)?;
                let value = names.read_slice(header.length())?;
                if header.tag() == uri_tag && uri.replace(value).is_some() {
                    return Err(Error::Chain(ChainError::MultipleUriNames));
                }
            }
            Ok(())
        })
        .map_err(|error| match error {
            Error::Chain(error) => error,
            Error::Der => ChainError::Malformed,
        })?;
    reader.finish().map_err(malformed)?;
    let uri = std::str::from_utf8(uri.ok_or(ChainError::NoUriName)?).map_err(|_| ChainError::Malformed)?;
    if uri.is_ascii() { Ok(uri) } else { Err(ChainError::Malformed) }
}

enum Error {
    Der,
    Chain(ChainError),
}

impl From<der::Error> for Error {
    fn from(_: der::Error) -> Self {
        Self::Der
    }
}

fn malformed(_: der::Error) -> ChainError {
    ChainError::Malformed
}

fn text<'a>(view: &CertificateView<'a>, oid: ObjectIdentifier) -> Result<Option<&'a str>, ChainError> {
    let Some(extension) = view.extension(oid) else { return Ok(None) };
    Ok(Some(<Utf8StringRef<'a>>::from_der(extension.value).map_err(malformed)?.as_str()))
}

fn agrees(view: &CertificateView<'_>, oid: ObjectIdentifier, expected: &str) -> Result<(), ChainError> {
    match text(view, oid)? {
        None => Err(ChainError::MissingExtension),
        Some(found) if found == expected => Ok(()),
        Some(_) => Err(ChainError::ExtensionDisagrees),
    }
}

fn roles(view: &CertificateView<'_>, oid: ObjectIdentifier) -> Result<Arc<[Role]>, ChainError> {
    let Some(list) = text(view, oid)? else { return Ok(Arc::new([])) };
    list.split(',').map(|role| role.parse().map_err(|_| ChainError::Malformed)).collect()
}
