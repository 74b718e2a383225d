//! Proves that a program refuses the revoked: the identity's own last certificate is revoked on purpose and shown to
//! it, and the present one to see that the program is there at all. A good list file is no proof: Mosquitto goes on
//! without a list that it cannot read, and a reload may fail unnoticed.

use std::{sync::Arc, time::Duration};

use signet_client::{Credentials, Identity, RevocationLists};
use signet_core::{Serial, Time};
use signet_x509::{IssuerCert, crl::verified_entries};
use tokio::time::{Instant, sleep};

use crate::{
    knock::{self, Answer, CanaryTarget},
    publish::Published,
};

/// What became of a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The program accepts the present certificate and refuses the revoked one.
    Proved,
    /// Nothing is known, and why.
    NotProved(String),
    /// It accepts both.
    Accepted,
}

/// So long nothing but a proof counts: programs take a moment to load a list, or to start again.
const GRACE: Duration = Duration::from_secs(7);
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// An identity's canary.
#[derive(Debug)]
pub(crate) struct Canary {
    target: CanaryTarget,
    published: Arc<Published>,
}

impl Canary {
    pub(crate) fn new(target: CanaryTarget, published: Arc<Published>) -> Self {
        Self { target, published }
    }

    /// Asks the program, which knows the lists `pem` and the present certificate.
    pub(crate) async fn look(&self, identity: &Identity, pem: &str, now: Time) -> Verdict {
        let canary = match self.load(identity, now) {
            Ok(canary) => canary,
            Err(reason) => return Verdict::NotProved(reason),
        };
        match is_on_list(identity, &canary, pem, now) {
            Some(true) => {}
            Some(false) => return Verdict::NotProved(revoke(identity).await),
            None => return Verdict::NotProved("the revocation lists cannot be read".into()),
        }
        let began = Instant::now();
        loop {
            match self.ask(identity, &canary).await {
                Verdict::NotProved(_) | Verdict::Accepted if began.elapsed() < GRACE => sleep(BETWEEN_LOOKS).await,
                verdict => return verdict,
            }
        }
    }

    /// The certificate to show; or why there is none.
    fn load(&self, identity: &Identity, now: Time) -> Result<Credentials, String> {
        let next = "from the next renewal on there is one";
        let none = || format!("there is no certificate before the present one: {next}");
        let canary = self.published.previous().map_err(|error| format!("{error}: {next}"))?.ok_or_else(none)?;
        let facts = canary.facts();
        if identity.with_credentials(|present| present.facts().serial_number == facts.serial_number) {
            return Err(none());
        }
        if facts.not_after_unix_millis <= now.unix_millis() {
            self.published.forget_previous();
            return Err(format!("the certificate before the present one has expired: {next}"));
        }
        Ok(canary)
    }

    async fn ask(&self, identity: &Identity, canary: &Credentials) -> Verdict {
        let present = identity.with_credentials(knock::config);
        let (Ok(present), Ok(revoked)) = (present, knock::config(canary)) else {
            return Verdict::NotProved("a key cannot be used".into());
        };
        let (present, revoked) = tokio::join!(knock::knock(&self.target, present), knock::knock(&self.target, revoked));
        match (present, revoked) {
            (Ok(present), Ok(revoked)) => judge(&present, &revoked),
            (Err(error), _) | (_, Err(error)) => Verdict::NotProved(error),
        }
    }
}

fn judge(present: &Answer, revoked: &Answer) -> Verdict {
    match (present, revoked) {
        // nginx says in HTTP that it refuses a certificate.
        (Answer::Closed(_) | Answer::Status(400), _) => {
            Verdict::NotProved(format!("the program refuses the present certificate, too: {present}"))
        }
        (_, Answer::Closed(_)) => Verdict::Proved,
        (one, other) if one == other => Verdict::Accepted,
        (_, Answer::Status(400..500)) => Verdict::Proved,
        _ => Verdict::NotProved(format!(
            "the program gives the present certificate {present}, and the revoked one {revoked}"
        )),
    }
}

/// Whether a list in `pem` has it; `None` if they are none of the identity's.
fn is_on_list(identity: &Identity, canary: &Credentials, pem: &str, now: Time) -> Option<bool> {
    let serial: Serial = canary.facts().serial_number.parse().ok()?;
    let lists = RevocationLists::from_pem(&identity.bundle().borrow(), pem, now).ok()?;
    let mut found = false;
    for list in lists.iter() {
        let entries = verified_entries(&list.der, &IssuerCert::from_der(&list.anchor_der).ok()?).ok()?;
        found |= entries.iter().any(|entry| entry.serial == serial);
    }
    Some(found)
}

async fn revoke(identity: &Identity) -> String {
    match identity.revoke_previous().await {
        Ok(()) => "the certificate before the present one is being revoked".into(),
        Err(error) => format!("the certificate before the present one cannot be revoked: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_both_get_is_no_difference() {
        let closed = || Answer::Closed("certificate revoked".into());
        assert_eq!(judge(&Answer::Open, &closed()), Verdict::Proved);
        assert_eq!(judge(&Answer::Open, &Answer::Open), Verdict::Accepted);
        assert_eq!(judge(&Answer::Status(403), &Answer::Status(403)), Verdict::Accepted, "by TLS, and that is asked");
        assert_eq!(judge(&Answer::Status(200), &Answer::Status(400)), Verdict::Proved);
        for (present, revoked) in [
            (closed(), closed()),
            (closed(), Answer::Open),
            (Answer::Status(400), Answer::Status(400)),
            (Answer::Status(200), Answer::Status(502)),
        ] {
            assert!(matches!(judge(&present, &revoked), Verdict::NotProved(_)), "{present}, {revoked}");
        }
    }
}
