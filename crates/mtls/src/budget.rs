//! How many connections may be in one stage at once, and how many of one source. Nobody is kept waiting by those who
//! are silent: over either number the oldest makes room.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    future::poll_fn,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use signet_core::cidr::source_of;

use crate::switch::Switch;

/// See the module's words.
#[derive(Debug)]
pub struct Budget {
    most: usize,
    of_one_source: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    next: u64,
    /// By age.
    places: BTreeMap<u64, (Option<IpAddr>, Arc<Switch>)>,
    by_source: HashMap<IpAddr, BTreeSet<u64>>,
}

/// A connection's place, given up when dropped or when a newer connection needs it.
#[derive(Debug)]
#[must_use = "a place that is dropped is free again"]
pub struct Place {
    budget: Arc<Budget>,
    id: u64,
    switch: Arc<Switch>,
}

impl Budget {
    /// `most` places, `of_one_source` of them for one source; at least one each.
    pub fn new(most: usize, of_one_source: usize) -> Arc<Self> {
        Arc::new(Self { most: most.max(1), of_one_source: of_one_source.max(1), held: Mutex::default() })
    }

    /// A place for a connection from `address`; `None` while it is not known who is behind a balancer, whose own address
    /// is nobody's share.
    pub fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Place {
        self.take_for(address, Arc::default())
    }

    /// The same for a connection that has a switch already, which is cut if it must make room.
    pub(crate) fn take_for(self: &Arc<Self>, address: Option<IpAddr>, switch: Arc<Switch>) -> Place {
        let mut held = self.held();
        if held.places.len() >= self.most {
            held.evict_oldest();
        }
        let id = held.next;
        held.next = held.next.wrapping_add(1);
        held.places.insert(id, (None, Arc::clone(&switch)));
        if let Some(address) = address {
            held.assign(id, source_of(address), self.of_one_source);
        }
        Place { budget: Arc::clone(self), id, switch }
    }

    /// Places that are taken.
    pub fn len(&self) -> usize {
        self.held().places.len()
    }

    /// Whether no place is taken.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A poisoned lock means that another thread panicked between two map operations; the worst is a lost place.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn assign(&mut self, id: u64, source: IpAddr, most: usize) {
        let of_source = self.by_source.entry(source).or_default();
        let oldest = if of_source.len() >= most { of_source.first().copied() } else { None };
        of_source.insert(id);
        if let Some((known, _)) = self.places.get_mut(&id) {
            *known = Some(source);
        }
        if let Some(oldest) = oldest {
            self.evict(oldest);
        }
    }

    fn evict_oldest(&mut self) {
        if let Some(oldest) = self.places.keys().next().copied() {
            self.evict(oldest);
        }
    }

    fn evict(&mut self, id: u64) {
        if let Some(switch) = self.remove(id) {
            switch.cut();
        }
    }

    fn remove(&mut self, id: u64) -> Option<Arc<Switch>> {
        let (source, switch) = self.places.remove(&id)?;
        if let Some(source) = source
            && let Some(of_source) = self.by_source.get_mut(&source)
        {
            of_source.remove(&id);
            if of_source.is_empty() {
                self.by_source.remove(&source);
            }
        }
        Some(switch)
    }
}

impl Place {
    /// Now it is known whose connection it is: the place counts in the share of `address`.
    pub fn assign(&self, address: IpAddr) {
        let mut held = self.budget.held();
        // One that was evicted meanwhile stays so.
        if held.places.get(&self.id).is_some_and(|(source, _)| source.is_none()) {
            held.assign(self.id, source_of(address), self.budget.of_one_source);
        }
    }

    /// Completes when a newer connection got this place. Ask what the peer has sent before you heed it: only the silent
    /// ones should go.
    pub async fn evicted(&self) {
        poll_fn(|cx| self.switch.poll_read(cx).map(|_| ())).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.budget.held().remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn evicted(places: &[Place]) -> Vec<usize> {
        let gone = |(index, place): (usize, &Place)| place.evicted().now_or_never().map(|()| index);
        places.iter().enumerate().filter_map(gone).collect()
    }

    #[test]
    fn over_its_share_a_source_makes_room_for_itself_and_others_keep_their_places() {
        let budget = Budget::new(100, 3);
        let other = budget.take(Some(address(1)));
        let places: Vec<_> = (0..5).map(|_| budget.take(Some(address(2)))).collect();
        assert_eq!((evicted(&places), budget.len()), (vec![0, 1], 4));
        assert!(evicted(&[other]).is_empty());
    }

    #[test]
    fn a_full_budget_gives_the_oldests_place_to_the_newcomer() {
        let budget = Budget::new(4, 2);
        let places: Vec<_> = (0..6).map(|n| budget.take(Some(address(n)))).collect();
        assert_eq!((evicted(&places), budget.len()), (vec![0, 1], 4));
        drop(places);
        assert!(budget.is_empty() && budget.held().by_source.is_empty());
    }

    #[test]
    fn a_balancers_own_address_is_nobodys_share_and_the_client_behind_it_has_one() {
        let budget = Budget::new(100, 2);
        let places: Vec<_> = (0..50).map(|_| budget.take(None)).collect();
        assert!(evicted(&places).is_empty());
        places.iter().take(3).for_each(|place| place.assign(address(1)));
        // What is known stays known.
        places.iter().take(3).for_each(|place| place.assign(address(2)));
        assert_eq!((evicted(&places), budget.len()), (vec![0], 49));
    }

    #[test]
    fn an_ipv6_network_is_one_source() {
        let budget = Budget::new(100, 1);
        let hosts = ["2001:db8::1", "2001:db8::2:1", "2001:db8:0:1::1"].map(|text| Some(text.parse().unwrap()));
        let places = hosts.map(|host| budget.take(host));
        assert_eq!(evicted(&places), [0]);
    }
}
