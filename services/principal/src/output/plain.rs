//! Text that others wrote, on a terminal and in documents: nothing of it moves the cursor, hides, or turns text round.

use std::fmt::Write as _;

use serde_json::Value;
use signet_core::text::is_deceptive;

/// A value in one line.
pub(super) fn line(text: &str) -> String {
    escaped(text, is_deceptive)
}

/// A remark or an error, which may have several lines.
pub(super) fn lines(text: &str) -> String {
    escaped(text, |c| is_deceptive(c) && c != '\n' && c != '\t')
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_escaped(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// A document. JSON has an escape for every character, so that programs read what was there.
pub(super) fn json(value: &Value, pretty: bool) -> String {
    let mut sorted = value.clone();
    sorted.sort_all_objects();
    let value = &sorted;
    let text = if pretty { format!("{value:#}") } else { value.to_string() };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_deceptive(c) && c != '\n' {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| push(&mut shown, format_args!("\\u{unit:04x}")));
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A document in YAML 1.1 and 1.2 alike: every text is quoted, so that `on`, `1e3`, `12:30` and `2026-11-22` are texts
/// to every reader.
pub(super) fn yaml(value: &Value) -> String {
    let mut sorted = value.clone();
    sorted.sort_all_objects();
    let mut text = String::new();
    node(&sorted, 0, &mut text);
    text
}

fn node(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (index, (name, field)) in fields.iter().enumerate() {
                if index > 0 {
                    indent(depth, out);
                }
                push(out, format_args!("{}:", if is_bare(name) { name.clone() } else { quoted(name) }));
                match field {
                    Value::Object(inner) if !inner.is_empty() => below(field, depth + 1, out),
                    // A list may stand as deep as its name.
                    Value::Array(items) if !items.is_empty() => below(field, depth, out),
                    scalar => {
                        out.push(' ');
                        node(scalar, depth, out);
                    }
                }
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    indent(depth, out);
                }
                out.push_str("- ");
                node(item, depth + 1, out);
            }
        }
        Value::String(text) => push(out, format_args!("{}\n", quoted(text))),
        empty_or_scalar => push(out, format_args!("{empty_or_scalar}\n")),
    }
}

fn below(value: &Value, depth: usize, out: &mut String) {
    out.push('\n');
    indent(depth, out);
    node(value, depth, out);
}

fn indent(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", depth));
}

/// Names of fields; not those that YAML 1.1 reads as truth values (`y`, `no`, …).
fn is_bare(name: &str) -> bool {
    const READ_OTHERWISE: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.'))
        && !READ_OTHERWISE.contains(&name)
}

/// In double quotes, whose escapes are JSON's but for characters beyond U+FFFF, which have no pair of two here.
fn quoted(text: &str) -> String {
    let mut shown = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => push(&mut shown, format_args!("\\{c}")),
            '\n' => shown.push_str("\\n"),
            '\t' => shown.push_str("\\t"),
            c if is_deceptive(c) => push(&mut shown, format_args!("\\U{:08x}", u32::from(c))),
            c => shown.push(c),
        }
    }
    shown.push('"');
    shown
}

/// Writing to a string does not fail.
fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _: std::fmt::Result = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const EVIL: &str = "a\u{1b}]0;x\u{7}\u{9b}2J\u{202e}\u{200b}\u{e0041}b";

    #[test]
    fn what_moves_hides_or_turns_is_escaped_everywhere_and_kept_in_documents() {
        let value = json!({ "name": EVIL, "list": [EVIL] });
        for text in [line(EVIL), lines(EVIL), json(&value, true), json(&value, false), yaml(&value)] {
            assert!(!text.chars().any(|c| is_deceptive(c) && c != '\n'), "{text:?}");
        }
        for text in [json(&value, true), json(&value, false)] {
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        }
        assert_eq!(serde_norway::from_str::<Value>(&yaml(&value)).unwrap(), value);
        assert_eq!(lines("one\n\ttwo"), "one\n\ttwo");
    }

    #[test]
    fn yaml_reads_back_as_it_was_and_leaves_no_text_bare() {
        let value = json!({
            "id": "on", "numbers": ["1e3", "0x1f", "0777", ".5", "1_000", "12:30:00", "1"], "time": "2026-11-22T03:00:00Z",
            "empty": "", "none": null, "yes": true, "n": 1, "nothing": [], "no_fields": {}, "odd name": "a: b # c",
            "nested": { "list": [{ "a": 1, "b": ["x", ["y"]] }, {}], "deep": { "deeper": "line\nline \"quoted\" \\ é 👩" } },
        });
        let text = yaml(&value);
        assert_eq!(serde_norway::from_str::<Value>(&text).unwrap(), value, "{text}");
        for bare in [": on\n", "- 1e3", "- .5", "- 12:30", ": 2026-", "\nyes:", "\nn:"] {
            assert!(!text.contains(bare), "{bare:?} in {text}");
        }
        assert_eq!(yaml(&json!([])), "[]\n");
    }
}
