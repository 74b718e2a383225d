//! Patterns of conditions.

/// Whether all of `value` matches: `*` stands for any run of characters, also none and also of `/` and `:`; everything
/// else stands for itself. Linear in the value for each `*`-free piece: since the pieces between two `*` may stand
/// anywhere, the leftmost place is as good as any other, and nothing is tried twice.
pub fn matches(pattern: &str, value: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == value };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(value) = value.strip_prefix(first).and_then(|value| value.strip_suffix(last)) else { return false };
    let mut left = value;
    middle.split('*').filter(|piece| !piece.is_empty()).all(|piece| match left.find(piece) {
        Some(at) => {
            left = left.get(at.saturating_add(piece.len())..).unwrap_or_default();
            true
        }
        None => false,
    })
}

/// Whether the pattern says anything at all about a value.
pub(crate) fn is_open(pattern: &str) -> bool {
    pattern.bytes().all(|byte| byte == b'*')
}
