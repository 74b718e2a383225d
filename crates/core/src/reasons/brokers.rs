//! What the Mosquitto plugin writes into the broker's log.

use super::reason::{Reason, Told, reasons};

reasons! {
    BROKER_TOKEN_BAD_SIGNATURE [Connection Client;]
        "The key that the broker token names did not sign it."
        => "Look who sends it: somebody changed or forged it.";
    BROKER_TOKEN_EXPIRED [Connection Client;]
        "The broker token is over."
        => "Its holder gets another one before it ends, and connects with that.";
    BROKER_TOKEN_FOR_ANOTHER_AUDIENCE [Connection Client;]
        "The plugin's `tokens.audience` is not that of broker tokens, `mqtt`."
        => "Set `tokens.audience = \"mqtt\"`, or let clients show access tokens.";
    BROKER_TOKEN_KEY_UNKNOWN [Connection Client;]
        "No tenant of this broker has the key that the broker token names, or no longer."
        => "Its holder gets another token; if that is refused as well, it is of a tenant that the plugin has no identity in.";
    BROKER_TOKEN_MALFORMED [Connection Client;]
        "It is not a broker token in form: three parts, ES256 or RS256, its claims."
        => "Send the token as it came, as password.";
    BROKER_TOKEN_OF_ANOTHER_ISSUER [Connection Client;]
        "The tenant's key signed the broker token, but it names another issuer than the tenant's."
        => "Get another token: the environment's `tokens.issuer` was changed.";
    BROKER_WITHOUT_TICKS [Connection;]
        "The broker does not call the plugin again and again, so that no session could be ended."
        => "Take `per_listener_settings true` out of the configuration of Mosquitto 2.0.";
    CLIENT_ID_OF_ANOTHER [Connection;]
        "The client id is not the holder's: with another's, it would take over a session."
        => "Connect with the client id `<tenant>/<id>`, or that with a colon and more after it.";
    TOO_MANY_SESSIONS [Connection;]
        "The device has sixteen clients at the broker already."
        => "End some of them; a device needs one client, or few.";
}
