//! The engine on a thread of its own: commands arrive through a channel, events leave through each request's listener.
//!
//! Requests wait here, not in the engine, so that requests whose clients disconnected leave the queue unprocessed.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc::{self, TryRecvError},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{
    answer::{ChoiceEvent, ChoiceUpdate},
    problem::Problem,
};
use wgpt::{
    Error, Result,
    error::counted,
    infer::engine::{Engine, EngineStatistics, Inspection, request::Request},
    text::Message,
    train::reward::RewardModel,
};

/// Maximum number of requests in the engine's own queue: those that run next.
const FED: usize = 4;

/// Maximum number of open requests for something other than an answer: embeddings, rewards, a look inside.
const ASIDE: usize = 64;

/// The place of such a request. It is held to the request's end, so that none is refused halfway.
pub struct Place {
    client: IpAddr,
    _held: OwnedSemaphorePermit,
}

/// The answer to a request for rewards if the server has no reward model.
pub const NO_REWARD: &str = "this server was started without a reward model";

/// Number of consecutive failed steps after which the engine is considered dead.
const FAILURES: usize = 3;

/// A request, and the channel that tells whether its client is still waiting.
pub struct Job {
    /// The request.
    pub request: Request,
    /// The index of the choice within its client's request.
    pub choice: usize,
    /// Receives its events.
    pub sender: tokio::sync::mpsc::Sender<ChoiceEvent>,
    /// The address of its client.
    pub client: IpAddr,
}

type Reply<T> = oneshot::Sender<Result<T>>;

enum Command {
    Generate(Box<Job>),
    Inspect(Vec<u32>, usize, Reply<Inspection>),
    Embed(Vec<u32>, Reply<Vec<f32>>),
    Reward(Vec<(Vec<Message>, String)>, Reply<Vec<f32>>),
}

/// The server's handle to the engine's thread.
#[derive(Clone)]
pub struct Worker {
    commands: mpsc::Sender<(IpAddr, Command)>,
    queued: Arc<AtomicUsize>,
    places: Arc<Semaphore>,
    waiting: usize,
    figures: Arc<Mutex<EngineStatistics>>,
}

impl Worker {
    /// Starts the thread. At most `waiting` requests may wait. `ended` receives the result of the thread: an error of
    /// the engine, or `Ok` once all handles are dropped.
    ///
    /// # Errors
    /// [`Error::System`] if the system cannot start a thread.
    pub fn start(
        engine: Engine,
        reward: Option<RewardModel>,
        waiting: usize,
        ended: oneshot::Sender<Result<()>>,
    ) -> Result<Self> {
        let (commands, receiver) = mpsc::channel();
        let worker = Self {
            commands,
            queued: Arc::default(),
            places: Arc::new(Semaphore::new(ASIDE)),
            waiting,
            figures: Arc::new(Mutex::new(engine.figures())),
        };
        let thread = Thread {
            engine,
            reward,
            receiver,
            queue: FairQueue::default(),
            aside: FairQueue::default(),
            queued: worker.queued.clone(),
            figures: worker.figures.clone(),
        };
        let run = move || {
            let result = pollster::block_on(thread.run());
            // The receiver may be gone while the program ends.
            let _ = ended.send(result);
        };
        let builder = std::thread::Builder::new().name("engine".to_string());
        builder.spawn(run).map_err(Error::system("start the engine's thread"))?;
        Ok(worker)
    }

    /// Queues all of `jobs` or none.
    ///
    /// # Errors
    /// 400 for more jobs than the queue can ever hold, 429 if it is full, 503 if the engine is gone.
    pub fn generate(&self, jobs: Vec<Job>) -> std::result::Result<(), Problem> {
        if jobs.len() > self.waiting {
            return Err(Problem::bad(format!(
                "{} in one request; the queue of this server holds {}",
                counted(jobs.len(), "answer"),
                self.waiting
            )));
        }
        let more = |queued: usize| Some(queued + jobs.len()).filter(|queued| *queued <= self.waiting);
        if self.queued.fetch_update(SeqCst, SeqCst, more).is_err() {
            let reason =
                format!("the queue is full: it holds {}; try again later", counted(self.waiting, "waiting answer"));
            return Err(Problem::new(axum::http::StatusCode::TOO_MANY_REQUESTS, "queue_full", reason));
        }
        for job in jobs {
            self.commands.send((job.client, Command::Generate(Box::new(job)))).map_err(|_| Problem::draining())?;
        }
        Ok(())
    }

