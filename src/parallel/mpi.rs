//! The thread that communicates with the other ranks through MPI; no other thread calls MPI.
//!
//! Calls are nonblocking and are polled; meanwhile every rank keeps telling every other that it is alive. A rank that
//! computes for an hour is waited for, and one whose process or link is gone is recognised by its silence. MPI cannot
//! abort a call that will never complete: in that case this thread stands still, and threads waiting for it learn the
//! reason from their shared state.

use std::{
    sync::{Arc, Mutex, atomic::AtomicU64, mpsc},
    time::{Duration, Instant},
};

use mpi::{
    Threading,
    collective::{CommunicatorCollectives, SystemOperation},
    datatype::PartitionMut,
    environment::Universe,
    point_to_point::{Destination, Source},
    request::{Request, Scope, StaticScope, scope},
    topology::{Communicator, SimpleCommunicator},
};

use super::{
    Options, Wire, f16,
    group::{Group, Job, Ranks, Transport, Trouble, lock},
};
use crate::{Error, Result};

const ALIVE: i32 = 1;
const FAREWELL: i32 = 2;
/// The message that tells other ranks that this one is alive.
static PING: [u8; 1] = [1];
/// Maximum number of bytes in one call.
const PIECE: usize = 1 << 28;

/// What a rank knows of the job once it has started.
struct Introduction {
    rank: usize,
    size: usize,
    local: usize,
    hosts: Vec<String>,
}

/// Starts MPI on a thread of its own.
pub fn join(options: Options) -> Result<Group> {
    let (jobs, todo) = mpsc::channel();
    let (introduce, introduced) = mpsc::channel();
    let trouble = Arc::new(Mutex::new(None));
    let shared = trouble.clone();
    std::thread::Builder::new()
        .name("mpi".to_string())
        .spawn(move || serve(options, &todo, &introduce, shared))
        .map_err(Error::system("start a thread for MPI"))?;
    let Introduction { rank, size, local, hosts } = introduced
        .recv()
        .map_err(|_| Error::Exchange("the thread that talks to MPI ended before it began".to_string()))?;
    let transport = Box::new(Mutex::new(jobs));
    let ranks = Ranks { rank, size, local, hosts, options, transport, trouble, sent: AtomicU64::new(0) };
    Ok(Group(Some(Arc::new(ranks))))
}

/// To the thread that speaks MPI; if it has ended, the callers that wait for an answer notice.
impl Transport for Mutex<mpsc::Sender<Job>> {
    fn take(&self, job: Job) {
        let _ = lock(self).send(job);
    }
}

fn serve(
    options: Options,
    todo: &mpsc::Receiver<Job>,
    introduce: &mpsc::Sender<Introduction>,
    trouble: Arc<Mutex<Option<Trouble>>>,
) {
    let Some((universe, _)) = mpi::initialize_with_threading(Threading::Funneled) else { return };
    let world = universe.world();
    let (rank, size) = (world.rank() as usize, world.size() as usize);
    let local = world.split_shared(world.rank()).rank() as usize;
    let mut talk = MpiThread {
        heard: vec![Instant::now(); size],
        said: Instant::now(),
        looked: Instant::now(),
        pings: Vec::new(),
        timeout: Duration::from_secs_f64(options.timeout),
        world,
        trouble,
    };
    let name = mpi::environment::processor_name().unwrap_or_default();
    let hosts = talk.gather(name.as_bytes()).iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    if introduce.send(Introduction { rank, size, local, hosts }).is_err() {
        return;
    }
    loop {
        match todo.recv_timeout(Duration::from_millis(50)) {
            Ok(Job::Sum { values, wire: Wire::F32, reply }) => drop(reply.send(talk.sum(&values))),
            Ok(Job::Sum { values, wire: Wire::F16, reply }) => drop(reply.send(talk.sum_f16(&values))),
            Ok(Job::SumBlocks { values, reply }) => drop(reply.send(talk.sum_blocks(&values))),
            Ok(Job::Gather { bytes, reply }) => drop(reply.send(talk.gather(&bytes))),
            Ok(Job::Leave { reason: None, reply }) => return talk.leave(universe, &reply),
            Ok(Job::Leave { reason: Some(reason), reply }) => talk.fail(reason, &reply),
            Err(mpsc::RecvTimeoutError::Timeout) => talk.attend(),
            // The program is ending in some other way: MPI is left as it is, and the launcher takes care of the other
            // ranks.
            Err(mpsc::RecvTimeoutError::Disconnected) => stand_still(),
        }
    }
}

