//! The one path that is decided on and sent on. What two parsers could read in two ways is refused.

/// Longest path, bytes.
const MAX_PATH: usize = 8192;

/// Why a path is refused, for the audit log.
pub(crate) type PathFault = &'static str;

/// Brings a path into its normal form (RFC 3986 section 6.2.2): unreserved characters as they are, `%` sequences in
/// upper case, dot segments resolved.
pub(crate) fn normalized(path: &str) -> Result<String, PathFault> {
    if !path.starts_with('/') {
        return Err("the path does not begin with a slash");
    }
    if path.len() > MAX_PATH {
        return Err("the path is too long");
    }
    resolved(&decoded(path)?)
}

/// With every `%` sequence of an unreserved character decoded. Encoded slashes, backslashes and control characters are
/// refused, since some servers decode them before they look for a file, and others after.
fn decoded(path: &str) -> Result<String, PathFault> {
    let mut out = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            if !is_pchar(byte) && byte != b'/' {
                return Err("the path has a character that must be encoded");
            }
            out.push(char::from(byte));
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else {
            return Err("the path has a % without two hexadecimal digits");
        };
        let meant = u8::try_from(high * 16 + low).unwrap_or_default();
        match meant {
            b'/' | b'\\' => return Err("the path has an encoded slash or backslash"),
            0..0x20 | 0x7f => return Err("the path has an encoded control character"),
            // Decoded twice by somebody, it is another path.
            b'%' => return Err("the path has an encoded %"),
            _ if is_unreserved(meant) => out.push(char::from(meant)),
            _ => out.push_str(&format!("%{meant:02X}")),
        }
    }
    Ok(out)
}

fn resolved(path: &str) -> Result<String, PathFault> {
    let mut segments: Vec<&str> = Vec::new();
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        match part {
            "" if !is_last => return Err("the path has an empty segment"),
            "." | ".." => {
                if part == ".." && segments.pop().is_none() {
                    return Err("the path climbs above its root");
                }
                if is_last {
                    segments.push("");
                }
            }
            // Servlet containers leave them out: `/admin;a` is `/admin`.
            _ if part.contains(';') || part.contains("%3B") => return Err("the path has parameters (;)"),
            _ => segments.push(part),
        }
    }
    Ok(format!("/{}", segments.join("/")))
}

/// RFC 3986 section 2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// RFC 3986 section 3.3, without `%`.
const fn is_pchar(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_path_has_one_form() {
        for (path, form) in [
            ("/", "/"),
            ("/jobs", "/jobs"),
            ("/jobs/", "/jobs/"),
            ("/%6a%6Fbs/%7euser", "/jobs/~user"),
            ("/a/./b/../c", "/a/c"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/..", "/"),
            ("/a/.", "/a/"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/jobs.v1.JobService/SubmitJob", "/jobs.v1.JobService/SubmitJob"),
        ] {
            assert_eq!(normalized(path).as_deref(), Ok(form), "{path}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for path in [
            "",
            "jobs",
            "*",
            "/..",
            "/a/../..",
            "/%2e%2e/etc",
            "//",
            "/a//b",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%0d%0a",
            "/a%7f",
            "/a%",
            "/a%4",
            "/a%zz",
            "/a%252e",
            "/..;/b",
            "/a/..;x=1/b",
            "/a;v=1/b",
            "/a/b%3bc",
            "/.;/a",
            "/;/a",
            "/a b",
            "/a\"b",
            "/a<b",
            "/é",
        ] {
            assert!(normalized(path).is_err(), "{path}");
        }
    }

    proptest! {
        #[test]
        fn the_form_of_a_form_is_itself(path in "/[a-c./%;2fF0-9e]{0,30}") {
            if let Ok(form) = normalized(&path) {
                prop_assert_eq!(normalized(&form), Ok(form.clone()));
                prop_assert!(!form.contains("//") && !form.contains("/../") && !form.ends_with("/.."));
            }
        }
    }
}
