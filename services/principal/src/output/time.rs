//! Times for people and for scripts.

use jiff::{SignedDuration, Timestamp};

/// RFC 3339 in UTC; `None` outside of the years -9999 to 9999.
pub(super) fn rfc3339(seconds: i64, nanos: i32) -> Option<String> {
    Timestamp::new(seconds, nanos).ok().map(|time| time.to_string())
}

/// `2026-11-22 03:04:05Z (in 12 h)`.
pub fn absolute(time: Timestamp, now: Timestamp) -> String {
    format!("{} ({})", plain(time), relative(time, now))
}

/// `2026-11-22 03:04:05Z`.
pub(super) fn plain(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// `12h`, of what was that long ago.
pub(super) fn age(time: Timestamp, now: Timestamp) -> String {
    let span = time.duration_since(now);
    let text = short(span);
    if span.is_positive() { format!("in {text}") } else { text }
}

/// `12h ago`, `in 12h`.
pub(super) fn when(time: Timestamp, now: Timestamp) -> String {
    let span = time.duration_since(now);
    let text = short(span);
    if span.is_positive() { format!("in {text}") } else { format!("{text} ago") }
}

fn short(span: SignedDuration) -> String {
    largest_unit(span.abs()).unwrap_or_else(|| "0 s".into()).replace("min", "m").replace(' ', "")
}

/// A length of time: its largest whole unit.
pub(super) fn span(seconds: i64) -> String {
    largest_unit(SignedDuration::from_secs(seconds)).unwrap_or_else(|| "0 s".into())
}

/// `in 12 h`, `3 d ago`, `now`: the largest whole unit.
pub fn relative(time: Timestamp, now: Timestamp) -> String {
    let span = time.duration_since(now);
    let text = largest_unit(span.abs());
    match (text, span.is_negative()) {
        (None, _) => "now".into(),
        (Some(text), true) => format!("{text} ago"),
        (Some(text), false) => format!("in {text}"),
    }
}

fn largest_unit(span: SignedDuration) -> Option<String> {
    const UNITS: [(i64, &str); 5] = [(365 * 86_400, "y"), (86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let seconds = span.as_secs();
    // Two of a unit at least, so that "1 d" never stands for 47 hours.
    let unit =
        UNITS.into_iter().find(|(size, _)| seconds >= size.saturating_mul(2)).or((seconds > 0).then_some((1, "s")));
    unit.map(|(size, name)| format!("{} {name}", seconds.checked_div(size).unwrap_or(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_times_name_the_largest_unit_of_which_there_are_two() {
        let now = Timestamp::UNIX_EPOCH;
        let at = |seconds| relative(Timestamp::from_second(seconds).unwrap_or(now), now);
        assert_eq!([at(0), at(1), at(-90)], ["now", "in 1 s", "90 s ago"]);
        assert_eq!([at(121), at(7200), at(-200_000)], ["in 2 min", "in 2 h", "2 d ago"]);
        assert_eq!([at(86_400 * 400), at(86_400 * 800)], ["in 400 d", "in 2 y"]);
    }
}
