//! OCSP (RFC 6960, as RFC 9919 profiles it) for whoever asks: answers are signed once, kept in memory and given to all.
//! What is not there costs one read of the store, of which there are only so many a second. A CA's key is not used but
//! to certify this node's responder, twice in its lifetime.

mod answers;
mod limits;
mod responders;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use answers::Answers;
use limits::Limits;
use responders::Responders;
use signet_app::{App, authorities::ocsp};
use signet_core::{
    CaId, Clock, Error, Lifetime, Serial, Time,
    certificates::RevocationReason,
    trust::{Anchor, Trust},
};
use signet_x509::{
    IssuerCert,
    ocsp::{Answer, CertStatus, ErrorStatus, IssuerHashes, OcspRequest},
};
use tokio::time::timeout;

pub(crate) use answers::Kept;
pub(crate) use responders::{Made, Wanted};

/// How long an answer is good. For half of it this node gives the same to all.
const VALIDITY: Lifetime = Lifetime::minutes(10);
/// The same for a certificate that was never issued: nothing tells when it is.
const VALIDITY_OF_UNKNOWN: Lifetime = Lifetime::minutes(1);
/// For a read of the store.
const LONGEST_READ: Duration = Duration::from_secs(2);

/// What somebody is answered.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The same for all who ask for that certificate.
    Kept(Arc<Kept>),
    /// With a nonce; DER.
    Once(Vec<u8>),
    /// Without a signature.
    Refused(ErrorStatus),
}

/// See the module's words.
pub(crate) struct Ocsp {
    pub(crate) app: Arc<App>,
    pub(crate) clock: Clock,
    trust: Arc<Trust>,
    repeats_nonces: bool,
    issuers: Mutex<HashMap<CaId, Arc<Issuer>>>,
    responders: Responders,
    answers: Answers,
    limits: Limits,
}

/// A CA, as questions name it.
struct Issuer {
    anchor: Anchor,
    hashes: IssuerHashes,
}

impl Ocsp {
    /// Also the CAs for which a responder is wanted: see [`Self::made`].
    pub(crate) fn new(app: Arc<App>, trust: Arc<Trust>, clock: Clock, repeats_nonces: bool) -> (Arc<Self>, Wanted) {
        let (responders, wanted) = Responders::new();
        let (issuers, answers, limits) = (Mutex::default(), Answers::default(), Limits::new());
        (Arc::new(Self { app, clock, trust, repeats_nonces, issuers, responders, answers, limits }), wanted)
    }

    /// Answers a request about a certificate of `ca`. `None`: no leaves are signed by such a CA.
    pub(crate) async fn answer(&self, ca: &CaId, source: IpAddr, request_der: &[u8]) -> Option<Reply> {
        let issuer = self.issuer(ca)?;
        Some(self.answer_for(&issuer, source, request_der).await.unwrap_or_else(Reply::Refused))
    }

    /// A responder that was wanted, or that there is none.
    pub(crate) fn made(&self, ca: &CaId, made: Made) {
        self.responders.made(ca, made, (self.clock)());
    }

    /// Forgets sources that may ask again as they like; call it on a timer.
    pub(crate) fn forget_idle(&self) {
        self.limits.forget_idle();
    }

    async fn answer_for(&self, issuer: &Issuer, source: IpAddr, request_der: &[u8]) -> Result<Reply, ErrorStatus> {
        let ca = &issuer.anchor.ca;
        let request = OcspRequest::from_der(request_der).map_err(|_| ErrorStatus::MalformedRequest)?;
        if !request.first.is_of(&issuer.hashes) {
            return Err(ErrorStatus::Unauthorized);
        }
        // Who may have missed a revocation vouches for nobody, whatever `trust.when_stale` says of calls.
        if self.trust.is_stale() {
            return Err(ErrorStatus::TryLater);
        }
        let (now, serial) = ((self.clock)(), request.first.serial());
        let nonce = request.nonce.as_deref().filter(|_| self.repeats_nonces);
        let kept = self.answers.get(ca, &request.first).filter(|kept| self.is_current(kept, serial, now));
        if let (Some(kept), None) = (&kept, nonce) {
            return Ok(Reply::Kept(Arc::clone(kept)));
        }
        if kept.is_none() {
            self.limits.admit(ca, source).map_err(|_| ErrorStatus::TryLater)?;
        }
        // Before the look at the certificate: what is signed afterwards is not older than the wait for a responder.
        let certified = self.responders.of(ca, now).await.ok_or(ErrorStatus::TryLater)?;
        let status = match kept.filter(|kept| self.is_current(kept, serial, now)) {
            Some(kept) => kept.status,
            None => self.look_up(ca, serial, now).await?,
        };
        let validity = if status == CertStatus::Unknown { VALIDITY_OF_UNKNOWN } else { VALIDITY };
        let next_update = now.plus(validity).min(certified.not_after).floor_to_second();
        let answer = Answer { id: &request.first, status, this_update: now, next_update, nonce };
        let der = certified.responder.answer(&answer).map_err(|error| {
            tracing::error!(ca.id = %ca, %error, "an OCSP answer cannot be made");
            ErrorStatus::InternalError
        })?;
        if nonce.is_some() {
            return Ok(Reply::Once(der));
        }
        let kept = Arc::new(Kept::new(status, der, now, next_update));
        self.answers.keep(ca, request.first, Arc::clone(&kept));
        Ok(Reply::Kept(kept))
    }

    /// The feed is ahead of an answer that was signed before: a revocation counts at once.
    fn is_current(&self, kept: &Kept, serial: Option<Serial>, now: Time) -> bool {
        let is_revoked = || serial.is_some_and(|serial| self.trust.is_revoked(&serial));
        kept.is_fresh(now) && (kept.status != CertStatus::Good || !is_revoked())
    }

    async fn look_up(&self, ca: &CaId, serial: Option<Serial>, now: Time) -> Result<CertStatus, ErrorStatus> {
        let Some(serial) = serial else { return Ok(CertStatus::Unknown) };
        let _turn = self.limits.turn().await.ok_or(ErrorStatus::TryLater)?;
        let read = async || match timeout(LONGEST_READ, ocsp::status(&self.app, ca, &serial, now)).await {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(Error::Unreadable { .. })) => Err(ErrorStatus::InternalError),
            Ok(Err(error)) => {
                tracing::debug!(ca.id = %ca, ?error, "a certificate cannot be looked up");
                Err(ErrorStatus::TryLater)
            }
            Err(_) => Err(ErrorStatus::TryLater),
        };
        let is_refused = |status| status == CertStatus::Good && self.trust.is_revoked(&serial);
        let status = read().await?;
        // Revoked while it was read: the record is written before the feed tells of it.
        let status = if is_refused(status) { read().await? } else { status };
        // Its record is an older one, by a restore: what was refused stays refused.
        let bare = CertStatus::Revoked { revoked_at: serial.made_at(), reason: RevocationReason::Unspecified };
        Ok(if is_refused(status) { bare } else { status })
    }

    fn issuer(&self, ca: &CaId) -> Option<Arc<Issuer>> {
        let anchor = self.trust.anchor(ca)?;
        let mut issuers = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = issuers.get(ca).filter(|known| known.anchor == anchor) {
            return Some(Arc::clone(known));
        }
        let hashes = IssuerHashes::of(&IssuerCert::from_der(&anchor.certificate_der).ok()?);
        let issuer = Arc::new(Issuer { anchor, hashes });
        issuers.insert(ca.clone(), Arc::clone(&issuer));
        Some(issuer)
    }
}
