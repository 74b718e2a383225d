//! What headers, or properties of MQTT 5, are called that carry a signature.

/// The message's id.
pub const ID_HEADER: &str = "webhook-id";
/// When it was signed.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// By which secrets.
pub const SIGNATURE_HEADER: &str = "webhook-signature";
/// All of them.
pub const HEADERS: [&str; 3] = [ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER];
