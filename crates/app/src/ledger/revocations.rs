//! What was revoked a moment ago, for whoever puts it onto revocation lists.

use std::sync::{Mutex, MutexGuard, PoisonError};

use signet_core::{CaId, Serial, TenantId, store::commit::Commit, trust::change::Change};
use tokio::sync::Notify;

/// Most that wait; what is above is left to the lists' renewal.
const MOST: usize = 100_000;

/// A certificate that was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Its holder's tenant.
    pub tenant: TenantId,
    /// Its number.
    pub serial: Serial,
    /// Who signed it, where the change says so; else one of the tenant's CAs.
    pub issuer: Option<CaId>,
    /// Whether this process has revoked it; else it heard so from the feed.
    pub own: bool,
}

/// The revocations that this process has made or heard of, kept from the first question on.
#[derive(Debug, Default)]
pub struct Revocations {
    waiting: Mutex<Option<Vec<Revocation>>>,
    noted: Notify,
}

impl Revocations {
    /// Takes all that wait.
    pub fn take(&self) -> Vec<Revocation> {
        self.lock().replace(Vec::new()).unwrap_or_default()
    }

    /// Waits until there may be some.
    pub async fn noted(&self) {
        self.noted.notified().await;
    }

    pub(crate) fn note_commit(&self, commit: &Commit) {
        if let Some(tenant) = commit.announces_for() {
            self.note(tenant, commit.announced(), true);
        }
    }

    pub(crate) fn note<'a>(&self, tenant: &TenantId, changes: impl Iterator<Item = &'a Change>, own: bool) {
        let mut waiting = self.lock();
        let Some(waiting) = waiting.as_mut() else { return };
        let before = waiting.len();
        waiting.extend(changes.filter_map(|change| match change {
            Change::CertificateRevoked { serial, issuer, .. } => {
                Some(Revocation { tenant: tenant.clone(), serial: *serial, issuer: issuer.clone(), own })
            }
            _ => None,
        }));
        waiting.truncate(MOST);
        if waiting.len() > before {
            self.noted.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Revocation>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
