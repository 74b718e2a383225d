//! What STS answers (Query protocol, XML). An answer that is not as documented vouches for nobody.

use reqwest::StatusCode;
use roxmltree::{Document, Node, ParsingOptions};
use signet_core::enrollment::attestation::AttestationError;

use super::{identity::Identity, unavailable};
use crate::{http::HttpResponse, refused};

/// Codes that are about the caller's signature and credentials (STS, "Common Errors"). All others say nothing about
/// them: throttling, a region that is disabled, an endpoint's policy (nothing else denies GetCallerIdentity).
const ABOUT_THE_CALLER: [&str; 11] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
    "InvalidToken",
];
/// An answer has about fifteen.
const MAX_NODES: u32 = 64;

/// The identity, if STS vouches for one.
pub(super) fn read(answer: &HttpResponse) -> Result<Identity, AttestationError> {
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    let text = std::str::from_utf8(&answer.body).ok();
    let document = text.and_then(|text| Document::parse_with_options(text, options).ok());
    let document = document.as_ref();
    if answer.status == StatusCode::OK {
        let identity = document.and_then(identity);
        return identity.ok_or_else(|| unavailable("its answer is not that of GetCallerIdentity"));
    }
    let code = document.and_then(|document| text_at(document, &["ErrorResponse", "Error", "Code"]));
    match code.filter(|code| is_code(code)) {
        Some(code) if answer.status.is_client_error() && ABOUT_THE_CALLER.contains(&code) => {
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

fn identity(document: &Document<'_>) -> Option<Identity> {
    let value = |name: &str| text_at(document, &["GetCallerIdentityResponse", "GetCallerIdentityResult", name]);
    Identity::new(value("Account")?, value("Arn")?, value("UserId")?)
}

/// The text of the element at `path`, if each step is there exactly once and the last holds nothing but text.
fn text_at<'a>(document: &'a Document<'_>, path: &[&str]) -> Option<&'a str> {
    let found = path.iter().try_fold(document.root(), |node, name| only_child(node, name))?;
    let mut inside = found.children();
    let text = inside.next()?;
    (text.is_text() && inside.next().is_none()).then(|| text.text()).flatten()
}

fn only_child<'a, 'b>(node: Node<'a, 'b>, name: &str) -> Option<Node<'a, 'b>> {
    let mut named = node.children().filter(|child| child.tag_name().name() == name);
    let first = named.next()?;
    named.next().is_none().then_some(first)
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
        read(&HttpResponse { status, body: body.as_bytes().to_vec() })
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
        let comment = GOOD.replace("user/Alice", "user/<!-- x -->Alice");
        let results =
            GOOD.replace("</GetCallerIdentityResponse>", "<GetCallerIdentityResult/></GetCallerIdentityResponse>");
        let expanding = format!("<!DOCTYPE x [<!ENTITY a \"Alice\">]>{}", GOOD.replace("Alice", "&a;"));
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
            &results,
            &expanding,
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
        for (status, code) in [
            (403, "AccessDenied"),
            (403, "RegionDisabledException"),
            (400, "Throttling"),
            (500, "InternalFailure"),
            (503, "ServiceUnavailable"),
            (302, "Moved"),
        ] {
            assert!(is_unavailable(&error(status, code)), "{status} {code}");
        }
        for (status, body) in [(403, "<html>blocked</html>"), (302, ""), (301, GOOD), (500, GOOD), (404, "x")] {
            assert!(answer(status, body).is_err_and(|error| is_unavailable(&error)), "{status} {body}");
        }
        assert!(is_unavailable(&error(403, "not a code!")));
    }
}
