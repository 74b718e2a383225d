//! Listing over sharded partitions: shard after shard, with one page token.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use signet_core::{
    Error, StoreError, Time,
    audit::sha256_hex,
    store::{Cursor, Query, SortRange, Unreadable, scope::Listed},
};

/// Records on a page where the caller does not say.
const DEFAULT_PAGE: u32 = 100;
/// Most records on a page.
const MAX_PAGE: u32 = 1000;

/// What a caller asks for (AIP-158).
#[derive(Clone, Debug, Default)]
pub struct PageRequest {
    /// 0: the default.
    pub size: u32,
    /// Empty: the first page.
    pub token: String,
}

/// One page of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<T> {
    /// In order within a shard.
    pub items: Vec<T>,
    /// Empty: that was the last page.
    pub next_page_token: String,
    /// The places in the store of what cannot be read, and is left out.
    pub unreadable: Vec<String>,
}

/// Where a listing stands. `of` binds a token to what was asked, so that it is of no use for anything else.
#[derive(Serialize, Deserialize)]
struct ShardPosition {
    of: String,
    shard: u32,
    after: Option<Cursor>,
}

impl PageRequest {
    pub(crate) fn size(&self) -> Result<u32, Error> {
        match self.size {
            0 => Ok(DEFAULT_PAGE),
            size if size <= MAX_PAGE => Ok(size),
            _ => Err(Error::invalid("page_size", "OUT_OF_RANGE", "must be at most 1000")),
        }
    }

    fn place(&self, of: &str) -> Result<ShardPosition, Error> {
        if self.token.is_empty() {
            return Ok(ShardPosition { of: of.to_owned(), shard: 0, after: None });
        }
        let place: ShardPosition = decode(&self.token)?;
        if place.of == of { Ok(place) } else { Err(bad_token()) }
    }
}

/// Whether a store may have said so: what is forged would look like its own failure to it (DynamoDB refuses a start key
/// that is outside of the query's range, that lacks a part, or is longer than keys may be).
fn fits(after: &Cursor, query: &Query) -> bool {
    const SORT: std::ops::RangeInclusive<usize> = 1..=1024;
    const PARTITION: std::ops::RangeInclusive<usize> = 1..=2048;
    let sort = after.sort.as_str();
    let in_range = match &query.range {
        SortRange::All => true,
        SortRange::Prefix(prefix) => sort.starts_with(prefix.as_str()),
        SortRange::Between(first, last) => (first.as_str()..=last.as_str()).contains(&sort),
    };
    let whole = match (&after.key, query.index) {
        (None, None) => true,
        (Some((partition, sort)), Some(_)) => PARTITION.contains(&partition.len()) && SORT.contains(&sort.len()),
        (None, Some(_)) | (Some(_), None) => false,
    };
    whole && in_range && SORT.contains(&sort.len())
}

fn bad_token() -> Error {
    Error::invalid("page_token", "INVALID_PAGE_TOKEN", "is not one that this request returned")
}

/// Reads one page across `shards`. `query` gives the partition of a shard, `read` runs it.
/// `of` names what is listed; a token is good for the same listing only.
pub(crate) async fn list<E, F>(
    request: &PageRequest,
    of: &str,
    shards: u32,
    query: impl Fn(u32) -> Query,
    read: impl Fn(Query) -> F,
) -> Result<Listing<E>, Error>
where
    F: Future<Output = Result<Listed<E>, StoreError>>,
{
    let size = request.size()?;
    let of = sha256_hex(of.as_bytes()).get(..16).unwrap_or_default().to_owned();
    let mut place = request.place(&of)?;
    if place.after.as_ref().is_some_and(|after| !fits(after, &query(place.shard))) {
        return Err(bad_token());
    }
    let (mut items, mut unreadable): (Vec<E>, Vec<String>) = Default::default();
    while place.shard < shards {
        let wanted = size.saturating_sub(u32::try_from(items.len()).unwrap_or(u32::MAX));
        if wanted == 0 {
            return Ok(Listing { items, next_page_token: encode(&place)?, unreadable });
        }
        let found = read(query(place.shard).limit(wanted).after(place.after.take())).await?;
        items.extend(found.records.into_iter().map(|found| found.value));
        unreadable.extend(found.unreadable.iter().map(|record| record.key.to_string()));
        place.after = found.next;
        if place.after.is_none() {
            place.shard += 1;
        }
    }
    Ok(Listing { items, next_page_token: String::new(), unreadable })
}

/// All entities of all shards, and what of them cannot be read; for housekeeping, not for callers.
pub(crate) async fn all<E, F>(
    shards: u32,
    query: impl Fn(u32) -> Query,
    read: impl Fn(Query) -> F,
) -> Result<(Vec<E>, Vec<Unreadable>), Error>
where
    F: Future<Output = Result<Listed<E>, StoreError>>,
{
    let (mut items, mut unreadable) = (Vec::new(), Vec::new());
    for shard in 0..shards {
        let mut after = None;
        loop {
            let page = read(query(shard).limit(MAX_PAGE).after(after)).await?;
            items.extend(page.records.into_iter().map(|found| found.value));
            unreadable.extend(page.unreadable);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    Ok((items, unreadable))
}

/// Keeps the day count of an instant in one place.
pub(crate) fn day_of(time: Time) -> i64 {
    time.unix_seconds().div_euclid(86_400)
}

/// Longest sort key of what is listed in one order: an event's id, and a digit behind it.
const LONGEST_POSITION: usize = 64;

/// Where a listing in one order stands. `of` binds it to what was asked.
#[derive(Serialize, Deserialize)]
struct Position {
    of: String,
    after: String,
}

/// Where the page starts: after this sort key, hexadecimal digits only; `None`: at the start.
pub(crate) fn position(page: &PageRequest, of: &str) -> Result<Option<String>, Error> {
    if page.token.is_empty() {
        return Ok(None);
    }
    let found: Position = decode(&page.token)?;
    let is_good = found.of == of
        && found.after.len() <= LONGEST_POSITION
        && found.after.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_good { Ok(Some(found.after)) } else { Err(bad_token()) }
}

/// The token of the page after this sort key.
pub(crate) fn token_after(of: &str, after: String) -> Result<String, Error> {
    encode(&Position { of: of.to_owned(), after })
}

fn encode(place: &impl Serialize) -> Result<String, Error> {
    Ok(BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(place).map_err(Error::internal)?))
}

fn decode<T: DeserializeOwned>(token: &str) -> Result<T, Error> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_| bad_token())?;
    serde_json::from_slice(&bytes).map_err(|_| bad_token())
}
