//! Reads: one record, and one page of a partition or index.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params, params_from_iter, types::Value};
use signet_core::{
    StoreError, Time,
    store::{Body, Cursor, Key, Page, Query, SortRange, Versioned},
};

use crate::{error::store_error, record, statements::alive};

/// A page ends once it has this many bytes, whatever its limit.
const PAGE_BYTES: usize = 1 << 20;

pub(crate) fn get(connection: &Connection, key: &Key, now: Time) -> Result<Option<Versioned<Body>>, StoreError> {
    let sql = format!(
        "SELECT version, schema_version, body, expires_at FROM {} WHERE pk = ?1 AND sk = ?2 AND {}",
        key.table.name(),
        alive!(3)
    );
    let mut statement = connection.prepare_cached(&sql).map_err(failed(connection))?;
    let row = statement
        .query_row(params![key.partition, key.sort, now.unix_millis()], |row| Ok(record::read(row, key.clone())));
    Ok(row.optional().map_err(failed(connection))?.transpose()?)
}

pub(crate) fn page(connection: &Connection, query: &Query, now: Time) -> Result<Page, StoreError> {
    let limit = query.limit.clamp(1, 1000) as usize;
    let (sql, parameters) = match query.segment {
        // One file is not read faster in parts: the first has all.
        Some(segment) if segment.number > 0 => return Ok(Page::default()),
        Some(_) => select_all(query, now, limit),
        None => select(query, now, limit),
    };
    let mut statement = connection.prepare_cached(&sql).map_err(failed(connection))?;
    let mut rows = statement.query(params_from_iter(parameters)).map_err(failed(connection))?;
    let mut page = Page::default();
    let (mut bytes, mut last) = (0_usize, None);
    while let Some(row) = rows.next().map_err(failed(connection))? {
        if page.records.len().saturating_add(page.unreadable.len()) == limit || bytes >= PAGE_BYTES {
            page.next = last;
            break;
        }
        let text = |column| row.get::<_, String>(column).map_err(failed(connection));
        let (pk, sk, sort) = (text(4)?, text(5)?, text(6)?);
        match record::read(row, Key { table: query.table, partition: pk.clone(), sort: sk.clone() }) {
            Ok(record) => page.records.push(record),
            Err(unreadable) => page.unreadable.push(unreadable),
        }
        bytes = bytes.saturating_add(row.get_ref(2).map_or(0, |body| body.as_bytes().map_or(0, <[u8]>::len)));
        let has_own_key = query.index.is_some() || query.segment.is_some();
        last = Some(Cursor { sort, key: has_own_key.then_some((pk, sk)) });
    }
    Ok(page)
}

/// The statement of a query, and its parameters. Asks for one record more than `limit`, to know whether that was all.
fn select(query: &Query, now: Time, limit: usize) -> (String, Vec<Value>) {
    let (partition, sort) = match query.index {
        None => ("pk".to_owned(), "sk".to_owned()),
        Some(index) => (format!("{}_pk", index.name()), format!("{}_sk", index.name())),
    };
    let order = match query.index {
        None => vec![sort.as_str()],
        Some(_) => vec![sort.as_str(), "pk", "sk"],
    };
    let mut parameters = vec![Value::Text(query.partition.clone()), Value::Integer(now.unix_millis())];
    let mut conditions = String::new();
    for bound in bounds(query) {
        let columns = order.get(..bound.values.len()).unwrap_or_default().join(", ");
        let first = parameters.len().saturating_add(1);
        let marks: Vec<String> = (first..).take(bound.values.len()).map(|n| format!("?{n}")).collect();
        conditions.push_str(&format!(" AND ({columns}) {} ({})", bound.operator, marks.join(", ")));
        parameters.extend(bound.values.into_iter().map(Value::Text));
    }
    parameters.push(Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)));
    let direction = if query.descending { " DESC" } else { "" };
    let order: Vec<String> = order.iter().map(|column| format!("{column}{direction}")).collect();
    let sql = format!(
        "SELECT version, schema_version, body, expires_at, pk, sk, {sort} FROM {} WHERE {partition} = ?1 AND {}{conditions} \
         ORDER BY {} LIMIT ?{}",
        query.table.name(),
        alive!(2),
        order.join(", "),
        parameters.len()
    );
    (sql, parameters)
}

