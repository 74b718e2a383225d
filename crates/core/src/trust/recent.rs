//! What the last changes were about, for those who keep answers of this node and want to know which hold no more.

use std::collections::VecDeque;

use crate::{PrincipalId, Serial, TenantId};

/// Most changes that are remembered.
const MOST: usize = 4096;

/// Whose decisions a change may have turned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Affected {
    /// Any.
    Everybody,
    /// All of a tenant.
    Tenant(TenantId),
    /// Those about this principal.
    Principal(TenantId, PrincipalId),
    /// Those about the certificate with this serial number.
    Certificate(TenantId, Serial),
    /// None: what this principal signs messages with is another, or gone.
    MessageSecret(TenantId, PrincipalId),
}

impl Affected {
    fn matters_to(&self, tenant: &TenantId) -> bool {
        match self {
            Self::Everybody => true,
            Self::Tenant(of) | Self::Principal(of, _) | Self::Certificate(of, _) | Self::MessageSecret(of, _) => {
                of == tenant
            }
        }
    }
}

/// The last changes, each with the epoch that it began.
#[derive(Debug, Default)]
pub(super) struct Recent {
    changes: VecDeque<(u64, Affected)>,
    /// All later changes are here.
    complete_after: u64,
}

impl Recent {
    pub(super) fn push(&mut self, epoch: u64, affected: Affected) {
        if self.changes.len() >= MOST
            && let Some((oldest, _)) = self.changes.pop_front()
        {
            self.complete_after = oldest;
        }
        self.changes.push_back((epoch, affected));
    }

    /// Nobody keeps answers of a node that knows nothing yet.
    pub(super) const fn skip(&mut self, epoch: u64) {
        self.complete_after = epoch;
    }

    /// What matters to `tenant` of the changes after `epoch`, in order.
    pub(super) fn since(&self, epoch: u64, tenant: &TenantId) -> Vec<Affected> {
        if epoch < self.complete_after {
            return vec![Affected::Everybody];
        }
        let later = self.changes.iter().rev().take_while(|(at, _)| *at > epoch);
        let mut found: Vec<_> =
            later.filter(|(_, what)| what.matters_to(tenant)).map(|(_, what)| what.clone()).collect();
        found.reverse();
        found
    }
}
