//! What each identity is at the moment, and for whom.

use std::sync::Arc;

use signet_client::{Authorizer, Identity, RenewalState, RevocationLists, SvidKeys, Tokens, system_clock};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::{caller::Facts, ext_authz::ExtAuthzConfig, rules::Workload};
use crate::config::IdentityConfig;

/// An identity as programs take it.
pub(crate) struct Svid {
    /// Its name in the configuration.
    pub(crate) name: String,
    pub(crate) spiffe_id: String,
    /// The leaf first.
    pub(crate) chain_der: Vec<Vec<u8>>,
    /// PKCS#8.
    pub(crate) key_der: Zeroizing<Vec<u8>>,
    pub(crate) anchors_der: Vec<Vec<u8>>,
    pub(crate) revocations: Revocations,
    /// What verifies its tenant's JWT-SVIDs.
    pub(crate) svid_keys: Arc<SvidKeys>,
    /// Where its tokens come from.
    pub(crate) tokens: Option<Tokens>,
}

/// What is known of who was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Revocations {
    /// The configuration wants no lists: nobody is checked against one.
    Unchecked,
    /// Not all lists are there yet: whoever judges peers by them waits.
    Awaited,
    /// A CertificateList of each anchor, DER; shared by all who are answered with it.
    Lists(Arc<[Vec<u8>]>),
}

impl Revocations {
    pub(crate) fn lists(&self) -> &[Vec<u8>] {
        if let Self::Lists(lists) = self { lists } else { &[] }
    }

    /// What is known now. Once known, the last lists stay, even beyond their end: peers are refused then, not accepted.
    fn next(&self, identity: &Identity, lists: &RevocationLists) -> Self {
        match self {
            Self::Unchecked => Self::Unchecked,
            Self::Awaited if !lists.cover(&identity.bundle().borrow(), system_clock()()) => Self::Awaited,
            Self::Awaited | Self::Lists(_) => Self::Lists(lists.iter().map(|list| list.der.clone()).collect()),
        }
    }
}

impl Svid {
    /// `spiffe://<trust domain>`
    pub(crate) fn trust_domain(&self) -> &str {
        let domain = self.spiffe_id.strip_prefix("spiffe://").and_then(|rest| rest.split('/').next());
        domain.and_then(|domain| self.spiffe_id.get(.."spiffe://".len() + domain.len())).unwrap_or_default()
    }
}

#[derive(Clone)]
enum State {
    /// Not enrolled, or expired and to be renewed.
    Pending,
    Ready(Arc<Svid>, Option<Authorizer>),
    /// Revoked or locked.
    Refused,
}

#[derive(Clone)]
struct Offer {
    name: String,
    workloads: Arc<[Workload]>,
    ext_authz: Option<Arc<ExtAuthzConfig>>,
    state: State,
    /// Whose word counts.
    keeper: Option<Keeper>,
}

/// The right to say what an identity is. After a reload the name may be another identity's, while what kept the one
/// before is still ending.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keeper(Arc<()>);

impl Keeper {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Why a caller gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nothing {
    /// No identity is for it.
    Denied,
    /// Each was revoked or locked.
    Refused,
    /// Its identities come later.
    NotReady,
}

/// All identities, in the order of the configuration.
#[derive(Clone)]
pub(crate) struct Offers(watch::Sender<Vec<Offer>>);

impl Default for Offers {
    fn default() -> Self {
        Self(watch::channel(Vec::new()).0)
    }
}

impl std::fmt::Debug for Offers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Offers")
    }
}

impl Offers {
    /// What the configuration names; the state of those that it named before is kept.
    pub(crate) fn configure(&self, identities: &[IdentityConfig]) {
        self.0.send_modify(|offers| {
            let offer = |one: &IdentityConfig| {
                let known = offers.iter().find(|known| known.name == one.name);
                Offer {
                    name: one.name.clone(),
                    workloads: one.workloads.as_slice().into(),
                    ext_authz: one.ext_authz.clone().map(Arc::new),
                    state: known.map_or(State::Pending, |known| known.state.clone()),
                    keeper: known.and_then(|known| known.keeper.clone()),
                }
            };
            *offers = identities.iter().filter(|one| !one.workloads.is_empty()).map(offer).collect();
        });
    }

