//! Tells those who decide in memory what is refused of a tenant: all of it, then each change.

use std::{mem, sync::Arc, time::Duration};

use signet_core::{
    Serial, TenantId, Time,
    authorization::model::Grantee,
    tokens::TokenUse,
    trust::{Affected, PrincipalRuling},
};
use signet_policy::Rulebook;
use signet_proto::v1::{
    BrokerTokenKey, BrokerTokenKeys, GrantedPermission, GrantedPermissions, PrincipalRefusal, RefusalsChange,
};
use tokio::{
    task::yield_now,
    time::{Instant, timeout_at},
};
use tonic::Status;

use crate::{
    node::Node,
    plain::issuers,
    services::{stream::Sink, wire},
};

/// How often a watcher hears of the node when nothing changes.
const EVERY: Duration = Duration::from_secs(5);
/// Most principals, and most certificates, of one message.
const AT_ONCE: usize = 1000;

/// What one watcher is told of.
pub(super) struct Watched {
    pub(super) tenant: TenantId,
    pub(super) permissions: Vec<String>,
}

pub(super) async fn watch(node: Arc<Node>, watched: Watched, sink: Sink<RefusalsChange>) -> Result<(), Status> {
    let mut epochs = node.epochs.clone();
    // From before the list: what changes while it is read is told of after it.
    let mut seen = node.trust.epoch();
    if !list(&node, &watched, &sink).await {
        return Ok(());
    }
    let (mut granted, mut keys, mut spoke) = (watched.granted(&node), watched.keys(&node), Instant::now());
    loop {
        // Others' changes put off no word that is due.
        let due = (spoke + EVERY).min(Instant::now() + watched.next_end(&node).unwrap_or(EVERY));
        if let Ok(Err(_)) = timeout_at(due, epochs.changed()).await {
            return Ok(());
        }
        let epoch = node.trust.epoch();
        let affected = node.trust.affected_since(mem::replace(&mut seen, epoch), &watched.tenant);
        if affected.contains(&Affected::Everybody) {
            if !list(&node, &watched, &sink).await {
                return Ok(());
            }
            (granted, keys, spoke) = (watched.granted(&node), watched.keys(&node), Instant::now());
            continue;
        }
        let mut change = watched.changes(&node, &affected);
        let now_granted = watched.granted(&node);
        if now_granted != granted {
            granted.clone_from(&now_granted);
            change.granted = Some(now_granted);
        }
        let now_keys = watched.keys(&node);
        if now_keys != keys {
            keys.clone_from(&now_keys);
            change.broker_token_keys = Some(now_keys);
        }
        // Who hears nothing knows that this node may know nothing.
        let is_due = spoke.elapsed() >= EVERY && !node.trust.refuses_all();
        if change != RefusalsChange::default() || is_due {
            if !send(&sink, change).await {
                return Ok(());
            }
            spoke = Instant::now();
        }
    }
}

/// All that holds. False: the reader is gone.
async fn list(node: &Node, watched: &Watched, sink: &Sink<RefusalsChange>) -> bool {
    let tenant_refused = Some(node.trust.refuses_tenant(&watched.tenant, node.now()));
    let (granted, broker_token_keys) = (Some(watched.granted(node)), Some(watched.keys(node)));
    let first =
        RefusalsChange { restart: true, tenant_refused, granted, broker_token_keys, ..RefusalsChange::default() };
    if !sink.send(first).await {
        return false;
    }
    let mut page = RefusalsChange::default();
    for part in 0.. {
        let Some(refused) = node.trust.refused(&watched.tenant, part, node.now()) else { break };
        page.principals.extend(refused.principals.into_iter().map(ruling));
        page.serial_numbers.extend(refused.certificates.iter().map(bytes));
        let is_full = page.principals.len() >= AT_ONCE || page.serial_numbers.len() >= AT_ONCE;
        if is_full && !send(sink, mem::take(&mut page)).await {
            return false;
        }
        // Others' calls go on between two parts.
        yield_now().await;
    }
    send(sink, page).await && sink.send(RefusalsChange { complete: true, ..Default::default() }).await
}

