//! Queries of indexes. They may lag, so each case asks until the answer is right or the deadline has passed.

use std::{collections::BTreeSet, sync::Arc};

use signet_core::{
    Lifetime, Store,
    certificates::{Certificate, CertificateState, RevocationReason},
    store::{Entity, Index, IndexEntry, Query, SortRange, Table, Version, Versioned, Write},
};

use super::support::{all, create_all, eventually, write};
use crate::fixtures::{NOW, certificate, principal, token, unique, unique_tenant};

/// `IndexEntry::sort`: records with the same one are all kept; `Cursor::key` tells them apart.
pub async fn an_index_pages_records_with_equal_sort_keys(store: Arc<dyn Store>) {
    let tenant = unique_tenant();
    let secret = unique("secret");
    let tokens: Vec<_> =
        (0..300).map(|n| token(&tenant, &format!("token-{}", n % 3), &format!("{secret}-{n:03}"))).collect();
    create_all(&*store, tokens.clone()).await;
    let listing = Query::index(Table::Enrollments, Index::Listing, tenant.as_str());
    eventually(&*store, &listing, NOW, |found| found.len() == tokens.len()).await;

    let keys: BTreeSet<_> = tokens.iter().map(Entity::key).collect();
    for (limit, descending) in [(7, false), (7, true), (100, false), (100, true), (299, false), (1000, true)] {
        let found = all(&*store, &Query { descending, ..listing.clone().limit(limit) }, NOW).await;
        assert_eq!(found.len(), keys.len(), "{limit} a page, descending: {descending}");
        assert_eq!(found.iter().map(|record| record.value.key()).collect::<BTreeSet<_>>(), keys);
        let mut sorts: Vec<_> = found.iter().map(|record| record.value.indexes().remove(0).sort).collect();
        if descending {
            sorts.reverse();
        }
        assert!(sorts.is_sorted(), "{limit} a page, descending: {descending}");
    }
}

/// An index answers with the record itself, its version included.
pub async fn an_index_holds_whole_records_and_takes_ranges(store: Arc<dyn Store>) {
    let tenant = unique_tenant();
    let secret = unique("secret");
    let mut tokens = ["a", "b1", "b2", "c"].map(|id| token(&tenant, id, &format!("{secret}-{id}")));
    create_all(&*store, tokens.clone()).await;
    tokens[1].uses_left = 0;
    write(&*store, Write::replace(tokens[1].clone(), Version::new(1))).await.unwrap();

    let listing = Query::index(Table::Enrollments, Index::Listing, tenant.as_str());
    let expected: Vec<_> = tokens
        .iter()
        .zip([1, 2, 1, 1])
        .map(|(token, version)| Versioned { value: token.clone().into(), version: Version::new(version) })
        .collect();
    eventually(&*store, &listing, NOW, |found| found == expected).await;
    for limit in [1, 1000] {
        let listing = listing.clone().limit(limit);
        let ranges = [
            (SortRange::Prefix("b".into()), &expected[1..3]),
            (SortRange::Between("a".into(), "b1".into()), &expected[..2]),
            (SortRange::Between("b2".into(), "zz".into()), &expected[2..]),
            (SortRange::Prefix("x".into()), &[]),
        ];
        for (range, part) in ranges {
            assert_eq!(all(&*store, &listing.clone().range(range.clone()), NOW).await, part, "{range:?}");
        }
        let mut backwards = all(&*store, &listing.range(SortRange::Prefix("b".into())).descending(), NOW).await;
        backwards.reverse();
        assert_eq!(backwards, &expected[1..3]);
    }
}

/// `Entity::indexes`: a record is found where its present value says, and nowhere else.
pub async fn index_entries_follow_their_record(store: Arc<dyn Store>) {
    let worker = principal(&unique_tenant(), "worker");
    let reserved = certificate(&worker, 1);
    let issued = Certificate { state: CertificateState::Issued, certificate_der: vec![1], ..reserved.clone() };
    let revoked_at = NOW.plus(Lifetime::hours(1));
    let state = CertificateState::Revoked { revoked_at, reason: RevocationReason::KeyCompromise };
    let revoked = Certificate { state, ..issued.clone() };
    let abandoned = Certificate { state: CertificateState::Abandoned, ..reserved.clone() };

    let places: Vec<IndexEntry> = [&reserved, &issued, &revoked].iter().flat_map(|value| value.indexes()).collect();
    let mut before = None;
    for (version, value) in [reserved, issued, revoked, abandoned].into_iter().enumerate() {
        let change = match before {
            None => Write::create(value.clone()),
            Some(_) => Write::replace(value.clone(), Version::new(version as u64)),
        };
        write(&*store, change).await.unwrap();
        assert_found_only_at(&*store, &value, &value.indexes(), &places).await;
        before = Some(value);
    }
    let last = certificate(&worker, 2);
    write(&*store, Write::create(last.clone())).await.unwrap();
    assert_found_only_at(&*store, &last, &last.indexes(), &last.indexes()).await;
    write(&*store, Write::Delete(last.key(), Version::new(1))).await.unwrap();
    assert_found_only_at(&*store, &last, &[], &last.indexes()).await;
}

async fn assert_found_only_at(store: &dyn Store, value: &Certificate, at: &[IndexEntry], places: &[IndexEntry]) {
    for place in places {
        let only = SortRange::Between(place.sort.clone(), place.sort.clone());
        let query = Query::index(Table::Certificates, place.index, place.partition.clone()).range(only);
        eventually(store, &query, NOW, |found| {
            let own: Vec<_> = found.iter().filter(|record| record.value.key() == value.key()).collect();
            match own[..] {
                [] => !at.contains(place),
                [one] => at.contains(place) && one.value == value.clone().into(),
                _ => false,
            }
        })
        .await;
    }
}