/// The same over the whole table, in the order of its primary key.
fn select_all(query: &Query, now: Time, limit: usize) -> (String, Vec<Value>) {
    let after = query.after.as_ref().and_then(|after| after.key.clone()).unwrap_or_default();
    let sql = format!(
        "SELECT version, schema_version, body, expires_at, pk, sk, sk FROM {} WHERE (pk, sk) > (?1, ?2) AND {} \
         ORDER BY pk, sk LIMIT ?4",
        query.table.name(),
        alive!(3),
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let (now, limit) = (Value::Integer(now.unix_millis()), Value::Integer(limit));
    (sql, vec![Value::Text(after.0), Value::Text(after.1), now, limit])
}

/// A comparison of the leading sort columns.
#[derive(Debug, PartialEq, Eq)]
struct Bound {
    operator: &'static str,
    values: Vec<String>,
}

impl Bound {
    fn new(operator: &'static str, value: &str) -> Self {
        Self { operator, values: vec![value.to_owned()] }
    }
}

/// The range and the cursor as at most one bound at each end, so that SQLite starts where the page does.
fn bounds(query: &Query) -> impl Iterator<Item = Bound> {
    let (mut low, mut high) = match &query.range {
        SortRange::All => (None, None),
        SortRange::Prefix(prefix) => {
            (Some(Bound::new(">=", prefix)), after_prefix(prefix).map(|end| Bound::new("<", &end)))
        }
        SortRange::Between(first, last) => (Some(Bound::new(">=", first)), Some(Bound::new("<=", last))),
    };
    if let Some(Cursor { sort, key }) = &query.after {
        let (bound, operator) = if query.descending { (&mut high, "<") } else { (&mut low, ">") };
        let start = bound.as_ref().and_then(|bound| bound.values.first());
        // A cursor from outside of the range does not widen it.
        let within = start.is_none_or(|start| if query.descending { sort <= start } else { sort >= start });
        if within {
            let mut values = vec![sort.clone()];
            values.extend(key.iter().flat_map(|(pk, sk)| [pk.clone(), sk.clone()]));
            *bound = Some(Bound { operator, values });
        }
    }
    [low, high].into_iter().flatten()
}

/// The least text above all texts that start with `prefix`; `None` if there is none. UTF-8 order is code-point order.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        let next = match last {
            '\u{D7FF}' => Some('\u{E000}'),
            other => char::from_u32(u32::from(other).saturating_add(1)),
        };
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

fn failed(connection: &Connection) -> impl Fn(rusqlite::Error) -> StoreError {
    |error| store_error(Path::new(connection.path().unwrap_or_default()), &error)
}

#[cfg(test)]
mod tests {
    use signet_core::store::Table;

    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_above_it_and_nothing_else() {
        assert_eq!(after_prefix("a#").as_deref(), Some("a$"));
        assert_eq!(after_prefix("\u{D7FF}").as_deref(), Some("\u{E000}"));
        assert_eq!(after_prefix("a\u{10FFFF}\u{10FFFF}").as_deref(), Some("b"));
        assert_eq!(after_prefix("\u{10FFFF}"), None);
        assert_eq!(after_prefix(""), None);
    }

    #[test]
    fn a_cursor_from_outside_does_not_widen_the_range() {
        let at = |sort: &str| Some(Cursor { sort: sort.into(), key: None });
        let query = Query::table(Table::Audit, "p").range(SortRange::Between("b".into(), "d".into()));
        let within: Vec<_> = bounds(&query.clone().after(at("c"))).collect();
        assert_eq!(within, [Bound::new(">", "c"), Bound::new("<=", "d")]);
        let below: Vec<_> = bounds(&query.clone().after(at("a"))).collect();
        assert_eq!(below, [Bound::new(">=", "b"), Bound::new("<=", "d")]);
        let above: Vec<_> = bounds(&query.descending().after(at("e"))).collect();
        assert_eq!(above, [Bound::new(">=", "b"), Bound::new("<=", "d")]);
    }

    #[test]
    fn no_query_scans_or_sorts() {
        let folder = tempfile::tempdir().unwrap();
        let connection = crate::file::open(&folder.path().join("store")).unwrap();
        let ranges = [SortRange::All, SortRange::Prefix("a".into()), SortRange::Between("a".into(), "b".into())];
        for table in Table::ALL {
            let indexes = table.indexes().iter().copied().map(Some).chain([None]);
            for index in indexes {
                for range in &ranges {
                    let key = index.map(|_| ("p".to_owned(), "s".to_owned()));
                    let query = Query { index, ..Query::table(table, "p") }.range(range.clone());
                    let after = query.clone().after(Some(Cursor { sort: "a".into(), key }));
                    for query in [query, after.clone(), after.descending()] {
                        let plan = plan(&connection, &query);
                        assert!(plan.starts_with("SEARCH") && !plan.contains("TEMP B-TREE"), "{query:?}: {plan}");
                    }
                }
            }
        }
    }

    fn plan(connection: &Connection, query: &Query) -> String {
        let (sql, parameters) = select(query, Time::from_unix_millis(0), 10);
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let lines = statement.query_map(params_from_iter(parameters), |row| row.get::<_, String>(3)).unwrap();
        lines.map(Result::unwrap).collect::<Vec<_>>().join("\n")
    }
}
