//! From profile to certificate, in steps that cannot be taken out of order: [`prepare_leaf`] and its siblings build
//! and lint the to-be-signed bytes; the caller records and signs [`Prepared::tbs_der`]; [`Prepared::finish`] checks
//! the signature and joins both. Nothing unlinted can be signed through here, and nothing twice.

use der::{
    Decode, Encode,
    asn1::{AnyRef, UintRef},
};
use signet_core::{Lifetime, Serial, Time};
use thiserror::Error;
use x509_cert::ext::Extension;

use crate::{
    CaProfile, CertificateView, Csr, Environment, IssuerCert, Leaf, LeafProfile, PublicKey, ServerProfile, encode,
    extensions,
    key::{SIGNATURE_ALGORITHM, sha256},
    leaf,
    lint::{self, Kind, LintError},
    name,
    profile::RESPONDER_LIFETIME,
};

/// How far in the past validity starts, for clocks that are slow.
pub const BACKDATE: Lifetime = Lifetime::seconds(60);

/// Why nothing was issued.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IssueError {
    /// It would be valid longer than its issuer: shorten the lifetime, or rotate the issuing CA.
    #[error("the certificate would outlive its issuer: shorten the lifetime, or rotate the issuing CA")]
    OutlivesIssuer {
        /// End of the issuer's validity.
        issuer_ends: i64,
    },
    /// The issuer's own validity has not begun.
    #[error("the issuer is not valid yet")]
    IssuerNotYetValid,
    /// The lint found faults; nothing must be signed.
    #[error(transparent)]
    Lint(#[from] LintError),
    /// The signature is not the issuer's over these bytes.
    #[error("the issuer's signature does not verify; nothing is released")]
    BadSignature,
    /// The bytes cannot be encoded, e.g. a time before 1970.
    #[error("cannot encode the certificate: {0}")]
    Encoding(String),
}

impl From<der::Error> for IssueError {
    fn from(error: der::Error) -> Self {
        Self::Encoding(error.to_string())
    }
}

/// A linted certificate that waits for its signature. Not `Clone`: it is signed once.
#[derive(Debug)]
pub struct Prepared {
    tbs_der: Vec<u8>,
    issuer_key: PublicKey,
    serial: Serial,
    not_before: Time,
    not_after: Time,
    spki_sha256: [u8; 32],
}

/// A certificate, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub struct Issued {
    /// The certificate, DER.
    pub certificate_der: Vec<u8>,
    pub serial: Serial,
    /// Start of validity.
    pub not_before: Time,
    /// End of validity.
    pub not_after: Time,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub spki_sha256: [u8; 32],
}

/// A principal's certificate for the key of `csr`, valid from [`BACKDATE`] before `now` (not before its issuer is)
/// until `lifetime` after `now`.
pub fn prepare_leaf(
    profile: &LeafProfile,
    csr: &Csr,
    issuer: &IssuerCert,
    serial: Serial,
    lifetime: Lifetime,
    now: Time,
) -> Result<Prepared, IssueError> {
    let validity = Validity::under(issuer, lifetime, now)?;
    let host = profile.host().filter(|_| !issuer.names_no_hosts);
    let draft = Draft {
        issuer,
        serial,
        validity,
        subject_der: name::leaf(&profile.id, &profile.subject, host.is_some())?,
        key: csr.public_key(),
        extensions: extensions::leaf(profile, host.as_deref())?,
    };
    let prepared = Prepared::new(Kind::Leaf, &profile.environment, draft.into_der()?, issuer)?;
    prepared.must_say(profile)?;
    Ok(prepared)
}

/// A server's certificate; validity as [`prepare_leaf`], usually [`crate::profile::SERVER_LIFETIME`].
pub fn prepare_server(
    profile: &ServerProfile,
    csr: &Csr,
    issuer: &IssuerCert,
    serial: Serial,
    lifetime: Lifetime,
    now: Time,
) -> Result<Prepared, IssueError> {
    let validity = Validity::under(issuer, lifetime, now)?;
    let draft = Draft {
        issuer,
        serial,
        validity,
        subject_der: name::server(&profile.environment)?,
        key: csr.public_key(),
        extensions: extensions::server(profile)?,
    };
    Prepared::new(Kind::Server, &profile.environment, draft.into_der()?, issuer)
}

