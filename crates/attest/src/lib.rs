//! Checks of enrollment proofs that need the world outside: STS and OIDC issuers.
