//! Session tickets that are worth as much as the certificate behind them. rustls resumes a session whatever became of
//! its client, who would be refused without an alert and never be asked for the certificate that it has by now: so a
//! ticket of somebody who may not act is no ticket, and the handshake is a full one.

use signet_core::Clock;
use std::{fmt, sync::Arc};

use rustls::server::ProducesTickets;

use crate::verify::{ClientVerifier, HANDSHAKE, LeafDigest};

/// See the module's words.
pub(crate) struct Tickets {
    pub(crate) inner: Arc<dyn ProducesTickets>,
    pub(crate) verifier: Arc<ClientVerifier>,
    pub(crate) clock: Clock,
}

/// In the place of a certificate's digest where there is none.
const ANONYMOUS: LeafDigest = [0; 32];

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        self.inner.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.inner.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let leaf = HANDSHAKE.try_with(|handshake| handshake.leaf.get()).ok()?.unwrap_or(ANONYMOUS);
        self.inner.encrypt(&[&leaf, plain].concat())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let mut plain = self.inner.decrypt(cipher)?;
        let session = plain.split_off(ANONYMOUS.len().min(plain.len()));
        let leaf = LeafDigest::try_from(plain).ok()?;
        if leaf != ANONYMOUS {
            self.verifier.is_admitted(&leaf, (self.clock)()).then_some(())?;
            HANDSHAKE.try_with(|handshake| handshake.leaf.set(Some(leaf))).ok()?;
        }
        Some(session)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}
