//! The policy of tenants' keys is written once, when a key is made. A correction, or a role that was made anew (KMS
//! keeps a role by its unique id), reaches the keys that are there only if it is written again.

use aws_sdk_kms::types::AliasListEntry;
use serde_json::Value;
use signet_core::{KeyError, Lifetime, PolicyReport, Time};

use crate::{KmsKeys, error};

/// The environment's own CAs, but for `shared`, by the name before the generation.
const OWN: [&str; 3] = ["root", "server", "system"];
/// The statement for who serves the internet, which such a CA's key has not (`infra/modules/ca-keys/policy.tf`).
const FOR_TENANTS_ONLY: &str = "SignersSignForTenants";

/// So long may IAM not see a new key's tags, by which the right to change its policy goes (KMS Developer Guide, "Use
/// tags to control access to KMS keys": five minutes).
const UNSEEN: Lifetime = Lifetime::minutes(10);

/// Aliases looked at between two points at which a run can go on (ListAliases gives up to 100).
const PAGE: i32 = 100;

impl KmsKeys {
    /// Sets the policy [`Self::tenant_key_policy`] on tenants' keys that have another, page by page from `from` on.
    /// `go_on`: the time now, and whether another key may be begun.
    pub async fn set_policies(
        &self,
        from: Option<String>,
        go_on: &(dyn Fn() -> Option<Time> + Send + Sync),
    ) -> Result<PolicyReport, KeyError> {
        let mut report = PolicyReport { next: from, ..PolicyReport::default() };
        let tenants = format!("alias/{}-tenant-", self.prefix);
        loop {
            let page = self.client.list_aliases().limit(PAGE).set_marker(report.next.clone()).send().await;
            let page = page.map_err(|e| error::of("*", "kms:ListAliases", &e))?;
            for alias in page.aliases.unwrap_or_default() {
                let (Some(name), Some(id)) = (alias.alias_name(), alias.target_key_id()) else { continue };
                let Some((ca, _)) = name.strip_prefix(&tenants).and_then(|ca| ca.rsplit_once('-')) else { continue };
                let Some(policy) = self.policy_of(ca) else { return Ok(PolicyReport::default()) };
                let Some(now) = go_on() else {
                    report.unfinished = true;
                    return Ok(report);
                };
                match self.set_policy(id, &policy).await {
                    Ok(changed) => report.changed += usize::from(changed),
                    Err(KeyError::Denied { .. }) if is_new(&alias, now) => report.unfinished = true,
                    // Throttled, or away: the page is looked at again.
                    Err(KeyError::Unavailable(_)) => {
                        report.unfinished = true;
                        return Ok(report);
                    }
                    Err(error) => report.failed.push((name.to_owned(), error.to_string())),
                }
            }
            report.next = page.next_marker;
            if report.next.is_none() {
                return Ok(report);
            }
        }
    }

    /// The policy of the key of a CA, named without its generation.
    pub(crate) fn policy_of(&self, name: &str) -> Option<String> {
        let policy = self.tenant_key_policy.clone()?;
        if !OWN.contains(&name) {
            return Some(policy);
        }
        let Ok(mut document) = serde_json::from_str::<Value>(&policy) else { return Some(policy) };
        if let Some(statements) = document.get_mut("Statement").and_then(Value::as_array_mut) {
            statements.retain(|statement| statement.get("Sid").is_none_or(|sid| sid != FOR_TENANTS_ONLY));
        }
        Some(document.to_string())
    }

    /// Whether it had another.
    async fn set_policy(&self, key: &str, policy: &str) -> Result<bool, KeyError> {
        let there = self.client.get_key_policy().key_id(key).send().await;
        let there = there.map_err(|e| error::of(key, "kms:GetKeyPolicy", &e))?.policy;
        if there.is_some_and(|there| same(&there, policy)) {
            return Ok(false);
        }
        let call = self.client.put_key_policy().key_id(key).policy(policy).bypass_policy_lockout_safety_check(false);
        call.send().await.map_err(|e| error::of(key, "kms:PutKeyPolicy", &e))?;
        Ok(true)
    }
}

fn is_new(alias: &AliasListEntry, now: Time) -> bool {
    let named_at = alias.creation_date().and_then(|date| date.to_millis().ok());
    named_at.is_some_and(|at| now.unix_millis().saturating_sub(at) < UNSEEN.millis())
}

/// Whether two policies say the same: lists have no order, and a list of one is its element.
fn same(one: &str, other: &str) -> bool {
    let parsed = |text: &str| serde_json::from_str(text).ok().map(plain);
    parsed(one).is_some_and(|one| parsed(other) == Some(one))
}

