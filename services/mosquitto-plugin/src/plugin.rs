//! What the broker's thread asks, answered from memory.

use std::{
    collections::VecDeque,
    ffi::{CStr, CString},
    sync::Arc,
    time::{Duration, Instant},
};

use signet_client::{Authorizer, MessageRefusal, MessageVerifier, Refusals, ShownBrokerToken, SignedMessage};
use signet_core::{
    PrincipalId,
    brokers::{TopicRules, TopicUse, wanted_filter},
};
use signet_x509::ChainError;

use crate::{
    holder::Holder,
    journal::{Journal, Line, OtherLines, Weight},
    names,
    sessions::{Admitted, Session, Sessions},
    watch::{Handle, Watcher},
};

/// Longest that a look at sessions takes at once.
const LOOK: Duration = Duration::from_millis(5);
/// Sessions between two looks at the clock.
const AT_ONCE: usize = 64;
/// Of the broker's time, looks take one part in so many.
const LOOK_SHARE: u32 = 4;
/// Most clients of a device at once: the broker's connections are for all.
const MOST_OF_DEVICE: usize = 16;
/// Largest certificate, DER.
pub(crate) const MAX_CERTIFICATE: usize = 16 * 1024;

/// A tenant whose clients are let in.
pub(crate) struct Tenant {
    pub(crate) refusals: Refusals,
    pub(crate) authorizer: Option<Authorizer>,
    /// Where devices must sign what they publish.
    pub(crate) messages: Option<MessageVerifier>,
}

/// See the module's words.
pub(crate) struct Plugin {
    tenants: Vec<Followed>,
    rules: TopicRules,
    /// `aud` of tokens, where they are taken.
    audience: Option<String>,
    watcher: Watcher,
    sessions: Sessions,
    /// To be ended.
    refused: VecDeque<Handle>,
    look: Look,
    pub(crate) journal: Journal,
    /// The broker calls us again and again, so that sessions can be ended.
    ticks: bool,
    /// It asks again for everybody, also those that are not connected.
    reloads: bool,
}

struct Followed {
    refusals: Refusals,
    authorizer: Option<Authorizer>,
    messages: Option<MessageVerifier>,
    /// What sessions were last looked at for.
    epoch: u64,
    refuses_all: bool,
}

impl Followed {
    /// What verifies what this client publishes; `None`: it need not be signed.
    fn messages_of(&self, holder: &Holder) -> Option<&MessageVerifier> {
        self.messages.as_ref().filter(|_| holder.is_device())
    }
}

/// Goes around the sessions.
struct Look {
    next: usize,
    /// Places that are still to be looked at.
    left: usize,
    not_before: Instant,
}

/// A client that wants to connect.
pub(crate) struct Connect<'a> {
    pub(crate) client_id: &'a CStr,
    /// As the broker has it; a client's own word until it is let in.
    pub(crate) username: Option<&'a CStr>,
    pub(crate) certificate: Option<Vec<u8>>,
    pub(crate) password: Option<&'a CStr>,
    pub(crate) address: &'a str,
    pub(crate) place: usize,
    pub(crate) is_on_websocket: bool,
}

/// A use of a topic.
pub(crate) struct Check<'a> {
    pub(crate) client_id: &'a CStr,
    pub(crate) username: Option<&'a CStr>,
    /// The connection's, present or past; otherwise the broker asks for whoever sent a retained message, or had a
    /// session before the broker was started.
    pub(crate) place: Option<usize>,
    pub(crate) access: Access,
    pub(crate) topic: &'a [u8],
    /// Whether the message is to stay with the broker.
    pub(crate) retain: bool,
}

/// What a client publishes, to a topic that it may publish to.
pub(crate) struct Message<'a> {
    pub(crate) client_id: &'a CStr,
    pub(crate) place: usize,
    pub(crate) payload: &'a [u8],
    /// User properties of MQTT 5 that carry a signature, by their places among [`MESSAGE_HEADERS`].
    pub(crate) properties: &'a [(usize, Vec<u8>)],
}

impl Message<'_> {
    /// Its signature: in properties if it has one of them, else in lines before its body.
    fn signed(&self) -> Result<SignedMessage<'_>, MessageRefusal> {
        if self.properties.is_empty() {
            return SignedMessage::from_lines(self.payload);
        }
        let one = |header: usize| {
            let mut values = self.properties.iter().filter(|(of, _)| *of == header);
            let (_, value) = values.next().filter(|_| values.next().is_none())?;
            std::str::from_utf8(value).ok()
        };
        let all = [0, 1, 2].map(one);
        let [Some(id), Some(timestamp), Some(signatures)] = all else { return Err(MessageRefusal::Malformed) };
        Ok(SignedMessage { id, timestamp, signatures, body: self.payload })
    }
}

