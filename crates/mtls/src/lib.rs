//! The front door: TCP in, authenticated connections out.
//!
//! A connection passes, in this order: [`proxy`] (whose address is it), the bans, a token bucket per source, the
//! ClientHello, its source's turn, the TLS handshake with the check of the client's certificate, the same check again
//! for resumed sessions, the share of its principal and tenant, and the [`Registry`] of open connections, which ends
//! those that lose their right to be open. What comes out is a [`Connection`] for tonic; each of its requests finds an
//! `Arc<ConnectInfo<A>>` in its extensions and asks [`Session::check`] whether it may go on.
//!
//! Connections that have not spoken yet, handshakes and open connections each have a [`Budget`] or quota with a share
//! per source, principal or tenant. While a peer is silent it holds nothing that somebody else could need.

mod accept;
mod backoff;
mod bans;
mod budget;
mod clock;
mod connection;
mod establish;
mod goodbye;
mod observer;
pub mod proxy;
mod proxy_writer;
mod quota;
mod registry;
mod server_cert;
mod session;
mod switch;
mod throttle;
mod tickets;
mod tls;
mod turns;
mod unread;
mod verify;

pub use accept::{AcceptSettings, Acceptor, Incoming};
pub use bans::BanSettings;
pub use budget::{Budget, Crowd, Place};
pub use clock::system_uptime;
pub use connection::{ConnectInfo, Connection};
pub use observer::{BanReason, ConnectionObserver, ConnectionRefusal};
pub use proxy_writer::{RelayedTls, relayed_header};
pub use quota::Share;
pub use registry::{Ages, Registry};
pub use server_cert::{ServerCertificate, ServerCertificateError, ServerIdentity};
pub use session::{Admitted, Authorize, Ended, Session};
pub use throttle::Rate;
pub use tls::provider;
pub use unread::{Unread, UnreadAnswer};
pub use verify::{CertificateRefusal, ClientVerifier, Presented};
