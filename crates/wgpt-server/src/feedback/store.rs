//! Ratings in a SQLite database.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use serde_json::{Value, json};

use wgpt::{
    Result,
    feedback::{Answer, Mistake, Prompt, Rating, RatingSource, Refusal, Stored, Verdict},
    hash,
};

use super::schema::{self, failed};

/// An open feedback database; see [`schema`] for its tables. Several processes may write to it at the same time.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    connection: Connection,
}

impl Store {
    /// Opens the database at `path`, creating it if it does not exist.
    ///
    /// # Errors
    /// [`wgpt::Error::Data`] if the file is not a feedback database, has a newer version, or cannot be opened.
    pub fn create(path: &Path) -> Result<Self> {
        Self::create_within(path, schema::PATIENCE)
    }

    /// Like [`Store::create`], but waits at most for `patience` whenever other programs write.
    ///
    /// # Errors
    /// Returns the errors of [`Store::create`].
    pub fn create_within(path: &Path, patience: Duration) -> Result<Self> {
        Ok(Self { path: path.to_path_buf(), connection: schema::open(path, true, patience)? })
    }

    /// Opens the existing database at `path`.
    ///
    /// # Errors
    /// Returns the errors of [`Store::create`].
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_path_buf(), connection: schema::open(path, false, schema::PATIENCE)? })
    }

    /// An empty database in memory; `path` is used in error messages only.
    ///
    /// # Errors
    /// Returns the errors of [`Store::create`].
    pub fn in_memory(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_path_buf(), connection: schema::in_memory(path)? })
    }

    /// The path of the database.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Stores a rating; when this returns, the rating is on disk. Returns false if an identical rating (same rater,
    /// time, answers and verdict) already exists.
    ///
    /// # Errors
    /// [`wgpt::Error::Data`] if the file cannot be written, [`wgpt::Error::Locked`] if other writers block it for too long.
    pub fn add(&mut self, rating: &Rating) -> Result<bool> {
        Ok(self.keep(rating)?.1)
    }

    /// Like [`Store::add`], but also returns the rating's id in the database: that of the existing rating if it is not
    /// new.
    ///
    /// # Errors
    /// Returns the errors of [`Store::add`].
    pub fn keep(&mut self, rating: &Rating) -> Result<(u64, bool)> {
        let error = failed(&self.path, "be written");
        let begin = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(begin).map_err(&error)?;
        let kept = add(&transaction, rating).map_err(&error)?;
        transaction.commit().map_err(&error)?;
        Ok(kept)
    }

    /// Stores all ratings or none, and returns how many were new. Other writers wait meanwhile, so pass at most a few
    /// hundred.
    ///
    /// # Errors
    /// Returns the errors of [`Store::add`].
    pub fn add_all(&mut self, ratings: &[Rating]) -> Result<usize> {
        let error = failed(&self.path, "be written");
        // Immediate, because a transaction that begins with a read cannot become a write if another writer was faster.
        let begin = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(begin).map_err(&error)?;
        let mut new = 0;
        for rating in ratings {
            new += usize::from(add(&transaction, rating).map_err(&error)?.1);
        }
        transaction.commit().map_err(&error)?;
        Ok(new)
    }

    /// Whether `rater` has already rated `prompt` with exactly these answers, in any order.
    ///
    /// # Errors
    /// [`wgpt::Error::Data`].
    pub fn has_rated(&self, rater: &str, prompt: &Prompt, answers: &[Answer]) -> Result<bool> {
        let mut wanted: Vec<_> = answers.iter().map(|answer| answer.text.as_str()).collect();
        wanted.sort_unstable();
        let messages = prompt.list().to_string();
        let query = "SELECT rating.id, answer.text FROM prompt JOIN rating ON rating.prompt = prompt.id
            JOIN judged ON judged.rating = rating.id JOIN answer ON answer.id = judged.answer
            WHERE prompt.hash = ?1 AND prompt.messages = ?2 AND rating.rater = ?3 ORDER BY rating.id, answer.text";
        let read = || {
            let mut statement = self.connection.prepare_cached(query)?;
            let row = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?));
            let rows = statement.query_map(params![hash(&[&messages]), messages, rater], row)?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        let rows = read().map_err(failed(&self.path, "be read"))?;
        Ok(rows.chunk_by(|a, b| a.0 == b.0).any(|judged| judged.iter().map(|(_, text)| text).eq(&wanted)))
    }

    /// Calls `each` with every rating in the order of storing. The ratings are a snapshot, unaffected by concurrent
    /// writers.
    ///
    /// # Errors
    /// [`wgpt::Error::Data`] if the file cannot be read, and the errors of `each`.
    pub fn each(&self, mut each: impl FnMut(Stored) -> Result<()>) -> Result<()> {
        let error = failed(&self.path, "be read");
        let query = "SELECT rating.id, rating.stored, rating.kind, rating.rater, rating.time, prompt.messages,
                answer.text, answer.model, answer.sampling, judged.value
            FROM rating JOIN prompt ON prompt.id = rating.prompt
            LEFT JOIN judged ON judged.rating = rating.id LEFT JOIN answer ON answer.id = judged.answer
            ORDER BY rating.id, judged.position";
        let mut statement = self.connection.prepare(query).map_err(&error)?;
        let mut rows = statement.query(()).map_err(&error)?;
        let mut open: Option<Raw> = None;
        while let Some(row) = rows.next().map_err(&error)? {
            let id = natural(row, 0).map_err(&error)?;
            if open.as_ref().is_none_or(|raw| raw.id != id) {
                if let Some(done) = open.take() {
                    each(done.checked())?;
                }
                open = Some(Raw::begin(row).map_err(&error)?);
            }
            if let Some(raw) = &mut open {
                raw.judged(row).map_err(&error)?;
            }
        }
        open.map_or(Ok(()), |done| each(done.checked()))
    }

    /// The number of ratings.
    ///
    /// # Errors
    /// [`wgpt::Error::Data`].
    pub fn count(&self) -> Result<u64> {
        let count = self.connection.query_row("SELECT count(*) FROM rating", (), |row| natural(row, 0));
        count.map_err(failed(&self.path, "be read"))
    }
}

