//! Renewal where no handshake accepts the certificate: over HTTPS, signed with the present key.

use signet_proto::v1::IssuedCertificate;
use tonic::Status;

use super::shared::{Held, Shared};
use crate::{calls::NextKey, error::ClientError};

pub(super) async fn renew(_: &Shared, _: &Held, _: &NextKey) -> Result<IssuedCertificate, ClientError> {
    Err(Status::unimplemented("not served yet").into())
}
