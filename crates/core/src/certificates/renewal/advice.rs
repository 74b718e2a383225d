//! The server's word on when a certificate should be renewed.

use serde::{Deserialize, Serialize};

use super::window::{Window, later};
use crate::{Lifetime, Time};

/// An operator's wish for a tenant's renewals: certificates made before an instant are renewed within a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steering {
    /// Certificates made before it are meant; those made later are not, so that a steered renewal happens once.
    pub issued_before: Time,
    /// When they should be renewed.
    pub window: Window,
}

/// Why a window is as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdviceReason {
    /// The default: the middle third of the lifetime.
    Default,
    /// An operator steers the tenant's renewals.
    Steered,
    /// The CA that signed it signs no more.
    CaRotation,
}

impl AdviceReason {
    /// The reason's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Steered => "steered",
            Self::CaRotation => "ca_rotation",
        }
    }
}

/// What the server says about one certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// When to renew it.
    pub window: Window,
    /// How long after expiry the out-of-band path renews it.
    pub grace: Lifetime,
    /// When to ask again.
    pub ask_again: Lifetime,
    /// Why the window is as it is.
    pub reason: AdviceReason,
}

/// The word on a certificate of this validity that was made at `made_at`. Its lifetime counts from then: validity
/// begins earlier, for slow clocks, and of a certificate of a minute that is half of it. `issuer_retiring_since`: when
/// the CA that signed it stopped to sign, if it did. Then its certificates go within a third of a lifetime after all
/// have heard of it, so that the CA need not be kept for a whole one.
pub fn advise(
    validity: Window,
    made_at: Time,
    steering: Option<&Steering>,
    issuer_retiring_since: Option<Time>,
    grace: Lifetime,
) -> Advice {
    let begun = made_at.max(validity.start).min(validity.end);
    let usual = Window::of_lifetime(begun, validity.end);
    let ask_again = ask_again(begun, validity.end);
    let rotated = issuer_retiring_since.map(|since| {
        let third = validity.end.millis_since(begun).max(0) / 3;
        let start = later(since, ask_again.millis().saturating_mul(2)).max(begun);
        Window { start, end: later(start, third) }
    });
    let steered = steering.filter(|steering| made_at < steering.issued_before).map(|steering| steering.window);
    let (window, reason) = match (steered, rotated) {
        (Some(window), _) => (window, AdviceReason::Steered),
        (None, Some(window)) if window.start < usual.start => (window, AdviceReason::CaRotation),
        _ => (usual, AdviceReason::Default),
    };
    Advice { window, grace, ask_again, reason }
}

/// How often holders of a certificate with this lifetime should ask for its window.
pub(super) fn ask_again(not_before: Time, not_after: Time) -> Lifetime {
    let seconds = not_after.millis_since(not_before).max(0) / 24_000;
    Lifetime::seconds(u32::try_from(seconds.clamp(60, 6 * 3600)).unwrap_or(60))
}