impl RatingSource for Store {
    fn path(&self) -> &Path {
        Store::path(self)
    }

    fn each(&self, each: &mut dyn FnMut(Stored) -> Result<()>) -> Result<()> {
        Store::each(self, each)
    }
}

/// Milliseconds since 1970 in UTC.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// FNV-1a over the texts and their boundaries. It only speeds up finding rows; equality of content decides.
fn hash(texts: &[&str]) -> i64 {
    texts.iter().fold(hash::START, |state, text| hash::add(hash::add(state, text.as_bytes()), &[0xff])) as i64
}

/// The rating's id, and whether it is new.
fn add(transaction: &Transaction<'_>, rating: &Rating) -> rusqlite::Result<(u64, bool)> {
    let prompt = prompt_id(transaction, rating.prompt())?;
    let values = rating.verdict().values(rating.answers().len());
    let mut judged = Vec::new();
    for (answer, value) in rating.answers().iter().zip(values) {
        judged.push((answer_id(transaction, prompt, answer)?, value));
    }
    // The order in which the answers were shown does not make a rating different.
    let mut sorted = judged.clone();
    sorted.sort_by_key(|(answer, _)| *answer);
    let (kind, time) = (rating.verdict().kind(), rating.time.and_then(|time| i64::try_from(time).ok()));
    let content = json!([kind, rating.rater, time, sorted]).to_string();
    let insert = "INSERT INTO rating (prompt, kind, rater, time, stored, content) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
        ON CONFLICT (content) DO NOTHING";
    let row = params![prompt, kind, rating.rater, time, now() as i64, content];
    if transaction.prepare_cached(insert)?.execute(row)? == 0 {
        let mut find = transaction.prepare_cached("SELECT id FROM rating WHERE content = ?1")?;
        return Ok((find.query_row([content], |row| natural(row, 0))?, false));
    }
    let id = transaction.last_insert_rowid();
    let mut insert = transaction.prepare_cached("INSERT INTO judged VALUES (?1, ?2, ?3, ?4)")?;
    for (position, (answer, value)) in judged.iter().enumerate() {
        insert.execute(params![id, position as i64, answer, value])?;
    }
    Ok((id.max(0) as u64, true))
}

