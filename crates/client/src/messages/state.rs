//! What the clones of a verifier share.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use signet_core::{Clock, Time};
use signet_messages::{MessageRefusal, ReplayRoom, SignedBy, SignedMessage};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout},
};

use super::{
    asking::Asking,
    connection::Connection,
    memory::{DeviceKey, Look, Memory},
};

/// How long what was told is believed while nothing is heard of the control plane.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a message waits for its device's secret.
const PATIENCE: Duration = Duration::from_secs(5);
/// Calls that are under way.
const CALLS_AT_ONCE: usize = 4;

pub(super) struct Inner {
    pub(super) memory: Memory,
    pub(super) asking: Asking,
    connection: watch::Sender<Option<Arc<Connection>>>,
    /// Whether the control plane has refused us ourselves.
    refused: AtomicBool,
    /// When the control plane was heard last, in milliseconds after `began`, plus one; 0: never.
    heard: AtomicU64,
    /// When the connection before the present one was heard last, likewise.
    heard_before: AtomicU64,
    began: Instant,
    clock: Clock,
    /// Unix seconds of the last tidying.
    tidied: Mutex<i64>,
}

impl Inner {
    pub(super) fn new(room: ReplayRoom, clock: Clock) -> Self {
        let now = clock().unix_seconds();
        Self {
            memory: Memory::new(room, now),
            asking: Asking::default(),
            connection: watch::Sender::new(None),
            refused: AtomicBool::new(false),
            heard: AtomicU64::new(0),
            heard_before: AtomicU64::new(0),
            began: Instant::now(),
            clock,
            tidied: Mutex::new(now),
        }
    }

    fn now(&self) -> Time {
        (self.clock)()
    }

    pub(super) async fn verify(&self, device: &str, message: &SignedMessage<'_>) -> Result<SignedBy, MessageRefusal> {
        let (key, now) = (self.memory.key(device), self.now().unix_seconds());
        message.require_fresh(now)?;
        match self.judged(key, device, message, now) {
            Some((answer, doubtful)) if answer.is_ok() || !doubtful => return answer,
            Some(_) | None => {}
        }
        // Of whom there can be no secret nobody needs to ask.
        device.parse::<signet_core::PrincipalId>().map_err(|_| MessageRefusal::UnknownSender)?;
        let fetched = async {
            // Once more if it changed meanwhile.
            for _ in 0..2 {
                self.usable().await?;
                let waiting = self.asking.ask(key, device).ok_or(MessageRefusal::Unknown)?;
                let _ = waiting.await;
                if let Some((answer, _)) = self.judged(key, device, message, now) {
                    return answer;
                }
            }
            Err(MessageRefusal::Unknown)
        };
        timeout(PATIENCE, fetched).await.unwrap_or(Err(MessageRefusal::Unknown))
    }

    /// The same without waiting: what is not known is asked for meanwhile.
    pub(super) fn verify_at_once(&self, device: &str, message: &SignedMessage<'_>) -> Result<SignedBy, MessageRefusal> {
        let (key, now) = (self.memory.key(device), self.now().unix_seconds());
        message.require_fresh(now)?;
        let judged = self.judged(key, device, message, now);
        judged.map_or_else(|| self.learn(key, device), |(answer, _)| answer)
    }

    /// Whether a device has a secret that counts, or why not; what is not known is asked for meanwhile.
    pub(super) fn standing(&self, device: &str) -> Result<(), MessageRefusal> {
        let (key, at) = (self.memory.key(device), Instant::now());
        let known = self.is_believed(at).then(|| self.memory.standing(key, at, self.is_recent(&self.heard_before, at)));
        match known.flatten() {
            Some((standing, doubtful)) => {
                if doubtful {
                    drop(self.asking.ask(key, device));
                }
                standing
            }
            None => self.learn(key, device),
        }
    }

    fn learn<T>(&self, key: DeviceKey, device: &str) -> Result<T, MessageRefusal> {
        drop(self.asking.ask(key, device));
        Err(MessageRefusal::Unknown)
    }

