//! Tokens that are good, by certificate and by what they are for. Who asks for the same waits for the same answer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use futures::{
    FutureExt,
    future::{BoxFuture, Shared as SharedFuture},
};
use tokio::time::Instant;
use tonic::{Status, transport::Channel};

use super::issued::{IssuedToken, TokenWish};
use crate::{
    error::{ClientError, ConnectError},
    retry::jittered,
};

/// Most kinds of tokens of one certificate; beyond it those that are over are forgotten, or all.
const MOST: usize = 1000;
/// The present certificate, and the one before it, whose connections still end.
const CERTIFICATES: usize = 2;
/// A token is not shown for the last part of its life: it must arrive, and clocks differ.
const LAST: Duration = Duration::from_secs(5);
/// How long a refusal is repeated to those who ask for the same.
const REFUSED: Duration = Duration::from_secs(1);
/// How soon after a failure a token is asked for anew while the last one is still good.
const AGAIN: Duration = Duration::from_secs(5);

/// A certificate's SHA-256.
pub(super) type Thumbprint = [u8; 32];

pub(super) fn thumbprint(certificate_der: &[u8]) -> Thumbprint {
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(digest(&SHA256, certificate_der).as_ref());
    sha256
}

type Answer = Result<Arc<IssuedToken>, ClientError>;
type Fetching = SharedFuture<BoxFuture<'static, Answer>>;

/// See the module's words.
#[derive(Default)]
pub(super) struct TokenCache(Mutex<Vec<OfCertificate>>);

struct OfCertificate {
    certificate: Thumbprint,
    channel: Channel,
    slots: HashMap<TokenWish, Slot>,
}

#[derive(Default)]
struct Slot {
    kept: Option<KeptToken>,
    refused: Option<(ClientError, Instant)>,
    fetching: Option<Fetching>,
}

struct KeptToken {
    token: Arc<IssuedToken>,
    /// From when on another one is asked for.
    renew_at: Instant,
    /// From when on it is not shown any more.
    ends_at: Instant,
    asked_at: Instant,
}

impl KeptToken {
    fn new(token: Arc<IssuedToken>, asked_at: Instant) -> Self {
        let life = token.lifetime;
        // About half: those that began together do not ask together.
        let renew_in = life.mul_f64(0.45) + jittered(life.mul_f64(0.1));
        let ends_in = life.saturating_sub(LAST.min(life / 10));
        Self { token, renew_at: asked_at + renew_in, ends_at: asked_at + ends_in, asked_at }
    }
}

impl TokenCache {
    fn lock(&self) -> MutexGuard<'_, Vec<OfCertificate>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that is good at this moment.
    pub(super) fn kept(&self, certificate: &Thumbprint, wish: &TokenWish) -> Option<Arc<IssuedToken>> {
        let all = self.lock();
        let kept = all.iter().find(|of| of.certificate == *certificate)?.slots.get(wish)?.kept.as_ref()?;
        (Instant::now() < kept.ends_at).then(|| Arc::clone(&kept.token))
    }

    /// A token that is good. `connect`: with this certificate, if there is no connection yet; `fetch`: asks for it.
    pub(super) async fn get<F>(
        self: &Arc<Self>,
        certificate: Thumbprint,
        wish: TokenWish,
        connect: impl FnOnce() -> Result<Channel, ConnectError>,
        fetch: impl FnOnce(Channel, TokenWish) -> F,
    ) -> Answer
    where
        F: Future<Output = Result<IssuedToken, ClientError>> + Send + 'static,
    {
        let now = Instant::now();
        let awaited = {
            let mut all = self.lock();
            let of = of_certificate(&mut all, certificate, connect)?;
            let channel = of.channel.clone();
            let slot = of.slot(&wish, now);
            let good = slot.kept.as_ref().filter(|kept| now < kept.ends_at);
            let (token, is_due) = match good {
                Some(kept) => (Some(Arc::clone(&kept.token)), now >= kept.renew_at),
                None => (None, true),
            };
            if token.is_none()
                && let Some((error, until)) = &slot.refused
                && now < *until
            {
                return Err(error.clone());
            }
            if is_due && slot.fetching.is_none() {
                let work = fetch(channel, wish.clone());
                slot.fetching = Some(self.begin(certificate, wish, work));
            }
            match (token, slot.fetching.clone()) {
                (Some(token), _) => return Ok(token),
                (None, Some(fetching)) => fetching,
                (None, None) => return Err(Status::internal("no token is asked for").into()),
            }
        };
        awaited.await
    }

