//! How the broker names clients: `<tenant>/<principal id>`. Neither has a slash, a wildcard or a colon.

/// The user name of a principal.
pub(crate) fn username(tenant: &str, principal: &str) -> String {
    format!("{tenant}/{principal}")
}

/// Tenant and principal of a user name that we have given.
pub(crate) fn parts(username: &str) -> Option<(&str, &str)> {
    username.split_once('/')
}

/// Whether the client id is the holder's of this user name: the name itself, or the name, a colon and anything. MQTT
/// lets whoever has the client id of another take over its session (MQTT 5 section 3.1.4-3).
pub(crate) fn owns(username: &[u8], client_id: &[u8]) -> bool {
    client_id.strip_prefix(username).is_some_and(|rest| rest.is_empty() || rest.starts_with(b":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_the_client_id_of_another() {
        for own in ["acme/d1", "acme/d1:", "acme/d1:loop", "acme/d1:acme/d2"] {
            assert!(owns(b"acme/d1", own.as_bytes()), "{own}");
        }
        for other in
            ["", "d1", "acme/d", "acme/d10", "acme/d1/x", "acme/d2", "globex/d1", "ACME/d1", " acme/d1", "acme"]
        {
            assert!(!owns(b"acme/d1", other.as_bytes()), "{other}");
        }
        assert_eq!(parts(&username("acme", "d1")), Some(("acme", "d1")));
    }
}
