//! How many connections may be in one stage at once, and how many of one source. Nobody is kept waiting by those who
//! are silent: over its share the oldest of a source makes room, and in a full stage the oldest of the network that has
//! the most, so that who owns many sources evicts himself.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    future::poll_fn,
    hash::Hash,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use signet_core::cidr::{network_of, source_of};

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
    /// `None`: those of whom it is not known yet.
    by_network: HashMap<Option<IpAddr>, BTreeSet<u64>>,
}

/// Whose number is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowd {
    /// The source's.
    Source,
    /// Everybody's, and no network has clearly more than the newcomer's.
    All,
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

    /// A place for a connection from `address`; `None` while it is not known who is behind a balancer, whose own
    /// address is nobody's share.
    pub fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Place {
        self.take_for(address, Arc::default())
    }

    /// The same for a connection that has a switch already, which is cut if it must make room.
    pub(crate) fn take_for(self: &Arc<Self>, address: Option<IpAddr>, switch: Arc<Switch>) -> Place {
        let mut held = self.held();
        if held.places.len() >= self.most {
            held.evict_of_largest_network();
        }
        self.enter(&mut held, address, switch)
    }

    /// The same where work would be lost with a place: a source waits for its own, and a full budget gives the newcomer
    /// the oldest place of a network only if that one still has more than the newcomer's afterwards.
    pub fn try_take(self: &Arc<Self>, address: IpAddr) -> Result<Place, Crowd> {
        let mut held = self.held();
        if held.by_source.get(&source_of(address)).is_some_and(|places| places.len() >= self.of_one_source) {
            return Err(Crowd::Source);
        }
        if held.places.len() >= self.most {
            let own = held.by_network.get(&Some(network_of(address))).map_or(0, BTreeSet::len);
            let most = held.largest_network().map_or(0, BTreeSet::len);
            if most <= own.saturating_add(1) {
                return Err(Crowd::All);
            }
            held.evict_of_largest_network();
        }
        Ok(self.enter(&mut held, Some(address), Arc::default()))
    }

    fn enter(self: &Arc<Self>, held: &mut Held, address: Option<IpAddr>, switch: Arc<Switch>) -> Place {
        let id = held.next;
        held.next = held.next.wrapping_add(1);
        held.places.insert(id, (None, Arc::clone(&switch)));
        held.by_network.entry(None).or_default().insert(id);
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
        remove_from(&mut self.by_network, &None, id);
        self.by_network.entry(Some(network_of(source))).or_default().insert(id);
        if let Some(oldest) = oldest {
            self.evict(oldest);
        }
    }

    /// Of several that are as large, the one whose oldest is older.
    fn largest_network(&self) -> Option<&BTreeSet<u64>> {
        self.by_network.values().max_by_key(|places| (places.len(), Reverse(places.first())))
    }

    fn evict_of_largest_network(&mut self) {
        if let Some(oldest) = self.largest_network().and_then(|places| places.first().copied()) {
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
        if let Some(source) = source {
            remove_from(&mut self.by_source, &source, id);
        }
        remove_from(&mut self.by_network, &source.map(network_of), id);
        Some(switch)
    }
}

fn remove_from<K: Eq + Hash>(places: &mut HashMap<K, BTreeSet<u64>>, key: &K, id: u64) {
    if let Some(of_key) = places.get_mut(key) {
        of_key.remove(&id);
        if of_key.is_empty() {
            places.remove(key);
        }
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
        poll_fn(|cx| self.poll_evicted(cx)).await;
    }

    /// The same for one who polls; only the last one is woken.
    pub fn poll_evicted(&self, cx: &Context<'_>) -> Poll<()> {
        self.switch.poll_read(cx).map(drop)
    }

    pub(crate) fn switch(&self) -> &Arc<Switch> {
        &self.switch
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
        let held = budget.held();
        assert!(held.places.is_empty() && held.by_source.is_empty() && held.by_network.is_empty());
    }

    #[test]
    fn who_owns_many_sources_evicts_himself() {
        let budget = Budget::new(10, 2);
        let older = budget.take(Some(address(1)));
        let many = |n: usize| Some(IpAddr::from([0x2001, 0xdb8, 1, u16::try_from(n).unwrap(), 0, 0, 0, 1]));
        let places: Vec<_> = (0..100).map(|n| budget.take(many(n))).collect();
        assert_eq!((evicted(&places).len(), budget.len()), (91, 10));
        assert!(evicted(&[older]).is_empty());
    }

    #[test]
    fn work_is_given_up_for_those_who_have_less_of_it_only() {
        let budget = Budget::new(8, 3);
        let of = |network: u8, host: u8| IpAddr::from([198, 51, network, host]);
        let mut held: Vec<_> = (0..9).filter_map(|_| budget.try_take(of(1, 1)).ok()).collect();
        assert_eq!((held.len(), budget.try_take(of(1, 1)).unwrap_err()), (3, Crowd::Source));
        held.extend((2..9).filter_map(|host| budget.try_take(of(1, host)).ok()));
        // All are of one network, which does not gain by more of its own.
        assert_eq!((held.len(), budget.try_take(of(1, 9)).unwrap_err()), (8, Crowd::All));
        let others: Vec<_> = (0..9).filter_map(|host| budget.try_take(of(2, host)).ok()).collect();
        assert_eq!((others.len(), evicted(&held)), (4, vec![0, 1, 2, 3]));
        assert!(evicted(&others).is_empty());
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