/// An issuing CA's certificate for `key`, signed by the root `issuer`; valid for [`CaProfile::lifetime`].
pub fn prepare_ca(
    profile: &CaProfile,
    key: &PublicKey,
    issuer: &IssuerCert,
    serial: Serial,
    now: Time,
) -> Result<Prepared, IssueError> {
    let validity = Validity::under(issuer, profile.lifetime(), now)?;
    let draft =
        Draft { issuer, serial, validity, subject_der: profile.name()?, key, extensions: extensions::ca(profile)? };
    Prepared::new(Kind::IssuingCa, &profile.environment, draft.into_der()?, issuer)
}

/// The anchor of an issuing CA: a twin of its certificate `ca` with the same name, key, validity and constraints, but
/// signed by itself. It is what relying parties trust: OpenSSL takes no intermediate for an anchor, and whoever trusts
/// the root accepts every tenant. Its serial number has the time of `ca`, so that what `ca` signed is never older.
pub fn prepare_anchor(profile: &CaProfile, ca: &IssuerCert, serial: Serial) -> Result<Prepared, IssueError> {
    let validity = Validity { not_before: ca.not_before, not_after: ca.not_after };
    let (subject_der, extensions) = (profile.name()?, extensions::ca(profile)?);
    let draft = Draft { issuer: ca, serial, validity, subject_der, key: &ca.key, extensions };
    Prepared::new(Kind::Anchor, &profile.environment, draft.into_der()?, ca)
}

/// A certificate for `key`, which may then answer for the CA `issuer` whose profile this is (RFC 6960 section 4.2.2.2).
/// Valid for [`RESPONDER_LIFETIME`], or as long as the CA is.
pub fn prepare_responder(
    profile: &CaProfile,
    key: &PublicKey,
    issuer: &IssuerCert,
    serial: Serial,
    now: Time,
) -> Result<Prepared, IssueError> {
    let validity = Validity::until(issuer, now.plus(RESPONDER_LIFETIME).min(issuer.not_after), now)?;
    let (subject_der, extensions) = (profile.responder_name()?, extensions::responder()?);
    let draft = Draft { issuer, serial, validity, subject_der, key, extensions };
    Prepared::new(Kind::Responder, &profile.environment, draft.into_der()?, issuer)
}

/// A root's certificate for `key`, signed by itself; valid for [`CaProfile::lifetime`].
pub fn prepare_root(profile: &CaProfile, key: &PublicKey, serial: Serial, now: Time) -> Result<Prepared, IssueError> {
    let subject_der = profile.name()?;
    let itself = IssuerCert {
        subject_der: subject_der.clone(),
        key_id: key.key_id().to_vec(),
        key: key.clone(),
        not_before: now.minus(BACKDATE).floor_to_second(),
        not_after: now.plus(profile.lifetime()).floor_to_second(),
        path_len: None,
        names_no_hosts: false,
    };
    let validity = Validity::under(&itself, profile.lifetime(), now)?;
    let draft = Draft { issuer: &itself, serial, validity, subject_der, key, extensions: extensions::ca(profile)? };
    Prepared::new(Kind::Root, &profile.environment, draft.into_der()?, &itself)
}

/// When a certificate is valid, in whole seconds.
#[derive(Clone, Copy)]
struct Validity {
    not_before: Time,
    not_after: Time,
}

impl Validity {
    /// From [`BACKDATE`] before `now` until `lifetime` after it, within the issuer's own validity: later than its
    /// start if that is nearer, and refused rather than cut at its end.
    fn under(issuer: &IssuerCert, lifetime: Lifetime, now: Time) -> Result<Self, IssueError> {
        Self::until(issuer, now.plus(lifetime), now)
    }

    fn until(issuer: &IssuerCert, end: Time, now: Time) -> Result<Self, IssueError> {
        if now < issuer.not_before {
            return Err(IssueError::IssuerNotYetValid);
        }
        let not_before = now.minus(BACKDATE).floor_to_second().max(issuer.not_before);
        let not_after = end.floor_to_second();
        if not_after > issuer.not_after {
            return Err(IssueError::OutlivesIssuer { issuer_ends: issuer.not_after.unix_seconds() });
        }
        Ok(Self { not_before, not_after })
    }
}

