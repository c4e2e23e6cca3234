//! The tables of the database, and how older versions are migrated.
//!
//! | table | column | |
//! |---|---|---|
//! | prompt | messages | JSON list of `{"role", "content"}`; one row per distinct prompt |
//! | answer | prompt | what it answers |
//! | | text, model, sampling | the answer; its model; sampling settings as a JSON object with the seed; the last two may be NULL. One row per distinct answer |
//! | rating | prompt, kind | `ranking`, `best`, `score` or `skip` |
//! | | rater, time | who; when, in milliseconds since 1970 in UTC, NULL where an imported file does not say |
//! | | stored | when it came into the database |
//! | | content | kind, rater, time and judged answers in one JSON text, unique: the same rating is stored once |
//! | judged | rating, position, answer | the answers of a rating in the order in which they were shown, from 0 |
//! | | value | rank (1 for the best, equal for ties; a best one has 1, the others 2) or score; NULL where none was given |
//!
//! `hash` columns only speed up finding rows; equality of content decides. `PRAGMA user_version` counts the migrations
//! applied, `PRAGMA application_id` identifies the database as wgpt's. Ratings are only ever added, so a reader needs
//! no lock: the write-ahead log gives it a snapshot.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use wgpt::{Error, Result};

/// The letters "wgpt".
const APPLICATION: i64 = 0x7767_7074;

/// How long a writer waits for others.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The migrations from each version to the next. A released migration is never changed.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE prompt (
        id INTEGER PRIMARY KEY,
        hash INTEGER NOT NULL,
        messages TEXT NOT NULL CHECK (json_valid(messages))
    ) STRICT;
    CREATE INDEX prompt_by_hash ON prompt (hash);
    CREATE TABLE answer (
        id INTEGER PRIMARY KEY,
        prompt INTEGER NOT NULL REFERENCES prompt (id),
        hash INTEGER NOT NULL,
        text TEXT NOT NULL,
        model TEXT,
        sampling TEXT CHECK (sampling IS NULL OR json_valid(sampling))
    ) STRICT;
    CREATE INDEX answer_by_hash ON answer (hash);
    CREATE TABLE rating (
        id INTEGER PRIMARY KEY,
        prompt INTEGER NOT NULL REFERENCES prompt (id),
        kind TEXT NOT NULL CHECK (kind IN ('ranking', 'best', 'score', 'skip')),
        rater TEXT NOT NULL,
        time INTEGER,
        stored INTEGER NOT NULL,
        content TEXT NOT NULL UNIQUE
    ) STRICT;
    CREATE TABLE judged (
        rating INTEGER NOT NULL REFERENCES rating (id),
        position INTEGER NOT NULL,
        answer INTEGER NOT NULL REFERENCES answer (id),
        value REAL,
        PRIMARY KEY (rating, position)
    ) STRICT, WITHOUT ROWID;
"];

/// The version that this program writes.
pub const VERSION: i64 = MIGRATIONS.len() as i64;

/// Opens the database at `path` and migrates it to [`VERSION`]; with `create`, creates it if it does not exist, readable by its
/// owner only. Whenever other programs write, it waits for them for at most `patience`.
pub(super) fn open(path: &Path, create: bool, patience: Duration) -> Result<Connection> {
    if !create && !path.exists() {
        let reason = "no such file; `wgpt rate` and `wgpt feedback import` create a feedback database";
        return Err(Error::data(path, reason));
    }
    #[cfg(unix)]
    if create {
        let mut options = std::fs::OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create_new(true), 0o600);
        // Whatever is wrong, SQLite says it better; a file that exists stays as it is.
        let _ = options.open(path);
    }
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    flags.set(OpenFlags::SQLITE_OPEN_CREATE, create);
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed(path, "be opened"))?;
    connection.busy_timeout(patience).map_err(failed(path, "be opened"))?;
    migrate(path, &mut connection)?;
    // A person's work must survive a power failure: every commit is synced to disk.
    connection.pragma_update(None, "synchronous", "FULL").map_err(failed(path, "be set up"))?;
    connection.pragma_update(None, "foreign_keys", true).map_err(failed(path, "be set up"))?;
    write_ahead(path, &connection, patience)?;
    Ok(connection)
}

/// A database in memory that is discarded with its connection. `path` is used in error messages only.
pub(super) fn in_memory(path: &Path) -> Result<Connection> {
    let mut connection = Connection::open_in_memory().map_err(failed(path, "be kept in memory"))?;
    migrate(path, &mut connection)?;
    Ok(connection)
}

