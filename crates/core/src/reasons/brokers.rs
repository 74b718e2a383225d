//! What the Mosquitto plugin writes into the broker's log.

use super::reason::{Reason, Told, reasons};

reasons! {
    BROKER_WITHOUT_TICKS [Connection;]
        "The broker does not call the plugin again and again, so that no session could be ended."
        => "Take `per_listener_settings true` out of the configuration of Mosquitto 2.0.";
    CLIENT_ID_OF_ANOTHER [Connection;]
        "The client id is not the holder's: with another's, it would take over a session."
        => "Connect with the client id `<tenant>/<id>`, or that with a colon and more after it.";
}