fn plain(value: Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<_> = items.into_iter().map(plain).collect();
            items.sort_by_cached_key(Value::to_string);
            if items.len() == 1 { items.swap_remove(0) } else { Value::Array(items) }
        }
        Value::Object(members) => members.into_iter().map(|(name, value)| (name, plain(value))).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use aws_config::{BehaviorVersion, Region};
    use signet_testkit::scripted::{
        Answer::{self, Http},
        Scripted,
    };

    use super::*;
    use crate::Limits;

    const POLICY: &str = r#"{"Statement": [{"Action": ["kms:Sign", "kms:DescribeKey"], "Principal": {"AWS": "a"}}]}"#;
    /// Two tenants' keys, made in 2001; another environment's; an alias without a key.
    const ALIASES: Answer = Http(
        200,
        r#"{"Aliases": [
            {"AliasName": "alias/test-tenant-acme-1", "TargetKeyId": "acme", "CreationDate": 1e9},
            {"AliasName": "alias/test-root", "TargetKeyId": "root", "CreationDate": 1e9},
            {"AliasName": "alias/other-tenant-a-1", "TargetKeyId": "other", "CreationDate": 1e9},
            {"AliasName": "alias/test-tenant-none-1", "CreationDate": 1e9},
            {"AliasName": "alias/test-tenant-globex-1", "TargetKeyId": "globex", "CreationDate": 1e9}]}"#,
    );
    /// The same policy, as somebody else would write it.
    const PRESENT: Answer = Http(
        200,
        r#"{"Policy": "{\"Statement\":{\"Principal\":{\"AWS\":[\"a\"]},\"Action\":[\"kms:DescribeKey\",\"kms:Sign\"]}}"}"#,
    );
    /// Of a policy that has been corrected, and names a role that was deleted by its id.
    const OLD: Answer =
        Http(200, r#"{"Policy": "{\"Statement\":[{\"Action\":\"kms:Sign\",\"Principal\":{\"AWS\":\"AROAOLD\"}}]}"}"#);
    const DENIED: Answer = Http(400, r#"{"__type": "AccessDeniedException", "message": "not authorized"}"#);
    const SET: Answer = Http(200, "");
    const LONG_AFTER: i64 = 2_000_000_000_000;

    async fn set(answers: impl Into<Vec<Answer>>, now: Option<i64>) -> (PolicyReport, Scripted) {
        let kms = Scripted::new(answers).await;
        let aws = aws_config::defaults(BehaviorVersion::latest()).region(Region::new("eu-central-1"));
        let aws = aws.test_credentials().endpoint_url(kms.endpoint()).load().await;
        let keys = KmsKeys::with_limits(&aws, "test", Limits::default()).tenant_key_policy(POLICY);
        (keys.set_policies(Some("here".into()), &|| now.map(Time::from_unix_millis)).await.unwrap(), kms)
    }

    #[tokio::test]
    async fn only_tenants_keys_with_another_policy_get_it() {
        let (report, kms) = set([ALIASES, PRESENT, OLD, SET], Some(LONG_AFTER)).await;
        assert_eq!(report, PolicyReport { changed: 1, ..PolicyReport::default() });
        assert_eq!(kms.asked(), ["ListAliases", "GetKeyPolicy", "GetKeyPolicy", "PutKeyPolicy"]);
        let put = &kms.bodies()[3];
        assert!(
            put.contains(r#""KeyId":"globex""#) && put.contains(r#""BypassPolicyLockoutSafetyCheck":false"#),
            "{put}"
        );
    }

    #[tokio::test]
    async fn a_key_that_refuses_is_named_and_does_not_stop_the_others() {
        let (report, _) = set([ALIASES, DENIED, OLD, SET], Some(LONG_AFTER)).await;
        assert_eq!((report.changed, report.unfinished), (1, false));
        assert!(report.failed[0].0 == "alias/test-tenant-acme-1" && report.failed[0].1.contains("GetKeyPolicy"));
    }

    #[tokio::test]
    async fn a_new_key_whose_tags_do_not_count_yet_waits_for_the_next_run() {
        let (report, _) = set([ALIASES, DENIED, PRESENT], Some(1_000_000_060_000)).await;
        assert_eq!(report, PolicyReport { unfinished: true, ..PolicyReport::default() });
    }

    #[tokio::test]
    async fn who_serves_the_internet_is_in_no_policy_of_the_environments_own_cas() {
        let kms = Scripted::new([SET]).await;
        let aws = aws_config::defaults(BehaviorVersion::latest()).region(Region::new("eu-central-1"));
        let aws = aws.test_credentials().endpoint_url(kms.endpoint()).load().await;
        let policy = r#"{"Statement":[{"Sid":"SignersSign"},{"Sid":"SignersSignForTenants"},{"Effect":"Allow"}]}"#;
        let keys = KmsKeys::with_limits(&aws, "test", Limits::default()).tenant_key_policy(policy);
        for own in ["root", "server", "system"] {
            let without = r#"{"Statement":[{"Sid":"SignersSign"},{"Effect":"Allow"}]}"#;
            assert_eq!(keys.policy_of(own).as_deref(), Some(without), "{own}");
        }
        for tenants in ["shared", "acme", "root-of-acme"] {
            assert_eq!(keys.policy_of(tenants).as_deref(), Some(policy), "{tenants}");
        }
    }

    #[tokio::test]
    async fn it_stops_in_time() {
        let (report, kms) = set([ALIASES], None).await;
        assert_eq!(report, PolicyReport { unfinished: true, next: Some("here".into()), ..PolicyReport::default() });
        assert_eq!(kms.asked(), ["ListAliases"]);
    }

    #[tokio::test]
    async fn it_goes_on_page_by_page_and_looks_again_where_kms_was_away() {
        let more = Http(200, r#"{"Aliases": [], "Truncated": true, "NextMarker": "there"}"#);
        let (report, kms) = set([more, ALIASES, PRESENT, OLD, SET], Some(LONG_AFTER)).await;
        assert_eq!(report, PolicyReport { changed: 1, ..PolicyReport::default() });
        assert!(kms.bodies()[0].contains("here") && kms.bodies()[1].contains("there"), "{:?}", kms.bodies());
        let gone = [Answer::Lost; 3];
        let (report, _) = set([&[more, ALIASES][..], &gone].concat(), Some(LONG_AFTER)).await;
        assert_eq!((report.unfinished, report.next.as_deref()), (true, Some("there")));
    }
}
