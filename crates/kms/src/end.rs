//! The end of a tenant's key. Whether the tenant is deleted is for the caller to know: the keymaker reads no table, and
//! who could lie to it about that can write the tables as well. That the key is this tenant's, KMS knows.

use aws_sdk_kms::types::{KeyMetadata, KeyState};
use signet_core::{CaId, KeyError, KeyLabel, KeyRef, TenantId};

use crate::{KmsKeys, SCHEME, alias_of, error};

/// The longest that KMS takes, and what IAM allows the keymaker (`infra/modules/ca-keys/access.tf`).
const WAITING_PERIOD_DAYS: i32 = 30;

impl KmsKeys {
    /// Schedules the key's deletion, then takes its name away, so that a later tenant of that name gets another key.
    pub(crate) async fn end_key(&self, key: &KeyRef, tenant: &TenantId) -> Result<(), KeyError> {
        let refused = |reason: &str| KeyError::Denied { key: key.to_string(), reason: reason.to_owned() };
        // An alias leads to a key that Terraform made.
        let arn = key.as_str().strip_prefix(SCHEME).filter(|id| id.starts_with("arn:"));
        let arn = arn.ok_or_else(|| refused("it is not a key that was made for a tenant"))?;
        let found = match self.describe(arn).await {
            Err(KeyError::NotFound(_)) => return Ok(()),
            found => found?,
        };
        let label = self.label(arn).await?.filter(|label| label.tenant == *tenant && !tenant.is_system());
        let label = label.ok_or_else(|| refused(&format!("its tags do not say that it is of the tenant {tenant}")))?;
        let alias = alias_of(&self.prefix, &label);
        let is_named = match self.describe(&alias).await {
            Ok(bearer) => bearer.arn() == Some(arn),
            Err(KeyError::NotFound(_)) => false,
            Err(other) => return Err(other),
        };
        match (is_ended(&found), is_named) {
            (true, _) => {}
            (false, true) => self.schedule_deletion(arn).await?,
            (false, false) => return Err(refused(&format!("it does not have the alias {alias}"))),
        }
        if is_named { self.unname(&alias).await } else { Ok(()) }
    }

    /// For whom the key was made, by its tags; `None`: not for a tenant of this environment.
    async fn label(&self, arn: &str) -> Result<Option<KeyLabel>, KeyError> {
        let answer = self.client.list_resource_tags().key_id(arn).send().await;
        let tags = answer.map_err(|e| error::of(arn, "kms:ListResourceTags", &e))?.tags.unwrap_or_default();
        let value = |name: &str| tags.iter().find(|tag| tag.tag_key() == name).map(|tag| tag.tag_value());
        let is_ours = value("signet:environment") == Some(self.prefix.as_str());
        let ca = value("signet:ca").and_then(|ca| ca.parse::<CaId>().ok());
        let tenant = value("signet:tenant").and_then(|tenant| tenant.parse::<TenantId>().ok());
        let label = ca.zip(tenant).map(|(ca, tenant)| KeyLabel { tenant, ca });
        Ok(label.filter(|label| is_ours && label.ca.owner() == label.tenant))
    }

    async fn schedule_deletion(&self, arn: &str) -> Result<(), KeyError> {
        let call = self.client.schedule_key_deletion().key_id(arn).pending_window_in_days(WAITING_PERIOD_DAYS);
        let Err(failure) = call.send().await else { return Ok(()) };
        let failure = error::of(arn, "kms:ScheduleKeyDeletion", &failure);
        // An attempt whose answer was lost, or another call, has done it.
        match self.describe(arn).await {
            Ok(now) if is_ended(&now) => Ok(()),
            _ => Err(failure),
        }
    }

    async fn unname(&self, alias: &str) -> Result<(), KeyError> {
        let answer = self.client.delete_alias().alias_name(alias).send().await;
        match answer.map_err(|e| error::of(alias, "kms:DeleteAlias", &e)) {
            Ok(_) | Err(KeyError::NotFound(_)) => Ok(()),
            Err(other) => Err(other),
        }
    }
}

fn is_ended(key: &KeyMetadata) -> bool {
    key.key_state() == Some(&KeyState::PendingDeletion)
}

#[cfg(test)]
mod tests;