/// What becomes a to-be-signed certificate.
struct Draft<'a> {
    issuer: &'a IssuerCert,
    serial: Serial,
    validity: Validity,
    subject_der: Vec<u8>,
    key: &'a PublicKey,
    extensions: Vec<Extension>,
}

impl Draft<'_> {
    fn into_der(mut self) -> der::Result<Vec<u8>> {
        let mut extensions =
            vec![encode::subject_key_id(&self.key.key_id())?, encode::authority_key_id(&self.issuer.key_id)?];
        extensions.append(&mut self.extensions);
        encode::Tbs {
            version: 2,
            serial: UintRef::new(self.serial.as_bytes())?,
            signature: SIGNATURE_ALGORITHM,
            issuer: AnyRef::from_der(&self.issuer.subject_der)?,
            validity: encode::Validity {
                not_before: encode::time(self.validity.not_before)?,
                not_after: encode::time(self.validity.not_after)?,
            },
            subject: AnyRef::from_der(&self.subject_der)?,
            spki: AnyRef::from_der(self.key.spki_der())?,
            extensions,
        }
        .to_der()
    }
}

impl Prepared {
    /// Takes up bytes that were recorded before a crash, after linting them again.
    pub fn resume(
        kind: Kind,
        environment: &Environment,
        tbs_der: &[u8],
        issuer: &IssuerCert,
    ) -> Result<Self, IssueError> {
        Self::new(kind, environment, tbs_der.to_vec(), issuer)
    }

    fn new(kind: Kind, environment: &Environment, tbs_der: Vec<u8>, issuer: &IssuerCert) -> Result<Self, IssueError> {
        let view = lint::lint(kind, environment, &tbs_der, issuer)?;
        let serial = view.serial().ok_or_else(|| LintError(vec!["the serial number has more than 16 bytes"]))?;
        let (not_before, not_after, spki_sha256) = (view.not_before, view.not_after, sha256(view.spki_der));
        Ok(Self { issuer_key: issuer.key.clone(), serial, not_before, not_after, spki_sha256, tbs_der })
    }

    /// Reads the bytes back: they must name the principal and the roles of the profile.
    fn must_say(&self, profile: &LeafProfile) -> Result<(), IssueError> {
        let says = || -> Option<bool> {
            let view = CertificateView::from_tbs_der(&self.tbs_der).ok()?;
            let id = leaf::spiffe_id(&view, &profile.environment).ok()?;
            let read = Leaf::from_view(&view, id, &profile.environment).ok()?;
            Some(read.id == profile.id && *read.roles == *profile.roles)
        };
        if says() == Some(true) {
            return Ok(());
        }
        Err(LintError(vec!["the bytes name another principal than the profile"]).into())
    }

    /// What is to be signed, DER.
    pub fn tbs_der(&self) -> &[u8] {
        &self.tbs_der
    }

    /// Its serial number.
    pub fn serial(&self) -> Serial {
        self.serial
    }

    /// Start of validity.
    pub fn not_before(&self) -> Time {
        self.not_before
    }

    /// End of validity.
    pub fn not_after(&self) -> Time {
        self.not_after
    }

    /// SHA-256 of its SubjectPublicKeyInfo.
    pub fn spki_sha256(&self) -> [u8; 32] {
        self.spki_sha256
    }

    /// Joins the bytes with their signature (DER Ecdsa-Sig-Value), which must verify with the issuer's key.
    pub fn finish(self, signature_der: &[u8]) -> Result<Issued, IssueError> {
        self.issuer_key.verify(&self.tbs_der, signature_der).map_err(|_| IssueError::BadSignature)?;
        let certificate_der = encode::signed(&self.tbs_der, signature_der)?;
        // What leaves is what was recorded.
        match CertificateView::from_der(&certificate_der) {
            Ok(view) if view.tbs_der == self.tbs_der => {}
            _ => return Err(IssueError::Encoding("the certificate does not hold what was prepared".into())),
        }
        Ok(Issued {
            certificate_der,
            serial: self.serial,
            not_before: self.not_before,
            not_after: self.not_after,
            spki_sha256: self.spki_sha256,
        })
    }
}
