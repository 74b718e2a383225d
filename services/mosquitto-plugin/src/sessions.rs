//! The clients that were let in, by their client ids: those that are connected, and those that were lately.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    ffi::CStr,
    sync::Arc,
};

use signet_core::{PrincipalId, Time, brokers::TopicRights};

use crate::{
    holder::Holder,
    watch::{Handle, Watch},
};

/// Most that are remembered after they have gone, for their wills (MQTT 5 section 3.1.3.2.2).
const MOST_GONE: usize = 100_000;

/// Ends of sessions that are no more are let be, up to so many.
const SLACK: usize = 1024;

/// A client.
pub(crate) struct Session {
    /// Unlike all others'.
    number: u64,
    pub(crate) client_id: Arc<CStr>,
    /// Its address in the broker's memory: a client that takes a session over has the client id of the one before.
    pub(crate) place: usize,
    /// Where the client was that it took the session over from: what comes from there is that one's will.
    pub(crate) before: Option<usize>,
    pub(crate) is_connected: bool,
    pub(crate) holder: Holder,
    /// What it may now.
    pub(crate) rights: TopicRights,
    /// What it might at most: whoever loses some of it must go.
    pub(crate) granted: TopicRights,
    /// What [`Self::rights`] were found at.
    pub(crate) epoch: u64,
    /// Why it must end.
    pub(crate) refused: Option<&'static str>,
    /// The broker is to be told; once, since it may then have another with this client id.
    is_ending: bool,
    /// Looks after its token.
    pub(crate) watch: Option<Watch>,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Sessions {
    slots: Vec<Option<Session>>,
    free: Vec<usize>,
    by_client_id: HashMap<Arc<CStr>, usize>,
    /// In the order in which they went.
    gone: VecDeque<Handle>,
    ends: BinaryHeap<Reverse<(Time, Handle)>>,
    /// Connected clients of each principal of a tenant, by its place.
    connected: HashMap<(usize, PrincipalId), usize>,
    last: u64,
}

/// A client that was let in.
pub(crate) struct Admitted<'a> {
    pub(crate) client_id: &'a CStr,
    pub(crate) place: usize,
    pub(crate) holder: Holder,
    pub(crate) rights: TopicRights,
    pub(crate) epoch: u64,
}

impl Sessions {
    /// A client has come. Whoever had its client id before is this client no more.
    pub(crate) fn begin(&mut self, admitted: Admitted<'_>) -> Handle {
        self.last = self.last.saturating_add(1);
        let Admitted { client_id, place, holder, rights, epoch } = admitted;
        let until = holder.until();
        let slot = match self.by_client_id.get(client_id) {
            Some(slot) => *slot,
            None => self.free.pop().unwrap_or_else(|| {
                self.slots.push(None);
                self.slots.len().saturating_sub(1)
            }),
        };
        let client_id: Arc<CStr> = client_id.into();
        let handle = Handle { slot, number: self.last };
        self.ends.push(Reverse((until, handle)));
        self.forget_ends();
        self.by_client_id.insert(Arc::clone(&client_id), slot);
        let number = self.last;
        if let Some(before) = self.slots.get(slot).and_then(Option::as_ref).filter(|session| session.is_connected) {
            leave(&mut self.connected, before);
        }
        let connected = self.connected.entry((holder.tenant, holder.principal.clone())).or_default();
        *connected = connected.saturating_add(1);
        let before = self.slots.get(slot).and_then(Option::as_ref).map(|session| session.place);
        // At the same address it has gone before this one came.
        let before = before.filter(|before| *before != place);
        let session = Session {
            number,
            client_id,
            place,
            before,
            is_connected: true,
            holder,
            rights,
            granted: rights,
            epoch,
            refused: None,
            is_ending: false,
            watch: None,
        };
        if let Some(free) = self.slots.get_mut(slot) {
            *free = Some(session);
        }
        handle
    }

