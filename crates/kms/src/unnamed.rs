//! Keys that were made and never named.

use std::collections::HashSet;

use aws_sdk_kms::types::{KeyMetadata, KeyState};
use signet_core::{KeyError, KeyRef, Lifetime, Time};

use crate::{KmsKeys, description, error, reference};

/// A younger key may be about to get its name.
const GRACE: Lifetime = Lifetime::hours(1);

impl KmsKeys {
    /// Keys of this environment's making without an alias. Only those without one are described, so that this costs two
    /// listings whatever the number of tenants.
    pub(crate) async fn unnamed_keys(&self, now: Time) -> Result<Vec<KeyRef>, KeyError> {
        let named = self.named().await?;
        let mut unnamed = Vec::new();
        let mut keys = self.client.list_keys().into_paginator().items().send();
        while let Some(key) = keys.next().await {
            let key = key.map_err(|e| error::of("*", "kms:ListKeys", &e))?;
            let Some(id) = key.key_id().filter(|id| !named.contains(*id)) else { continue };
            match self.describe(id).await {
                Ok(found) if is_lost(&found, &description(&self.prefix), now) => {
                    unnamed.push(reference(found.arn().unwrap_or(id))?);
                }
                // Somebody else's, or just deleted.
                Ok(_) | Err(KeyError::Denied { .. } | KeyError::NotFound(_)) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(unnamed)
    }

    /// The ids of keys that have an alias.
    async fn named(&self) -> Result<HashSet<String>, KeyError> {
        let mut named = HashSet::new();
        let mut aliases = self.client.list_aliases().into_paginator().items().send();
        while let Some(alias) = aliases.next().await {
            let alias = alias.map_err(|e| error::of("*", "kms:ListAliases", &e))?;
            named.extend(alias.target_key_id);
        }
        Ok(named)
    }
}

/// Whether this environment made the key some time ago, and nobody has deleted it yet. Its description tells, which
/// whoever may look at a key may read.
fn is_lost(key: &KeyMetadata, description: &str, now: Time) -> bool {
    let made_at = key.creation_date().and_then(|date| date.to_millis().ok());
    let old = made_at.is_none_or(|at| now.unix_millis().saturating_sub(at) > GRACE.millis());
    let ours = key.description().is_some_and(|text| text.starts_with(description));
    old && ours && key.key_state() != Some(&KeyState::PendingDeletion)
}