    /// By what is known, and whether that is in doubt; `None`: the device's secret must be asked for.
    fn judged(
        &self,
        key: DeviceKey,
        device: &str,
        message: &SignedMessage<'_>,
        now: i64,
    ) -> Option<(Result<SignedBy, MessageRefusal>, bool)> {
        let at = Instant::now();
        if !self.is_believed(at) {
            return None;
        }
        let believes_doubtful = self.is_recent(&self.heard_before, at);
        match self.memory.look(key, message, (now, at), believes_doubtful) {
            Look::Judged { answer, doubtful, late } => {
                if late {
                    self.asking.tell_late(device);
                }
                if doubtful {
                    // In the background: nobody waits for it.
                    drop(self.asking.ask(key, device));
                }
                Some((answer, doubtful))
            }
            Look::Ask => None,
        }
    }

    /// Waits for a connection that secrets can be fetched over.
    async fn usable(&self) -> Result<Arc<Connection>, MessageRefusal> {
        let usable = |found: &Option<Arc<Connection>>| found.as_ref().is_some_and(|one| !one.over.is_cancelled());
        let mut connections = self.connection.subscribe();
        let never_heard = self.heard.load(Ordering::Acquire) == 0;
        let found = if never_heard || self.is_believed(Instant::now()) {
            connections.wait_for(usable).await.ok().and_then(|found| found.clone())
        } else {
            connections.borrow().clone().filter(|one| !one.over.is_cancelled())
        };
        found.ok_or(MessageRefusal::Unknown)
    }

    pub(super) fn connected(&self, connection: &Arc<Connection>) {
        self.heard_before.store(self.heard.load(Ordering::Acquire), Ordering::Release);
        self.memory.doubt();
        self.heard();
        self.refused.store(false, Ordering::Release);
        self.connection.send_replace(Some(Arc::clone(connection)));
    }

    /// `refused`: since we are, until we are let in again. Else what was told holds for a while.
    pub(super) fn disconnected(&self, refused: bool) {
        self.connection.send_replace(None);
        if refused {
            self.refused.store(true, Ordering::Release);
            self.memory.forget_all();
        }
    }

    pub(super) fn heard(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.store(millis.saturating_add(1), Ordering::Release);
    }

    /// Whether what the control plane told is still believed.
    fn is_believed(&self, at: Instant) -> bool {
        !self.refused.load(Ordering::Acquire) && self.is_recent(&self.heard, at)
    }

    fn is_recent(&self, heard: &AtomicU64, at: Instant) -> bool {
        let heard = heard.load(Ordering::Acquire);
        heard > 0 && self.since(heard, at) <= SILENCE
    }

    fn since(&self, heard: u64, at: Instant) -> Duration {
        at.saturating_duration_since(self.began).saturating_sub(Duration::from_millis(heard.saturating_sub(1)))
    }

    /// How long nothing is heard of the control plane, from the start on.
    pub(super) fn silence(&self) -> Duration {
        self.since(self.heard.load(Ordering::Acquire), Instant::now())
    }

    pub(super) fn tidy(&self) {
        let now = self.now().unix_seconds();
        let mut tidied = self.tidied.lock().unwrap_or_else(PoisonError::into_inner);
        if now.abs_diff(*tidied) >= 60 {
            *tidied = now;
            self.memory.tidy(now);
        }
    }
}

/// For ever: fetches what is asked for.
pub(super) async fn fetch(inner: Arc<Inner>) {
    let calls = Arc::new(Semaphore::new(CALLS_AT_ONCE));
    loop {
        inner.asking.wanted.notified().await;
        loop {
            let Ok(place) = Arc::clone(&calls).acquire_owned().await else { return };
            let (taken, late) = (inner.asking.take(), inner.asking.take_late());
            if taken.is_empty() && late.is_empty() {
                break;
            }
            let inner = Arc::clone(&inner);
            tokio::spawn(async move {
                fetch_some(&inner, taken, late).await;
                drop(place);
            });
        }
    }
}

async fn fetch_some(inner: &Inner, taken: Vec<(DeviceKey, String)>, late: Vec<String>) {
    let (keys, devices): (Vec<_>, Vec<_>) = taken.into_iter().unzip();
    let asked: Vec<_> = keys.iter().map(|key| (inner.memory.changes(*key), inner.memory.era())).collect();
    let fetched = async {
        let connection = inner.usable().await.ok()?;
        match connection.fetch(devices, late).await {
            Ok(found) => Some(found),
            Err(error) => {
                tracing::warn!(%error, "the secrets of devices cannot be fetched");
                None
            }
        }
    };
    if let Ok(Some(found)) = timeout(PATIENCE, fetched).await {
        let at = Instant::now();
        for ((key, asked), told) in keys.iter().zip(asked).zip(found) {
            inner.memory.keep(*key, told, asked, at);
        }
    }
    inner.asking.done(keys);
}