/// Parks a thread that must not return, because MPI still uses its data.
fn stand_still() -> ! {
    loop {
        std::thread::park();
    }
}

/// The `requests` that are not complete yet.
fn unfinished<D: ?Sized>(requests: Vec<Request<'static, D, StaticScope>>) -> Vec<Request<'static, D, StaticScope>> {
    requests.into_iter().filter_map(|request| request.test().err()).collect()
}

struct MpiThread {
    world: SimpleCommunicator,
    /// When each rank was last heard from.
    heard: Vec<Instant>,
    /// When this rank last said that it is alive.
    said: Instant,
    /// When this rank last checked for messages.
    looked: Instant,
    pings: Vec<Request<'static, [u8; 1], StaticScope>>,
    timeout: Duration,
    trouble: Arc<Mutex<Option<Trouble>>>,
}

impl MpiThread {
    fn peers(&self) -> impl Iterator<Item = i32> + use<> {
        let (own, size) = (self.world.rank(), self.world.size());
        (0..size).filter(move |rank| *rank != own)
    }

    /// Tells the other ranks that this one is alive, and checks on them. Does not return if a rank is lost.
    fn attend(&mut self) {
        if self.looked.elapsed() < Duration::from_millis(10) {
            return;
        }
        self.looked = Instant::now();
        let any = self.world.any_process();
        while let Some(status) = any.immediate_probe_with_tag(ALIVE) {
            let _ = self.world.process_at_rank(status.source_rank()).receive_with_tag::<u8>(ALIVE);
            self.heard[status.source_rank() as usize] = Instant::now();
        }
        if let Some(status) = any.immediate_probe_with_tag(FAREWELL) {
            let source = status.source_rank();
            let (words, _) = self.world.process_at_rank(source).receive_vec_with_tag::<u8>(FAREWELL);
            self.stop(vec![source as usize], format!("ended: {}", String::from_utf8_lossy(&words)));
        }
        if self.said.elapsed() >= self.timeout / 8 {
            self.said = Instant::now();
            self.pings = unfinished(std::mem::take(&mut self.pings));
            for rank in self.peers() {
                let ping = self.world.process_at_rank(rank).immediate_send_with_tag(StaticScope, &PING, ALIVE);
                self.pings.push(ping);
            }
        }
        let silent = |rank: &i32| self.heard[*rank as usize].elapsed() > self.timeout;
        let silent: Vec<_> = self.peers().filter(silent).map(|rank| rank as usize).collect();
        if !silent.is_empty() {
            let seconds = self.timeout.as_secs_f64();
            let reason = format!("not heard from for {seconds:.0} s: the process, or the link to it, is gone");
            self.stop(silent, reason);
        }
    }

    fn stop(&self, ranks: Vec<usize>, reason: String) -> ! {
        lock(&self.trouble).get_or_insert(Trouble { ranks, reason });
        stand_still()
    }

    /// Polls until the call is complete.
    fn finish<'a, D: ?Sized, S: Scope<'a>>(&mut self, mut request: Request<'a, D, S>) {
        let mut asked = 0u32;
        while let Err(open) = request.test() {
            request = open;
            self.attend();
            asked += 1;
            // Many calls complete at once; for the others, leave the core to the threads that compute.
            if asked < 64 { std::thread::yield_now() } else { std::thread::sleep(Duration::from_micros(100)) }
        }
    }

    fn sum(&mut self, values: &[f32]) -> Vec<f32> {
        let (world, mut sums) = (SimpleCommunicator::world(), vec![0.0; values.len()]);
        scope(|scope| {
            let request = world.immediate_all_reduce_into(scope, values, &mut sums[..], SystemOperation::sum());
            self.finish(request);
        });
        sums
    }

    /// Each rank adds up one block, in f32 and in the order of ranks, and sends the sum to all.
    fn sum_f16(&mut self, values: &[f32]) -> Vec<f32> {
        let (world, size) = (SimpleCommunicator::world(), self.world.size() as usize);
        let block = values.len().div_ceil(size).max(1);
        let mut sent: Vec<u8> = values.chunks(block).flat_map(f16::pack).collect();
        let bytes = f16::bytes(block);
        sent.resize(bytes * size, 0);
        let mut received = vec![0u8; sent.len()];
        scope(|scope| {
            let request = world.immediate_all_to_all_into(scope, &sent[..], &mut received[..]);
            self.finish(request);
        });
        let mut sums = vec![0.0; block];
        received.chunks(bytes).for_each(|part| f16::add(part, &mut sums));
        let own = f16::pack(&sums);
        scope(|scope| {
            let request = world.immediate_all_gather_into(scope, &own[..], &mut received[..]);
            self.finish(request);
        });
        let mut all = vec![0.0; block * size];
        all.chunks_mut(block).zip(received.chunks(bytes)).for_each(|(sums, part)| f16::add(part, sums));
        all.truncate(values.len());
        all
    }

    fn sum_blocks(&mut self, values: &[f32]) -> Vec<f32> {
        let world = SimpleCommunicator::world();
        let mut sums = vec![0.0; values.len() / self.world.size() as usize];
        scope(|scope| {
            let op = SystemOperation::sum();
            let request = world.immediate_reduce_scatter_block_into(scope, values, &mut sums[..], op);
            self.finish(request);
        });
        sums
    }

    /// The bytes that each rank contributed; their lengths may differ.
    fn gather(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let (world, size) = (SimpleCommunicator::world(), self.world.size() as usize);
        let (own, mut lengths) = ([bytes.len() as u64], vec![0u64; size]);
        scope(|scope| {
            let request = world.immediate_all_gather_into(scope, &own[..], &mut lengths[..]);
            self.finish(request);
        });
        // MPI counts in signed 32-bit integers, so longer data is sent in pieces.
        let most = lengths.iter().copied().max().unwrap_or(0) as usize;
        let piece = (PIECE / size).max(1);
        let mut all = vec![Vec::new(); size];
        for first in (0..most).step_by(piece) {
            let cut = |length: usize| first.min(length)..(first + piece).min(length);
            let counts: Vec<i32> = lengths.iter().map(|length| cut(*length as usize).len() as i32).collect();
            let places: Vec<i32> =
                counts.iter().scan(0, |end, count| Some(std::mem::replace(end, *end + count))).collect();
            let mut received = vec![0u8; counts.iter().sum::<i32>() as usize];
            let mut into = PartitionMut::new(&mut received[..], &counts[..], &places[..]);
            let sent = &bytes[cut(bytes.len())];
            scope(|scope| {
                let request = world.immediate_all_gather_varcount_into(scope, sent, &mut into);
                self.finish(request);
            });
            for ((all, count), place) in all.iter_mut().zip(&counts).zip(&places) {
                all.extend(&received[*place as usize..(place + count) as usize]);
            }
        }
        all
    }

    /// Ends MPI once all ranks have asked for it.
    fn leave(mut self, universe: Universe, reply: &mpsc::Sender<()>) {
        self.gather(&[]);
        // No rank sends any more, but messages that a rank is alive may still be on their way.
        while !self.pings.is_empty() {
            self.pings = unfinished(std::mem::take(&mut self.pings));
            self.attend();
        }
        drop(universe);
        let _ = reply.send(());
    }

    /// Tells the other ranks that this one is ending, spending at most a second on it.
    fn fail(&mut self, reason: String, reply: &mpsc::Sender<()>) -> ! {
        // The text must outlive the call; it is leaked because the process ends anyway.
        let words: &'static [u8] = Vec::leak(reason.into_bytes());
        let mut open: Vec<_> = self
            .peers()
            .map(|rank| self.world.process_at_rank(rank).immediate_send_with_tag(StaticScope, words, FAREWELL))
            .collect();
        let end = Instant::now() + Duration::from_secs(1);
        while !open.is_empty() && Instant::now() < end {
            open = unfinished(open);
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = reply.send(());
        stand_still()
    }
}