    /// Goes on whoever waits for it.
    fn begin(
        self: &Arc<Self>,
        certificate: Thumbprint,
        wish: TokenWish,
        work: impl Future<Output = Result<IssuedToken, ClientError>> + Send + 'static,
    ) -> Fetching {
        let this = Arc::clone(self);
        let asked_at = Instant::now();
        let task = tokio::spawn(async move {
            let answer = work.await.map(Arc::new);
            this.fetched(&certificate, &wish, &answer, asked_at);
            answer
        });
        let over = |_| Err(Status::cancelled("the program ends").into());
        task.map(move |answer| answer.unwrap_or_else(over)).boxed().shared()
    }

    fn fetched(&self, certificate: &Thumbprint, wish: &TokenWish, answer: &Answer, asked_at: Instant) {
        let now = Instant::now();
        let mut all = self.lock();
        let of = all.iter_mut().find(|of| of.certificate == *certificate);
        let Some(slot) = of.and_then(|of| of.slots.get_mut(wish)) else { return };
        slot.fetching = None;
        match answer {
            Ok(token) => {
                slot.kept = Some(KeptToken::new(Arc::clone(token), asked_at));
                slot.refused = None;
            }
            Err(error) => {
                tracing::debug!(%error, "a token cannot be had");
                slot.refused = Some((error.clone(), now + REFUSED));
                if let Some(kept) = &mut slot.kept {
                    kept.renew_at = now + AGAIN / 2 + jittered(AGAIN);
                }
            }
        }
    }

    /// A verifier did not take this token: the next one is asked for anew. Not sooner than a second after it was had,
    /// so that who refuses all is not asked for all.
    pub(super) fn forget(&self, certificate: &Thumbprint, wish: &TokenWish, token: &Arc<IssuedToken>) {
        self.forget_if(certificate, wish, |kept| Arc::ptr_eq(&kept.token, token) && kept.asked_at.elapsed() > REFUSED);
    }

    /// Its key signs no more.
    pub(super) fn withdraw(&self, certificate: &Thumbprint, wish: &TokenWish, token: &Arc<IssuedToken>) {
        self.forget_if(certificate, wish, |kept| Arc::ptr_eq(&kept.token, token));
    }

    fn forget_if(&self, certificate: &Thumbprint, wish: &TokenWish, is_over: impl Fn(&KeptToken) -> bool) {
        let mut all = self.lock();
        let of = all.iter_mut().find(|of| of.certificate == *certificate);
        if let Some(slot) = of.and_then(|of| of.slots.get_mut(wish))
            && slot.kept.as_ref().is_some_and(is_over)
        {
            slot.kept = None;
        }
    }
}

fn of_certificate(
    all: &mut Vec<OfCertificate>,
    certificate: Thumbprint,
    connect: impl FnOnce() -> Result<Channel, ConnectError>,
) -> Result<&mut OfCertificate, ConnectError> {
    let at = match all.iter().position(|of| of.certificate == certificate) {
        Some(at) => at,
        None => {
            let channel = connect()?;
            if all.len() >= CERTIFICATES {
                all.remove(0);
            }
            all.push(OfCertificate { certificate, channel, slots: HashMap::new() });
            all.len().saturating_sub(1)
        }
    };
    all.get_mut(at).ok_or_else(|| ConnectError::Settings("no place for a certificate's tokens".into()))
}

