//! Certificates from the outside: what is issued, what is refused, and what independent judges say.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod bundle;
mod chain;
mod crl;
mod csr;
mod issue;
mod judges;
mod lint;
mod ocsp;
mod openssl;
mod pkilint;
mod world;
