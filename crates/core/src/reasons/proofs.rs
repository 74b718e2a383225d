//! Why a proof does not hold: for the audit log, and for who tests a rule.

use super::reason::{Reason, Told, reasons};

reasons! {
    AWS_HEADERS_NOT_ALLOWED [AuditLog;]
        "The request does not sign exactly `host` and the three `x-signet-…` headers, or carries others."
        => "Use Signet's client, or sign exactly those.";
    AWS_HOST_NOT_ALLOWED [AuditLog;]
        "The request goes to another host than the regional endpoint of STS in an allowed region."
        => "Presign for a regional endpoint, or add the region to `[enrollment] aws_regions`.";
    AWS_NOT_TRUSTED [AuditLog;]
        "The proof is of AWS, and no rule of the tenant accepts AWS."
        => "Create a rule with `principal enrollment rule create`.";
    AWS_OTHER_KEY [AuditLog;]
        "The request was signed for another key than the certificate request's."
        => "Find out whom the caller enrolled with: the proof may have been relayed.";
    AWS_OTHER_SERVER [AuditLog;]
        "The request was signed for another environment."
        => "Find out whom the caller enrolled with: the proof may have been relayed.";
    AWS_OTHER_TENANT [AuditLog;]
        "The request was signed for another tenant."
        => "Find out whom the caller enrolled with: the proof may have been relayed.";
    AWS_QUERY_NOT_ALLOWED [AuditLog;]
        "The URL lacks a query parameter, has one twice, an unknown one, or one with another value."
        => "Use Signet's client.";
    AWS_REQUEST_EXPIRED [AuditLog;]
        "The request was signed more than five minutes ago, or is past its own expiry."
        => "Retry with a new one; check the caller's clock.";
    AWS_REQUEST_FROM_FUTURE [AuditLog;]
        "The request was signed more than a minute ahead of the server's clock."
        => "Set the caller's clock.";
    AWS_SCOPE_MISMATCH [AuditLog;]
        "The request is signed for another region, service or day than it says."
        => "Presign for the region of the host.";
    AWS_STS_REFUSED [AuditLog;]
        "STS refused the request; the detail has its code."
        => "Fix the caller's AWS credentials.";
    AWS_URL_MALFORMED [AuditLog;]
        "The URL is none, is too long, or has another scheme, port, path or a user."
        => "Use Signet's client.";
    CERTIFICATE_MALFORMED [AuditLog Connection Client Decision;]
        "The bytes are not a certificate that can be understood."
        => "Use the certificate that Signet issued, unchanged.";
    CERTIFICATE_NOT_OURS [AuditLog;]
        "The certificate to be renewed was not issued in this environment."
        => "Send it to the environment that issued it, or enroll here.";
    CERTIFICATE_TOO_LARGE [AuditLog;]
        "The certificate to be renewed has more than 16 KiB."
        => "Send the certificate alone, without its chain.";
    FACT_DIFFERS [RuleTest;]
        "A fact has another value than the rule's condition wants."
        => "Compare the two in the detail, then fix the rule or the caller.";
    FACT_MISSING [RuleTest;]
        "The proof lacks a fact that a condition names."
        => "Fix the fact's name in the rule, or have the issuer send it.";
    ID_FACT_AMBIGUOUS [RuleTest;]
        "The id template names a fact that has several values."
        => "Use a fact with one value in the template.";
    ID_FACT_EMPTY [RuleTest;]
        "The id template names a fact that is empty."
        => "Use another fact in the template.";
    ID_FACT_MISSING [RuleTest;]
        "The id template names a fact that the proof lacks."
        => "Use another fact in the template, or have the issuer send it.";
    ID_NOT_ALLOWED [AuditLog;]
        "The id that the caller chose does not match the token's pattern."
        => "Choose an id that matches, or create a token with another pattern.";
    ID_UNUSABLE [RuleTest;]
        "The id template gives what cannot be a principal id."
        => "Shorten it, e.g. with `{fact:sha256}`.";
    ISSUER_REPLACED [AuditLog Connection;]
        "The certificate is older than the CA that it names: a restore lost that CA, and it was created again."
        => "Enroll again.";
    NEVER_COMMITTED [AuditLog;]
        "A reservation was never completed, so that the sweep closed it (`because` in the event)."
        => "Do nothing; the caller retries with a new request id.";
    NO_RULE_MATCHES [AuditLog;]
        "The proof holds, and no enrollment rule admits its facts."
        => "Test the rules with `principal enrollment rule test`.";
    OIDC_ALGORITHM_NOT_ALLOWED [AuditLog;]
        "The token is signed with something else than RS, PS, ES256, ES384 or EdDSA."
        => "Change the issuer's settings.";
    OIDC_BAD_SIGNATURE [AuditLog;]
        "The token does not verify with the issuer's key."
        => "Check whether it was cut off; otherwise somebody forged it.";
    OIDC_CLAIMS_NOT_USABLE [AuditLog;]
        "The token's claims are too many, too long, too deep or ambiguous."
        => "Change the issuer's claim mapping.";
    OIDC_CLAIM_MISSING [AuditLog;]
        "The token lacks `exp` or `iat`, or has one that is not a time."
        => "Change the issuer's settings.";
    OIDC_ISSUER_NOT_ALLOWED [AuditLog;]
        "The issuer has no `https://`, and the operator has not allowed it."
        => "Use TLS, or list it in `[enrollment] private_issuers`.";
    OIDC_ISSUER_NOT_TRUSTED [AuditLog;]
        "No rule of the tenant names the token's issuer."
        => "Compare the rule's issuer with the token's `iss`, to the last slash.";
    OIDC_OTHER_AUDIENCE [AuditLog;]
        "The token is for another audience."
        => "Request it for the audience of the rule, or fix the rule.";
    OIDC_TOKEN_EXPIRED [AuditLog;]
        "The token has expired."
        => "Retry with a fresh token; check the clocks.";
    OIDC_TOKEN_MALFORMED [AuditLog;]
        "The token is no compact JWT of at most 16 KiB, or has critical header fields."
        => "Send the token as the issuer gave it.";
    OIDC_TOKEN_NOT_YET_VALID [AuditLog;]
        "The token is not valid yet, or was issued in the future."
        => "Set the clock, on the side where it is wrong.";
    OIDC_TOKEN_TOO_OLD [AuditLog;]
        "The token was issued more than 24 hours ago."
        => "Retry with a fresh token.";
    OIDC_UNKNOWN_KEY [AuditLog;]
        "The token names a key that the issuer does not publish."
        => "Retry in ten seconds if the issuer has just rotated; otherwise somebody forged it.";
    OTHER_ANCHOR [RuleTest;]
        "The device's certificate is below another CA than those of the rule."
        => "Register that CA, if its devices are to be admitted.";
    OTHER_AUDIENCE [RuleTest;]
        "The token is for another audience than the rule's."
        => "Fix the rule, or request the token for its audience.";
    OTHER_ISSUER [RuleTest;]
        "The token comes from another issuer than the rule's."
        => "Fix the rule, if this issuer is meant.";
    OTHER_PRINCIPAL [AuditLog;]
        "The caller asked for another principal id than the token names, or than the rule gives it."
        => "Leave out the id, or ask for that one.";
    OTHER_PROOF [RuleTest;]
        "The rule is for another kind of proof."
        => "Do nothing, unless this rule was to match.";
    PRINCIPAL_EXISTS [AuditLog;]
        "The id is taken by a principal that the token or rule may not speak for."
        => "Choose another id, or create a token or rule that names this principal.";
    PRINCIPAL_ROLES_CHANGED [AuditLog;]
        "The principal has gained roles since the token or rule was created."
        => "Create a new one that names them.";
    PROOF_NOT_CHECKED [AuditLog;]
        "This process has no verifier for this kind of proof."
        => "Enroll at the control plane.";
    PROOF_REPLAYED [AuditLog;]
        "The same token was used before, for another key."
        => "Wait for the next token if the caller lost its key; otherwise somebody else has the token.";
    SIGNATURE_INVALID [AuditLog;]
        "The renewal was not signed with the key of the certificate, or over another request."
        => "Use Signet's client; if that was used, somebody else has the certificate, without its key.";
    SOURCE_NOT_ALLOWED [AuditLog;]
        "The token is bound to networks, and the caller's address is in none of them."
        => "Create a token for the caller's network, or find out who has this one.";
    TOKEN_EXPIRED [AuditLog;]
        "The join token has expired."
        => "Create a new one.";
    TOKEN_MAKER_INACTIVE [AuditLog;]
        "The principal that created the token was suspended or deleted."
        => "Let another one create a new token.";
    TOKEN_MAKER_RIGHTS_LOST [AuditLog;]
        "The principal that created the token may no longer give what the token gives."
        => "Let one who may create a new token.";
    TOKEN_REVOKED [AuditLog;]
        "The join token was revoked."
        => "Create a new one.";
    TOKEN_UNKNOWN [AuditLog;]
        "It is not a token of this environment: cut off, or from another one."
        => "Copy the token again, or create one here.";
    TOKEN_USED_UP [AuditLog;]
        "The join token has no uses left."
        => "Create a new one; if the caller never used it, find out who did and revoke that certificate.";
    X509_ANCHOR_NOT_VALID [AuditLog;]
        "The registered CA's own certificate is not valid now."
        => "Register its successor.";
    X509_BAD_CERTIFICATE_SIGNATURE [AuditLog;]
        "A certificate names the registered CA, and carries another signature, or one with SHA-1."
        => "Register the CA again if it was made anew with the same name; otherwise somebody forged it.";
    X509_BAD_PROOF [AuditLog;]
        "The signature is by another key, or over another environment, tenant, key or time."
        => "Find out whom the caller enrolled with: the proof may have been relayed.";
    X509_CHAIN_SIZE [AuditLog;]
        "The chain has no certificate, more than five, or one above 16 KiB."
        => "Send the leaf, and what is between it and the registered CA.";
    X509_EXPIRED [AuditLog;]
        "A certificate of the chain has expired."
        => "Renew the device's certificate with its maker; check the server's clock.";
    X509_IS_A_CA [AuditLog;]
        "The certificate is a CA's."
        => "Send the device's.";
    X509_MALFORMED [AuditLog;]
        "A certificate cannot be understood, or has an unknown critical extension."
        => "Send DER certificates; if they are, the device maker must change their profile.";
    X509_NOT_TRUSTED [AuditLog;]
        "The proof is a certificate, and no rule of the tenant registers a CA."
        => "Create a rule with `principal enrollment rule create`.";
    X509_NOT_YET_VALID [AuditLog;]
        "A certificate of the chain is not valid yet."
        => "Set the clock, on the side where it is wrong.";
    X509_PROOF_EXPIRED [AuditLog;]
        "The proof was signed more than five minutes ago."
        => "Sign again; check the caller's clock.";
    X509_PROOF_FROM_FUTURE [AuditLog;]
        "The proof was signed more than a minute ahead of the server's clock."
        => "Set the caller's clock.";
    X509_UNTRUSTED_ISSUER [AuditLog;]
        "The chain does not end in a registered CA."
        => "Register the CA that signed, and send the certificates between.";
    X509_WRONG_KEY_USAGE [AuditLog;]
        "The certificate may not authenticate a client by signature."
        => "Have the device maker change its profile.";
}