fn prompt_id(transaction: &Transaction<'_>, prompt: &Prompt) -> rusqlite::Result<i64> {
    let messages = prompt.list().to_string();
    let hash = hash(&[&messages]);
    let mut find = transaction.prepare_cached("SELECT id FROM prompt WHERE hash = ?1 AND messages = ?2")?;
    if let Some(id) = find.query_row(params![hash, messages], |row| row.get(0)).optional()? {
        return Ok(id);
    }
    let mut insert = transaction.prepare_cached("INSERT INTO prompt (hash, messages) VALUES (?1, ?2)")?;
    insert.insert(params![hash, messages])
}

fn answer_id(transaction: &Transaction<'_>, prompt: i64, answer: &Answer) -> rusqlite::Result<i64> {
    let sampling = answer.sampling.as_ref().map(Value::to_string);
    let hash = hash(&[&answer.text]);
    let row = params![prompt, hash, answer.text, answer.model, sampling];
    let find = "SELECT id FROM answer
        WHERE prompt = ?1 AND hash = ?2 AND text = ?3 AND model IS ?4 AND sampling IS ?5";
    if let Some(id) = transaction.prepare_cached(find)?.query_row(row, |row| row.get(0)).optional()? {
        return Ok(id);
    }
    let insert = "INSERT INTO answer (prompt, hash, text, model, sampling) VALUES (?1, ?2, ?3, ?4, ?5)";
    transaction.prepare_cached(insert)?.insert(row)
}

/// SQLite's integers are signed; ids and times are not.
fn natural(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.max(0) as u64)
}

/// A rating as read, before it is checked.
struct Raw {
    id: u64,
    stored: u64,
    kind: String,
    rater: String,
    time: Option<u64>,
    messages: String,
    answers: Vec<Answer>,
    values: Vec<Option<f64>>,
}

impl Raw {
    fn begin(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: natural(row, 0)?,
            stored: natural(row, 1)?,
            kind: row.get(2)?,
            rater: row.get(3)?,
            time: row.get::<_, Option<i64>>(4)?.map(|time| time.max(0) as u64),
            messages: row.get(5)?,
            answers: Vec::new(),
            values: Vec::new(),
        })
    }

    fn judged(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        // A rating without judged rows has none here; it is refused later, when it is checked.
        let Some(text) = row.get(6)? else { return Ok(()) };
        let sampling: Option<String> = row.get(8)?;
        let sampling = sampling.and_then(|text| serde_json::from_str(&text).ok());
        self.answers.push(Answer { text, model: row.get(7)?, sampling });
        self.values.push(row.get(9)?);
        Ok(())
    }

    fn checked(self) -> Stored {
        let Self { id, stored, .. } = self;
        let check = || {
            let not_json = |error: serde_json::Error| Refusal::new(Mistake::NotJson, error.to_string());
            let prompt = Prompt::from_json(&serde_json::from_str(&self.messages).map_err(not_json)?)?;
            let verdict = Verdict::from_values(&self.kind, &self.values)?;
            Rating::new(prompt, self.answers, verdict, self.rater, self.time)
        };
        Stored { id, stored, rating: check() }
    }
}

#[cfg(test)]
mod tests {
    use wgpt::feedback::{LeftOut, Samples};

    use super::*;

