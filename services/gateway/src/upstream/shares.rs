//! How many requests of one principal are under way: whoever keeps all it can get leaves the rest to the others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// See the module's words.
#[derive(Debug)]
pub(super) struct Shares {
    most: usize,
    counts: Mutex<HashMap<Arc<str>, usize>>,
}

/// A request that counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    shares: Arc<Shares>,
    whose: Arc<str>,
}

impl Shares {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most: most.max(1), counts: Mutex::default() })
    }

    /// `None`: the principal has as many as one may.
    pub(super) fn take(self: &Arc<Self>, whose: &Arc<str>) -> Option<Share> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(Arc::clone(whose)).or_default();
        if *count >= self.most {
            return None;
        }
        *count = count.saturating_add(1);
        Some(Share { shares: Arc::clone(self), whose: Arc::clone(whose) })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut counts = self.shares.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.whose) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.whose);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_share_and_gives_it_back() {
        let (shares, ann, bob): (_, Arc<str>, Arc<str>) = (Shares::new(2), "ann".into(), "bob".into());
        let held = [shares.take(&ann).unwrap(), shares.take(&ann).unwrap()];
        assert!(shares.take(&ann).is_none() && shares.take(&bob).is_some());
        drop(held);
        assert!(shares.take(&ann).is_some() && shares.counts.lock().unwrap().is_empty());
    }
}
