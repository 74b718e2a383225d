//! Devices whose secrets are to be fetched: each once for all who wait, many in one call, so many at most.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use tokio::sync::{Notify, oneshot};

use super::memory::DeviceKey;

/// Devices of one call.
const AT_ONCE: usize = 100;
/// Most devices that wait: what comes beyond is refused at once.
const MOST_WAITING: usize = 10_000;
/// Most messages of one device that wait for its secret.
const MOST_OF_ONE: usize = 1024;

/// See the module's words.
#[derive(Default)]
pub(super) struct Asking {
    of: Mutex<Waiting>,
    /// Devices of which is to be told that they use the secret before late.
    late: Mutex<Vec<String>>,
    /// Somebody waits.
    pub(super) wanted: Notify,
}

#[derive(Default)]
struct Waiting {
    /// Not asked for yet.
    next: HashMap<DeviceKey, Wanted>,
    /// Being asked for.
    asked: HashMap<DeviceKey, Vec<oneshot::Sender<()>>>,
}

struct Wanted {
    device: String,
    waiters: Vec<oneshot::Sender<()>>,
}

impl Asking {
    /// Has a device's secret fetched. `None`: too much waits already. It completes, also by an error, once it was.
    pub(super) fn ask(&self, key: DeviceKey, device: &str) -> Option<oneshot::Receiver<()>> {
        let (sender, receiver) = oneshot::channel();
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiters) = of.asked.get_mut(&key) {
            return join(waiters, sender).then_some(receiver);
        }
        if let Some(wanted) = of.next.get_mut(&key) {
            return join(&mut wanted.waiters, sender).then_some(receiver);
        }
        if of.next.len() >= MOST_WAITING {
            return None;
        }
        of.next.insert(key, Wanted { device: device.to_owned(), waiters: vec![sender] });
        drop(of);
        self.wanted.notify_one();
        Some(receiver)
    }

    /// Has it told that a device uses the secret before late. What finds no room is told by nobody: it is a hint.
    pub(super) fn tell_late(&self, device: &str) {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        if late.len() < MOST_WAITING {
            late.push(device.to_owned());
        }
        drop(late);
        self.wanted.notify_one();
    }

    /// Takes those that are told of in one call.
    pub(super) fn take_late(&self) -> Vec<String> {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = late.len().saturating_sub(AT_ONCE);
        late.split_off(rest)
    }

    /// Takes what is to be asked for in one call.
    pub(super) fn take(&self) -> Vec<(DeviceKey, String)> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let keys: Vec<DeviceKey> = of.next.keys().take(AT_ONCE).copied().collect();
        let mut taken = Vec::with_capacity(keys.len());
        for key in keys {
            if let Some(Wanted { device, waiters }) = of.next.remove(&key) {
                of.asked.insert(key, waiters);
                taken.push((key, device));
            }
        }
        taken
    }

    /// Wakes all who wait for these.
    pub(super) fn done(&self, keys: impl IntoIterator<Item = DeviceKey>) {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            of.asked.remove(&key);
        }
    }
}

fn join(waiters: &mut Vec<oneshot::Sender<()>>, waiter: oneshot::Sender<()>) -> bool {
    if waiters.len() >= MOST_OF_ONE {
        waiters.retain(|waiter| !waiter.is_closed());
    }
    let has_room = waiters.len() < MOST_OF_ONE;
    if has_room {
        waiters.push(waiter);
    }
    has_room
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_the_same_device_waits_for_one_question() {
        let asking = Asking::default();
        let mut waiting = [asking.ask([1, 1], "d1").unwrap(), asking.ask([1, 1], "d1").unwrap()];
        assert_eq!(asking.take(), [([1, 1], "d1".to_owned())]);
        let mut third = asking.ask([1, 1], "d1").unwrap();
        assert!(asking.take().is_empty(), "it is being asked for");
        assert!(third.try_recv().is_err());
        asking.done([[1, 1]]);
        for done in &mut waiting {
            assert!(matches!(done.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        }
    }

    #[test]
    fn a_flood_waits_in_bounded_room_and_is_asked_for_in_hundreds() {
        let asking = Asking::default();
        let waiting: Vec<_> = (0..20_000).filter_map(|number| asking.ask([number, 0], "d")).collect();
        assert_eq!((waiting.len(), asking.take().len()), (MOST_WAITING, AT_ONCE));
    }
}
