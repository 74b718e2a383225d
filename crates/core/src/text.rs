//! Text that is shown to people.

use crate::Error;

/// Whether a character shows as nothing, moves the cursor, or changes the order in which a terminal or a browser shows
/// the text around it: control characters, line separators, bidirectional controls, zero-width characters, tags
/// (Unicode Technical Report 36, section 2.7). A name with one looks like another name.
pub const fn is_deceptive(c: char) -> bool {
    matches!(c,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Longest display name, in characters.
pub const MAX_DISPLAY_NAME: usize = 128;

/// A name for people: short, and nothing that could change how it, or what stands beside it, is shown.
pub fn check_display_name(field: &'static str, name: &str) -> Result<(), Error> {
    if name.chars().count() > MAX_DISPLAY_NAME || name.chars().any(is_deceptive) {
        let message = "must be at most 128 characters, none that hides, moves the cursor or turns text round";
        return Err(Error::invalid(field, "INVALID_DISPLAY_NAME", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_people_are_plain_and_what_hides_or_turns_text_is_not() {
        for fine in ["Ada Lovelace", "Грета", "ענת", "नेहा", "e\u{301}", "👩", "a\u{a0}b"] {
            assert!(!fine.chars().any(is_deceptive), "{fine}");
        }
        for bad in ['\u{1b}', '\n', '\u{9b}', '\u{202e}', '\u{2066}', '\u{200b}', '\u{200f}', '\u{feff}', '\u{e0041}'] {
            assert!(is_deceptive(bad), "{bad:?}");
        }
    }
}
