//! The file: its mode, its pragmas and its schema.

use std::{
    fmt::Display,
    fs::{File, OpenOptions, Permissions},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, TransactionBehavior, config::DbConfig};

use crate::error::OpenError;

/// How long a write waits for another process's commit.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// `SGNT`: tells a Signet store from any other SQLite database.
const APPLICATION_ID: i64 = 0x5347_4e54;
/// The steps from an empty file to the present schema; step n makes schema n.
const MIGRATIONS: [&str; 1] = [include_str!("schema/1.sql")];
/// The inner pages of the tables' trees; the default of 2 MB reads many of them again for each commit.
const WRITER_CACHE_KIB: i64 = 32 * 1024;
/// 16 MB: pages that change often are copied from the log to the file less often.
const CHECKPOINT_PAGES: i64 = 4096;
/// Above the number of different statements.
const STATEMENT_CACHE: usize = 128;

/// Opens the file for writing and brings its schema up to date.
pub(crate) fn open(path: &Path) -> Result<Connection, OpenError> {
    // SQLite gives its -wal and -shm files the mode of the file itself.
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path);
    close_to_others(&file.map_err(OpenError::io(path))?).map_err(OpenError::io(path))?;
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(|e| OpenError::sqlite(path, &e))?;
    check_owner(path, &connection)?;
    set_up(&connection).map_err(|error| OpenError::sqlite(path, &error))?;
    migrate(path, &mut connection)?;
    Ok(connection)
}

/// Opens the file for reading.
pub(crate) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// Moves the log into the file, which then is all there is; readers and writers go on.
pub(crate) fn checkpoint(path: &Path) -> rusqlite::Result<()> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Writes a copy of the store at `path`, as of now, to the new file `copy`; others go on reading and writing. The file
/// has its name only when it is whole.
pub(crate) fn back_up(path: &Path, copy: &Path) -> Result<(), OpenError> {
    let refuse = |error: rusqlite::Error| OpenError::sqlite(path, &error);
    let connection = open_reader(path).map_err(refuse)?;
    check_owner(path, &connection)?;
    let failed = |reason: &dyn Display| OpenError::copy(path, copy, reason);
    let partial = copy.with_added_extension("partial");
    let name = partial.to_str().ok_or_else(|| failed(&"its name is not UTF-8"))?;
    if copy.exists() {
        return Err(failed(&"there is a file of that name"));
    }
    // What an earlier run left.
    let _ = std::fs::remove_file(&partial);
    // SQLite writes into an empty file that is there, so that nobody else may read it at any time.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial).map_err(|error| failed(&error))?;
    let copied = connection.execute("VACUUM INTO ?1", [name]).map_err(|error| match refuse(error) {
        OpenError::Sqlite { reason, .. } => failed(&reason),
        damaged => damaged,
    });
    // A link, since a rename would replace a file that came meanwhile.
    let named = || File::open(&partial)?.sync_all().and_then(|()| std::fs::hard_link(&partial, copy));
    let named = copied.and_then(|_| named().map_err(|error| failed(&error)));
    let _ = std::fs::remove_file(&partial);
    named?;
    let folder = copy.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| failed(&error))
}

fn connect(path: &Path, mode: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Otherwise a statement is planned anew whenever other values are bound to it.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    Ok(connection)
}

fn close_to_others(file: &File) -> std::io::Result<()> {
    if file.metadata()?.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    file.set_permissions(Permissions::from_mode(0o600))
}

/// Refuses a database that is not ours before anything is written to it.
fn check_owner(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    let read = || {
        let id: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let objects: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok((id, objects))
    };
    match read().map_err(|error| OpenError::sqlite(path, &error))? {
        (APPLICATION_ID, _) | (0, 0) => Ok(()),
        _ => Err(OpenError::Foreign { path: path.to_owned() }),
    }
}

fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "wal")?;
    // Each commit reaches the disk before it is answered.
    connection.pragma_update(None, "synchronous", "full")?;
    // What a conflict undoes: some pages, which were written to a file of their own.
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)
}

fn migrate(path: &Path, connection: &mut Connection) -> Result<(), OpenError> {
    let failed = |error: rusqlite::Error| OpenError::sqlite(path, &error);
    // Also finds out at start whether the file can be written.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    let done = usize::try_from(found).ok().filter(|done| *done <= MIGRATIONS.len());
    let Some(done) = done else {
        return Err(OpenError::Newer { path: path.to_owned(), found, known: MIGRATIONS.len() as i64 });
    };
    for step in MIGRATIONS.iter().skip(done) {
        transaction.execute_batch(step).map_err(failed)?;
    }
    if done < MIGRATIONS.len() {
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
        transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64).map_err(failed)?;
    }
    transaction.commit().map_err(failed)
}

#[cfg(test)]
mod tests {
    use signet_core::store::Table;

    use super::*;

    #[test]
    fn the_tables_and_indexes_are_those_of_the_core() {
        let folder = tempfile::tempdir().unwrap();
        let connection = open(&folder.path().join("store")).unwrap();
        let mut names =
            connection.prepare("SELECT name FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name").unwrap();
        let names: Vec<String> = names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let mut expected: Vec<String> = Table::ALL
            .into_iter()
            .flat_map(|table| {
                let indexes = table.indexes().iter().map(move |index| format!("{}_{}", table.name(), index.name()));
                indexes.chain([table.name().to_owned(), format!("{}_expiry", table.name())])
            })
            .collect();
        expected.sort();
        assert_eq!(names, expected);
    }

    #[test]
    fn commits_are_durable_and_readers_do_not_block_them() {
        let folder = tempfile::tempdir().unwrap();
        let connection = open(&folder.path().join("store")).unwrap();
        let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0));
        assert_eq!(pragma("synchronous").unwrap(), rusqlite::types::Value::Integer(2));
        assert_eq!(pragma("journal_mode").unwrap(), rusqlite::types::Value::Text("wal".into()));
    }
}
