//! The server: OpenAI's endpoints, and a page, over one engine.
//!
//! The engine has a thread of its own ([`worker`]); HTTP runs on two others. A request becomes engine requests whose
//! listeners send what happens through a channel ([`answer`]); its handler writes that as JSON, whole or as a stream. Every
//! buffer has an end: bodies, the queue, the events that wait for a slow client, connections. A client that goes drops its
//! end of the channel, which cancels its requests.

// Both end the program where nobody reads.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod answer;
pub mod app;
pub mod base64;
pub mod connection;
pub mod feedback;
pub mod guard;
pub mod input;
pub mod json;
pub mod metrics;
pub mod native;
pub mod openai;
pub mod page;
pub mod problem;
pub mod router;
pub mod signals;
pub mod stops;
pub mod worker;
pub mod writer;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
};

use self::{
    app::{App, Facts, Limits, Secrets, ServedModel},
    guard::Hosts,
    metrics::Metrics,
    router::{Gate, Line},
    worker::Worker,
};
use crate::signals::{INTERRUPTED, Signals};
use wgpt::{
    Error, Result,
    infer::engine::{Engine, Figures},
    train::reward::RewardModel,
};

/// What a server is made of.
pub struct Server {
    /// The engine, with the model and its adapters.
    pub engine: Engine,
    /// The model's model, and those of its adapters.
    pub models: Vec<ServedModel>,
    /// What the model is.
    pub facts: Facts,
    /// The reward model.
    pub reward: Option<RewardModel>,
    /// Most requests that wait.
    pub waiting: usize,
    /// Limits on clients.
    pub limits: Limits,
    /// The key that requests must bring.
    pub key: Option<String>,
    /// Host names to answer to, beside those of this machine.
    pub hosts: Vec<String>,
    /// Where the runs lie.
    pub runs: PathBuf,
    /// The database of ratings.
    pub feedback: PathBuf,
}

/// What a server did.
#[derive(Clone, Debug, Default)]
pub struct Served {
    /// Requests answered.
    pub requests: u64,
    /// What the engine did.
    pub figures: Figures,
}

impl Server {
    /// Serves at `address` until one of [`Signals`], which lets running requests end; a second one ends the program at once.
    /// `ready` hears the address, `draining` how many requests are open when the first signal comes, `log` every request.
    ///
    /// # Errors
    /// [`Error::Usage`] for an address that cannot be bound, [`Error::System`], and what the engine died of.
    pub fn run(
        self,
        address: SocketAddr,
        ready: impl FnOnce(SocketAddr),
        draining: impl FnOnce(usize),
        log: impl Fn(&Line) + Send + Sync + 'static,
    ) -> Result<Served> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).max_blocking_threads(16).enable_all().build();
        let runtime = runtime.map_err(Error::system("start threads to serve with"))?;
        let (died, mut death) = oneshot::channel();
        let served = runtime.block_on(self.serve(address, ready, draining, Box::new(log), died, &mut death));
        // What still runs, runs for clients that have gone. With the last handle the engine's thread ends, and gives the
        // device back before the program does.
        runtime.shutdown_timeout(Duration::from_secs(1));
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end && matches!(death.try_recv(), Err(oneshot::error::TryRecvError::Empty)) {
            std::thread::sleep(Duration::from_millis(5));
        }
        served
    }

    async fn serve(
        self,
        address: SocketAddr,
        ready: impl FnOnce(SocketAddr),
        drains: impl FnOnce(usize),
        log: Box<dyn Fn(&Line) + Send + Sync>,
        died: oneshot::Sender<Result<()>>,
        mut death: &mut oneshot::Receiver<Result<()>>,
    ) -> Result<Served> {
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|error| Error::Usage(format!("cannot listen at {address}: {error}")))?;
        let bound = listener.local_addr().map_err(Error::system("find out the address to serve at"))?;
        let worker = Worker::start(self.engine, self.reward, self.waiting, died)?;
        let metrics = Arc::new(Metrics::default());
        let app = Arc::new(App {
            models: self.models.into_iter().map(Arc::new).collect(),
            worker,
            metrics: metrics.clone(),
            facts: self.facts,
            limits: self.limits,
            key: self.key,
            runs: self.runs,
            feedback: self.feedback,
            store: Mutex::default(),
            draining: AtomicBool::new(false),
            created: router::seconds(),
            secrets: Secrets::default(),
        });
        let open = Arc::new(AtomicUsize::new(0));
        let hosts = Hosts::new(bound, &self.hosts);
        let gate = Arc::new(Gate { app: app.clone(), hosts, open: open.clone(), log });
        let (drain, drained) = watch::channel(false);
        let routes = router::router(gate);
        let mut signals = Signals::new()?;
        tokio::spawn(connection::accept(listener, routes, self.limits, metrics.clone(), drained));
        ready(bound);

        tokio::select! {
            () = signals.next() => {}
            reason = &mut death => return Err(death_of(reason)),
        }
        app.draining.store(true, SeqCst);
        drains(open.load(SeqCst));
        let _ = drain.send(true);
        let idle = async {
            while open.load(SeqCst) > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            // The last bytes are with hyper; connections close once they are sent.
            for _ in 0..50 {
                if metrics.connections.load(SeqCst) == 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = idle => {}
            () = signals.next() => std::process::exit(INTERRUPTED),
            reason = &mut death => return Err(death_of(reason)),
        }
        Ok(Served { requests: metrics.total(), figures: app.worker.figures().0 })
    }
}

/// Why the engine's thread ended while it was needed.
fn death_of(reason: std::result::Result<Result<()>, oneshot::error::RecvError>) -> Error {
    match reason {
        Ok(Err(error)) => error,
        _ => Error::EngineEnded,
    }
}
