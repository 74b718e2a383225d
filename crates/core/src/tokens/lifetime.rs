//! How long a token is good.

use super::keys::TokenUse;
use crate::{Lifetime, Time};

/// Where nobody asks for another.
pub const DEFAULT_LIFETIME: Lifetime = Lifetime::minutes(5);
/// Of a broker token, where nobody asks for another.
pub const DEFAULT_BROKER_LIFETIME: Lifetime = Lifetime::hours(1);
/// The shortest that is given.
pub const SHORTEST_LIFETIME: Lifetime = Lifetime::seconds(10);

/// The end of a token made at `now` for who asks for `wanted`: never beyond its certificate. `None`: the certificate is
/// over.
pub fn expiry(for_use: TokenUse, wanted: Lifetime, not_after: Time, now: Time) -> Option<Time> {
    let end = now.plus(wanted.min(for_use.longest_lifetime())).min(not_after);
    (now < end).then_some(end)
}