/// In messages that are not too long.
async fn send(sink: &Sink<RefusalsChange>, mut change: RefusalsChange) -> bool {
    while change.principals.len() > AT_ONCE || change.serial_numbers.len() > AT_ONCE {
        let rest = |of: usize| of.saturating_sub(AT_ONCE);
        let principals = change.principals.split_off(rest(change.principals.len()));
        let serial_numbers = change.serial_numbers.split_off(rest(change.serial_numbers.len()));
        if !sink.send(RefusalsChange { principals, serial_numbers, ..Default::default() }).await {
            return false;
        }
    }
    sink.send(change).await
}

impl Watched {
    /// What holds now of all that changed.
    fn changes(&self, node: &Node, affected: &[Affected]) -> RefusalsChange {
        let (now, mut change) = (node.now(), RefusalsChange::default());
        for one in affected {
            match one {
                Affected::Everybody | Affected::Tenant(_) => {
                    change.tenant_refused = Some(node.trust.refuses_tenant(&self.tenant, now));
                }
                Affected::Principal(tenant, principal) => {
                    change.principals.push(ruling(node.trust.ruling(tenant, principal, now)));
                }
                // What is refused here alone, since nobody recorded it, is not revoked for others.
                Affected::Certificate(_, serial) if node.trust.is_revoked_somewhere(serial) => {
                    change.serial_numbers.push(bytes(serial));
                }
                Affected::Certificate(..) | Affected::MessageSecret(..) => {}
            }
        }
        change
    }

    fn granted(&self, node: &Node) -> GrantedPermissions {
        // What cannot be read grants nothing.
        let book = self.book(node);
        let of = |permission: &String| match &book {
            Some(book) => granted(book, permission, node.now()),
            None => GrantedPermission { permission: permission.clone(), ..Default::default() },
        };
        GrantedPermissions { permissions: self.permissions.iter().map(of).collect() }
    }

    /// What verifies the tenant's broker tokens.
    fn keys(&self, node: &Node) -> BrokerTokenKeys {
        let issuer = node.issuer.of_broker_tokens(&self.tenant).unwrap_or_default();
        let keys = issuers::keys(node, &self.tenant, TokenUse::BrokerToken, node.now());
        let told = keys.into_iter().map(|key| BrokerTokenKey { key_id: key.id, public_key_der: key.spki_der });
        BrokerTokenKeys { issuer, keys: told.collect() }
    }

    /// How long until a grant ends.
    fn next_end(&self, node: &Node) -> Option<Duration> {
        let now = node.now();
        let end = self.book(node)?.next_end(now)?;
        Some(Duration::from_millis(end.millis_since(now).unsigned_abs()))
    }

    fn book(&self, node: &Node) -> Option<Arc<Rulebook>> {
        node.decisions.book(&self.tenant).unwrap_or_default()
    }
}

fn granted(book: &Rulebook, permission: &str, now: Time) -> GrantedPermission {
    let (to, is_all) = book.granted_to(permission, now);
    let mut found = GrantedPermission { permission: permission.into(), conditional: !is_all, ..Default::default() };
    for one in to {
        match one {
            Grantee::Type(of) => found.principal_types.push(wire::principal_type(*of)),
            Grantee::Role(role) => found.roles.push(role.to_string()),
            Grantee::Group(_) => {}
        }
    }
    found
}

fn ruling(of: PrincipalRuling) -> PrincipalRefusal {
    let (roles, roles_end_time) = match of.roles {
        Some((roles, until)) => (roles.iter().map(ToString::to_string).collect(), Some(wire::time(until))),
        None => Default::default(),
    };
    let refuse_end_time = of.denied_until.map(wire::time);
    PrincipalRefusal { principal_id: of.principal.to_string(), refuse_end_time, roles_end_time, roles }
}

fn bytes(serial: &Serial) -> Vec<u8> {
    serial.as_bytes().to_vec()
}
