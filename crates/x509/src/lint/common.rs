//! Rules for every certificate.

use x509_cert::{
    ext::pkix::{AuthorityKeyIdentifier, SubjectKeyIdentifier},
    name::Name,
};

use super::{Kind, Lint};
use crate::{PublicKey, encode, key::SIGNATURE_ALGORITHM, oid};

/// ub-common-name and ub-organization-name (RFC 5280 appendix A.1); our other attributes keep to it by themselves.
const MAX_ATTRIBUTE: usize = 64;

impl Lint<'_> {
    pub(super) fn common(&mut self) {
        self.numbers();
        self.names();
        self.validity();
        self.keys();
        self.key_identifiers();
        self.extensions();
    }

    fn numbers(&mut self) {
        let serial = self.tbs.serial_number().as_bytes();
        let positive = serial.first().is_some_and(|first| *first < 0x80) && serial.iter().any(|byte| *byte != 0);
        let fits = serial.len() <= 20;
        self.require(positive, "the serial number must be positive (RFC 5280 section 4.1.2.2)");
        self.require(fits, "the serial number must have at most 20 bytes (RFC 5280 section 4.1.2.2)");
        let ecdsa = *self.tbs.signature() == SIGNATURE_ALGORITHM.to_owned();
        self.require(ecdsa, "the signature must be ecdsa-with-SHA256 without parameters (RFC 5758 section 3.2)");
        let unique = self.tbs.issuer_unique_id().is_none() && self.tbs.subject_unique_id().is_none();
        self.require(unique, "unique identifiers must not be used (RFC 5280 section 4.1.2.8)");
    }

    fn names(&mut self) {
        let chained = self.view.issuer_der == self.issuer.subject_der && !self.tbs.issuer().is_empty();
        self.require(chained, "the issuer must be the issuing CA's subject, byte for byte (RFC 5280 section 4.1.2.4)");
        let fits = bounded(self.tbs.subject()) && !self.tbs.subject().is_empty();
        self.require(
            fits,
            "the subject must not be empty, nor an attribute of it longer than 64 (RFC 5280 appendix A)",
        );
        let itself = self.view.subject_der == self.view.issuer_der;
        self.require(itself == self.kind.is_self_signed(), "only a root or an anchor may have its own name as issuer");
    }

    fn validity(&mut self) {
        let (from, until) = (self.view.not_before, self.view.not_after);
        self.require(from < until, "validity must end after it begins (RFC 5280 section 4.1.2.5)");
        let validity = self.tbs.validity();
        let as_written = encode::time(from).is_ok_and(|time| time == validity.not_before)
            && encode::time(until).is_ok_and(|time| time == validity.not_after);
        self.require(as_written, "times must be UTCTime through 2049, then GeneralizedTime (RFC 5280 section 4.1.2.5)");
        let inside = from >= self.issuer.not_before && until <= self.issuer.not_after;
        self.require(inside, "validity must lie within the issuer's");
    }

    fn keys(&mut self) {
        self.require(self.key.is_some(), "the key must be an uncompressed point on P-256 (RFC 5480 section 2)");
        let own = self.key.as_ref() == Some(&self.issuer.key);
        self.require(own == self.kind.is_self_signed(), "only a root or an anchor may certify the issuer's own key");
    }

    fn key_identifiers(&mut self) {
        let subject = self.get::<SubjectKeyIdentifier>();
        let expected = self.key.as_ref().map(PublicKey::key_id);
        let good =
            subject.is_some_and(|(critical, id)| !critical && expected.is_some_and(|key| id.0.as_bytes() == key));
        self.require(good, "the subject key identifier must be the key's, not critical (RFC 5280 section 4.2.1.2)");
        let authority = self.get::<AuthorityKeyIdentifier>();
        let good = authority.is_some_and(|(critical, id)| {
            let by_key = id.key_identifier.is_some_and(|id| id.as_bytes() == self.issuer.key_id);
            let only = id.authority_cert_issuer.is_none() && id.authority_cert_serial_number.is_none();
            !critical && by_key && only
        });
        self.require(
            good,
            "the authority key identifier must be the issuer's subject key identifier (RFC 5280 section 4.2.1.1)",
        );
    }

    /// Each at most once is already the reader's rule.
    fn extensions(&mut self) {
        let oids = self.environment.oids();
        let own = [oids.principal_type, oids.principal, oids.tenant, oids.roles];
        let standard = [
            (oid::SUBJECT_KEY_ID, false),
            (oid::AUTHORITY_KEY_ID, false),
            (oid::KEY_USAGE, true),
            (oid::EXT_KEY_USAGE, false),
            (oid::SUBJECT_ALT_NAME, false),
            (oid::BASIC_CONSTRAINTS, true),
            (oid::NAME_CONSTRAINTS, true),
        ];
        let known = self.view.extensions.iter().all(|extension| {
            let own = own.contains(&extension.oid) && !extension.critical && self.kind == Kind::Leaf;
            let no_check = (extension.oid, extension.critical) == (oid::OCSP_NO_CHECK, false);
            let no_check = no_check && self.kind == Kind::Responder;
            own || no_check || standard.contains(&(extension.oid, extension.critical))
        });
        self.require(
            known,
            "there must be no extension but the profile's, each as critical as RFC 5280 section 4.2.1 says",
        );
    }
}

fn bounded(name: &Name) -> bool {
    name.iter().all(|attribute| (1..=MAX_ATTRIBUTE).contains(&attribute.value.value().len()))
}
