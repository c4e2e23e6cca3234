//! Stores ratings on a thread of its own, with a short queue. While another program locks the database, ratings wait or are
//! refused; the rest of the server goes on.

use std::{
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, SyncSender, TrySendError},
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use tokio::sync::oneshot;

use super::Store;
use crate::problem::Problem;
use wgpt::{Error, Result, feedback::Rating};

/// Maximum number of ratings that wait.
const QUEUE: usize = 16;

/// How long a rating waits for other programs that write; twice that if it arrives just before another gives up.
const PATIENCE: Duration = Duration::from_secs(5);

/// A rating that waits to be stored.
struct Waiting {
    rating: Rating,
    since: Instant,
    /// Gets its id, and whether it is new.
    reply: oneshot::Sender<Result<(u64, bool)>>,
}

/// The handle to the thread, which ends with it.
#[derive(Debug)]
pub struct StoreThread(SyncSender<Waiting>);

impl StoreThread {
    /// Starts the thread for the database at `path`, which is created with the first rating.
    ///
    /// # Errors
    /// [`Error::System`] if the system cannot start a thread.
    pub fn start(path: PathBuf) -> Result<Self> {
        let (sender, receiver) = mpsc::sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("ratings".to_string());
        thread.spawn(move || keep_all(&path, &receiver)).map_err(Error::system("start the ratings' thread"))?;
        Ok(Self(sender))
    }

    /// Stores a rating, and returns its id and whether it is new. When this returns, it is on disk.
    ///
    /// # Errors
    /// 503 if other programs write for too long, or too many ratings wait for them; the errors of [`Store::keep`].
    pub async fn keep(&self, rating: Rating) -> std::result::Result<(u64, bool), Problem> {
        let (reply, answer) = oneshot::channel();
        match self.0.try_send(Waiting { rating, since: Instant::now(), reply }) {
            Ok(()) => Ok(answer.await.map_err(|_| Problem::draining())??),
            Err(TrySendError::Full(_)) => {
                let reason = format!("{QUEUE} ratings wait for the database already; try again later");
                Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "database_busy", reason))
            }
            Err(TrySendError::Disconnected(_)) => Err(Problem::draining()),
        }
    }
}

fn keep_all(path: &Path, waiting: &Receiver<Waiting>) {
    let (mut open, mut locked): (Option<Store>, bool) = (None, false);
    for Waiting { rating, since, reply } in waiting {
        // A rating that already waited behind one that found the database locked is not made to wait for that long again.
        let kept = match &mut open {
            _ if locked && since.elapsed() >= PATIENCE => {
                Err(Error::Locked { path: path.to_path_buf(), action: "be written" })
            }
            Some(store) => store.keep(&rating),
            None => Store::create_within(path, PATIENCE).and_then(|store| open.insert(store).keep(&rating)),
        };
        locked = matches!(kept, Err(Error::Locked { .. }));
        // The client may have disconnected; the rating is kept all the same.
        let _ = reply.send(kept);
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Poll};

    use rusqlite::Connection;
    use wgpt::feedback::{Answer, Prompt, Verdict};

    use super::*;

    fn rating(number: u64) -> Rating {
        let prompt = Prompt::text("Why?").unwrap();
        Rating::new(prompt, vec![Answer::text("So.")], Verdict::Scores(vec![Some(1.0)]), "anna", Some(number)).unwrap()
    }

    #[tokio::test]
    async fn a_locked_database_refuses_ratings_and_holds_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.sqlite");
        let thread = StoreThread::start(path.clone()).unwrap();
        assert_eq!(thread.keep(rating(0)).await, Ok((1, true)));
        assert_eq!(thread.keep(rating(0)).await, Ok((1, false)));
        let other = Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let all = (1..=QUEUE as u64 + 4).map(|number| thread.keep(rating(number)));
        let mut all: Vec<_> = all.map(Box::pin).collect();
        // One is being written at most, so at least three find the queue full. They are refused at once.
        let mut refused = 0;
        for one in &mut all {
            if let Poll::Ready(Err(problem)) = poll_fn(|cx| Poll::Ready(one.as_mut().poll(cx))).await {
                assert_eq!(problem.status, StatusCode::SERVICE_UNAVAILABLE);
                refused += 1;
            }
        }
        assert!((3..=4).contains(&refused), "{refused}");
        other.execute_batch("ROLLBACK").unwrap();
        // Those that waited are kept, whether or not anybody waits for them.
        drop(all);
        let (id, new) = loop {
            match thread.keep(rating(99)).await {
                Err(problem) if problem.status == StatusCode::SERVICE_UNAVAILABLE => tokio::task::yield_now().await,
                kept => break kept.unwrap(),
            }
        };
        assert!(new && id > QUEUE as u64, "{id}");
    }
}
