//! Revocation lists, as the store has them.

use std::collections::BTreeMap;

use signet_core::{CaId, Error, authorities::Ca};

use crate::{
    App, Chore,
    authorities::lists,
    object_store::{Object, ObjectMeta, ObjectStore, Put},
};

/// The note with the list's number.
const NUMBER: &str = "crl-number";

/// Where a CA's list is.
pub(super) fn name(ca: &CaId) -> String {
    format!("crl/{ca}.crl")
}

/// Puts the CA's list if the bucket has none of its number or a higher one; before that makes a new one if one is due.
pub(super) async fn put_crl(app: &App, chore: &Chore, bucket: &dyn ObjectStore, ca: &Ca) -> Result<Vec<String>, Error> {
    let name = name(&ca.id);
    let there = bucket.look(&name).await?;
    let list = lists::renew(app, chore, ca).await?;
    if let Some(there) = there.as_ref().and_then(number).filter(|there| *there >= list.head.number) {
        if there > list.head.number {
            tracing::warn!(ca.id = %ca.id, there, number = list.head.number, "the bucket has a newer CRL than the store");
        }
        return Ok(Vec::new());
    }
    let notes = BTreeMap::from([(NUMBER.to_owned(), list.head.number.to_string())]);
    // RFC 2585 section 4.2.
    let object = Object { name: name.clone(), content_type: "application/pkix-crl", content: list.der, notes };
    let put = bucket.put(object, there.as_ref().map(|there| there.tag.as_str())).await?;
    Ok(if put == Put::Done { vec![name] } else { Vec::new() })
}

fn number(there: &ObjectMeta) -> Option<u64> {
    there.notes.get(NUMBER)?.parse().ok()
}
