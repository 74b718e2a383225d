//! What STS answers (Query protocol, XML), read as strictly as it is written: elements and text, nothing else.

use reqwest::StatusCode;
use signet_core::attestation::AttestationError;

use super::{identity::Identity, unavailable};
use crate::{http::Answer, refused};

/// Codes that say nothing about the caller.
const TRY_AGAIN: [&str; 5] =
    ["Throttling", "ThrottlingException", "RequestLimitExceeded", "ServiceUnavailable", "InternalFailure"];
const MAX_DEPTH: usize = 6;

/// The identity, if STS vouches for one.
pub(super) fn read(answer: &Answer) -> Result<Identity, AttestationError> {
    let text = std::str::from_utf8(&answer.body).ok();
    let elements = text.and_then(elements);
    if answer.status == StatusCode::OK {
        let identity = elements.as_deref().and_then(identity);
        return identity.ok_or_else(|| unavailable("its answer is not that of GetCallerIdentity"));
    }
    let code = elements.as_deref().and_then(|elements| only(elements, "ErrorResponse/Error/Code"));
    match code.filter(|code| is_code(code)) {
        Some(code) if answer.status.is_client_error() && !TRY_AGAIN.contains(&code) => {
            Err(refused("AWS_STS_REFUSED", format!("STS answered {} {code}", answer.status.as_u16())))
        }
        Some(code) => Err(unavailable(format!("it answered {} {code}", answer.status.as_u16()))),
        // A redirect, a proxy's page, or an error of no kind that STS has.
        None => Err(unavailable(format!("it answered with status {}", answer.status.as_u16()))),
    }
}

fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_'))
}

fn identity(elements: &[(String, &str)]) -> Option<Identity> {
    let value = |name: &str| only(elements, &format!("GetCallerIdentityResponse/GetCallerIdentityResult/{name}"));
    Identity::new(value("Account")?, value("Arn")?, value("UserId")?)
}

/// The text of the element at `path`, if it is there exactly once.
fn only<'a>(elements: &[(String, &'a str)], path: &str) -> Option<&'a str> {
    let mut found = elements.iter().filter(|(at, _)| at == path).map(|(_, text)| *text);
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

/// All elements without children, with their paths. `None` for what is not well-formed, and for whatever an answer of STS
/// never has: comments, entities in names, CDATA, document types.
fn elements(text: &str) -> Option<Vec<(String, &str)>> {
    let mut rest = text.trim_start();
    if let Some(after) = rest.strip_prefix("<?xml") {
        rest = after.split_once("?>")?.1.trim_start();
    }
    let (mut path, mut found): (Vec<&str>, Vec<(String, &str)>) = (Vec::new(), Vec::new());
    // Whether the element that is open has had no child so far.
    let mut is_leaf = false;
    loop {
        let (text, after) = rest.split_once('<')?;
        let (tag, after) = after.split_once('>')?;
        if let Some(name) = tag.strip_prefix('/') {
            if is_leaf {
                found.push((path.join("/"), text));
            }
            (path.pop()? == name.trim_end()).then_some(())?;
            is_leaf = false;
        } else {
            text.trim().is_empty().then_some(())?;
            let closed = tag.ends_with('/');
            path.push(element_name(tag.trim_end_matches('/'))?);
            is_leaf = !closed;
            if closed {
                path.pop();
            }
        }
        (path.len() <= MAX_DEPTH).then_some(())?;
        if path.is_empty() {
            return after.trim().is_empty().then_some(found);
        }
        rest = after;
    }
}

/// The name in an opening tag; attributes, such as the namespace, say nothing that matters.
fn element_name(tag: &str) -> Option<&str> {
    let name = tag.split_ascii_whitespace().next()?;
    (tag.starts_with(name) && name.bytes().all(|b| b.is_ascii_alphanumeric())).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  <GetCallerIdentityResult>\n    \
        <Arn>arn:aws:iam::123456789012:user/Alice</Arn>\n    <UserId>AIDACKCEVSQ6C2EXAMPLE</UserId>\n    \
        <Account>123456789012</Account>\n  </GetCallerIdentityResult>\n  <ResponseMetadata>\n    \
        <RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId>\n  </ResponseMetadata>\n</GetCallerIdentityResponse>\n";

    fn answer(status: u16, body: &str) -> Result<Identity, AttestationError> {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT);
        read(&Answer { status, body: body.as_bytes().to_vec() })
    }

    fn error(status: u16, code: &str) -> AttestationError {
        let body = format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>{code}</Code>\
             <Message>The security token is &quot;bad&quot;</Message></Error><RequestId>1</RequestId></ErrorResponse>"
        );
        answer(status, &body).err().unwrap_or(AttestationError::Unavailable { what: "no error", cause: String::new() })
    }

    fn is_unavailable(error: &AttestationError) -> bool {
        matches!(error, AttestationError::Unavailable { what: "STS", .. })
    }

    #[test]
    fn the_documented_answer_is_read() {
        assert!(answer(200, GOOD).is_ok());
        assert!(answer(200, &format!("<?xml version=\"1.0\"?>\n{GOOD}")).is_ok());
    }

    #[test]
    fn anything_else_is_no_identity() {
        let twice = GOOD.replace("</Account>", "</Account><Account>210987654321</Account>");
        let comment = GOOD.replace("<Arn>", "<!-- x --><Arn>");
        let nested = GOOD.replace("123456789012</Account>", "<b>123456789012</b></Account>");
        let outside = GOOD.replace("GetCallerIdentityResult", "Other");
        let cut = GOOD.replace("</GetCallerIdentityResponse>", "");
        let crossed = GOOD.replace("</Arn>", "</UserId>");
        let followed = format!("{GOOD}<x></x>");
        let other_account = GOOD.replace("<Account>123456789012", "<Account>210987654321");
        let entity = GOOD.replace("Alice", "&lt;");
        for bad in [
            &twice,
            &comment,
            &nested,
            &outside,
            &cut,
            &crossed,
            &followed,
            &other_account,
            &entity,
            "",
            "{}",
            "<a>",
            "<>",
        ] {
            assert!(answer(200, bad).is_err_and(|error| is_unavailable(&error)), "{bad}");
        }
    }

    #[test]
    fn a_refusal_by_sts_is_told_from_its_absence() {
        for (status, code) in [(403, "SignatureDoesNotMatch"), (403, "ExpiredToken"), (400, "IncompleteSignature")] {
            assert_eq!(error(status, code), refused("AWS_STS_REFUSED", format!("STS answered {status} {code}")));
        }
        for (status, code) in
            [(400, "Throttling"), (500, "InternalFailure"), (503, "ServiceUnavailable"), (302, "Moved")]
        {
            assert!(is_unavailable(&error(status, code)), "{status} {code}");
        }
        for (status, body) in [(403, "<html>blocked</html>"), (302, ""), (301, GOOD), (500, GOOD), (404, "x")] {
            assert!(answer(status, body).is_err_and(|error| is_unavailable(&error)), "{status} {body}");
        }
        assert!(is_unavailable(&error(403, "not a code!")));
    }
}
