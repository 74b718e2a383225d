//! What programs hold of a verifier.

use std::{fmt, sync::Arc, time::Duration};

use http::HeaderMap;
use signet_messages::{
    ID_HEADER, MessageRefusal, ReplayRoom, SIGNATURE_HEADER, SignedBy, SignedMessage, TIMESTAMP_HEADER,
};

use super::{follow, state::Inner};
use crate::identity::{Shared, Task};

/// Verifies messages that devices of the identity's tenant have signed; from [`crate::Identity::messages`]. Clones
/// share what they know, and which messages were seen.
///
/// The identity must be a service that may: the tenant grants it `message_secrets.fetch`. It must be the only one
/// that takes the devices' messages: what one process has seen, another does not know. Messages that were signed
/// before the verifier began are refused, since an earlier process may have seen them.
#[derive(Clone)]
pub struct MessageVerifier {
    inner: Arc<Inner>,
    _follower: Arc<Task>,
}

impl MessageVerifier {
    pub(crate) fn new(shared: Arc<Shared>, room: ReplayRoom) -> Self {
        let inner = Arc::new(Inner::new(room, Arc::clone(&shared.settings.clock)));
        let follower = Task::spawn(follow::run(shared, Arc::clone(&inner)));
        Self { inner, _follower: Arc::new(follower) }
    }

    /// Which secret of the device has signed the message with these headers and this body, or why it is not to be
    /// believed. A message is good once. Waits at most five seconds, for a device that is not known yet.
    pub async fn verify(&self, device: &str, headers: &HeaderMap, body: &[u8]) -> Result<SignedBy, MessageRefusal> {
        self.verify_message(device, &message(headers, body)?).await
    }

    /// The same for messages without HTTP's headers, e.g. with properties of MQTT 5.
    pub async fn verify_message(&self, device: &str, message: &SignedMessage<'_>) -> Result<SignedBy, MessageRefusal> {
        self.inner.verify(device, message).await
    }

    /// The same by what is known, for whoever may not wait: [`MessageRefusal::Unknown`] if the device's secret has to
    /// be fetched first, which is then under way.
    pub fn verify_at_once(&self, device: &str, message: &SignedMessage<'_>) -> Result<SignedBy, MessageRefusal> {
        self.inner.verify_at_once(device, message)
    }

    /// Whether a device has a secret that counts, or why not: [`MessageRefusal::UnknownSender`] if it has none,
    /// [`MessageRefusal::Unknown`] if that has to be asked for first, which is then under way.
    pub fn standing(&self, device: &str) -> Result<(), MessageRefusal> {
        self.inner.standing(device)
    }

    /// How long nothing is heard of the control plane, from the start on.
    pub fn silence(&self) -> Duration {
        self.inner.silence()
    }

    /// How many devices' secrets are known at this moment.
    pub fn known_devices(&self) -> usize {
        self.inner.memory.len().0
    }
}

/// A header that stands there twice could be read in two ways.
fn message<'a>(headers: &'a HeaderMap, body: &'a [u8]) -> Result<SignedMessage<'a>, MessageRefusal> {
    let one = |name| {
        let mut values = headers.get_all(name).iter();
        let value = values.next().filter(|_| values.next().is_none());
        value.and_then(|value| value.to_str().ok()).ok_or(MessageRefusal::Malformed)
    };
    Ok(SignedMessage {
        id: one(ID_HEADER)?,
        timestamp: one(TIMESTAMP_HEADER)?,
        signatures: one(SIGNATURE_HEADER)?,
        body,
    })
}

impl fmt::Debug for MessageVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MessageVerifier")
    }
}