#[cfg(test)]
mod tests {
    use signet_messages::{SecretPair, SigningSecret};
    use tokio::time::advance;
    use tonic::transport::Endpoint;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn connection() -> Arc<Connection> {
        // Nobody is there: nothing is fetched over it.
        Arc::new(Connection::new(Endpoint::from_static("http://127.0.0.1:1").connect_lazy()))
    }

    fn inner() -> Arc<Inner> {
        let clock: Clock = Arc::new(|| Time::from_unix_seconds(NOW));
        Arc::new(Inner::new(ReplayRoom::default(), clock))
    }

    fn tell(inner: &Inner, device: &str) {
        let key = inner.memory.key(device);
        let asked = (inner.memory.changes(key), inner.memory.era());
        inner.memory.keep(key, Ok(SecretPair::new(SigningSecret::new([1; 32]), None)), asked, Instant::now());
    }

    async fn send(inner: &Inner, device: &str, id: &str) -> Result<SignedBy, MessageRefusal> {
        let (timestamp, signatures) = (NOW.to_string(), SigningSecret::new([1; 32]).sign(id, NOW, b"x"));
        inner.verify(device, &SignedMessage { id, timestamp: &timestamp, signatures: &signatures, body: b"x" }).await
    }

    #[tokio::test(start_paused = true)]
    async fn who_hears_nothing_for_half_a_minute_refuses_everything() {
        let inner = inner();
        let first = connection();
        inner.connected(&first);
        tell(&inner, "d1");
        assert_eq!(send(&inner, "d1", "a").await, Ok(SignedBy::Current));
        inner.disconnected(false);
        advance(Duration::from_secs(29)).await;
        assert_eq!(send(&inner, "d1", "b").await, Ok(SignedBy::Current));
        advance(Duration::from_secs(2)).await;
        assert_eq!(send(&inner, "d1", "c").await, Err(MessageRefusal::Unknown));
        assert!(inner.silence() >= Duration::from_secs(31));
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_makes_secrets_doubtful_and_they_are_asked_for_in_the_background() {
        let inner = inner();
        inner.connected(&connection());
        tell(&inner, "d1");
        inner.disconnected(false);
        advance(Duration::from_secs(10)).await;
        inner.connected(&connection());
        assert_eq!(send(&inner, "d1", "a").await, Ok(SignedBy::Current), "it was heard of ten seconds ago");
        assert_eq!(inner.asking.take().len(), 1, "and is asked for anew");
        for _ in 0..5 {
            advance(Duration::from_secs(5)).await;
            inner.heard();
        }
        assert_eq!(send(&inner, "d1", "b").await, Err(MessageRefusal::Unknown), "nobody told of it any more");
    }

    /// Whoever sends unsigned since it has no secret must not be let go on by what an earlier connection told.
    #[tokio::test(start_paused = true)]
    async fn a_new_connection_makes_it_doubtful_that_there_is_no_secret() {
        let inner = inner();
        inner.connected(&connection());
        let key = inner.memory.key("d1");
        let asked = (inner.memory.changes(key), inner.memory.era());
        inner.memory.keep(key, Err(MessageRefusal::UnknownSender), asked, Instant::now());
        assert_eq!((inner.standing("d1"), inner.asking.take().len()), (Err(MessageRefusal::UnknownSender), 0));
        inner.disconnected(false);
        inner.connected(&connection());
        assert_eq!((inner.standing("d1"), inner.asking.take().len()), (Err(MessageRefusal::UnknownSender), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_refused_itself_knows_nothing_any_more() {
        let inner = inner();
        inner.connected(&connection());
        tell(&inner, "d1");
        inner.disconnected(true);
        assert_eq!(send(&inner, "d1", "a").await, Err(MessageRefusal::Unknown));
        assert_eq!(inner.memory.len(), (0, 0));
    }
}