    /// From now on nobody but `keeper` says what the identity is; nothing of it until then.
    pub(crate) fn entrust(&self, name: &str, keeper: Option<Keeper>) {
        self.0.send_if_modified(|offers| {
            let offer = offers.iter_mut().find(|offer| offer.name == name);
            offer.map(|offer| (offer.state, offer.keeper) = (State::Pending, keeper)).is_some()
        });
    }

    fn set(&self, name: &str, keeper: &Keeper, state: State) {
        self.0.send_if_modified(|offers| {
            let is_kept = |offer: &&mut Offer| offer.keeper.as_ref().is_some_and(|known| known.is(keeper));
            let offer = offers.iter_mut().find(|offer| offer.name == name).filter(is_kept);
            offer.map(|offer| offer.state = state).is_some()
        });
    }

    /// What there is for such a caller: at least one.
    pub(crate) fn of(&self, facts: &Facts) -> Result<Vec<Arc<Svid>>, Nothing> {
        let offers = self.0.borrow();
        let own = offers.iter().filter(|offer| offer.workloads.iter().any(|rule| rule.admits(facts)));
        let (mut svids, mut nothing) = (Vec::new(), Nothing::Denied);
        for offer in own {
            match &offer.state {
                State::Ready(svid, _) => svids.push(Arc::clone(svid)),
                State::Pending => nothing = Nothing::NotReady,
                State::Refused if nothing == Nothing::Denied => nothing = Nothing::Refused,
                State::Refused => {}
            }
        }
        if svids.is_empty() { Err(nothing) } else { Ok(svids) }
    }

    /// Who decides on the requests that come to such a caller, and how: of the identities that it gets, the first that
    /// is configured for it.
    pub(crate) fn decider(&self, facts: &Facts) -> Result<(Arc<ExtAuthzConfig>, Authorizer), Nothing> {
        let offers = self.0.borrow();
        let mut own = offers.iter().filter(|offer| offer.workloads.iter().any(|rule| rule.admits(facts)));
        let (config, state) =
            own.find_map(|offer| Some((offer.ext_authz.as_ref()?, &offer.state))).ok_or(Nothing::Denied)?;
        match state {
            State::Ready(_, Some(authorizer)) => Ok((Arc::clone(config), authorizer.clone())),
            State::Ready(_, None) | State::Pending => Err(Nothing::NotReady),
            State::Refused => Err(Nothing::Refused),
        }
    }

    /// Whether an identity decides on requests.
    fn decides(&self, name: &str) -> bool {
        self.0.borrow().iter().any(|offer| offer.name == name && offer.ext_authz.is_some())
    }

    pub(crate) fn changes(&self) -> Changes {
        Changes(self.0.subscribe())
    }
}

/// Tells that something may have changed.
pub(crate) struct Changes(watch::Receiver<Vec<Offer>>);

