//! Keys that could be mistaken for each other.

use std::sync::Arc;

use signet_core::{
    Store,
    audit::AuditEvent,
    store::{Entity, Query, SortRange, Table, Write},
};

use super::support::{assert_kept, create_all, keys, sorts};
use crate::fixtures::{NOW, event, token, transaction, unique, unique_tenant};

/// `Query::partition` is the whole partition key.
pub async fn partitions_do_not_leak_into_each_other(store: Arc<dyn Store>) {
    let tenant = unique_tenant();
    let base = unique("s");
    let ends = ["", "#", "#token", "#b", "b", "-", "%", "_", "*", " ", "'", "\"", "\\", "/", "é", "\u{10FFFF}"];
    let tokens = ends.map(|end| token(&tenant, "id", &format!("{base}{end}")));
    create_all(&*store, tokens.clone()).await;
    for token in &tokens {
        assert_kept(&*store, token, 1).await;
        let key = [token.key()];
        let query = Query::table(Table::Enrollments, key[0].partition.clone());
        assert_eq!(keys(&*store, &query).await, key);
        assert_eq!(keys(&*store, &query.clone().descending()).await, key);
        assert_eq!(keys(&*store, &query.range(SortRange::Prefix("token".into()))).await, key);
    }
    let upper = Query::table(Table::Enrollments, base.to_uppercase());
    assert_eq!(keys(&*store, &upper).await, []);
}

/// Events of one tenant and minute whose ids all fall into shard 0.
fn events(ids: &[&str]) -> (Query, Vec<AuditEvent>) {
    let tenant = unique_tenant();
    let partition = AuditEvent::minute_partition(NOW.minute(), 0);
    // The shard is a function of the id, so a padding in front of nothing is tried until it fits.
    let padded = |id: &str| {
        (0..).map(|n| event(&tenant, &format!("{id}~{n}"))).find(|e| e.key().partition == partition).unwrap()
    };
    let events = ids.iter().map(|id| padded(id)).collect();
    let query = Query::table(Table::Audit, partition).range(SortRange::Prefix(AuditEvent::tenant_prefix(&tenant)));
    (query, events)
}

/// `SortRange::Prefix` has no wildcards and no case.
pub async fn prefixes_are_taken_literally(store: Arc<dyn Store>) {
    let ids = ["a", "A", "a%", "a_", "a*", "a?", "a[b]", "ab", "a'", "a\"", "a\\", "a#", "ä", "é", "é\u{10FFFF}"];
    let (query, events) = events(&ids);
    create_all(&*store, events.clone()).await;
    let SortRange::Prefix(own) = &query.range else { unreachable!("made above") };
    for id in ids {
        let prefix = format!("{own}{id}");
        let mut expected: Vec<_> = events.iter().map(Entity::key).map(|k| k.sort).collect();
        expected.retain(|sort| sort.starts_with(&prefix));
        expected.sort();
        let found = sorts(&*store, &query.clone().range(SortRange::Prefix(prefix)).limit(2)).await;
        assert_eq!(found, expected, "{id}");
    }
}

/// The order is that of the UTF-8 bytes, as in DynamoDB.
pub async fn sort_keys_are_ordered_by_their_bytes(store: Arc<dyn Store>) {
    let ids = ["b", "B", "a", "Z", "_", "-", "10", "9", "ß", "ss", "é", "e\u{301}", "日本", "😀", "\u{FFFD}", " "];
    let (query, events) = events(&ids);
    store.transact(transaction(events.clone().into_iter().map(Write::create))).await.unwrap();
    let mut expected: Vec<_> = events.iter().map(Entity::key).map(|key| key.sort).collect();
    expected.sort();
    assert_eq!(sorts(&*store, &query.clone().limit(3)).await, expected);
    expected.reverse();
    assert_eq!(sorts(&*store, &query.limit(3).descending()).await, expected);
}
