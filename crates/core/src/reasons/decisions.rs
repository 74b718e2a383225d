//! Why something is allowed or denied, in the answers of `Check`.

use super::reason::{Reason, Told, reasons};

reasons! {
    ACCESS_TOKEN_BAD_SIGNATURE [Decision;]
        "The key that the access token names did not sign it."
        => "Refuse it: somebody changed or forged it.";
    ACCESS_TOKEN_EXPIRED [Decision;]
        "The access token is over."
        => "Its holder gets another one.";
    ACCESS_TOKEN_KEY_UNKNOWN [Decision;]
        "The tenant has no key of the name that the access token gives, or no longer."
        => "Its holder gets another token; if that is refused as well, it is another tenant's.";
    ACCESS_TOKEN_MALFORMED [Decision;]
        "It is not an access token in form: three parts, ES256 or RS256, the claims of RFC 9068."
        => "Send the token as it came, without `Bearer`.";
    ACCESS_TOKEN_NOT_BOUND [Decision;]
        "The access token is bound to another certificate than that of the connection it came on."
        => "Refuse it: it was stolen, or its holder has renewed its certificate and must get another token.";
    ACCESS_TOKEN_OF_ANOTHER_KIND [Decision;]
        "It is a JWT of the tenant, but no access token: its `typ` is not `at+jwt`."
        => "Send an access token; SVIDs are for others.";
    FOREIGN_TENANT [Decision;]
        "The subject is of another tenant than what it asks for."
        => "Nobody acts in another tenant; ask in the subject's own.";
    GRANTED [Decision;]
        "A grant, or Signet's own table, gives the permission."
        => "Do nothing: it is allowed.";
    POLICIES_UNUSABLE [Caller Decision; "FAILED_PRECONDITION"]
        "The rules of the tenant or of the environment cannot be read on this node."
        => "Retry once the node runs the release that wrote them; else put the record right (RECORD_UNREADABLE).";
    POLICY_FORBIDS [Decision;]
        "A policy of the tenant forbids it, or could not be evaluated."
        => "Ask an admin of the tenant; `principal authz get` shows its policies.";
    POLICY_PERMITS [Decision;]
        "A policy of the tenant permits it, and none forbids it."
        => "Do nothing: it is allowed.";
    RESOURCE_NOT_FOUND [Decision;]
        "The principal that is the resource does not exist, or may not act."
        => "Create or activate it, or ask about another.";
    SCOPE_MISSING [Decision;]
        "The access token that was shown is not for this permission."
        => "Ask for a token with the permission in its scope.";
    UNKNOWN_PERMISSION [Decision;]
        "Neither Signet, nor the environment, nor the tenant has a permission of this name."
        => "Fix the name, or declare it in the tenant's rules.";
    UNKNOWN_PRINCIPAL [Decision;]
        "The tenant has no principal of this id and type."
        => "Fix the SPIFFE id, or create the principal.";
}