/// MQTT's words for what is done with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    Subscribe,
}

/// Why a client is not let in.
pub(crate) type Refused = &'static str;

impl Plugin {
    pub(crate) fn new(
        tenants: Vec<Tenant>,
        (rules, audience): (TopicRules, Option<String>),
        watcher: Watcher,
        other: OtherLines,
    ) -> Self {
        let followed = |Tenant { refusals, authorizer, messages }| Followed {
            refusals,
            authorizer,
            messages,
            epoch: 0,
            refuses_all: true,
        };
        Self {
            tenants: tenants.into_iter().map(followed).collect(),
            rules,
            audience,
            watcher,
            sessions: Sessions::default(),
            refused: VecDeque::new(),
            look: Look { next: 0, left: 0, not_before: Instant::now() },
            journal: Journal::new(other),
            ticks: false,
            reloads: false,
        }
    }

    /// Lets a client in or not; how it is called from now on, unless that is settled already.
    pub(crate) fn connect(&mut self, connect: &Connect<'_>) -> Result<Option<CString>, Refused> {
        let decided =
            if self.reloads && !self.is_new(connect) { self.connect_again(connect) } else { self.connect_new(connect) };
        if let Err(reason) = decided {
            let (client_id, address) = (connect.client_id.to_string_lossy(), connect.address);
            self.journal.refusal(|| format!("refused a client from {address} with client id {client_id:?}: {reason}"));
        }
        decided
    }

    fn connect_new(&mut self, connect: &Connect<'_>) -> Result<Option<CString>, Refused> {
        if !self.ticks {
            return Err("BROKER_WITHOUT_TICKS");
        }
        let holder = self.holder(connect)?;
        let tenant = self.tenants.get(holder.tenant).ok_or("UNKNOWN_TENANT")?;
        // Before the look: what changes during it leads to another.
        let epoch = tenant.refusals.epoch();
        let rights = holder.rights(&tenant.refusals, &self.rules, tenant.refusals.now())?;
        let username = names::username(tenant.refusals.tenant().as_str(), holder.principal.as_str());
        let client_id = connect.client_id.to_bytes();
        if !names::owns(username.as_bytes(), client_id) || !holder.is_for(client_id) {
            return Err("CLIENT_ID_OF_ANOTHER");
        }
        if holder.is_device() && self.sessions.others_of(&holder, connect.client_id) >= MOST_OF_DEVICE {
            return Err("TOO_MANY_SESSIONS");
        }
        let username = CString::new(username).map_err(|_| "CLIENT_ID_OF_ANOTHER")?;
        if let Some(messages) = tenant.messages_of(&holder) {
            // So that its secret is here when its first message is, in most cases.
            let _ = messages.standing(holder.principal.as_str());
        }
        let (client_id, place) = (connect.client_id, connect.place);
        let token = holder.token().cloned();
        let session = self.sessions.begin(Admitted { client_id, place, holder, rights, epoch });
        if let (Some(shown), Some(authorizer)) = (token, &tenant.authorizer) {
            let permissions = self.rules.named_by(&shown.claims().scope);
            let watch = self.watcher.watch(authorizer, &shown, permissions, session);
            if let Some(session) = self.sessions.get(session) {
                session.watch = Some(watch);
            }
        }
        Ok(Some(username))
    }

    fn holder(&self, connect: &Connect<'_>) -> Result<Holder, Refused> {
        match (&connect.certificate, &self.audience, connect.password) {
            (Some(der), _, _) => self.holder_of_certificate(der),
            (None, Some(audience), Some(password)) => {
                let token = password.to_str().map_err(|_| "ACCESS_TOKEN_MALFORMED")?;
                match ShownBrokerToken::is_one(token) {
                    true => self.holder_of_broker_token(token, audience),
                    false => self.holder_of_token(token, audience),
                }
            }
            (None, Some(_), None) => Err("ACCESS_TOKEN_REQUIRED"),
            (None, None, _) => Err("CERTIFICATE_REQUIRED"),
        }
    }

