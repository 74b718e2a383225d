//! The body of a token request (RFC 6749 section 4.4.2, RFC 8705 section 2).

use crate::subject::Subject;

/// Why no token is given: `error` of RFC 6749 section 5.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GrantFault(pub(crate) &'static str);

/// An empty body asks for a token, too: the certificate says it all.
pub(crate) fn check(body: &[u8], subject: &Subject) -> Result<(), GrantFault> {
    let (mut grant, mut client): (Option<String>, Option<String>) = (None, None);
    for (name, value) in url::form_urlencoded::parse(body) {
        let place = match &*name {
            "grant_type" => &mut grant,
            "client_id" => &mut client,
            // Who sends one relies on something else than its certificate.
            "client_secret" | "client_assertion" => return Err(GrantFault("invalid_request")),
            _ => continue,
        };
        if place.replace(value.into_owned()).is_some() {
            return Err(GrantFault("invalid_request"));
        }
    }
    if grant.is_some_and(|grant| grant != "client_credentials") {
        return Err(GrantFault("unsupported_grant_type"));
    }
    let is_it = |client: &String| **client == *subject.spiffe_id || **client == *subject.id;
    if client.is_some_and(|client| !is_it(&client)) { Err(GrantFault("invalid_client")) } else { Ok(()) }
}