/// Converts a database error to the crate's error type, for `map_err`: "cannot {action}".
pub(super) fn failed(path: &Path, action: &'static str) -> impl Fn(rusqlite::Error) -> Error + use<> {
    let path = path.to_path_buf();
    move |error| {
        let reason = match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => "not a SQLite database; name another file for the ratings".to_string(),
            Some(ErrorCode::DatabaseBusy) => return Error::Locked { path: path.clone(), action },
            Some(ErrorCode::DatabaseCorrupt) => format!("cannot {action}: the database is damaged ({error})"),
            _ => format!("cannot {action}: {error}"),
        };
        Error::data(&path, reason)
    }
}

/// Enables the write-ahead log, so that readers do not wait for writers. The switch locks the whole database briefly,
/// and SQLite's own busy timeout does not apply to it, hence the loop. On file systems that do not support it, SQLite
/// keeps its rollback journal, which is as safe.
fn write_ahead(path: &Path, connection: &Connection, patience: Duration) -> Result<()> {
    let start = std::time::Instant::now();
    loop {
        let set = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
        match set {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && start.elapsed() < patience => {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other.map(|_| ()).map_err(failed(path, "be set up")),
        }
    }
}

/// The version of the database, after checking that it belongs to wgpt.
fn version(path: &Path, transaction: &Transaction<'_>) -> Result<i64> {
    let number = |query: &str| transaction.query_row(query, (), |row| row.get::<_, i64>(0));
    let numbers = || {
        let tables = number("SELECT count(*) FROM sqlite_schema")?;
        Ok((number("PRAGMA user_version")?, number("PRAGMA application_id")?, tables))
    };
    let (version, application, tables) = numbers().map_err(failed(path, "be read"))?;
    if application != APPLICATION && (application, version, tables) != (0, 0, 0) {
        return Err(Error::data(path, "a SQLite database of another program; name another file for the ratings"));
    }
    if !(0..=VERSION).contains(&version) {
        let reason =
            format!("version {version} of the feedback tables; this wgpt supports {VERSION}: use a newer wgpt");
        return Err(Error::data(path, reason));
    }
    Ok(version)
}

/// Applies the missing migrations in one transaction, so that if two processes try, one applies them and the other sees
/// the result.
fn migrate(path: &Path, connection: &mut Connection) -> Result<()> {
    let look = Transaction::new(connection, TransactionBehavior::Deferred).map_err(failed(path, "be read"))?;
    let newest = version(path, &look)? == VERSION;
    drop(look);
    if newest {
        return Ok(());
    }
    let change = Transaction::new(connection, TransactionBehavior::Immediate).map_err(failed(path, "be written"))?;
    let from = version(path, &change)?;
    let update = || -> rusqlite::Result<()> {
        MIGRATIONS[from as usize..].iter().try_for_each(|migration| change.execute_batch(migration))?;
        change.pragma_update(None, "user_version", VERSION)?;
        change.pragma_update(None, "application_id", APPLICATION)
    };
    update().map_err(failed(path, "be brought to the newest version"))?;
    change.commit().map_err(failed(path, "be written"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(path: &Path) -> String {
        open(path, true, PATIENCE).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn files_that_are_no_feedback_database_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text.sqlite");
        std::fs::write(&path, "a text, long enough to be told from an empty database. ".repeat(40)).unwrap();
        assert!(refusal(&path).contains("not a SQLite database"), "{}", refusal(&path));
        std::fs::write(&path, "short").unwrap();
        assert!(refusal(&path).contains("not a SQLite database"), "{}", refusal(&path));
        let path = dir.path().join("other.sqlite");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE music (title)").unwrap();
        assert!(refusal(&path).contains("another program"), "{}", refusal(&path));
        let path = dir.path().join("newer.sqlite");
        open(&path, true, PATIENCE).unwrap().pragma_update(None, "user_version", VERSION + 1).unwrap();
        assert!(refusal(&path).contains("use a newer wgpt"), "{}", refusal(&path));
        assert!(open(&dir.path().join("absent"), false, PATIENCE).unwrap_err().to_string().contains("no such file"));
        assert!(open(&dir.path().join("no/folder"), true, PATIENCE).is_err());
    }

    #[test]
    fn opened_again_it_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let many: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn({
                    let path = path.clone();
                    move || open(&path, true, PATIENCE).is_ok()
                })
            })
            .collect();
        assert!(many.into_iter().all(|thread| thread.join().unwrap()));
        let again = open(&path, false, PATIENCE).unwrap();
        let mode: String = again.query_row("PRAGMA journal_mode", (), |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
    }
}