    /// Whose it is, is whose key has signed it.
    fn holder_of_token(&self, token: &str, audience: &str) -> Result<Holder, Refused> {
        let mut refused = "ACCESS_TOKEN_KEY_UNKNOWN";
        for (tenant, Followed { refusals, authorizer, .. }) in self.tenants.iter().enumerate() {
            let Some(authorizer) = authorizer else { continue };
            match authorizer.verify_unbound_token(token, audience) {
                Ok(shown) => return Holder::of_token(tenant, refusals, shown).ok_or("ACCESS_TOKEN_MALFORMED"),
                Err("ACCESS_TOKEN_KEY_UNKNOWN") => {}
                Err(reason) => refused = reason,
            }
        }
        Err(refused)
    }

    /// The same of broker tokens, whose keys are known with the refusals.
    fn holder_of_broker_token(&self, token: &str, audience: &str) -> Result<Holder, Refused> {
        let mut refused = "BROKER_TOKEN_KEY_UNKNOWN";
        for (tenant, Followed { refusals, .. }) in self.tenants.iter().enumerate() {
            match refusals.verify_broker_token(token, audience, refusals.now()) {
                Ok(shown) => return Ok(Holder::of_broker_token(tenant, shown)),
                Err("BROKER_TOKEN_KEY_UNKNOWN") => {}
                Err(reason) => refused = reason,
            }
        }
        Err(refused)
    }

    fn holder_of_certificate(&self, der: &[u8]) -> Result<Holder, Refused> {
        if der.len() > MAX_CERTIFICATE {
            return Err("CERTIFICATE_MALFORMED");
        }
        let is_followed = |followed: &Followed| !followed.refusals.refuses_all();
        let mut refused = if self.tenants.iter().all(is_followed) { "UNKNOWN_TENANT" } else { "NODE_STALE" };
        for (tenant, followed) in self.tenants.iter().enumerate() {
            match followed.refusals.identify(der, followed.refusals.now()) {
                Ok(identity) => return Ok(Holder::of_certificate(tenant, identity)),
                // Another tenant's is told apart by its name, before any signature is looked at.
                Err(ChainError::UnknownTenant) => {}
                Err(error) => refused = error.reason(),
            }
        }
        Err(refused)
    }

    /// Whether it comes while the broker asks for everybody whom it knows: 2.0 reads from WebSockets before it has told
    /// us that it is through. Its name is its own word. Who is not connected any more has no WebSocket.
    fn is_new(&mut self, connect: &Connect<'_>) -> bool {
        connect.is_on_websocket && self.connected(connect).is_none()
    }

    fn connected(&mut self, connect: &Connect<'_>) -> Option<&mut Session> {
        self.sessions.find(connect.client_id).filter(|session| session.is_connected && session.place == connect.place)
    }

    /// The broker has read its configuration again and asks for everybody whom it knows, by the names that we gave.
    fn connect_again(&mut self, connect: &Connect<'_>) -> Result<Option<CString>, Refused> {
        if let Some(session) = self.connected(connect) {
            return session.refused.map_or(Ok(None), Err);
        }
        let username = connect.username.ok_or("CERTIFICATE_REQUIRED")?.to_bytes();
        let is_good = names::owns(username, connect.client_id.to_bytes()) && self.principal_is_good(username).is_some();
        if is_good { Ok(None) } else { Err("PRINCIPAL_DENIED") }
    }

