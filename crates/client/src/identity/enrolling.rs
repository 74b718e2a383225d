//! First certificates, by one process at a time.

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};
use tonic::{Code, transport::Channel};

use super::settings::IdentitySettings;
use crate::storage::blocking;
use crate::{
    calls::send_enrollment,
    credentials::{Credentials, CredentialsError},
    enrollment::Enrollment,
    error::{ClientError, RpcError},
    lock::StorageLock,
    pending::Pending,
    retry::{Retry, jittered},
    storage::Storage,
};

/// Longer than an attempt takes: to connect, to call, to write.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(50);

/// A certificate that has just come, and the CAs that the control plane names with it.
pub(super) struct Fresh<T> {
    pub(super) held: T,
    pub(super) anchors_der: Vec<Vec<u8>>,
}

/// The storage's lock, when it is our turn. Shared with work on disk, which nobody can call back.
pub(super) async fn lock(storage: &Arc<dyn Storage>) -> Result<Arc<StorageLock>, ClientError> {
    let turn = async {
        loop {
            let storage = Arc::clone(storage);
            if let Some(lock) = blocking(move || storage.try_lock()).await? {
                return Ok(Arc::new(lock));
            }
            sleep(jittered(LOOK)).await;
        }
    };
    let late = |_| CredentialsError::Busy { seconds: PATIENCE.as_secs() };
    timeout(PATIENCE, turn).await.map_err(late)?
}

pub(super) async fn enroll(
    settings: &IdentitySettings,
    enrollment: &Enrollment,
    retry: Retry,
) -> Result<Fresh<Credentials>, ClientError> {
    let channel = settings.connector(None)?.channel();
    certified(&channel, &settings.storage, enrollment, retry).await
}

/// Gets the first certificate. Key and request id are in `storage` before they are sent, and the same ones are sent
/// again until the outcome is known, also by the next run of the program: whose answer is lost does not use up a second
/// proof.
///
/// Who calls is the only one that uses `storage`, keeps what comes, and then calls [`Storage::forget_pending`].
pub async fn enroll_resumably(
    channel: &Channel,
    storage: &Arc<dyn Storage>,
    enrollment: &Enrollment,
    retry: Retry,
) -> Result<FirstCertificate, ClientError> {
    let fresh = certified(channel, storage, enrollment, retry).await?;
    Ok(FirstCertificate { credentials: fresh.held, anchors_der: fresh.anchors_der })
}

/// What an enrollment brings.
#[derive(Debug)]
pub struct FirstCertificate {
    /// The certificate with its key.
    pub credentials: Credentials,
    /// What the tenant's verifiers trust, DER; nothing from a control plane that is older than that.
    pub anchors_der: Vec<Vec<u8>>,
}

/// Who calls has the storage's lock.
async fn certified(
    channel: &Channel,
    storage: &Arc<dyn Storage>,
    enrollment: &Enrollment,
    retry: Retry,
) -> Result<Fresh<Credentials>, ClientError> {
    let (pending, proof, other) = pending(storage, enrollment).await?;
    match send_enrollment(channel, enrollment, &pending, proof, retry).await {
        Ok(issued) => {
            let held = Credentials::new(issued.chain_der, issued.root_der, pending.into_key())?;
            Ok(Fresh { held, anchors_der: issued.trust_anchor_der })
        }
        Err(error) => {
            if is_refusal(&error) {
                let storage = Arc::clone(storage);
                let put_back = move || match &other {
                    // A mistyped token must not cost the certificate that another one got.
                    Some(other) => storage.keep_pending(other),
                    None => storage.forget_pending(),
                };
                blocking(put_back).await?;
            }
            Err(error)
        }
    }
}

/// The next attempt is another request, with another key.
pub(super) async fn forget(storage: &Arc<dyn Storage>) -> Result<(), CredentialsError> {
    let storage = Arc::clone(storage);
    blocking(move || storage.forget_pending()).await
}

/// What is to be sent, on disk before that; and another enrollment that was under way, in whose place it is.
async fn pending(
    kept_in: &Arc<dyn Storage>,
    enrollment: &Enrollment,
) -> Result<(Pending, signet_proto::v1::enroll_request::Proof, Option<Pending>), ClientError> {
    let storage = Arc::clone(kept_in);
    let mut other = blocking(move || storage.pending()).await?;
    if let Some(pending) = other.take() {
        let proof = enrollment.proof.proof(pending.key()).await?;
        if pending.serves(enrollment, &proof) {
            tracing::info!("resuming the pending enrollment");
            return Ok((pending, proof, None));
        }
        other = Some(pending);
    }
    let new = Pending::generate()?;
    let proof = enrollment.proof.proof(new.key()).await?;
    let new = new.serving(enrollment, &proof);
    let storage = Arc::clone(kept_in);
    let kept = blocking(move || storage.keep_pending(&new).map(|()| new)).await?;
    Ok((kept, proof, other))
}

/// The control plane has said no, so that nothing was issued.
fn is_refusal(error: &ClientError) -> bool {
    let no = |code| {
        matches!(
            code,
            Code::PermissionDenied
                | Code::Unauthenticated
                | Code::InvalidArgument
                | Code::FailedPrecondition
                | Code::NotFound
                | Code::AlreadyExists
        )
    };
    matches!(error, ClientError::Rpc(RpcError { code, .. }) if no(*code)) && !error.is_transient()
}
