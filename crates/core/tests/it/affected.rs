//! Whose decisions the last changes may have turned.

use std::sync::Arc;

use signet_core::{
    PrincipalType, TenantId, Time, Uptime,
    tokens::{TokenAlgorithm, TokenKey, TokenKeys, TokenUse},
    trust::{
        Affected, DEFAULT_STALENESS_LIMIT, KnownModel, Trust, WhenStale,
        change::{Change, ChangeEntry, ChangeHead},
    },
};

use crate::authz::identity;

const NOW: Time = Time::from_unix_seconds(1_700_000_100);

fn entry_of(tenant: &str, sequence: u64, changes: Vec<Change>) -> ChangeEntry {
    let tenant: TenantId = tenant.parse().unwrap();
    ChangeEntry {
        shard: ChangeHead::shard_of(&tenant),
        sequence,
        tenant,
        at: NOW,
        until: NOW,
        changes,
        notices: Vec::new(),
    }
}

#[test]
fn who_keeps_answers_learns_what_changed_for_its_tenant_and_no_other() {
    let trust = Trust::new(DEFAULT_STALENESS_LIMIT, WhenStale::Refuse, || Uptime::from_millis(0));
    let (acme, globex): (TenantId, TenantId) = ("acme".parse().unwrap(), "globex".parse().unwrap());
    let denied = |id: &str| Change::PrincipalDenied { principal: id.parse().unwrap(), until: NOW };
    // While the node loads, nobody keeps anything of it.
    let seen = trust.epoch();
    trust.apply(&entry_of("acme", 1, vec![denied("w-1")]));
    assert_eq!(trust.affected_since(seen, &acme), [Affected::Everybody]);
    trust.heard(Uptime::from_millis(0));
    let seen = trust.epoch();
    let serial = identity("acme", PrincipalType::Worker, "w-2").serial;
    let revoked = Change::CertificateRevoked { serial, not_after: NOW, issuer: None };
    trust.apply(&entry_of("acme", 2, vec![denied("w-2"), revoked]));
    trust.apply(&entry_of("globex", 1, vec![denied("w-9")]));
    let told = [Affected::Principal(acme.clone(), "w-2".parse().unwrap()), Affected::Certificate(acme.clone(), serial)];
    assert_eq!(trust.affected_since(seen, &acme), told);
    assert_eq!(trust.affected_since(trust.epoch(), &acme), []);
    // The environment's rules and the shared CA are everybody's.
    let seen = trust.epoch();
    trust.set_model(&TenantId::system(), Some(KnownModel::Unreadable));
    assert_eq!(trust.affected_since(seen, &globex), [Affected::Everybody]);
    let seen = trust.epoch();
    trust.set_model(&globex, Some(KnownModel::Unreadable));
    assert_eq!(trust.affected_since(seen, &acme), []);
    assert_eq!(trust.affected_since(seen, &globex), [Affected::Tenant(globex.clone())]);
    // An entry that cannot be read may have been about anybody of the shard.
    let seen = trust.epoch();
    trust.deny_unknown_change(0, None, NOW);
    assert_eq!(trust.affected_since(seen, &globex), [Affected::Everybody]);
}

#[test]
fn who_is_too_far_behind_is_told_that_everything_may_have_changed() {
    let trust = Trust::new(DEFAULT_STALENESS_LIMIT, WhenStale::Refuse, || Uptime::from_millis(0));
    trust.heard(Uptime::from_millis(0));
    let (acme, seen) = ("acme".parse().unwrap(), trust.epoch());
    for sequence in 1..10_000 {
        let change = Change::PrincipalAllowed { principal: "w-1".parse().unwrap() };
        trust.apply(&entry_of("acme", sequence, vec![change]));
    }
    assert_eq!(trust.affected_since(seen, &acme), [Affected::Everybody]);
    assert_eq!(trust.affected_since(trust.epoch() - 2, &acme).len(), 2);
}

/// Answers about who showed a token are kept: they end with the key that signed it.
#[test]
fn a_key_of_access_tokens_that_is_gone_turns_decisions_and_a_new_one_does_not() {
    let trust = Trust::new(DEFAULT_STALENESS_LIMIT, WhenStale::Refuse, || Uptime::from_millis(0));
    trust.heard(Uptime::from_millis(0));
    let acme: TenantId = "acme".parse().unwrap();
    let told = |for_use: TokenUse, ids: &[&str]| {
        let key = |id: &&str| TokenKey {
            id: (*id).to_owned(),
            algorithm: TokenAlgorithm::Es256,
            spki_der: vec![1],
            wrapped: vec![2],
            published_at: NOW,
            signs_at: NOW,
        };
        let keys = TokenKeys { tenant: acme.clone(), for_use, keys: ids.iter().map(key).collect(), generation: 1 };
        let seen = trust.epoch();
        trust.set_token_keys(&acme, [(for_use, Arc::new(keys))].into());
        assert!(trust.epoch() > seen, "whoever shows keys hears of it");
        trust.affected_since(seen, &acme)
    };
    assert_eq!(told(TokenUse::AccessToken, &["a"]), []);
    assert_eq!(told(TokenUse::AccessToken, &["a", "b"]), []);
    assert_eq!(told(TokenUse::AccessToken, &["b"]), [Affected::Tenant(acme.clone())]);
    assert_eq!(told(TokenUse::JwtSvid, &["c"]), [Affected::Tenant(acme.clone())], "all of access tokens are gone");
    assert_eq!(told(TokenUse::JwtSvid, &["d"]), []);
}
