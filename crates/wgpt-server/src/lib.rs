//! The server: OpenAI's endpoints and a web page, on top of one engine.
//!
//! The engine runs on its own thread ([`worker`]), HTTP on two others. A request becomes engine requests whose
//! listeners send updates through a channel ([`answer`]); its handler writes them as JSON, at once or as a stream.
//! Every buffer is bounded: bodies, the queue, the events waiting for a slow client, connections. A client that
//! disconnects drops its end of the channel, which cancels its requests.

// Both macros panic if the output is closed.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod answer;
pub mod app;
pub mod base64;
pub mod connection;
pub mod feedback;
pub mod guard;
pub mod input;
pub mod json;
pub mod memory;
pub mod metrics;
pub mod native;
pub mod openai;
pub mod page;
mod pieces;
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
        Arc,
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
    memory::Memory,
    metrics::Metrics,
    router::{Gate, Line},
    worker::Worker,
};
use crate::{
    feedback::StoreThread,
    signals::{INTERRUPTED, Signals},
};
use wgpt::{
    Error, Result,
    infer::engine::{Engine, EngineStatistics},
    train::reward::RewardModel,
};

/// The parts of a server.
pub struct Server {
    /// The engine, with the model and its adapters.
    pub engine: Engine,
    /// The base model, followed by its adapters.
    pub models: Vec<ServedModel>,
    /// Facts about the model.
    pub facts: Facts,
    /// The reward model.
    pub reward: Option<RewardModel>,
    /// Maximum number of waiting requests.
    pub waiting: usize,
    /// Limits on clients.
    pub limits: Limits,
    /// The key that requests must send.
    pub key: Option<String>,
    /// Host names to accept in addition to those of this machine.
    pub hosts: Vec<String>,
    /// The folder of the runs.
    pub runs: PathBuf,
    /// The path of the ratings database.
    pub feedback: PathBuf,
}

/// What a server did while it ran.
#[derive(Clone, Debug, Default)]
pub struct Served {
    /// Requests answered.
    pub requests: u64,
    /// What the engine did.
    pub figures: EngineStatistics,
}

impl Server {
    /// Serves at `address` until the first of [`Signals`], which lets running requests finish; a second one ends the
    /// program immediately. `ready` is called with the bound address, `draining` with the number of open requests at
    /// the first signal, and `log` for every request.
    ///
    /// # Errors
    /// [`Error::Usage`] if the address cannot be bound, [`Error::System`], and the error that ended the engine.
    pub fn run(
        self,
        address: SocketAddr,
        ready: impl FnOnce(SocketAddr),
        draining: impl FnOnce(usize),
        log: impl Fn(&Line) + Send + Sync + 'static,
    ) -> Result<Served> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).max_blocking_threads(8).enable_all().build();
        let runtime = runtime.map_err(Error::system("start the server's threads"))?;
        let (died, mut death) = oneshot::channel();
        let served = runtime.block_on(self.serve(address, ready, draining, Box::new(log), died, &mut death));
        // Requests still running belong to clients that have disconnected. When the last handle is dropped, the
        // engine's thread ends and releases the device before the program exits.
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
        let listener = listener.map_err(|error| Error::Usage(format!("cannot listen on {address}: {error}")))?;
        let bound = listener.local_addr().map_err(Error::system("tell the server's address"))?;
        let worker = Worker::start(self.engine, self.reward, self.waiting, died)?;
        let metrics = Arc::new(Metrics::default());
        let store = StoreThread::start(self.feedback.clone())?;
        let app = Arc::new(App {
            memory: Memory::within(&self.limits),
            models: self.models.into_iter().map(Arc::new).collect(),
            worker,
            metrics: metrics.clone(),
            facts: self.facts,
            limits: self.limits,
            key: self.key,
            runs: self.runs,
            feedback: self.feedback,
            store,
            draining: AtomicBool::new(false),
            created: router::seconds(),
            secrets: Secrets::default(),
        });
        let open = Arc::new(AtomicUsize::new(0));
        let hosts = Hosts::new(bound, &self.hosts)?;
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
            // hyper still holds the last bytes; connections close once these are sent.
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

/// The error for an engine thread that ended while it was needed.
fn death_of(reason: std::result::Result<Result<()>, oneshot::error::RecvError>) -> Error {
    match reason {
        Ok(Err(error)) => error,
        _ => Error::EngineEnded,
    }
}
