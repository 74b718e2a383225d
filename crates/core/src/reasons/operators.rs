//! Of nodes, for their operators, and of clients that got no answer.

use super::reason::{Reason, Told, reasons};

reasons! {
    ACCESS_TOKEN_FOR_ANOTHER_AUDIENCE [Client;]
        "The access token is for another audience than the service that it was shown to."
        => "Ask for a token for what stands before the colon of the service's permissions.";
    ACCESS_TOKEN_OF_ANOTHER_ISSUER [Client;]
        "The tenant's key signed the access token, but it names another issuer than the tenant's."
        => "Ask for another token: the environment's `tokens.issuer` was changed.";
    AUDIT_LOG_CUT_OFF [Operator;]
        "The newest checkpoints of the audit log are missing: they were removed, or an older store was restored."
        => "Follow the runbook AuditFinding.";
    BAD_CREDENTIALS [Client;]
        "The stored key or certificate cannot be used."
        => "Fix the files as the message says, or enroll again.";
    BAD_ENDPOINT [Client;]
        "The server's address is not an endpoint."
        => "Give `https://host:port`.";
    BAD_TLS_SETTINGS [Client;]
        "TLS cannot use the root, or the client's own certificate."
        => "Replace the file that the message names.";
    CERTIFICATE_REFUSED [Client;]
        "The server refused the client's certificate in the handshake."
        => "Act on the TLS alert in the message; the server's audit log has its reason.";
    CONNECTION_CLOSED [Client;]
        "The server closed the connection right after the handshake."
        => "Retry.";
    CONNECT_TIMEOUT [Client;]
        "There was no connection within the time limit."
        => "Retry; if it happens again, check the address, the network and the firewall.";
    CONTROL_PLANE_UNAVAILABLE [Client;]
        "The control plane cannot be asked, or has been silent for too long, so nobody can decide."
        => "Retry; if it lasts, check the service's own certificate and its way to the control plane.";
    ENDPOINT_HANDSHAKE_FAILED [Operator;]
        "What answers at `probe.endpoint` does not complete a TLS handshake as clients expect it."
        => "Follow the runbook EndpointUnreachable.";
    ENDPOINT_UNREACHABLE [Operator;]
        "A node that is ready reaches nobody at `probe.endpoint`."
        => "Follow the runbook EndpointUnreachable.";
    NO_AUTHORIZATION_RULE [Client;]
        "Neither the agent's rules nor the route in Envoy say which permission the request needs."
        => "Add a rule for it to `ext_authz`, or `signet_permission` to the route.";
    NO_PROOF [Client;]
        "The client has no proof to enroll with, or could not get one."
        => "Give a join token, or fix the source of the proof that the message names.";
    NO_ROOT [Operator;]
        "The store has no root."
        => "Run `principal bootstrap`, or check that it is this environment's store.";
    NO_SERVER_CERTIFICATE [Operator;]
        "There is no server certificate yet."
        => "Run `principal bootstrap`.";
    REQUEST_NOT_NORMAL [Client;]
        "The request's method, path or host could be read in two ways, so that the service might see another one."
        => "Send it in the normal form that the detail asks for.";
    RESTORE_ENDED [Operator;]
        "Somebody ended the restore, or took it over, before it was done."
        => "Run it again, unless another run goes on.";
    RESTORE_SOURCE_EMPTY [Operator;]
        "The store to restore from has no root."
        => "Name a backup or restored tables of this environment.";
    RESTORE_UNDER_WAY [Operator;]
        "Another restore was begun and has not ended."
        => "Run that one again, or end it with `principal restore --give-up`.";
    RESTORE_WRONG_ENVIRONMENT [Operator;]
        "The store to restore from belongs to another environment."
        => "Name a backup or restored tables of this environment.";
    ROOT_EXPIRED [Operator;]
        "The root's certificate has expired by this machine's clock."
        => "Check the clock; if it is right, create a new environment.";
    ROOT_NOT_LOADED [Operator;]
        "The node has not read the environment's root yet, so it cannot judge the server's certificate."
        => "Check that the store can be reached and is bootstrapped.";
    ROOT_NOT_YET_VALID [Operator;]
        "The root's certificate is not valid yet by this machine's clock."
        => "Set the clock.";
    SERVER_CERTIFICATE_DAMAGED [Operator;]
        "The server's certificate cannot be read, or its key does not match."
        => "Issue it again with `principal bootstrap`; the log has the cause.";
    SERVER_CERTIFICATE_EXPIRED [Operator;]
        "The server's certificate has expired."
        => "Renew it, or run `principal bootstrap`.";
    SERVER_CERTIFICATE_FOREIGN [Operator;]
        "The server's certificate chains to no root in the store."
        => "Restore the certificate or the store: one of them is of another environment.";
    SERVER_CERTIFICATE_LACKS_NAME [Operator;]
        "The server's certificate does not cover all of the configured names and addresses."
        => "Renew it.";
    SERVER_CERTIFICATE_NOT_TRUSTED [Client;]
        "The client does not trust the server's certificate."
        => "Check the address, the root file and the clock, as the message says.";
    SERVER_CERTIFICATE_NOT_VALID_NOW [Operator;]
        "The certificate in the server's place has expired, or is not valid yet."
        => "Renew it, or set the clock.";
    SERVER_CERTIFICATE_NOT_YET_VALID [Operator;]
        "The server's certificate is not valid yet."
        => "Set the clock; if it is right, run `principal bootstrap`.";
    SERVER_NAME [Operator;]
        "A configured name of the server is neither a DNS name nor an IP address."
        => "Fix `server.dns_names`.";
    SERVER_NAMES [Operator;]
        "The server has no configured name or address, or more than one certificate takes."
        => "List 1 to 32 in `server.dns_names` and `server.ip_addresses` together.";
    STORAGE_BUSY [Client;]
        "Another process is renewing or enrolling the same identity."
        => "Wait for it, or give each process a folder of its own.";
    STORE_FULL [Operator;]
        "The store's disk is full: the node writes only suspensions and revocations."
        => "Free some disk space.";
    TLS_FAILED [Client;]
        "The TLS handshake failed, for another reason than a certificate."
        => "Check that the port is the one for mTLS; the message has the cause.";
    TRUST_NOT_LOADED [Operator;]
        "The node has not read the changes feed yet."
        => "Check that the store can be reached.";
    UNREACHABLE [Client;]
        "There is no TCP connection to the server."
        => "Check the address, the network and the firewall.";
    WRONG_CERTIFICATE [Client;]
        "The server certified another principal than the client's."
        => "Report it to the operator: the server must not do this.";
}
