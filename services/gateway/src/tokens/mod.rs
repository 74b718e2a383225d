//! Access tokens (RFC 9068) that a principal gets for its certificate, bound to it (RFC 8705 section 3).

mod claims;
mod form;
mod own;

pub(crate) use claims::AccessClaims;
pub(crate) use form::{GrantFault, check as check_grant};
pub(crate) use own::{OwnTokens, TokenRefusal, TokenSource};

use std::sync::Arc;

use signet_core::Time;

use crate::keys::Keys;

/// Whose tokens are taken.
pub(crate) enum Verifier {
    /// Those of this gateway. Those of the control plane's token endpoint will be another variant.
    Own(OwnTokens),
}

impl Verifier {
    /// The claims of a token that is good at `now`. Whether it fits the connection is for the caller to say.
    pub(crate) fn verify(
        &self,
        keys: &Keys,
        (issuer, audience): (&str, &str),
        text: &str,
        (now, source): (Time, &TokenSource),
    ) -> Result<Arc<AccessClaims>, TokenRefusal> {
        match self {
            Self::Own(own) => own.verify(keys, (issuer, audience), text, (now, source)),
        }
    }

    /// Forgets sources that are quiet. Call it on a timer.
    pub(crate) fn forget_idle(&self) {
        match self {
            Self::Own(own) => own.forget_idle(),
        }
    }
}
