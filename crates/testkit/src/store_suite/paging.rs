//! Queries of one table's partition: order, ranges and pages.

use std::sync::Arc;

use signet_core::{
    Store,
    audit::Seal,
    store::{Entity, Key, Query, Segment, SortRange, Table, Version, Write},
};

use super::support::{all, create_all, sorts, write};
use crate::fixtures::{NOW, ca, seal, tenant, unique_tenant};

/// `Query`: every record exactly once and in order, whatever the page size.
pub async fn pages_cover_2500_records_in_both_directions(store: Arc<dyn Store>) {
    let tenant = unique_tenant();
    create_all(&*store, (0..2500).map(|minute| seal(&tenant, minute))).await;
    let ascending: Vec<String> = (0..2500).map(Seal::sort).collect();
    let descending: Vec<String> = ascending.iter().rev().cloned().collect();
    let partition = Seal::of(&tenant);
    assert!(sorts(&*store, &partition).await == ascending, "the default page");
    for limit in [17, 100, 999, 1000] {
        assert!(sorts(&*store, &partition.clone().limit(limit)).await == ascending, "up, {limit} a page");
        assert!(sorts(&*store, &partition.clone().limit(limit).descending()).await == descending, "down, {limit}");
    }
}

/// `SortRange`, `Query::descending`, `Query::limit`, also of one record.
pub async fn ranges_select_and_page_in_both_directions(store: Arc<dyn Store>) {
    let tenant = unique_tenant();
    let minutes = [0, 1, 2, 9, 10, 11, 19, 20, 99, 100, 101, 110, 111, 119, 120, 999, 1000];
    create_all(&*store, minutes.map(|minute| seal(&tenant, minute))).await;
    let all = minutes.map(Seal::sort);
    let between = |first, last| SortRange::Between(Seal::sort(first), Seal::sort(last));
    let ranges = [
        SortRange::All,
        SortRange::Prefix("0000000000".into()),
        SortRange::Prefix("00000000011".into()),
        SortRange::Prefix(Seal::sort(10)),
        SortRange::Prefix("1".into()),
        between(1, 1),
        between(1, 100),
        between(3, 8),
        between(12, 500),
        between(0, 5000),
        SortRange::Between("00000000001".into(), "00000000011".into()),
    ];
    for range in ranges {
        let selected = all.iter().filter(|sort| match &range {
            SortRange::All => true,
            SortRange::Prefix(prefix) => sort.starts_with(prefix),
            SortRange::Between(first, last) => *sort >= first && *sort <= last,
        });
        let mut expected: Vec<String> = selected.cloned().collect();
        let query = Seal::of(&tenant).range(range.clone());
        for limit in [1, 2, 3, 1000] {
            assert_eq!(sorts(&*store, &query.clone().limit(limit)).await, expected, "{range:?}, {limit} a page");
        }
        expected.reverse();
        for limit in [1, 2, 3, 1000] {
            let down = query.clone().limit(limit).descending();
            assert_eq!(sorts(&*store, &down).await, expected, "{range:?} down, {limit} a page");
        }
    }
}

/// `Cursor`: a place in the order, not a record.
pub async fn a_cursor_survives_the_removal_of_its_record(store: Arc<dyn Store>) {
    let tenant = unique_tenant();
    create_all(&*store, (0..10).map(|minute| seal(&tenant, minute))).await;
    for (query, rest) in [
        (Seal::of(&tenant).limit(4), (4..10).collect::<Vec<_>>()),
        (Seal::of(&tenant).limit(4).descending(), vec![5, 4, 2, 1, 0]),
    ] {
        let page = store.query(&query, NOW).await.unwrap();
        let last = page.records.last().unwrap().value.key();
        write(&*store, Write::Delete(last, Version::new(1))).await.unwrap();
        let rest: Vec<String> = rest.into_iter().map(Seal::sort).collect();
        assert_eq!(sorts(&*store, &Query { after: page.next, ..query }).await, rest);
    }
}

/// `Segment`: together they have every record of the table once, whatever its partition.
pub async fn segments_cover_a_table_without_overlap(store: Arc<dyn Store>) {
    let tenants: Vec<_> = (0..40).map(|_| tenant(&unique_tenant())).collect();
    let cas: Vec<_> = tenants.iter().map(|tenant| ca(&tenant.id, 1)).collect();
    create_all(&*store, tenants.iter().cloned()).await;
    create_all(&*store, cas.iter().cloned()).await;
    let mut expected: Vec<Key> = tenants.iter().map(Entity::key).chain(cas.iter().map(Entity::key)).collect();
    expected.sort();
    for (of, limit) in [(1, 1000), (1, 17), (4, 1000)] {
        let mut found = Vec::new();
        for number in 0..of {
            let query = Query::segment(Table::Tenants, Segment { number, of }).limit(limit);
            found.extend(all(&*store, &query, NOW).await.into_iter().map(|record| record.value.key()));
        }
        // Other tests have tenants too.
        found.retain(|key| expected.contains(key));
        found.sort();
        assert!(found == expected, "{of} segments, {limit} a page");
    }
}
