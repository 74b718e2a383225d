//! The SQL of writes, one set per table. Names come from the core's constants, values are always parameters.

use std::collections::BTreeMap;

use signet_core::store::Table;

/// A record that has not expired at parameter `?N`.
macro_rules! alive {
    ($now:expr) => {
        format_args!("(expires_at IS NULL OR expires_at > ?{})", $now)
    };
}
pub(crate) use alive;

/// Columns that every write of a record sets, in the order of its parameters; those of the indexes follow.
const COLUMNS: [&str; 6] = ["pk", "sk", "schema_version", "entity", "body", "expires_at"];

/// The statements of one table.
#[derive(Debug)]
pub(crate) struct Statements {
    /// Parameters: columns, now.
    pub(crate) create: String,
    /// Parameters: columns, version, now.
    pub(crate) replace: String,
    /// Parameters: pk, sk, version, now.
    pub(crate) delete: String,
    /// Parameters: pk, sk, version, now.
    pub(crate) check: String,
    /// Parameters: cutoff, limit.
    pub(crate) sweep: String,
}

/// The statements of all tables.
pub(crate) fn all() -> BTreeMap<Table, Statements> {
    Table::ALL.into_iter().map(|table| (table, Statements::new(table))).collect()
}

impl Statements {
    fn new(table: Table) -> Self {
        let name = table.name();
        let mut columns: Vec<String> = COLUMNS.map(str::to_owned).to_vec();
        columns.extend(table.indexes().iter().flat_map(|i| [format!("{}_pk", i.name()), format!("{}_sk", i.name())]));
        let count = columns.len();
        let (next, next_but_one) = (count.saturating_add(1), count.saturating_add(2));
        let set = |numbered: Vec<String>| numbered.get(2..).unwrap_or_default().join(", ");
        let excluded = set(columns.iter().map(|column| format!("{column} = excluded.{column}")).collect());
        let numbered = set(columns.iter().zip(1..).map(|(column, n)| format!("{column} = ?{n}")).collect());
        let values: Vec<String> = (1..=count).map(|n| format!("?{n}")).collect();
        let (columns, values) = (columns.join(", "), values.join(", "));
        Self {
            // Over an expired record, creating starts anew.
            create: format!(
                "INSERT INTO {name} ({columns}, version) VALUES ({values}, 1) \
                 ON CONFLICT (pk, sk) DO UPDATE SET {excluded}, version = 1 WHERE expires_at <= ?{next}"
            ),
            replace: format!(
                "UPDATE {name} SET {numbered}, version = version + 1 \
                 WHERE pk = ?1 AND sk = ?2 AND version = ?{next} AND {}",
                alive!(next_but_one)
            ),
            delete: format!("DELETE FROM {name} WHERE pk = ?1 AND sk = ?2 AND version = ?3 AND {}", alive!(4)),
            check: format!("SELECT 1 FROM {name} WHERE pk = ?1 AND sk = ?2 AND version = ?3 AND {}", alive!(4)),
            sweep: format!(
                "DELETE FROM {name} WHERE rowid IN \
                 (SELECT rowid FROM {name} WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)"
            ),
        }
    }
}