    /// Tenant and id of a principal that is not refused, by a user name that we have given.
    fn principal_is_good<'a>(&self, username: &'a [u8]) -> Option<(&'a str, &'a str)> {
        let (tenant, id) = names::parts(std::str::from_utf8(username).ok()?)?;
        let followed = self.tenants.iter().find(|followed| followed.refusals.tenant().as_str() == tenant)?;
        let principal: PrincipalId = id.parse().ok()?;
        followed.refusals.admit_principal(&principal, followed.refusals.now()).ok()?;
        Some((tenant, id))
    }

    /// Whether a topic may be used so.
    pub(crate) fn check(&mut self, check: &Check<'_>) -> bool {
        let allowed = self.allows(check);
        if !allowed && check.access != Access::Read {
            let (client_id, topic) = (check.client_id.to_string_lossy(), short(check.topic));
            let what = match check.access {
                Access::Write if check.retain => "publish a retained message to",
                Access::Write => "publish to",
                Access::Read | Access::Subscribe => "subscribe to",
            };
            self.journal.refusal(|| format!("client id {client_id:?} may not {what} {topic:?}"));
        }
        allowed
    }

    fn allows(&mut self, check: &Check<'_>) -> bool {
        let (how, filter) = match check.access {
            Access::Write => (TopicUse::Publish, Some(check.topic)),
            Access::Read => (TopicUse::Subscribe, Some(check.topic)),
            Access::Subscribe => (TopicUse::Subscribe, wanted_filter(check.topic)),
        };
        let Some(filter) = filter else { return false };
        let Some(place) = check.place else { return self.allows_absent(check, how, filter) };
        // The broker may name clients itself, and then does not ask us who they are.
        if !check.username.is_some_and(|username| names::owns(username.to_bytes(), check.client_id.to_bytes())) {
            return false;
        }
        let is_will_of_before = |session: &Session| check.access == Access::Write && session.before == Some(place);
        let found = self.sessions.find(check.client_id);
        let found = found.filter(|session| session.place == place || is_will_of_before(session));
        let Some(session) = found.filter(|session| session.is_connected || check.access != Access::Read) else {
            // What waits for one that is not connected is looked at again when it comes back. A will that was put off
            // for longer than its sender is remembered is nobody's.
            return check.access == Access::Read && self.allows_absent(check, how, filter);
        };
        let Some(followed) = self.tenants.get(session.holder.tenant) else { return false };
        if check.access == Access::Write
            && (session.before == Some(place) || !session.is_connected)
            && followed.messages_of(&session.holder).is_some()
        {
            // Older than a signature may be.
            let client_id = check.client_id.to_string_lossy();
            self.journal.refusal(|| format!("the will of client id {client_id:?} is not sent: devices must sign"));
            return false;
        }
        let epoch = followed.refusals.epoch();
        if session.epoch != epoch && session.refused.is_none() {
            // What it lost is lost at once; the next look ends it.
            match session.holder.rights(&followed.refusals, &self.rules, followed.refusals.now()) {
                Ok(rights) => session.rights = rights,
                Err(reason) => session.refused = Some(reason),
            }
            session.epoch = epoch;
        }
        let (tenant, id) = (followed.refusals.tenant().as_str(), session.holder.principal.as_str());
        // The broker keeps one for each topic, without an end.
        if check.access == Access::Write
            && check.retain
            && session.holder.is_device()
            && !self.rules.name(session.rights, how, filter, tenant.as_bytes(), id.as_bytes())
        {
            return false;
        }
        session.refused.is_none()
            && session.holder.allows(how, filter)
            && self.rules.allow(session.rights, how, filter, tenant.as_bytes(), id.as_bytes())
    }

    /// Of who is not connected nothing is known but its name: of its topics those may be used that anybody of its name
    /// might, as long as it is not refused itself.
    fn allows_absent(&self, check: &Check<'_>, how: TopicUse, filter: &[u8]) -> bool {
        let Some(username) = check.username.map(CStr::to_bytes) else { return false };
        if !names::owns(username, check.client_id.to_bytes()) {
            return false;
        }
        let Some((tenant, id)) = self.principal_is_good(username) else { return false };
        self.rules.allow_somebody(how, filter, tenant.as_bytes(), id.as_bytes())
    }

    /// Whether a message is passed on: one of a device that has a secret, where it must sign, if it has signed it. A
    /// device without a secret may not yet know how to.
    pub(crate) fn judge(&mut self, message: &Message<'_>) -> Result<(), MessageRefusal> {
        if self.tenants.iter().all(|followed| followed.messages.is_none()) {
            return Ok(());
        }
        let session = self.sessions.find(message.client_id).filter(|session| session.place == message.place);
        let Some(session) = session else { return Err(MessageRefusal::SenderRefused) };
        let Some(followed) = self.tenants.get(session.holder.tenant) else { return Err(MessageRefusal::Unknown) };
        let Some(verifier) = followed.messages_of(&session.holder) else { return Ok(()) };
        let device = session.holder.principal.as_str();
        let judged = match message.signed() {
            Ok(signed) => verifier.verify_at_once(device, &signed).map(drop),
            Err(malformed) => verifier.standing(device).and(Err(malformed)),
        };
        match judged {
            Ok(()) | Err(MessageRefusal::UnknownSender) => Ok(()),
            Err(refusal) => {
                let client_id = message.client_id.to_string_lossy();
                self.journal.refusal(|| format!("dropped a message of client id {client_id:?}: {}", refusal.reason()));
                Err(refusal)
            }
        }
    }

    pub(crate) fn disconnected(&mut self, client_id: &CStr, place: usize) {
        self.sessions.end(client_id, place);
    }

    /// The broker has read its configuration again.
    pub(crate) const fn reloaded(&mut self) {
        self.reloads = true;
    }

    /// Looks for what has changed. To be called again and again; [`Self::next_to_end`] follows.
    pub(crate) fn tick(&mut self, begun: Instant) {
        (self.ticks, self.reloads) = (true, false);
        for followed in &mut self.tenants {
            let (epoch, refuses_all) = (followed.refusals.epoch(), followed.refusals.refuses_all());
            if followed.refuses_all != refuses_all {
                let tenant = followed.refusals.tenant();
                self.journal.say(
                    Weight::Warning,
                    match refuses_all {
                        true => {
                            format!("nothing is heard of the control plane: clients of tenant {tenant} are refused")
                        }
                        false => format!("following the control plane for tenant {tenant}"),
                    },
                );
            }
            if followed.epoch != epoch {
                for permission in followed.refusals.conditional() {
                    let tenant = followed.refusals.tenant();
                    let line = format!("a policy of tenant {tenant} is about {permission}: here, nobody has it");
                    self.journal.say(Weight::Warning, line);
                }
            }
            if followed.epoch != epoch || followed.refuses_all != refuses_all {
                (followed.epoch, followed.refuses_all) = (epoch, refuses_all);
                self.look.left = self.sessions.places();
            }
        }
        if let Some(now) = self.tenants.first().map(|followed| followed.refusals.now()) {
            while let Some(handle) = self.sessions.over(now) {
                self.refuse(handle, Holder::end);
            }
        }
        for handle in self.watcher.lost() {
            self.refuse(handle, |_| "PERMISSION_MISSING");
        }
        if self.look.left > 0 && begun >= self.look.not_before {
            self.look(begun);
        }
        self.journal.tick(begun);
    }

    fn refuse(&mut self, handle: Handle, reason: impl Fn(&Holder) -> Refused) {
        let Some(session) = self.sessions.get(handle) else { return };
        session.refused = session.refused.or_else(|| Some(reason(&session.holder)));
        if session.take_end() {
            self.refused.push_back(handle);
        }
    }

    fn look(&mut self, begun: Instant) {
        while self.look.left > 0 {
            for _ in 0..AT_ONCE.min(self.look.left) {
                self.look.left = self.look.left.saturating_sub(1);
                self.look.next =
                    self.look.next.checked_add(1).filter(|next| *next < self.sessions.places()).unwrap_or(0);
                self.look_at(self.look.next);
            }
            let taken = begun.elapsed();
            if taken >= LOOK {
                self.look.not_before = begun + taken * LOOK_SHARE;
                return;
            }
        }
    }

    fn look_at(&mut self, place: usize) {
        let Some((handle, session)) = self.sessions.at(place) else { return };
        let Some(followed) = self.tenants.get(session.holder.tenant) else { return };
        let epoch = followed.refusals.epoch();
        match session.holder.rights(&followed.refusals, &self.rules, followed.refusals.now()) {
            Ok(rights) if !rights.lack_some_of(session.granted) => {
                (session.rights, session.granted, session.epoch) = (rights, rights, epoch);
            }
            Ok(_) => session.refused = Some("PERMISSION_MISSING"),
            Err(reason) => session.refused = Some(reason),
        }
        if session.take_end() {
            self.refused.push_back(handle);
        }
    }

    /// Some sessions that the broker is to end now.
    pub(crate) fn next_to_end(&mut self) -> Vec<(Handle, Arc<CStr>)> {
        let mut found = Vec::new();
        while found.len() < AT_ONCE
            && let Some(handle) = self.refused.pop_front()
        {
            let Some(session) = self.sessions.get(handle) else { continue };
            let (client_id, reason) = (Arc::clone(&session.client_id), session.refused.unwrap_or_default());
            if session.is_connected {
                self.journal.refusal(|| format!("ended client id {:?}: {reason}", client_id.to_string_lossy()));
                found.push((handle, client_id));
            } else {
                self.sessions.forget(handle);
            }
        }
        found
    }

    /// The broker has ended it, or does not know it.
    pub(crate) fn ended(&mut self, handle: Handle) {
        self.sessions.forget(handle);
    }

    pub(crate) fn take_lines(&mut self) -> Vec<Line> {
        self.journal.take()
    }
}

/// The beginning of a topic, for people.
fn short(topic: &[u8]) -> String {
    let shown = topic.get(..128).unwrap_or(topic);
    String::from_utf8_lossy(shown).into_owned()
}
