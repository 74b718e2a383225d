//! Keys for tokens: the first one when it is asked for, the next ones when they are due.

use std::sync::Arc;

use signet_app::{Chore, tokens};
use signet_core::{
    Error, TenantId, Time,
    tokens::{TokenKeys, TokenUse},
};

use crate::node::Node;

/// Makes a tenant's first key, or finds the one that another node has just made. It comes back once all nodes should
/// know the key: who gets a token may show it at once, to another node.
pub(crate) async fn first_keys(
    node: &Node,
    tenant: &TenantId,
    for_use: TokenUse,
    now: Time,
) -> Result<Arc<TokenKeys>, Error> {
    tokens::advance(&node.app, &Chore::new("token-keys", now), tenant, for_use).await?;
    node.heard(|trust| trust.token_keys(tenant, for_use).is_some()).await;
    // Nobody would take what a key signs that no node has heard of.
    node.trust.token_keys(tenant, for_use).ok_or_else(|| Error::Unavailable {
        what: "the tenant's keys for tokens",
        cause: "this node has not heard of them yet".to_owned(),
    })
}

/// Does what is due for all tenants' keys. Each node does; one wins.
pub(super) async fn rotate(node: Arc<Node>) -> Result<(), Error> {
    let now = node.now();
    let mut outcome = Ok(());
    for (tenant, for_use) in node.trust.token_keys_due(now) {
        // A suspended tenant makes no tokens: its turn comes when it is active.
        if !node.trust.is_active(&tenant) {
            continue;
        }
        // One tenant's trouble is no other's.
        if let Err(error) = tokens::advance(&node.app, &Chore::new("token-keys", now), &tenant, for_use).await {
            outcome = Err(error);
        }
    }
    tokens::forget_keys(&node.app, |tenant, for_use, id| {
        let published = node.trust.token_keys(tenant, for_use);
        published.is_some_and(|published| published.keys.iter().any(|key| key.id == id))
    });
    outcome
}
