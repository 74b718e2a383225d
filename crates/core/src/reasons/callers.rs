//! What rights, state or limits stand in the way of a request.

use super::reason::{Reason, Told, reasons};

reasons! {
    ALREADY_EXISTS [Caller; "ALREADY_EXISTS"]
        "A resource with this id exists already."
        => "Choose another id, or use the one that exists.";
    ANONYMOUS_BUSY [Caller; "RESOURCE_EXHAUSTED"]
        "The node has as many calls without a certificate as it takes."
        => "Retry after the pause in `RetryInfo`.";
    ANSWER_UNREAD [Caller Connection; "UNAVAILABLE"]
        "The client left an answer unread for too long, and the node closed the connection."
        => "Reconnect, and read answers as they come.";
    CALLER_TYPE_DENIED [Caller; "PERMISSION_DENIED"]
        "Principals of the caller's type may not call this."
        => "Call as a principal of a type that may.";
    CA_NOT_KNOWN_YET [Caller; "FAILED_PRECONDITION"]
        "Verifiers may not have fetched the prepared CA yet, and would refuse its certificates."
        => "Activate it at the time in the message; an operator can force it before.";
    CA_PREPARED_TOO_OFTEN [Caller; "RESOURCE_EXHAUSTED"]
        "As many CAs were prepared within a day as the limit allows."
        => "Prepare the next one at the time in the message.";
    CERTIFICATE_AUTHORITY_QUOTA [Caller; "RESOURCE_EXHAUSTED"]
        "The tenant has as many CAs as it may; retired ones count."
        => "Ask the operator to raise the quota.";
    CERTIFICATE_EXPIRED [Caller Connection; "UNAUTHENTICATED", "FAILED_PRECONDITION"]
        "The certificate has expired: the caller's own, or the one to be revoked, which nobody accepts any more."
        => "Renew out of band within the tenant's grace, or enroll again; what has expired needs no revocation.";
    CERTIFICATE_LIMIT [Caller AuditLog; "RESOURCE_EXHAUSTED"]
        "The principal has as many certificates as its tenant allows."
        => "Revoke one, or wait until one expires.";
    CERTIFICATE_NOT_ISSUED [Caller; "FAILED_PRECONDITION"]
        "The certificate was reserved and never released, so that nobody accepts it."
        => "Do nothing: there is nothing to revoke.";
    CERTIFICATE_NOT_YET_VALID [Caller Connection Client; "UNAUTHENTICATED"]
        "The certificate is not valid yet."
        => "Set the clock, on the side where it is wrong.";
    CERTIFICATE_REQUIRED [Caller Connection Client; "UNAUTHENTICATED"]
        "The call, or the server, needs a client certificate."
        => "Connect with a certificate, or enroll.";
    CERTIFICATE_REVOKED [Caller AuditLog Connection; "UNAUTHENTICATED", "FAILED_PRECONDITION"]
        "The certificate was revoked, or the one that this request id issued."
        => "Enroll again if you are allowed to; if your own request was cut short, use a new request id.";
    CERTIFICATE_UNKNOWN [Caller AuditLog Connection; "UNAUTHENTICATED", "FAILED_PRECONDITION"]
        "There is no record of the certificate, so it cannot be renewed, and nodes report it or refuse it."
        => "Enroll again.";
    CLONE_DETECTED [Caller; "FAILED_PRECONDITION"]
        "The certificate was renewed before and its successor is in use: the key was copied, so the instance is locked."
        => "Find the copy (runbook CloneDetected), then enroll again with a new key.";
    CLOSED [Caller Connection; "UNAVAILABLE"]
        "The connection was closed by the client or the network while a stream was open."
        => "Reconnect.";
    COMMON_NAME_TOO_LONG [Caller; "FAILED_PRECONDITION"]
        "The tenant's subjects hold the tenant and the principal's id as CN, which together have more than 64 characters."
        => "Give the principal a shorter id, or have the tenant's operator change the form: `principal tenant update --subject`.";
    CONCURRENT_CHANGE [Caller; "ABORTED"]
        "Somebody else changed the same record meanwhile."
        => "Read it again and retry.";
    CONNECTION_MAX_AGE [Caller Connection; "UNAVAILABLE"]
        "The connection has reached its maximum age."
        => "Reconnect.";
    ENROLLMENT_REFUSED [Caller; "UNAUTHENTICATED"]
        "The proof did not hold; the caller learns no more than this."
        => "Give the correlation id to the tenant's administrator, who finds the reason in the audit log.";
    ENROLLMENT_RULE_QUOTA [Caller; "RESOURCE_EXHAUSTED"]
        "The tenant has as many enrollment rules as it may."
        => "Delete one, or ask the operator to raise the quota.";
    FAILURE_LIMIT_REACHED [AuditLog;]
        "So many calls of a principal were refused that it was suspended; an admin is not, and this is all that is told."
        => "Find out what it tried (`last_operation`, `last_reason`) and whether its key was stolen; then `principal activate`.";
    INSTANCE_LOCKED [Caller; "FAILED_PRECONDITION"]
        "The instance was locked because a copied key was used."
        => "Enroll again with a new key.";
    INTERNAL [Caller; "INTERNAL"]
        "The server failed; the cause is in its log."
        => "Retry with the same request id; if it fails again, report it to the operator.";
    ISSUER_NOT_YET_VALID [Caller AuditLog; "FAILED_PRECONDITION"]
        "The CA that would sign is not valid yet by the server's clock."
        => "Check the server's clock.";
    ISSUER_RETIRED [Caller AuditLog Connection; "UNAUTHENTICATED", "FAILED_PRECONDITION"]
        "The CA that signed the certificate, or was to sign it, was retired."
        => "Enroll again; if your own request was cut short, use a new request id.";
    JOIN_TOKEN_QUOTA [Caller; "RESOURCE_EXHAUSTED"]
        "The tenant has as many join tokens as it may; used ones count until they expire."
        => "Wait until some expire, create tokens with more uses, or ask the operator to raise the quota.";
    MISCONFIGURED [Caller; "FAILED_PRECONDITION"]
        "A key, table or permission of the environment is wrong."
        => "Tell the operator (runbook Misconfigured): a retry fails until it is fixed.";
    MODEL_CHANGED [Caller; "FAILED_PRECONDITION"]
        "The tenant's authorization rules are at another version than the one that the change was made from."
        => "Read them, make the change again, and set it with the new version.";
    NODE_BUSY [Caller; "RESOURCE_EXHAUSTED"]
        "The node has as many concurrent calls as it takes."
        => "Retry after the pause in `RetryInfo`.";
    NODE_DRAINING [Caller Connection Operator; "UNAVAILABLE"]
        "The node is shutting down."
        => "Reconnect: another node answers.";
    NODE_STALE [Caller Operator; "UNAVAILABLE"]
        "The node has not read the changes feed for too long, so it cannot tell who was revoked."
        => "Retry after the pause in `RetryInfo`; the operator follows the runbook NodeStale.";
    NOTHING_PREPARED [Caller; "FAILED_PRECONDITION"]
        "There is no prepared CA to activate."
        => "Prepare one first.";
    NOTHING_RETIRING [Caller; "FAILED_PRECONDITION"]
        "No CA is retiring."
        => "Activate the next one first.";
    NOT_FOUND [Caller AuditLog; "NOT_FOUND"]
        "There is no such resource, or it is another tenant's; over HTTP also: there is no such path."
        => "Check the id and the tenant.";
    NO_ACTIVE_CA [Caller AuditLog; "FAILED_PRECONDITION"]
        "The tenant has no active CA."
        => "Rotate the tenant's CA.";
    NO_ACTIVE_ROOT [Caller; "FAILED_PRECONDITION"]
        "The environment has no active root."
        => "Run `principal bootstrap`.";
    NO_ACTIVE_SERVER_CA [Caller; "FAILED_PRECONDITION"]
        "The environment has no active server CA."
        => "Run `principal bootstrap`.";
    NO_ACTIVE_SHARED_CA [Caller AuditLog; "FAILED_PRECONDITION"]
        "The environment has no active shared CA."
        => "Run `principal bootstrap`.";
    NO_HTTP2 [Caller; "HTTP 505"]
        "A gRPC method was called over HTTP/1.1."
        => "Use a gRPC client, and ask for `h2` by ALPN.";
    NO_SUCH_METHOD [Caller; "UNIMPLEMENTED"]
        "The server has no method of that name."
        => "Check the name; a server that is older than the client may lack it.";
    NO_TOKEN_ISSUER [Caller; "FAILED_PRECONDITION"]
        "The environment has no address that tokens could name as their issuer."
        => "An operator sets `tokens.issuer` or `probe.endpoint`.";
    OPERATORS_ENROLL_AT_CONTROL_PLANE [Caller; "FAILED_PRECONDITION"]
        "An operator called the enroll Lambda, which cannot sign for tenant `system`."
        => "Send the same request to the address in the message; the token is still unused.";
    OUTLIVES_ISSUER [Caller AuditLog; "FAILED_PRECONDITION"]
        "The certificate would be valid for longer than the CA that signs it."
        => "Shorten the tenant's lifetimes, or rotate the CA.";
    OWN_PRINCIPAL [Caller; "FAILED_PRECONDITION"]
        "The caller tried to suspend or delete the principal that it calls as."
        => "Let another administrator do it.";
    OWN_RESOURCES_ONLY [Caller Decision; "PERMISSION_DENIED"]
        "The caller may do this for itself only."
        => "Name the caller's own principal, or call as an administrator.";
    PERMISSION_MISSING [Caller Decision; "PERMISSION_DENIED"]
        "The caller's type and roles do not permit this."
        => "Ask an administrator for the role, or to do it.";
    POLICY_REFUTED [Caller; "FAILED_PRECONDITION"]
        "A proof shows that the policies break an invariant; the message has a request that does."
        => "Change the policies; an admin may force them, unless the environment demands proof.";
    PRINCIPAL_BUSY [Caller; "RESOURCE_EXHAUSTED"]
        "The principal has as many concurrent calls as one may."
        => "Wait for some of them, then retry.";
    PRINCIPAL_CHANGED [Caller AuditLog; "FAILED_PRECONDITION"]
        "The principal was changed while its certificate was being issued."
        => "Retry with a new request id.";
    PRINCIPAL_DELETED [Caller AuditLog; "FAILED_PRECONDITION"]
        "The principal was deleted."
        => "Create one with another id.";
    PRINCIPAL_DENIED [Caller Connection Decision; "UNAUTHENTICATED"]
        "The principal is suspended or deleted."
        => "Ask the tenant's administrator to activate it; a deleted one enrolls under another id.";
    PRINCIPAL_QUOTA [Caller; "RESOURCE_EXHAUSTED"]
        "The tenant has as many principals as it may; deleted ones count until their ids are free."
        => "Ask the operator to raise the quota; a proof that was refused for this is still unused.";
    PRINCIPAL_REPLACED [Caller; "FAILED_PRECONDITION"]
        "The certificate was issued to an earlier principal with this id, which was deleted."
        => "Enroll again.";
    PRINCIPAL_SUSPENDED [Caller AuditLog; "FAILED_PRECONDITION"]
        "The principal is suspended."
        => "Activate it, if the suspension is no longer wanted.";
    PROOF_REQUIRED [Caller; "FAILED_PRECONDITION"]
        "The environment takes policies only that are proved."
        => "Have the operator configure a solver, or change the policies until they are proved.";
    PROVER_UNAVAILABLE [Caller; "FAILED_PRECONDITION"]
        "The solver that proves policies does not start, or gave no answer in time."
        => "Tell the operator: `authorization.solver` names it; shorter policies need less time.";
    RECORD_UNREADABLE [Caller; "DATA_LOSS"]
        "A record that the operation needs cannot be read; the message names it."
        => "Let the operator repair it (runbook UnreadableRecords), then send the same request again.";
    RENEWAL_GRACE_OVER [Caller; "FAILED_PRECONDITION"]
        "The certificate has expired, and so has the tenant's renewal grace period."
        => "Enroll again.";
    RENEWED_TOO_RECENTLY [Caller; "RESOURCE_EXHAUSTED"]
        "The instance renewed its certificate a moment ago."
        => "Retry after the time in `RetryInfo` (over HTTP `retry-after`).";
    REPEATED_TOO_OFTEN [Caller; "RESOURCE_EXHAUSTED"]
        "The caller made too many calls in a minute that change nothing or revoke what was never recorded."
        => "Retry after the pause in `RetryInfo`.";
    REQUEST_INCOMPLETE [Caller; "ABORTED", "HTTP 400"]
        "The request did not arrive in full, or its message did not follow its headers in time; nothing was done."
        => "Retry with the same request id.";
    RESERVATION_ABANDONED [Caller; "FAILED_PRECONDITION"]
        "The request was given up before its certificate was complete."
        => "Use a new request id; to enroll, also a token with uses left.";
    SECRET_HELD [Caller; "FAILED_PRECONDITION"]
        "The device has a secret, and only its first one is made by itself."
        => "Have an admin make the next one: `principal device secret rotate`.";
    SECRET_IN_GRACE [Caller; "FAILED_PRECONDITION"]
        "The device's secret was replaced within the hour, and the one before still verifies."
        => "Wait for its end, or end both at once (`now`) if one may be known to others.";
    SECRET_NOT_KEPT [Caller; "FAILED_PRECONDITION"]
        "The request made its token or secret before; that was shown then, and is not shown again."
        => "Revoke that token, or rotate that secret, with a new request id.";
    SHARED_ISOLATION [Caller; "FAILED_PRECONDITION"]
        "The tenant has no CA of its own."
        => "Rotate the shared CA in tenant `system`.";
    STORE_RESTORING [Caller Operator; "UNAVAILABLE"]
        "The environment's store is being restored, or a restore was cut off: until that has ended nothing is changed."
        => "Retry after the pause in `RetryInfo`; the operator of a restore that was cut off runs it again, or ends it with `principal restore --give-up`.";
    SUCCESSOR_REVOKED [Caller; "FAILED_PRECONDITION"]
        "The certificate was renewed before, and its successor was revoked."
        => "Enroll again.";
    SUCCESSOR_UNKNOWN [Caller; "FAILED_PRECONDITION"]
        "The certificate was renewed before, and its successor is no longer on record."
        => "Enroll again.";
    SYSTEM_TENANT [Caller; "FAILED_PRECONDITION"]
        "Tenant `system` cannot be suspended or deleted: nobody could activate it again."
        => "Suspend principals of it instead.";
    TENANT_BUSY [Caller; "RESOURCE_EXHAUSTED"]
        "The tenant has as many concurrent calls as its share of the node."
        => "Wait for some of them, then retry.";
    TENANT_DELETED [Caller AuditLog; "FAILED_PRECONDITION"]
        "The tenant was deleted: nothing of it changes any more, and its id is not given again."
        => "Undelete it within its grace time, or choose another id.";
    TENANT_NOT_SUSPENDED [Caller; "FAILED_PRECONDITION"]
        "Only a suspended tenant can be deleted."
        => "Suspend it, and delete it once nobody misses it.";
    TENANT_PURGED [Caller; "FAILED_PRECONDITION"]
        "The grace time of the deleted tenant is over: nothing brings it back, and its id is not given again."
        => "Create a tenant with another id.";
    TENANT_REPLACED [Caller AuditLog Connection; "UNAUTHENTICATED"]
        "The certificate is older than its tenant: a restore lost the tenant, and it was created again."
        => "Enroll again.";
    TENANT_SUSPENDED [Caller AuditLog Connection Decision; "UNAUTHENTICATED", "FAILED_PRECONDITION"]
        "The tenant is suspended."
        => "Ask the operator to activate it.";
    TENANT_UNREADABLE [Caller Connection; "UNAVAILABLE"]
        "The node cannot read the record of the tenant or of a CA of it, or a change of it."
        => "Retry later; the operator follows the runbook UnreadableRecords.";
    TIMED_OUT [Caller; "DEADLINE_EXCEEDED"]
        "The server's time limit for a call has passed; whether it was done is not known."
        => "Retry with the same request id.";
    TOKEN_KEY_WAITS [Caller; "FAILED_PRECONDITION"]
        "The next key for these tokens is published already, and signs within the hour."
        => "Wait for it, or replace all keys at once (`now`) if one may be known to others.";
    TOO_MANY_CALLS [Caller; "RESOURCE_EXHAUSTED"]
        "The principal, its tenant, or an address without a certificate calls too often."
        => "Slow down, and retry after the pause in `RetryInfo` (HTTP: `Retry-After`).";
    TOO_MANY_OLD_EVENTS [Caller; "RESOURCE_EXHAUSTED"]
        "Receivers of the tenant's security events that were away, or leave old events unacknowledged, poll too often."
        => "Acknowledge what was told, and retry after the pause in `RetryInfo` (HTTP: `Retry-After`).";
    TOO_MANY_RECEIVERS [Caller; "RESOURCE_EXHAUSTED"]
        "As many principals of the tenant as may (100) have asked for security events, each in the last 90 days."
        => "Poll as one of those, and hand on what it is told; or delete principals that poll no more.";
    TOO_MANY_REFUSED_ENROLLMENTS [Caller; "RESOURCE_EXHAUSTED"]
        "Too many enrollments from this address or into this tenant were refused."
        => "Fix the proof, and retry in a few minutes.";
    TOO_MANY_STREAMS [Caller; "RESOURCE_EXHAUSTED"]
        "The principal, its tenant or the node has as many open streams as it may."
        => "Close some, then retry.";
    TOO_MANY_TOKEN_KEYS [Caller; "RESOURCE_EXHAUSTED"]
        "The tenant's admins have had twelve keys for tokens made on this node within a minute."
        => "Retry after the pause in `RetryInfo`.";
    UNAVAILABLE [Caller; "UNAVAILABLE"]
        "The store, a key, STS or an issuer did not answer."
        => "Retry with the same request id, after the pause in `RetryInfo`.";
    UNKNOWN_TENANT [Caller AuditLog Connection; "UNAUTHENTICATED"]
        "The tenant that the caller or its certificate names does not exist in this environment."
        => "Check the tenant id and the environment; after a restore, create the tenant and enroll again.";
    UNREAD_ANSWERS [Caller; "RESOURCE_EXHAUSTED"]
        "Too many bytes of answers wait for the principal, its tenant or the node's callers to read them."
        => "Read the answers, then retry.";
}
