//! This node's responder of each CA that was asked for. A key lives in memory only; at half of its certificate's life
//! another takes its place.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use signet_app::authorities::ocsp::CertifiedResponder;
use signet_core::{CaId, Lifetime, Time};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

/// Responders that wait to be made. More are asked for again.
const WAITING: usize = 256;
/// How long somebody waits for the first one.
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// From one to the next, also after a failure and shortly before the CA's end: its signatures are few, whoever asks.
const PAUSE: Lifetime = Lifetime::seconds(60);

/// What came of making one; `None`: nothing.
pub(crate) type Made = Option<CertifiedResponder>;

/// CAs for which a responder is to be made.
pub(crate) type Wanted = mpsc::Receiver<CaId>;

/// See the module's words.
pub(super) struct Responders {
    of: Mutex<HashMap<CaId, watch::Sender<State>>>,
    wanted: mpsc::Sender<CaId>,
}

#[derive(Clone, Default)]
struct State {
    certified: Option<Arc<CertifiedResponder>>,
    is_wanted: bool,
    made_at: Option<Time>,
}

impl State {
    fn valid(&self, now: Time) -> Option<&Arc<CertifiedResponder>> {
        self.certified.as_ref().filter(|known| known.not_before <= now && now < known.not_after)
    }

    /// Whether another should be made.
    fn is_due(&self, now: Time) -> bool {
        let is_half_over = |known: &Arc<CertifiedResponder>| {
            now.millis_since(known.not_before) >= known.not_after.millis_since(known.not_before) / 2
        };
        let is_over = |made_at: Time| !(0..PAUSE.millis()).contains(&now.millis_since(made_at));
        self.valid(now).is_none_or(is_half_over) && self.made_at.is_none_or(is_over)
    }
}

impl Responders {
    pub(super) fn new() -> (Self, Wanted) {
        let (wanted, receiver) = mpsc::channel(WAITING);
        (Self { of: Mutex::default(), wanted }, receiver)
    }

    /// The responder of a CA that is trusted. Who finds none waits for it.
    pub(super) async fn of(&self, ca: &CaId, now: Time) -> Option<Arc<CertifiedResponder>> {
        let mut state = self.wanted(ca, now);
        let known = state.borrow().valid(now).cloned();
        if known.is_some() {
            return known;
        }
        let found = state.wait_for(|state| state.valid(now).is_some() || !state.is_wanted);
        timeout(LONGEST_WAIT, found).await.ok()?.ok()?.valid(now).cloned()
    }

    /// The CA's responder to watch, wanted if it is time for another.
    fn wanted(&self, ca: &CaId, now: Time) -> watch::Receiver<State> {
        let mut all = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let state = all.entry(ca.clone()).or_insert_with(|| watch::Sender::new(State::default()));
        state.send_if_modified(|state| {
            let is_new = !state.is_wanted && state.is_due(now) && self.wanted.try_send(ca.clone()).is_ok();
            state.is_wanted |= is_new;
            is_new
        });
        state.subscribe()
    }

    /// It is wanted no more.
    pub(super) fn made(&self, ca: &CaId, made: Made, now: Time) {
        let mut all = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let state = all.entry(ca.clone()).or_insert_with(|| watch::Sender::new(State::default()));
        state.send_modify(|state| {
            state.is_wanted = false;
            state.made_at = Some(now);
            if let Some(made) = made {
                state.certified = Some(Arc::new(made));
            }
        });
    }
}
