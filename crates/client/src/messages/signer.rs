//! For devices: signs messages.

use std::fmt;

use aws_lc_rs::{error::Unspecified, rand};
use http::{HeaderMap, HeaderValue};
use signet_core::Clock;
use signet_messages::{ID_HEADER, SIGNATURE_HEADER, SignedMessage, SigningSecret, TIMESTAMP_HEADER};

use crate::clock::system_clock;

/// Signs messages with a device's secret.
#[derive(Clone)]
pub struct MessageSigner {
    secret: SigningSecret,
    clock: Clock,
}

/// What goes with a message: headers of HTTP, or properties of MQTT 5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHeaders {
    /// `webhook-id`.
    pub id: String,
    /// `webhook-timestamp`, Unix seconds.
    pub timestamp: String,
    /// `webhook-signature`.
    pub signature: String,
}

impl MessageSigner {
    /// By the system's clock, which must be right within five minutes.
    pub fn new(secret: SigningSecret) -> Self {
        Self { secret, clock: system_clock() }
    }

    /// Signs a message of now, with a random id. Fails only where the machine has no randomness.
    pub fn sign(&self, body: &[u8]) -> Result<SignedHeaders, Unspecified> {
        let mut bytes = [0; 16];
        rand::fill(&mut bytes)?;
        let (id, now) = (format!("msg_{}", hex::encode(bytes)), (self.clock)().unix_seconds());
        let signature = self.secret.sign(&id, now, body);
        Ok(SignedHeaders { id, timestamp: now.to_string(), signature })
    }
}

impl SignedHeaders {
    /// The message with these as lines before its body, for where there are no headers, e.g. in MQTT 3.1.1.
    pub fn before(&self, body: &[u8]) -> Vec<u8> {
        let Self { id, timestamp, signature } = self;
        SignedMessage { id, timestamp, signatures: signature, body }.to_lines()
    }

    /// Adds them to a request's.
    pub fn add_to(&self, headers: &mut HeaderMap) {
        for (name, value) in
            [(ID_HEADER, &self.id), (TIMESTAMP_HEADER, &self.timestamp), (SIGNATURE_HEADER, &self.signature)]
        {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
    }
}

impl fmt::Debug for MessageSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MessageSigner")
    }
}