impl OfCertificate {
    fn slot(&mut self, wish: &TokenWish, now: Instant) -> &mut Slot {
        if self.slots.len() >= MOST && !self.slots.contains_key(wish) {
            let is_used =
                |slot: &Slot| slot.fetching.is_some() || slot.kept.as_ref().is_some_and(|it| now < it.ends_at);
            self.slots.retain(|_, slot| is_used(slot));
            if self.slots.len() >= MOST {
                self.slots.clear();
            }
        }
        self.slots.entry(wish.clone()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tonic::transport::Endpoint;

    use super::*;

    /// A control plane that makes tokens of 300 s, or refuses.
    #[derive(Clone, Default)]
    struct Maker {
        cache: Arc<TokenCache>,
        asked: Arc<AtomicU32>,
        refuses: Arc<std::sync::atomic::AtomicBool>,
    }

    fn wish(audience: &str) -> TokenWish {
        TokenWish::Access { audience: audience.to_owned(), scopes: Vec::new() }
    }

    impl Maker {
        async fn get_for(&self, certificate: u8, audience: &str) -> Answer {
            let connect = || Ok(Endpoint::from_static("http://127.0.0.1:1").connect_lazy());
            let this = self.clone();
            let fetch = |_, _| async move {
                tokio::task::yield_now().await;
                let number = this.asked.fetch_add(1, Ordering::AcqRel);
                match this.refuses.load(Ordering::Acquire) {
                    true => Err(Status::permission_denied("no").into()),
                    false => Ok(IssuedToken::of_test(&number.to_string(), Duration::from_secs(300))),
                }
            };
            self.cache.get([certificate; 32], wish(audience), connect, fetch).await
        }

        async fn get(&self) -> String {
            self.get_for(1, "jobs").await.unwrap().secret().to_owned()
        }

        fn asked(&self) -> u32 {
            self.asked.load(Ordering::Acquire)
        }
    }

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    /// Whatever goes on in the background.
    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_asked_for_anew_after_about_half_of_its_life_while_the_last_one_is_used() {
        let maker = Maker::default();
        assert_eq!(maker.get().await, "0");
        pass(134).await;
        assert_eq!((maker.get().await.as_str(), maker.asked()), ("0", 1), "before 45 %");
        pass(32).await;
        assert_eq!(maker.get().await, "0", "who calls does not wait");
        settle().await;
        assert_eq!((maker.get().await.as_str(), maker.asked()), ("1", 2), "after 55 %");
        pass(296).await;
        assert_eq!(maker.get().await, "2", "the last seconds are not used");
    }

    #[tokio::test(start_paused = true)]
    async fn while_none_can_be_had_the_last_one_is_used_and_few_are_asked_for() {
        let maker = Maker::default();
        maker.get().await;
        maker.refuses.store(true, Ordering::Release);
        pass(170).await;
        for _ in 0..100 {
            assert_eq!(maker.get().await, "0");
            settle().await;
            pass(1).await;
        }
        assert!((10..=45).contains(&maker.asked()), "{}", maker.asked());
        pass(60).await;
        let before = maker.asked();
        for _ in 0..10 {
            assert!(maker.get_for(1, "jobs").await.is_err());
        }
        assert_eq!(maker.asked(), before + 1, "a refusal counts for a second");
        maker.refuses.store(false, Ordering::Release);
        pass(2).await;
        maker.get().await;
    }

    #[tokio::test(start_paused = true)]
    async fn each_certificate_and_audience_has_its_own_and_few_are_kept() {
        let maker = Maker::default();
        let (one, other) = (maker.get_for(1, "jobs").await.unwrap(), maker.get_for(2, "jobs").await.unwrap());
        assert!(!Arc::ptr_eq(&one, &other) && maker.asked() == 2);
        assert!(Arc::ptr_eq(&one, &maker.get_for(1, "jobs").await.unwrap()), "its connections may still end");
        maker.get_for(3, "jobs").await.unwrap();
        assert!(
            maker.cache.kept(&[1; 32], &wish("jobs")).is_none() && maker.cache.kept(&[2; 32], &wish("jobs")).is_some()
        );
        for number in 0..3 * MOST {
            maker.get_for(3, &number.to_string()).await.unwrap();
        }
        let kept: usize = maker.cache.lock().iter().map(|of| of.slots.len()).sum();
        assert!(kept <= MOST + 1, "{kept}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_is_not_taken_is_forgotten_once_in_a_while() {
        let maker = Maker::default();
        let first = maker.get_for(1, "jobs").await.unwrap();
        maker.cache.forget(&[1; 32], &wish("jobs"), &first);
        assert_eq!(maker.get().await, "0", "it is new: who refuses it refuses the next one");
        pass(2).await;
        maker.cache.forget(&[1; 32], &wish("jobs"), &first);
        assert_eq!(maker.get().await, "1");
        maker.cache.forget(&[1; 32], &wish("jobs"), &first);
        assert_eq!(maker.get().await, "1", "that was about another");
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_takes_nothing_from_the_others() {
        let maker = Maker::default();
        let mut gives_up = Box::pin(maker.get_for(1, "jobs"));
        assert!(futures::poll!(gives_up.as_mut()).is_pending());
        let waits = tokio::spawn({
            let maker = maker.clone();
            async move { maker.get().await }
        });
        tokio::task::yield_now().await;
        drop(gives_up);
        assert_eq!((waits.await.unwrap().as_str(), maker.asked()), ("0", 1));
    }
}
