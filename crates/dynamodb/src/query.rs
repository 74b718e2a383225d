//! One page of one partition, or of a segment of a table.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    operation::{query::builders::QueryFluentBuilder, scan::builders::ScanFluentBuilder},
    types::KeysAndAttributes,
};
use futures::future;
use signet_core::{
    StoreError, Time,
    store::{Cursor, Index, Page, Query, Segment, SortRange},
};
use tokio::time::sleep;

use crate::{
    error,
    item::{self, Item, PARTITION, SORT, text},
};

/// Names of the key attributes that `query` goes by.
fn names(query: &Query) -> (String, String) {
    match query.index {
        None => (PARTITION.into(), SORT.into()),
        Some(index) => (item::index_key(index, PARTITION), item::index_key(index, SORT)),
    }
}

/// The request, or `None` if the range is empty, which DynamoDB would refuse.
pub(crate) fn request(client: &Client, table: String, query: &Query) -> Result<Option<QueryFluentBuilder>, StoreError> {
    let (partition, sort) = names(query);
    let request = client
        .query()
        .table_name(table)
        .set_index_name(query.index.map(|index| index.name().to_owned()))
        .consistent_read(query.index.is_none())
        .scan_index_forward(!query.descending)
        .limit(i32::try_from(query.limit.clamp(1, 1000)).unwrap_or(1000))
        .expression_attribute_names("#p", partition)
        .expression_attribute_values(":p", text(&query.partition))
        .set_exclusive_start_key(query.after.as_ref().map(|after| start(query, after)).transpose()?);
    Ok(match &query.range {
        SortRange::All => Some(request.key_condition_expression("#p = :p")),
        SortRange::Prefix(prefix) => Some(
            request
                .key_condition_expression("#p = :p AND begins_with(#s, :prefix)")
                .expression_attribute_names("#s", sort)
                .expression_attribute_values(":prefix", text(prefix)),
        ),
        SortRange::Between(first, last) if first > last => None,
        SortRange::Between(first, last) => Some(
            request
                .key_condition_expression("#p = :p AND #s BETWEEN :first AND :last")
                .expression_attribute_names("#s", sort)
                .expression_attribute_values(":first", text(first))
                .expression_attribute_values(":last", text(last)),
        ),
    })
}

/// The request for a segment.
pub(crate) fn scan(
    client: &Client,
    table: String,
    query: &Query,
    segment: Segment,
) -> Result<ScanFluentBuilder, StoreError> {
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    Ok(client
        .scan()
        .table_name(table)
        .consistent_read(true)
        .segment(number(segment.number))
        .total_segments(number(segment.of))
        .limit(number(query.limit.clamp(1, 1000)))
        .set_exclusive_start_key(query.after.as_ref().map(|after| start(query, after)).transpose()?))
}

/// The key to start after.
fn start(query: &Query, after: &Cursor) -> Result<Item, StoreError> {
    let (partition, sort) = names(query);
    let mut item = Item::from([(partition, text(&query.partition)), (sort, text(&after.sort))]);
    if has_own_key(query) {
        let (partition, sort) = after.key.as_ref().ok_or_else(|| bad_cursor("it lacks the record's own key"))?;
        item.insert(PARTITION.into(), text(partition));
        item.insert(SORT.into(), text(sort));
    }
    Ok(item)
}

/// Whether a cursor of this query names the record beside its place.
const fn has_own_key(query: &Query) -> bool {
    query.index.is_some() || query.segment.is_some()
}

/// As many items as DynamoDB gives in one `BatchGetItem`.
const MOST_AT_ONCE: usize = 100;
/// Before the first repetition; each further one waits twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// Attempts at what DynamoDB leaves out of an answer, because it is throttled or the answer too large (16 MB).
const ATTEMPTS: usize = 6;

/// The items that stand at the `places` that `index` gave, in the same order. Left out is what is deleted meanwhile, or
/// stands in another place of the index by now: while an item moves, an index may show it twice.
pub(crate) async fn whole(
    client: &Client,
    table: &str,
    index: Index,
    places: Vec<Item>,
) -> Result<Vec<Item>, StoreError> {
    // DynamoDB refuses a key that is asked for twice.
    let keys: HashMap<_, Item> = places.iter().map(|at| (place(at), own_key(at))).collect();
    let keys: Vec<Item> = keys.into_values().collect();
    let pages = keys.chunks(MOST_AT_ONCE).map(|keys| batch(client, table, keys.to_vec()));
    let items = future::try_join_all(pages).await?.into_iter().flatten();
    let mut found: HashMap<_, Item> = items.map(|item| (place(&item), item)).collect();
    let parts = [PARTITION, SORT].map(|part| item::index_key(index, part));
    let here = |at: &Item, item: &Item| parts.iter().all(|part| at.get(part) == item.get(part));
    let item = |at: &Item| {
        let own = place(at);
        found.get(&own).is_some_and(|item| here(at, item)).then(|| found.remove(&own)).flatten()
    };
    Ok(places.iter().filter_map(item).collect())
}

async fn batch(client: &Client, table: &str, keys: Vec<Item>) -> Result<Vec<Item>, StoreError> {
    let (mut items, mut left, mut wait) = (Vec::with_capacity(keys.len()), keys, FIRST_WAIT);
    for _ in 0..ATTEMPTS {
        let keys = KeysAndAttributes::builder().consistent_read(true).set_keys(Some(left)).build();
        let keys = keys.map_err(|error| StoreError::Refused(error.to_string()))?;
        let request = client.batch_get_item().request_items(table, keys);
        let answer = request.send().await.map_err(|e| error::unavailable(&e))?;
        items.extend(answer.responses.into_iter().flatten().flat_map(|(_, items)| items));
        left = answer.unprocessed_keys.into_iter().flatten().flat_map(|(_, keys)| keys.keys).collect();
        if left.is_empty() {
            return Ok(items);
        }
        sleep(wait).await;
        wait = wait.saturating_mul(2);
    }
    Err(StoreError::Unavailable(format!("DynamoDB did not give {} items of {table}, {ATTEMPTS} times", left.len())))
}

/// An item's key in its table.
fn own_key(item: &Item) -> Item {
    [PARTITION, SORT].iter().filter_map(|part| Some(((*part).to_owned(), item.get(*part)?.clone()))).collect()
}

fn place(item: &Item) -> (Option<String>, Option<String>) {
    let part = |name| item::string(item, name).map(str::to_owned);
    (part(PARTITION), part(SORT))
}

/// The answer without expired records: its items, and the last key if there are more.
pub(crate) fn page((items, last): (Vec<Item>, Option<Item>), query: &Query, now: Time) -> Result<Page, StoreError> {
    let next = last.map(|key| cursor(query, &key)).transpose()?;
    let mut page = Page { next, ..Page::default() };
    for item in items {
        match item::read(query.table, item, now) {
            None => {}
            Some(Ok(record)) => page.records.push(record),
            Some(Err(unreadable)) => page.unreadable.push(unreadable),
        }
    }
    Ok(page)
}

fn cursor(query: &Query, key: &Item) -> Result<Cursor, StoreError> {
    let get = |name: &str| item::string(key, name).map(str::to_owned).ok_or_else(|| bad_cursor("DynamoDB sent none"));
    let own = if has_own_key(query) { Some((get(PARTITION)?, get(SORT)?)) } else { None };
    Ok(Cursor { sort: get(&names(query).1)?, key: own })
}

fn bad_cursor(reason: &str) -> StoreError {
    StoreError::Refused(format!("the cursor of a query: {reason}"))
}
