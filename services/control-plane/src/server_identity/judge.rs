//! Whether a certificate may be served: what a client that trusts this environment's server anchors will say of it.

use rustls::{
    CertificateError, Error, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use signet_app::ServerNames;
use signet_core::Time;
use signet_mtls::provider;
use signet_x509::server_anchors;

/// What is wrong with the certificate that stands in the server's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It cannot be read, or its key is another's.
    Damaged,
    /// Nobody knows yet: the roots were not read.
    NoRoot,
    /// No server anchor of this environment is above it.
    Foreign,
    /// Expired, or not valid yet.
    NotNow,
    /// It is not for all names that clients connect to.
    LacksName,
}

impl Fault {
    /// UPPER_SNAKE_CASE, for `/readyz` and the log.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Damaged => "SERVER_CERTIFICATE_DAMAGED",
            Self::NoRoot => "ROOT_NOT_LOADED",
            Self::Foreign => "SERVER_CERTIFICATE_FOREIGN",
            Self::NotNow => "SERVER_CERTIFICATE_NOT_VALID_NOW",
            Self::LacksName => "SERVER_CERTIFICATE_LACKS_NAME",
        }
    }

    /// What it is and what to do.
    pub(crate) const fn message(self) -> &'static str {
        match self {
            Self::Damaged => "the server's certificate cannot be read, or its key does not match; see the log",
            Self::NoRoot => "the environment's root has not been read yet; is the store reachable and bootstrapped?",
            Self::Foreign => {
                "the server's certificate chains to no server anchor in the store; one of the two belongs to another environment: restore the right one"
            }
            Self::NotNow => "the server's certificate has expired or is not valid yet; renew it, or check the clock",
            Self::LacksName => {
                "the server's certificate does not cover all of server.dns_names and ip_addresses; renew it"
            }
        }
    }

    /// Whether it is one of ours all the same: better than none.
    pub(crate) const fn is_ours(self) -> bool {
        matches!(self, Self::NotNow | Self::LacksName)
    }
}

/// Looks at a chain (PEM, leaf first) as a client does for each of `names`. The text is for the log.
pub(crate) fn judge(
    chain_pem: &str,
    names: &ServerNames,
    trusted: &[Vec<u8>],
    now: Time,
) -> Result<(), (Fault, String)> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(server_anchors(trusted).into_iter().map(CertificateDer::from));
    if store.is_empty() {
        return Err((Fault::NoRoot, String::new()));
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(store.into(), provider()).build();
    let verifier = verifier.map_err(|error| (Fault::NoRoot, error.to_string()))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain_pem.as_bytes()).collect();
    let chain = chain.map_err(|error| (Fault::Damaged, error.to_string()))?;
    let Some((leaf, above)) = chain.split_first() else { return Err((Fault::Damaged, "it is empty".into())) };
    let seconds = u64::try_from(now.unix_millis() / 1000).unwrap_or(0);
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let dns = names.dns.iter().filter_map(|name| ServerName::try_from(name.as_str()).ok());
    for name in dns.chain(names.ip.iter().map(|ip| ServerName::from(*ip))) {
        let seen = verifier.verify_server_cert(leaf, above, &name, &[], now);
        seen.map_err(|error| (fault(&error), format!("{}: {error}", name.to_str())))?;
    }
    Ok(())
}

fn fault(error: &Error) -> Fault {
    match error {
        Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => Fault::NotNow,
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Fault::LacksName,
        Error::InvalidCertificate(CertificateError::BadEncoding) => Fault::Damaged,
        _ => Fault::Foreign,
    }
}
