//! What a certificate says, for people to read. Any certificate; nothing of it is verified.

use std::net::IpAddr;

use const_oid::db::DB;
use der::{Decode, Encode};
use signet_core::Time;
use x509_cert::{
    Certificate,
    ext::pkix::{BasicConstraints, ExtendedKeyUsage, SubjectAltName, name::GeneralName},
    time::Time as X509Time,
};

/// See the module's words. Texts are the certificate's own: whoever shows them escapes what they may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateSummary {
    /// RFC 4514.
    pub subject: String,
    /// RFC 4514.
    pub issuer: String,
    /// The value, hexadecimal.
    pub serial_number: String,
    /// Start of validity.
    pub not_before: Time,
    /// End of validity.
    pub not_after: Time,
    /// Names in the subject alternative name: URIs.
    pub uris: Vec<String>,
    /// The same: DNS names, IP addresses and e-mail addresses.
    pub names: Vec<String>,
    /// Extended key usages by their names (RFC 5280 section 4.2.1.12), or as numbers.
    pub usages: Vec<String>,
    /// Whether it is a CA's.
    pub is_ca: bool,
    /// Name of the key's algorithm, or its number.
    pub key_algorithm: String,
    /// SubjectPublicKeyInfo, DER.
    pub spki_der: Vec<u8>,
}

impl CertificateSummary {
    /// Reads a certificate, DER. `None`: it is none, or not as RFC 5280 has them.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let certificate = Certificate::from_der(der).ok()?;
        let tbs = certificate.tbs_certificate();
        let names = tbs.get_extension::<SubjectAltName>().ok()?.map(|(_, names)| names.0).unwrap_or_default();
        let (uris, names): (Vec<&GeneralName>, _) =
            names.iter().partition(|name| matches!(name, GeneralName::UniformResourceIdentifier(_)));
        let usages = tbs.get_extension::<ExtendedKeyUsage>().ok()?.map(|(_, usages)| usages.0).unwrap_or_default();
        let basic = tbs.get_extension::<BasicConstraints>().ok()?;
        let spki = tbs.subject_public_key_info();
        Some(Self {
            subject: tbs.subject().to_string(),
            issuer: tbs.issuer().to_string(),
            serial_number: hex::encode(tbs.serial_number().as_bytes()),
            not_before: time(&tbs.validity().not_before)?,
            not_after: time(&tbs.validity().not_after)?,
            uris: uris.into_iter().filter_map(shown).collect(),
            names: names.into_iter().filter_map(shown).collect(),
            usages: usages.iter().map(|usage| name_of(&usage.to_string(), DB.by_oid(usage))).collect(),
            is_ca: basic.is_some_and(|(_, basic)| basic.ca),
            key_algorithm: name_of(&spki.algorithm.oid.to_string(), DB.by_oid(&spki.algorithm.oid)),
            spki_der: spki.to_der().ok()?,
        })
    }
}

fn name_of(number: &str, name: Option<&str>) -> String {
    name.unwrap_or(number).to_owned()
}

fn time(time: &X509Time) -> Option<Time> {
    i64::try_from(time.to_unix_duration().as_secs()).ok().map(Time::from_unix_seconds)
}

fn shown(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::UniformResourceIdentifier(name) => Some(name.as_str().to_owned()),
        GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
        GeneralName::Rfc822Name(name) => Some(name.as_str().to_owned()),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let four = || <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
            let sixteen = || <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from);
            four().or_else(sixteen).map(|ip| ip.to_string())
        }
        _ => None,
    }
}
