//! Why something is allowed or denied, in the answers of `Check`.

use super::reason::{Reason, Told, reasons};

reasons! {
    FOREIGN_TENANT [Decision;]
        "The subject is of another tenant than what it asks for."
        => "Nobody acts in another tenant; ask in the subject's own.";
    GRANTED [Decision;]
        "A grant, or Signet's own table, gives the permission."
        => "Do nothing: it is allowed.";
    POLICIES_UNUSABLE [Decision;]
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
    UNKNOWN_PERMISSION [Decision;]
        "Neither Signet, nor the environment, nor the tenant has a permission of this name."
        => "Fix the name, or declare it in the tenant's rules.";
    UNKNOWN_PRINCIPAL [Decision;]
        "The tenant has no principal of this id and type."
        => "Fix the SPIFFE id, or create the principal.";
}