    /// Runs the model on a text and returns what happens inside it.
    ///
    /// # Errors
    /// Returns the engine's errors.
    pub async fn inspect(
        &self,
        place: &Place,
        tokens: Vec<u32>,
        top: usize,
    ) -> std::result::Result<Inspection, Problem> {
        self.ask(place, |reply| Command::Inspect(tokens, top, reply)).await
    }

    /// The embedding of a text.
    ///
    /// # Errors
    /// Returns the engine's errors.
    pub async fn embed(&self, place: &Place, tokens: Vec<u32>) -> std::result::Result<Vec<f32>, Problem> {
        self.ask(place, |reply| Command::Embed(tokens, reply)).await
    }

    /// The rewards of answers to conversations.
    ///
    /// # Errors
    /// Returns the reward model's errors.
    pub async fn reward(
        &self,
        place: &Place,
        texts: Vec<(Vec<Message>, String)>,
    ) -> std::result::Result<Vec<f32>, Problem> {
        self.ask(place, |reply| Command::Reward(texts, reply)).await
    }

    async fn ask<T>(
        &self,
        place: &Place,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> std::result::Result<T, Problem> {
        let (reply, answer) = oneshot::channel();
        self.commands.send((place.client, command(reply))).map_err(|_| Problem::draining())?;
        Ok(answer.await.map_err(|_| Problem::draining())??)
    }

    /// A place for a request of `client` for something other than an answer.
    ///
    /// # Errors
    /// 429 if all are taken.
    pub fn place(&self, client: IpAddr) -> std::result::Result<Place, Problem> {
        match self.places.clone().try_acquire_owned() {
            Ok(held) => Ok(Place { client, _held: held }),
            Err(_) => {
                let reason = format!("{ASIDE} requests besides answers are open already; try again later");
                Err(Problem::new(axum::http::StatusCode::TOO_MANY_REQUESTS, "queue_full", reason))
            }
        }
    }

    /// The engine's figures, and the number of requests waiting to enter it.
    pub fn figures(&self) -> (EngineStatistics, usize) {
        let figures = *self.figures.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        (figures, self.queued.load(SeqCst))
    }
}

/// Jobs in turns by client: one client's many do not keep another's one waiting.
struct FairQueue<T> {
    jobs: VecDeque<(IpAddr, T)>,
    /// When each client with waiting jobs was last served, as a number that grows.
    served: HashMap<IpAddr, u64>,
    turn: u64,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { jobs: VecDeque::new(), served: HashMap::new(), turn: 0 }
    }
}

impl<T> FairQueue<T> {
    fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    fn push(&mut self, client: IpAddr, job: T) {
        self.jobs.push_back((client, job));
    }

    /// Takes the oldest job of the client that has not been served for longest.
    fn pop(&mut self) -> Option<T> {
        let last = |index: usize| self.served.get(&self.jobs[index].0).copied().unwrap_or(0);
        let next = (0..self.jobs.len()).min_by_key(|&index| last(index))?;
        let (client, job) = self.jobs.remove(next)?;
        self.turn += 1;
        self.served.insert(client, self.turn);
        if self.served.len() > 2 * self.jobs.len() + 16 {
            // Clients without waiting jobs are forgotten, so that this does not grow with the number of addresses.
            self.served.retain(|client, _| self.jobs.iter().any(|(other, _)| other == client));
        }
        Some(job)
    }

    /// Drops the jobs that are not to be kept, and returns how many.
    fn retain(&mut self, keep: impl Fn(&T) -> bool) -> usize {
        let before = self.jobs.len();
        self.jobs.retain(|(_, job)| keep(job));
        before - self.jobs.len()
    }
}

