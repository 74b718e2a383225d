//! How long a token is good.

use crate::{Lifetime, Time};

/// Where nobody asks for another.
pub const DEFAULT_LIFETIME: Lifetime = Lifetime::minutes(5);
/// The longest: who cannot ask whether a token was revoked takes it until its end.
pub const LONGEST_LIFETIME: Lifetime = Lifetime::minutes(15);
/// The shortest that is given.
pub const SHORTEST_LIFETIME: Lifetime = Lifetime::seconds(10);

/// The end of a token made at `now` for who asks for `wanted`: never beyond its certificate. `None`: the certificate is
/// over.
pub fn expiry(wanted: Lifetime, not_after: Time, now: Time) -> Option<Time> {
    let end = now.plus(wanted.min(LONGEST_LIFETIME)).min(not_after);
    (now < end).then_some(end)
}
