//! Connections that are not taken.

use super::reason::{Reason, Told, reasons};

reasons! {
    BAD_CERTIFICATE_SIGNATURE [Connection;]
        "The certificate names one of the tenant's CAs, but that CA did not sign it."
        => "Check that the holder uses the right environment; if it does, somebody forged the certificate.";
    BAD_PROXY_HEADER [Connection;]
        "A balancer's network sent no PROXY header, or one that cannot be read."
        => "Turn on PROXY protocol v2 at the balancer, or remove its network from the configuration.";
    BAD_SPIFFE_ID [Connection;]
        "The certificate's URI is of this environment, but its path is not `/<type>/<principal id>`."
        => "Enroll again, and find out who issued the certificate.";
    CERTIFICATE_IS_A_CA [Connection;]
        "The client's certificate is a CA's."
        => "Configure the client with its own certificate.";
    CERTIFICATE_KEY_UNSUPPORTED [Connection;]
        "One of the tenant's CAs signed a certificate for a key that is not on P-256."
        => "Treat it as an incident: find out who used the CA's key.";
    CERTIFICATE_SELF_SIGNED [Connection;]
        "The client's certificate is signed by itself."
        => "Enroll, and configure the client with the certificate from Signet.";
    CERTIFICATE_VALID_TOO_LONG [Connection;]
        "One of the tenant's CAs signed a certificate that is valid for more than 90 days, which no tenant may allow."
        => "Treat it as an incident: find out who used the CA's key.";
    CERTIFICATE_WITHOUT_URI [Connection;]
        "The client's certificate has no URI name."
        => "Configure the client with a certificate from Signet.";
    CERTIFICATE_WITH_MULTIPLE_URIS [Connection;]
        "The client's certificate has more than one URI name."
        => "Configure the client with a certificate from Signet.";
    CLOSED_EARLY [Connection;]
        "The client closed the connection before it sent anything."
        => "Do nothing: these are port scans and TCP health checks.";
    CONNECTION_EVICTED [Connection;]
        "The connection had not finished its handshake when newer connections needed its place."
        => "Retry; if many are evicted, find the address that opens silent connections.";
    CONNECTION_THROTTLED [Connection;]
        "The address opens connections too often."
        => "Keep one connection open and reuse it.";
    EXTENSION_DISAGREES_WITH_URI [Connection;]
        "One of the tenant's CAs signed a certificate whose extensions and URI contradict each other."
        => "Treat it as an incident: find out who used the CA's key.";
    FOREIGN_TRUST_DOMAIN [Connection Decision;]
        "The certificate belongs to another environment."
        => "Connect to that environment, or enroll in this one.";
    HANDSHAKE_FAILED [Connection;]
        "The TLS handshake failed, for another reason than the client's certificate."
        => "Use TLS 1.3 and trust this environment's root; the log has the cause.";
    HANDSHAKE_TIMEOUT [Connection;]
        "The handshake was not complete in time."
        => "Retry; if it happens again, check the network between client and server.";
    MISSING_EXTENSION [Connection;]
        "One of the tenant's CAs signed a certificate that lacks one of Signet's extensions."
        => "Treat it as an incident: find out who used the CA's key.";
    NOT_TLS [Connection;]
        "The first byte is not TLS."
        => "Connect with TLS; plain HTTP has other ports.";
    NO_COMMON_PROTOCOL [Connection;]
        "The client asks by ALPN for neither `h2` nor `http/1.1`."
        => "Use a client of gRPC or HTTP, or mend its ALPN.";
    SOURCE_BANNED [Connection;]
        "So many handshakes from the address failed that the node closes its connections for a while."
        => "Find the client there that has a wrong certificate; a network that others share can be listed in `bans.exempt`.";
    TOO_MANY_CONNECTIONS [Connection;]
        "The node has as many connections as it may."
        => "Retry, with backoff; the operator adds nodes.";
    TOO_MANY_CONNECTIONS_OF_PRINCIPAL [Connection;]
        "The principal has as many connections to the node as one may."
        => "Close some, and send calls over one connection.";
    TOO_MANY_CONNECTIONS_OF_TENANT [Connection;]
        "The tenant has as many connections to the node as its share."
        => "Close some, or retry later.";
    UNTRUSTED_ISSUER [Connection;]
        "The certificate was not signed by a CA that its tenant has."
        => "Check that it is this environment's; if its CA was retired, enroll again.";
    UNTRUSTED_PROXY_HEADER [Connection;]
        "A PROXY header came from an address that may not speak for others."
        => "List the balancer's network in the configuration, or find out who sends the header.";
    WRONG_EXTENDED_KEY_USAGE [Connection;]
        "The certificate is not for client authentication, or does not say what it is for."
        => "Configure the client with its own certificate, not with a server's.";
}
