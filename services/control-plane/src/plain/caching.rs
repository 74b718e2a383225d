//! What caches go by.

use axum::http::{HeaderMap, header};
use jiff::{Timestamp, tz::TimeZone};
use signet_core::Time;

/// As in `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7).
pub(crate) fn date(time: Time) -> String {
    let time = Timestamp::from_second(time.unix_seconds()).unwrap_or_default().to_zoned(TimeZone::UTC);
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Whether the client has what `tag` (with its quotes) stands for (RFC 9110 section 13.1.2).
pub(super) fn is_known(asked: &HeaderMap, tag: &str) -> bool {
    let known = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut known = known.flat_map(|value| value.split(',')).map(|value| value.trim().trim_start_matches("W/"));
    known.any(|known| known == tag || known == "*")
}
