//! What all callers share. Each user may have less than what is left, so that nobody keeps others from theirs.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Some number of things, by the users that have them.
#[derive(Clone, Debug)]
pub(crate) struct Shares(Arc<Mutex<Counts>>);

#[derive(Debug)]
struct Counts {
    left: usize,
    users: BTreeMap<u32, usize>,
}

impl Shares {
    pub(crate) fn new(all: usize) -> Self {
        Self(Arc::new(Mutex::new(Counts { left: all, users: BTreeMap::new() })))
    }

    /// So many for a user, until dropped. `None`: it has too many.
    pub(crate) fn take(&self, uid: u32, amount: usize) -> Option<Held> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let then = counts.users.get(&uid).copied().unwrap_or_default().saturating_add(amount);
        // Afterwards it has no more than what is left, or one more.
        if then.saturating_add(amount) > counts.left.saturating_add(1) {
            return None;
        }
        counts.left -= amount;
        counts.users.insert(uid, then);
        Some(Held { shares: self.clone(), uid, amount })
    }
}

/// A user's part.
#[derive(Debug)]
pub(crate) struct Held {
    shares: Shares,
    uid: u32,
    amount: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut counts = self.shares.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.left += self.amount;
        if let Some(count) = counts.users.get_mut(&self.uid) {
            *count -= self.amount;
            if *count == 0 {
                counts.users.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Shares;

    #[test]
    fn each_user_leaves_some_to_others_and_gives_back_what_it_had() {
        let shares = Shares::new(3072);
        let all = [1, 2, 3].map(|uid| std::iter::repeat_with(|| shares.take(uid, 1)).map_while(|held| held).collect());
        assert_eq!(all.each_ref().map(Vec::len), [1536, 768, 384]);
        drop(all);
        assert!(shares.take(1, 1537).is_none() && shares.take(1, 1536).is_some());
        assert!(shares.0.lock().unwrap().users.is_empty());
    }
}