impl Changes {
    /// Never, once the agent ends.
    pub(crate) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// Keeps what is offered of an identity as new as the identity, until dropped. `with_lists`: it follows its revocation
/// lists.
pub(crate) async fn follow(offers: &Offers, name: &str, keeper: &Keeper, identity: &Identity, with_lists: bool) {
    let (mut status, mut bundle, mut lists) = (identity.status(), identity.bundle(), identity.revocation_lists());
    let (mut keys, tokens) = (identity.svid_keys(), identity.tokens());
    let authorizer = offers.decides(name).then(|| identity.authorizer());
    let mut revocations = if with_lists { Revocations::Awaited } else { Revocations::Unchecked };
    // Status changes for many reasons; only what a program sees counts.
    let mut shown = None;
    loop {
        let (standing, serial) = {
            let status = status.borrow_and_update();
            (status.standing, status.facts.serial_number.clone())
        };
        bundle.mark_unchanged();
        revocations = revocations.next(identity, &lists.borrow_and_update());
        let svid_keys = Arc::clone(&keys.borrow_and_update());
        let seen = (standing, serial, Arc::clone(&bundle.borrow()), revocations.clone(), Arc::clone(&svid_keys));
        if shown.as_ref() != Some(&seen) {
            let parts = Parts { revocations: revocations.clone(), svid_keys, tokens: tokens.clone() };
            offers.set(name, keeper, state(name, identity, standing, parts, authorizer.clone()));
            shown = Some(seen);
        }
        tokio::select! {
            Ok(()) = status.changed() => {}
            Ok(()) = bundle.changed() => {}
            Ok(()) = lists.changed() => {}
            Ok(()) = keys.changed() => {}
            else => return,
        }
    }
}

/// What an identity is beside its certificate.
struct Parts {
    revocations: Revocations,
    svid_keys: Arc<SvidKeys>,
    tokens: Tokens,
}

fn state(
    name: &str,
    identity: &Identity,
    standing: RenewalState,
    parts: Parts,
    authorizer: Option<Authorizer>,
) -> State {
    match standing {
        RenewalState::Expired => return State::Pending,
        RenewalState::Refused => return State::Refused,
        RenewalState::Fresh | RenewalState::Due => {}
    }
    let spiffe_id = identity.status().borrow().spiffe_id.clone();
    let anchors_der = identity.bundle().borrow().anchors_der();
    let svid = identity.with_credentials(|credentials| Svid {
        name: name.to_owned(),
        spiffe_id,
        chain_der: credentials.chain_der().to_vec(),
        key_der: credentials.key().pkcs8_der().clone(),
        anchors_der,
        revocations: parts.revocations,
        svid_keys: parts.svid_keys,
        tokens: Some(parts.tokens),
    });
    State::Ready(Arc::new(svid), authorizer)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Facts, IdentityConfig, Keeper, Nothing, Offers, State, Svid};

    fn identity(uid: u32) -> IdentityConfig {
        let text = format!(
            "name = \"web\"\nenroll = {{ join_token_file = \"token\" }}\nworkloads = [{{ uid = \"{uid}\" }}]\n"
        );
        figment::Figment::from(<figment::providers::Toml as figment::providers::Format>::string(&text))
            .extract()
            .unwrap()
    }

    fn ready(spiffe_id: &str) -> State {
        let svid = Svid {
            name: "web".into(),
            spiffe_id: spiffe_id.into(),
            chain_der: Vec::new(),
            key_der: Vec::new().into(),
            anchors_der: Vec::new(),
            revocations: super::Revocations::Unchecked,
            svid_keys: Arc::default(),
            tokens: None,
        };
        State::Ready(svid.into(), None)
    }

    /// A reload names another identity by the same name, while the one before is still ending.
    #[test]
    fn what_kept_an_identity_before_cannot_speak_for_the_next() {
        let (offers, old, new) = (Offers::default(), Keeper::default(), Keeper::default());
        let found = |uid| {
            let found = offers.of(&Facts { uid, gid: 0, executable: None, cgroup: None });
            found.map(|svids| svids[0].spiffe_id.clone())
        };
        offers.configure(&[identity(1)]);
        offers.entrust("web", Some(old.clone()));
        offers.set("web", &old, ready("old"));
        assert_eq!(found(1), Ok("old".into()));

        offers.entrust("web", None);
        offers.configure(&[identity(2)]);
        offers.set("web", &old, ready("old"));
        assert_eq!((found(1), found(2)), (Err(Nothing::Denied), Err(Nothing::NotReady)));
        offers.entrust("web", Some(new.clone()));
        offers.set("web", &old, ready("old"));
        assert_eq!(found(2), Err(Nothing::NotReady));
        offers.set("web", &new, ready("new"));
        assert_eq!(found(2), Ok("new".into()));
    }
}
