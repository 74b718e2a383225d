//! The connection to the control plane that secrets are fetched over.

use signet_core::Time;
use signet_messages::{MessageRefusal, SecretPair, SigningSecret};
use signet_proto::v1::{
    FetchMessageSecretsRequest, FetchedMessageSecret, message_service_client::MessageServiceClient,
};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use zeroize::Zeroize;

use crate::error::ClientError;

/// One connection, so that secrets and changes come from the same node.
pub(super) struct Connection {
    client: MessageServiceClient<Channel>,
    /// Cancelled once nothing more can be fetched.
    pub(super) over: CancellationToken,
}

impl Connection {
    pub(super) fn new(channel: Channel) -> Self {
        Self { client: MessageServiceClient::new(channel), over: CancellationToken::new() }
    }

    /// An answer for each device, in their order. `late`: those that use the secret before late.
    pub(super) async fn fetch(
        &self,
        devices: Vec<String>,
        late: Vec<String>,
    ) -> Result<Vec<Result<SecretPair, MessageRefusal>>, ClientError> {
        let (count, request) =
            (devices.len(), FetchMessageSecretsRequest { principal_ids: devices, late_principal_ids: late });
        let answer = self.client.clone().fetch_message_secrets(request).await;
        let secrets = answer.map_err(|status| self.failed(status))?.into_inner().secrets;
        let found: Vec<_> = secrets.into_iter().map(pair).collect();
        if found.len() == count {
            return Ok(found);
        }
        Err(tonic::Status::internal("the answers are not as many as the questions").into())
    }

    fn failed(&self, status: tonic::Status) -> ClientError {
        let error = ClientError::from(status);
        if error.ends_connection() {
            self.over.cancel();
        }
        error
    }
}

fn pair(of: FetchedMessageSecret) -> Result<SecretPair, MessageRefusal> {
    let FetchedMessageSecret { secret, previous_secret, previous_expire_time, reason, .. } = of;
    match reason.as_str() {
        "" => {}
        "MESSAGE_SENDER_UNKNOWN" => return Err(MessageRefusal::UnknownSender),
        "MESSAGE_SENDER_REFUSED" => return Err(MessageRefusal::SenderRefused),
        _ => return Err(MessageRefusal::Unknown),
    }
    let current = read(secret).ok_or(MessageRefusal::Unknown)?;
    let until = previous_expire_time.map(|until| Time::from_unix_seconds(until.seconds).unix_seconds());
    Ok(SecretPair::new(current, read(previous_secret).zip(until)))
}

fn read(mut bytes: Vec<u8>) -> Option<SigningSecret> {
    let secret = <[u8; 32]>::try_from(bytes.as_slice()).ok().map(SigningSecret::new);
    bytes.zeroize();
    secret
}