    /// Whoever comes again and again leaves ends of sessions that are no more.
    fn forget_ends(&mut self) {
        if self.ends.len() > self.slots.len().saturating_mul(2).saturating_add(SLACK) {
            let mut ends = std::mem::take(&mut self.ends);
            ends.retain(|Reverse((_, handle))| self.get(*handle).is_some());
            self.ends = ends;
        }
    }

    /// A client has gone. Another with its client id may have come before.
    pub(crate) fn end(&mut self, client_id: &CStr, place: usize) {
        let Some(slot) = self.by_client_id.get(client_id).copied() else { return };
        let Some(Some(session)) = self.slots.get_mut(slot) else { return };
        if session.place != place || !session.is_connected {
            return;
        }
        session.is_connected = false;
        leave(&mut self.connected, session);
        let handle = Handle { slot, number: session.number };
        if session.refused.is_some() {
            return self.forget(handle);
        }
        self.gone.push_back(handle);
        if self.gone.len() > MOST_GONE
            && let Some(first) = self.gone.pop_front()
        {
            self.forget_gone(first);
        }
    }

    fn forget_gone(&mut self, handle: Handle) {
        if self.get(handle).is_some_and(|session| !session.is_connected) {
            self.forget(handle);
        }
    }

    /// It is there no more, whatever the broker says.
    pub(crate) fn forget(&mut self, handle: Handle) {
        if self.get(handle).is_none() {
            return;
        }
        if let Some(session) = self.slots.get_mut(handle.slot).and_then(Option::take) {
            if session.is_connected {
                leave(&mut self.connected, &session);
            }
            self.by_client_id.remove(&session.client_id);
            self.free.push(handle.slot);
        }
    }

    /// Connected clients of a principal, but for the one that this client would take over.
    pub(crate) fn others_of(&self, holder: &Holder, client_id: &CStr) -> usize {
        let all = self.connected.get(&(holder.tenant, holder.principal.clone())).copied().unwrap_or_default();
        let same = self.by_client_id.get(client_id).and_then(|slot| self.slots.get(*slot)?.as_ref());
        let is_own = |same: &&Session| {
            same.is_connected && same.holder.tenant == holder.tenant && same.holder.principal == holder.principal
        };
        all.saturating_sub(same.iter().copied().filter(is_own).count())
    }

    pub(crate) fn find(&mut self, client_id: &CStr) -> Option<&mut Session> {
        self.slots.get_mut(*self.by_client_id.get(client_id)?)?.as_mut()
    }

    pub(crate) fn get(&mut self, handle: Handle) -> Option<&mut Session> {
        self.slots.get_mut(handle.slot)?.as_mut().filter(|session| session.number == handle.number)
    }

    /// The session in a place of [`Self::places`].
    pub(crate) fn at(&mut self, slot: usize) -> Option<(Handle, &mut Session)> {
        let session = self.slots.get_mut(slot)?.as_mut()?;
        Some((Handle { slot, number: session.number }, session))
    }

    pub(crate) const fn places(&self) -> usize {
        self.slots.len()
    }

    /// One whose certificate or token has ended by `now`.
    pub(crate) fn over(&mut self, now: Time) -> Option<Handle> {
        let Reverse((until, _)) = self.ends.peek()?;
        if now < *until {
            return None;
        }
        self.ends.pop().map(|Reverse((_, handle))| handle)
    }
}

fn leave(connected: &mut HashMap<(usize, PrincipalId), usize>, session: &Session) {
    let whose = (session.holder.tenant, session.holder.principal.clone());
    if let Some(left) = connected.get_mut(&whose) {
        *left = left.saturating_sub(1);
        if *left == 0 {
            connected.remove(&whose);
        }
    }
}

impl Session {
    /// Whether it must end and nobody has seen to it yet: the caller does.
    pub(crate) fn take_end(&mut self) -> bool {
        let is_new = self.refused.is_some() && self.is_connected && !self.is_ending;
        self.is_ending |= is_new;
        is_new
    }
}