struct Thread {
    engine: Engine,
    reward: Option<RewardModel>,
    receiver: mpsc::Receiver<(IpAddr, Command)>,
    queue: FairQueue<Job>,
    /// Other commands. One is obeyed between two steps of the answers, so that these go on.
    aside: FairQueue<Command>,
    queued: Arc<AtomicUsize>,
    figures: Arc<Mutex<EngineStatistics>>,
}

impl Thread {
    /// Runs steps while there is work, and sleeps otherwise.
    async fn run(mut self) -> Result<()> {
        let (mut works, mut failures) = (false, 0);
        loop {
            if !works && self.queue.is_empty() && self.aside.is_empty() {
                match self.receiver.recv() {
                    Ok(command) => self.note(command),
                    Err(_) => return Ok(()),
                }
            }
            loop {
                match self.receiver.try_recv() {
                    Ok(command) => self.note(command),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(()),
                }
            }
            if let Some(command) = self.aside.pop() {
                self.obey(command).await;
            }
            self.feed();
            works = match self.engine.step().await {
                Ok(works) => {
                    failures = 0;
                    works
                }
                // The requests have received the error. A lack of memory may pass; a lost device does not come back.
                Err(error) => {
                    failures += 1;
                    if failures > FAILURES || matches!(error, Error::DeviceLost { .. }) {
                        return Err(error);
                    }
                    false
                }
            };
            *self.figures.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = self.engine.figures();
        }
    }

    fn note(&mut self, (client, command): (IpAddr, Command)) {
        match command {
            Command::Generate(job) => self.queue.push(client, *job),
            other => self.aside.push(client, other),
        }
    }

    /// Skips work whose client is no longer waiting.
    async fn obey(&mut self, command: Command) {
        match command {
            Command::Inspect(tokens, top, reply) if !reply.is_closed() => {
                let _ = reply.send(self.engine.inspect(&tokens, top).await);
            }
            Command::Embed(tokens, reply) if !reply.is_closed() => {
                let vectors = self.engine.embed(&[tokens]).await;
                let _ = reply.send(vectors.map(|mut vectors| vectors.pop().unwrap_or_default()));
            }
            Command::Reward(texts, reply) if !reply.is_closed() => {
                let result = match &self.reward {
                    Some(reward) => reward.score(&texts).await,
                    None => Err(Error::Usage(NO_REWARD.to_string())),
                };
                let _ = reply.send(result);
            }
            _ => {}
        }
    }

    /// Passes the next requests to the engine, and drops those that nobody waits for.
    fn feed(&mut self) {
        let mut gone = self.queue.retain(|job| !job.sender.is_closed());
        while self.engine.figures().waiting < FED {
            let Some(Job { request, choice, sender, .. }) = self.queue.pop() else { break };
            gone += 1;
            match self.engine.submit(request) {
                Ok(()) => {}
                Err(refused) => {
                    let reason = refused.into_error().to_string();
                    let _ = sender.try_send(ChoiceEvent { choice, update: ChoiceUpdate::Failed(reason) });
                }
            }
        }
        self.queued.fetch_sub(gone, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_take_turns() {
        let client = |last: u8| IpAddr::from([10, 0, 0, last]);
        let mut queue = FairQueue::default();
        for job in 0..5 {
            queue.push(client(1), job);
        }
        queue.push(client(2), 10);
        queue.push(client(2), 11);
        queue.push(client(3), 20);
        assert_eq!([queue.pop(), queue.pop(), queue.pop()], [Some(0), Some(10), Some(20)]);
        queue.push(client(3), 21);
        assert_eq!(queue.retain(|job| *job != 2), 1);
        let rest: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(rest, [1, 11, 21, 3, 4]);
        // Clients without waiting jobs are forgotten.
        for last in 0..100 {
            queue.push(client(last), 0);
            queue.pop();
        }
        assert!(queue.is_empty() && queue.served.len() <= 17, "{}", queue.served.len());
    }
}
