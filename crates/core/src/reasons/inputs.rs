//! What is wrong with a request's fields.

use super::reason::{Reason, Told, reasons};

reasons! {
    AMBIGUOUS_ID [Caller; "INVALID_ARGUMENT"]
        "The rule's id template would give different callers the same principal id."
        => "Add the fact that tells them apart to the template, or pin it in a condition.";
    CLOCK_SKEW [Caller; "INVALID_ARGUMENT"]
        "The renewal was signed more than five minutes before or after the server's time."
        => "Set the clock, then sign again.";
    CSR_BAD_POINT [Caller; "INVALID_ARGUMENT"]
        "The key in the certificate request is not an uncompressed point on P-256."
        => "Create a new key and request.";
    CSR_BAD_SIGNATURE [Caller; "INVALID_ARGUMENT"]
        "The certificate request was not signed with the private key that belongs to it."
        => "Sign the request with its own key.";
    CSR_MALFORMED [Caller; "INVALID_ARGUMENT"]
        "The bytes are not a PKCS #10 certificate request."
        => "Send a PKCS #10 request: DER over gRPC, PEM over HTTP.";
    CSR_TOO_LARGE [Caller; "INVALID_ARGUMENT"]
        "The certificate request has more than 16 KiB."
        => "Send a request with a key and nothing else: Signet ignores the names in it.";
    CSR_TRAILING_BYTES [Caller; "INVALID_ARGUMENT"]
        "Other bytes follow the certificate request."
        => "Send the request alone.";
    CSR_UNSUPPORTED_KEY [Caller; "INVALID_ARGUMENT"]
        "The key in the certificate request is not an ECDSA key on P-256."
        => "Create a P-256 key.";
    CSR_UNSUPPORTED_SIGNATURE [Caller; "INVALID_ARGUMENT"]
        "The certificate request is not signed with ecdsa-with-SHA256."
        => "Sign the request with ECDSA and SHA-256.";
    DUPLICATE [Caller; "INVALID_ARGUMENT"]
        "A list names the same thing twice."
        => "Name each thing once; a fact can have several values.";
    FOREIGN_KEY [Caller; "INVALID_ARGUMENT"]
        "The key of a WIT-SVID is not that of the connection's certificate."
        => "Send the public key of the certificate that you connect with.";
    INVALID_DISPLAY_NAME [Caller; "INVALID_ARGUMENT"]
        "The display name is too long, or has characters that hide, move the cursor or turn text round."
        => "Use at most 128 printable characters.";
    INVALID_GRANT [Caller; "INVALID_ARGUMENT"]
        "A grant is for a role, group or permission that the rules do not have, or of a permission that is not granted."
        => "Fix the grant; the message has the rule.";
    INVALID_ID [Caller; "INVALID_ARGUMENT"]
        "A value is not an identifier of the kind that the field takes."
        => "Fix the field; the message has the rule.";
    INVALID_ISSUER [Caller; "INVALID_ARGUMENT"]
        "The rule's issuer is not an `https://` URL without query."
        => "Write the issuer exactly as the tokens' `iss` has it.";
    INVALID_JSON [Caller; "HTTP 400"]
        "The body is not JSON, or not the object that this path takes."
        => "Fix the body; the message has the field or the position.";
    INVALID_KIND [Caller; "INVALID_ARGUMENT"]
        "Another tenant than `system` was asked to rotate a root, shared or server CA."
        => "Ask for kind TENANT, or rotate in tenant `system`.";
    INVALID_MESSAGE [Caller; "INVALID_ARGUMENT"]
        "The bytes of the request are not the message that the method takes, or the request was broken off."
        => "Check that the client was generated from this API's .proto files.";
    INVALID_NETWORK [Caller; "INVALID_ARGUMENT"]
        "A source network is not an IP network in CIDR notation."
        => "Write the network as 192.0.2.0/24 or 2001:db8::/32.";
    INVALID_PAGE_TOKEN [Caller; "INVALID_ARGUMENT"]
        "The page token is not one that this listing returned."
        => "Send the `next_page_token` of the same listing, or start again without a token.";
    INVALID_PATTERN [Caller; "INVALID_ARGUMENT"]
        "The pattern for principal ids is empty, too long or has other characters than ids and `*`."
        => "Use 1 to 64 of `A-Z a-z 0-9 . _ - *`.";
    INVALID_PERMISSION [Caller; "INVALID_ARGUMENT"]
        "A permission is not called WHAT:VERB."
        => "Call it e.g. jobs:submit, of a-z 0-9 - and _.";
    INVALID_POLICY [Caller; "INVALID_ARGUMENT"]
        "The policies are not Cedar, or do not fit the types and permissions; each fault has its line and column."
        => "Fix the policies; `principal authz diff` tells without changing anything.";
    INVALID_SUBJECT [Caller; "INVALID_ARGUMENT"]
        "A tenant's certificates cannot have subjects of this form."
        => "Fix the field; the message has the rule.";
    INVALID_TEMPLATE [Caller; "INVALID_ARGUMENT"]
        "The rule's id template breaks a rule of templates."
        => "Fix the template; the message has the rule.";
    INVALID_TEXT [Caller; "INVALID_ARGUMENT"]
        "A text of the rule is empty, too long or has control characters."
        => "Fix the field; the message has the limit.";
    INVALID_TIME [Caller; "HTTP 400"]
        "The time is not an RFC 3339 time."
        => "Write it as 2026-01-31T12:00:00Z.";
    INVALID_TOPIC_FILTER [Caller; "INVALID_ARGUMENT"]
        "A topic filter is none (MQTT 5 section 4.7), begins with a wildcard, `$` or nothing, or has braces or control characters."
        => "Fix the filter; the message has it and the rule.";
    KEY_REUSED [Caller; "INVALID_ARGUMENT"]
        "The key in the certificate request already has a certificate."
        => "Create a new key for each renewal.";
    METHOD_NOT_ALLOWED [Caller; "HTTP 405"]
        "The path accepts only POST."
        => "Send a POST.";
    NOT_A_CA [Caller; "INVALID_ARGUMENT"]
        "A certificate that the rule registers is not a CA's."
        => "Register the certificate of the CA that signs the devices' certificates.";
    NOT_BASE64 [Caller; "HTTP 400"]
        "The value is not standard base64."
        => "Encode it with the standard alphabet (RFC 4648 section 4).";
    NOT_PEM [Caller; "HTTP 400"]
        "The text is not PEM of the kind that the field takes."
        => "Send one certificate request, or certificates with the leaf first, as PEM.";
    ONE_PRINCIPAL [Caller; "INVALID_ARGUMENT"]
        "A token that names its principal has more than one use, or a pattern for ids."
        => "Leave out the uses and the pattern, or the principal's id.";
    ONLY_ACTIVATION [Caller; "INVALID_ARGUMENT"]
        "`force` was set for another rotation step than an activation."
        => "Leave out `force`.";
    OUT_OF_RANGE [Caller; "INVALID_ARGUMENT"]
        "A number, time or count is outside of its limits."
        => "Choose a value within the limits that the message has.";
    PRINCIPAL_TYPE_DIFFERS [Caller AuditLog; "INVALID_ARGUMENT"]
        "The principal exists, with another type than the token or rule gives."
        => "Name another principal, or create a token or rule of its type.";
    REQUEST_ID_REUSED [Caller; "INVALID_ARGUMENT"]
        "The request id was used within a day for another request."
        => "Use a new id for each new request, and the same id only to repeat one.";
    REQUIRED [Caller; "INVALID_ARGUMENT"]
        "A field that must be set is empty."
        => "Set the field.";
    RESERVED_ID [Caller; "INVALID_ARGUMENT"]
        "The tenant id is reserved for the environment."
        => "Choose another id.";
    SCOPE_NOT_GRANTED [Caller; "INVALID_ARGUMENT"]
        "The caller has none of the audience's permissions, or not all that it asks for."
        => "Ask for those that `principal authz check` allows, or have an admin grant the others.";
    TOO_LARGE [Caller; "INVALID_ARGUMENT", "HTTP 413"]
        "A field, or the body of an HTTP request, has too many bytes."
        => "Send less; the message has the limit.";
    TOO_MANY [Caller; "INVALID_ARGUMENT"]
        "A list has too many entries, or too few."
        => "Send as many as the message says.";
    TOO_WIDE [Caller; "INVALID_ARGUMENT"]
        "The rule's conditions would admit callers that nobody can have meant."
        => "Pin the AWS account, or a claim that distinguishes callers.";
    TOPIC_NOT_GRANTED [Caller; "INVALID_ARGUMENT"]
        "A broker token was asked for a topic filter that goes beyond the caller's topics, or the caller has none."
        => "Ask for less, or have an admin grant `mqtt:publish` or `mqtt:subscribe`; the message has the filter.";
    TRUST_DOMAIN_OF_SERVER [Caller; "INVALID_ARGUMENT"]
        "The tenant's trust domain would be or contain a host name of the control plane, which its CA could then name."
        => "Choose another id.";
    UNKNOWN_AUDIENCE [Caller; "INVALID_ARGUMENT"]
        "The tenant has no permission whose name begins with the audience and a colon."
        => "Fix the audience, or declare its permissions in the tenant's rules.";
    UNKNOWN_FIELD [Caller; "INVALID_ARGUMENT"]
        "The update mask names a field that cannot be changed."
        => "Name only the fields that the message lists.";
    UNKNOWN_VALUE [Caller; "INVALID_ARGUMENT"]
        "This server does not know the number of an enum."
        => "Use a value that the message lists, or upgrade the server.";
    UNSUPPORTED_MEDIA_TYPE [Caller; "HTTP 400", "HTTP 415"]
        "The content type of the HTTP request is not application/json."
        => "Send JSON, with `Content-Type: application/json`.";
    UNSUPPORTED_RESOURCE_TYPE [Caller; "HTTP 400"]
        "A search is for resources of a type that Signet has no list of."
        => "Search for principals or the tenant; ask about other resources one by one.";
    WRONG_TENANT [Caller; "INVALID_ARGUMENT"]
        "Another tenant than `system` was to have a root, shared or server CA."
        => "Rotate CAs of this kind in tenant `system`.";
}
