//! Whether a certificate that somebody shows is one that we recorded: what a CA's key signs here has a record before.

use signet_core::{Error, Identity, TenantScope, Time, certificates::Certificate};
use signet_x509::Leaf;

use crate::{App, reads};

/// Whether the certificate is on record as it was shown, in whatever state: a strongly consistent read of one record.
/// One that cannot be read counts as recorded. The holder must have proven its key.
pub async fn is_recorded(app: &App, identity: &Identity, now: Time) -> Result<bool, Error> {
    let scope = TenantScope::of_holder(&identity.tenant, &identity.principal);
    match reads::read_certificate(app, &scope, &identity.issuer, &identity.serial, now).await {
        Ok(Ok(found)) => Ok(is_as_shown(app, &found.value, identity)),
        Ok(Err(_)) => Ok(true),
        Err(Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether `record` is of the key that the holder has proven. Who has a CA's key signs any serial number, also one that
/// is on record.
pub(crate) fn is_of_key(record: &Certificate, identity: &Identity) -> bool {
    record.spki_sha256 == hex::encode(identity.spki_sha256)
}

fn is_as_shown(app: &App, record: &Certificate, identity: &Identity) -> bool {
    // A reservation has no certificate yet.
    let Ok(leaf) = Leaf::from_der(&record.certificate_der, &app.environment) else {
        return is_of_key(record, identity);
    };
    leaf.spki_sha256 == identity.spki_sha256
        && leaf.id.principal_type == identity.principal_type
        && leaf.roles == identity.roles
        && (leaf.not_before, leaf.not_after) == (identity.not_before, identity.not_after)
}
