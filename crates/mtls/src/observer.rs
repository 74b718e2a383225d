//! What happens to connections, told to whoever counts and audits.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use signet_core::Identity;
use signet_x509::ChainError;
use thiserror::Error;

use crate::{
    proxy::ProxyError,
    quota::Share,
    session::Ended,
    verify::{CertificateRefusal, Presented},
};

/// Why a connection was not taken.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "a plain record: its names say it")]
pub enum ConnectionRefusal {
    /// Its source is banned.
    #[error("too many failed handshakes from this address a while ago")]
    Banned,
    /// Its address asked too often.
    #[error("too many connections from this address")]
    Throttled,
    /// It had not spoken, or not finished its handshake, when newer connections needed its place.
    #[error("silent while others waited for a connection")]
    Evicted,
    /// There are as many connections as its principal, its tenant or the node may have.
    #[error("too many open connections")]
    TooManyConnections {
        /// Whose number is reached.
        share: Share,
        /// Who it is; `None` for a client without a certificate.
        presented: Option<Presented>,
    },
    /// A balancer's network, but no usable header.
    #[error("bad PROXY header from a network that must send one")]
    Proxy(#[source] ProxyError),
    /// A PROXY header from an address that may not speak for others.
    #[error("PROXY header from an untrusted address")]
    UntrustedProxy,
    /// It closed before it sent anything: port scans and TCP health checks.
    #[error("closed before the first byte")]
    ClosedEarly,
    /// The first byte is not TLS.
    #[error("not TLS")]
    NotTls,
    /// It did not finish in time.
    #[error("no complete handshake in time")]
    Timeout,
    /// The handshake failed for another reason than the client's certificate.
    #[error("TLS handshake failed")]
    Handshake(#[source] io::Error),
    /// The client asks by ALPN for other protocols than `h2` and `http/1.1`.
    #[error("the client asked by ALPN for neither h2 nor http/1.1")]
    NoCommonProtocol,
    /// It came without a certificate where one is needed.
    #[error("no client certificate")]
    NoCertificate,
    #[error("client certificate refused")]
    Certificate {
        #[source]
        refusal: CertificateRefusal,
        /// What it says.
        presented: Presented,
    },
}

impl ConnectionRefusal {
    /// UPPER_SNAKE_CASE, for audit events and metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Banned => "SOURCE_BANNED",
            Self::Throttled => "CONNECTION_THROTTLED",
            Self::Evicted => "CONNECTION_EVICTED",
            Self::TooManyConnections { share, .. } => share.reason(),
            Self::Proxy(_) => "BAD_PROXY_HEADER",
            Self::UntrustedProxy => "UNTRUSTED_PROXY_HEADER",
            Self::ClosedEarly => "CLOSED_EARLY",
            Self::NotTls => "NOT_TLS",
            Self::Timeout => "HANDSHAKE_TIMEOUT",
            Self::Handshake(_) => "HANDSHAKE_FAILED",
            Self::NoCommonProtocol => "NO_COMMON_PROTOCOL",
            Self::NoCertificate => "CERTIFICATE_REQUIRED",
            Self::Certificate { refusal, .. } => refusal.reason(),
        }
    }

    /// What it counts as towards a ban of its source; `None`: it does not. Who was good once, or may be it for another
    /// node, is not hostile; nor is who finds no room.
    pub(crate) fn ban_reason(&self) -> Option<BanReason> {
        match self {
            Self::NoCertificate => Some(BanReason::NoCertificate),
            Self::Certificate { refusal: CertificateRefusal::Chain(error), .. } => match error {
                ChainError::Expired | ChainError::NotYetValid | ChainError::IssuerReplaced => None,
                _ => Some(BanReason::BadCertificate),
            },
            Self::Handshake(error) => {
                use rustls::Error::{InvalidCertificate, InvalidMessage, PeerMisbehaved};
                let error = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
                let is_bad = matches!(error, Some(InvalidCertificate(_) | InvalidMessage(_) | PeerMisbehaved(_)));
                is_bad.then_some(BanReason::BadHandshake)
            }
            _ => None,
        }
    }
}

/// Why a source is banned: what its last failed handshake lacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BanReason {
    /// A certificate that no CA of its tenant signed, or that is none of ours.
    BadCertificate,
    /// No certificate where one is needed.
    NoCertificate,
    /// TLS that breaks its own rules, e.g. a certificate without its key.
    BadHandshake,
}

impl BanReason {
    /// In a few letters, for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadCertificate => "bad-certificate",
            Self::NoCertificate => "no-certificate",
            Self::BadHandshake => "bad-handshake",
        }
    }
}

/// Told of every connection, in the connection's task: an implementation counts or hands on and returns at once.
pub trait ConnectionObserver: Send + Sync {
    /// A connection was taken. `handshake` is the time since it came in.
    fn accepted(&self, remote: SocketAddr, identity: Option<&Identity>, resumed: bool, handshake: Duration);

    /// A connection was not taken. `remote` is the balancer if it broke off before its PROXY header.
    fn refused(&self, remote: SocketAddr, refusal: &ConnectionRefusal);

    /// The source of an address (IPv6: a /64) is banned from now on, because of handshakes that failed; the last of
    /// them was told by [`Self::refused`].
    fn banned(&self, source: IpAddr, reason: BanReason);

    /// A connection that had been taken is over.
    fn closed(&self, remote: SocketAddr, identity: Option<&Identity>, ended: Ended);

    /// The operating system gave no connection, e.g. for want of file descriptors; the loop pauses and goes on.
    fn accept_failed(&self, error: &io::Error);
}