    #[test]
    fn what_was_stored_is_read_back_and_stored_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::create(&dir.path().join("f")).unwrap();
        let prompt = Prompt::text("Why?").unwrap();
        let sampling = Some(json!({"temperature": 0.8, "seed": u64::MAX}));
        let by = |text: &str| Answer { text: text.into(), model: Some("small".into()), sampling: sampling.clone() };
        let answers = vec![by("So."), by("Ask\0 her."), Answer::text("So. ")];
        let verdicts = [
            Verdict::Ranking(vec![2, 1, 2]),
            Verdict::Best(2),
            Verdict::Scores(vec![None, Some(4.0), Some(-0.125)]),
            Verdict::Skip,
        ];
        let rating = |verdict: &Verdict, time| {
            Rating::new(prompt.clone(), answers.clone(), verdict.clone(), "anna", time).unwrap()
        };
        let mut given = Vec::new();
        for verdict in &verdicts {
            given.extend([rating(verdict, None), rating(verdict, Some(1_700_000_000_123))]);
        }
        assert!(given.iter().all(|rating| store.add(rating).unwrap()));
        assert_eq!(store.add_all(&given).unwrap(), 0, "the same again");
        let turned: Vec<_> = answers.iter().rev().cloned().collect();
        let same = Rating::new(prompt.clone(), turned.clone(), Verdict::Best(0), "anna", None).unwrap();
        assert!(!store.add(&same).unwrap(), "the order of showing makes no other rating");
        let mut read = Vec::new();
        store
            .each(|stored| {
                read.push(stored.rating.unwrap());
                Ok(())
            })
            .unwrap();
        assert_eq!(read, given);
        assert_eq!(store.count().unwrap(), 8);
        assert!(store.has_rated("anna", &prompt, &turned).unwrap());
        assert!(!store.has_rated("ben", &prompt, &answers).unwrap());
        assert!(!store.has_rated("anna", &prompt, &answers[..2]).unwrap());
    }

    #[test]
    fn nonsense_in_the_tables_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::create(&dir.path().join("f")).unwrap();
        let answers = vec![Answer::text("a"), Answer::text("b")];
        store
            .add(&Rating::new(Prompt::text("Why?").unwrap(), answers, Verdict::Best(0), "anna", None).unwrap())
            .unwrap();
        store.connection.execute_batch("UPDATE judged SET value = 7").unwrap();
        let mut read = Vec::new();
        store
            .each(|stored| {
                read.push(stored.rating);
                Ok(())
            })
            .unwrap();
        assert_eq!(read[0].as_ref().unwrap_err().mistake, Mistake::WrongVerdict);
    }

    #[test]
    fn ratings_become_samples_and_the_rest_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::create(&dir.path().join("f")).unwrap();
        let prompt = Prompt::text("Why?").unwrap();
        for verdict in [
            Verdict::Ranking(vec![2, 4, 1, 3]),
            Verdict::Ranking(vec![1, 1, 3, 3]),
            Verdict::Best(3),
            Verdict::Scores(vec![Some(5.0), None, None, Some(1.0)]),
            Verdict::Skip,
        ] {
            let answers = ["a", "b", "c", "d"].map(Answer::text).to_vec();
            store.add(&Rating::new(prompt.clone(), answers, verdict, "anna", None).unwrap()).unwrap();
        }
        let Samples { samples, left_out } = store.preferences().unwrap();
        let first: Vec<_> = samples[..6].iter().map(|pair| format!("{}{}", pair.chosen, pair.rejected)).collect();
        assert_eq!(first, ["ab", "ca", "ad", "cb", "db", "cd"]);
        assert_eq!(samples.len(), 6 + 4 + 3);
        let counts = [LeftOut::EqualRanks, LeftOut::OnlyScores, LeftOut::Skipped].map(|reason| left_out.count(reason));
        assert_eq!(counts, [2, 1, 1]);

        let Samples { samples, left_out } = store.best_of().unwrap();
        assert_eq!(samples.iter().map(|sample| sample.best).collect::<Vec<_>>(), [2, 3]);
        assert_eq!((left_out.count(LeftOut::NoSingleBest), left_out.total()), (1, 3));

        let Samples { samples, left_out } = store.scored().unwrap();
        let scores: Vec<_> = samples.iter().map(|sample| (sample.answer.as_str(), sample.score)).collect();
        assert_eq!(scores, [("a", 5.0), ("d", 1.0)]);
        assert_eq!((left_out.count(LeftOut::NoScores), left_out.total()), (3, 4));
    }
}
