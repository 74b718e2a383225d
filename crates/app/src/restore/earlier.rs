//! The state of the store that is restored.

use signet_core::{
    Error, Store, TenantId, TenantScope, Time,
    authorities::{Ca, CaKind},
};
use signet_x509::CaProfile;

use crate::{App, authorities};

/// An earlier state of the store.
#[derive(Clone, Copy)]
pub struct EarlierStore<'a> {
    /// As its operator names it.
    pub name: &'a str,
    /// It is only read.
    pub store: &'a dyn Store,
    /// Roots that the environment has published, DER: what tells it where the store has lost its own.
    pub published: &'a [Vec<u8>],
    /// Hears what is being done, and how many records, minutes or changes of that are done.
    pub progress: &'a (dyn Fn(&str, u64) + Send + Sync),
}

impl EarlierStore<'_> {
    pub(super) fn tell(&self, what: &str, done: u64) {
        (self.progress)(what, done);
    }
}

/// A source without a root, or with another environment's, would make strangers of everybody.
pub(super) async fn refuse_foreign(app: &App, source: &EarlierStore<'_>, now: Time) -> Result<(), Error> {
    let theirs = roots_in(source.store, now).await?;
    if theirs.is_empty() {
        let message = format!("{} has no root: it is empty, or no store of Signet", source.name);
        return Err(Error::precondition("RESTORE_SOURCE_EMPTY", message));
    }
    let profile = |root: &Ca| CaProfile::new(&app.environment, root.kind, &root.tenant, root.generation);
    let ours = authorities::roots(app, now).await?;
    let present: Vec<&Vec<u8>> = ours.iter().map(|root| &root.certificate_der).chain(source.published).collect();
    let named = theirs.iter().all(|root| profile(root).is_named_in(&root.certificate_der));
    let shared = present.is_empty() || theirs.iter().any(|root| present.contains(&&root.certificate_der));
    if named && shared {
        return Ok(());
    }
    let (name, suffix) = (source.name, app.environment.suffix());
    let message = format!(
        "{name} is of another environment: its root is not that of {suffix}; name a state of this environment's store"
    );
    Err(Error::precondition("RESTORE_WRONG_ENVIRONMENT", message))
}

pub(super) async fn roots_in(store: &dyn Store, now: Time) -> Result<Vec<Ca>, Error> {
    let (system, mut query) = (TenantScope::system(), Ca::all_of(&TenantId::system()));
    let mut roots = Vec::new();
    loop {
        let page = system.page::<Ca>(store, &query, now).await?;
        roots.extend(page.records.into_iter().map(|ca| ca.value).filter(|ca| ca.kind == CaKind::Root));
        query.after = page.next;
        if query.after.is_none() {
            return Ok(roots);
        }
    }
}
