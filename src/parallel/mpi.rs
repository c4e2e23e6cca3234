//! The thread that talks to the other ranks through MPI: no other thread calls it.
//!
//! Calls are nonblocking and are asked about again and again, and meanwhile every rank tells every other that it lives. So a
//! rank that computes for an hour is waited for, and one whose process or link is gone is known by its silence. MPI has no way
//! out of a call that cannot end: this thread then stands still, and whoever waits for it learns why from what both share.

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
    group::{Group, Job, Ranks, Trouble},
};
use crate::{Error, Result};

const ALIVE: i32 = 1;
const FAREWELL: i32 = 2;
/// What says that a rank lives.
static PING: [u8; 1] = [1];
/// Bytes of one call at most.
const PIECE: usize = 1 << 28;

/// What a rank knows of the job when it has begun.
struct Introduction {
    rank: usize,
    size: usize,
    local: usize,
    hosts: Vec<String>,
}

/// Begins MPI on a thread of its own.
pub fn join(options: Options) -> Result<Group> {
    let (jobs, todo) = mpsc::channel();
    let (introduce, introduced) = mpsc::channel();
    let trouble = Arc::new(Mutex::new(None));
    let shared = trouble.clone();
    std::thread::Builder::new()
        .name("mpi".to_string())
        .spawn(move || serve(options, &todo, &introduce, shared))
        .map_err(Error::system("start a thread for MPI"))?;
    let Introduction { rank, size, local, hosts } =
        introduced.recv().map_err(|_| Error::Exchange("MPI could not begin".to_string()))?;
    let ranks = Ranks { rank, size, local, hosts, options, jobs: Mutex::new(jobs), trouble, sent: AtomicU64::new(0) };
    Ok(Group(Some(Arc::new(ranks))))
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
    let mut talk = Talk {
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
            // The program ends in some other way: MPI is left as it is, and the launcher sees to the others.
            Err(mpsc::RecvTimeoutError::Disconnected) => stand_still(),
        }
    }
}

/// A thread that must not return, because MPI still uses what it holds.
fn stand_still() -> ! {
    loop {
        std::thread::park();
    }
}

/// Those of `requests` that are not done.
fn unfinished<D: ?Sized>(requests: Vec<Request<'static, D, StaticScope>>) -> Vec<Request<'static, D, StaticScope>> {
    requests.into_iter().filter_map(|request| request.test().err()).collect()
}

struct Talk {
    world: SimpleCommunicator,
    /// When each rank was last heard.
    heard: Vec<Instant>,
    /// When this rank last said that it lives.
    said: Instant,
    /// When it last listened.
    looked: Instant,
    pings: Vec<Request<'static, [u8; 1], StaticScope>>,
    timeout: Duration,
    trouble: Arc<Mutex<Option<Trouble>>>,
}

impl Talk {
    fn peers(&self) -> impl Iterator<Item = i32> + use<> {
        let (own, size) = (self.world.rank(), self.world.size());
        (0..size).filter(move |rank| *rank != own)
    }

    /// Says that this rank lives, and hears who else does. Does not return when one does not.
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
        let mut trouble = self.trouble.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        trouble.get_or_insert(Trouble { ranks, reason });
        drop(trouble);
        stand_still()
    }

    /// Asks until the call is done.
    fn finish<'a, D: ?Sized, S: Scope<'a>>(&mut self, mut request: Request<'a, D, S>) {
        let mut asked = 0u32;
        while let Err(open) = request.test() {
            request = open;
            self.attend();
            asked += 1;
            // Many calls are done at once; the others leave the core to whoever computes.
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

    /// Every rank adds up a block in f32 and in the order of ranks, and gives all the sum.
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

    /// What each rank gave; they need not be of one length.
    fn gather(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let (world, size) = (SimpleCommunicator::world(), self.world.size() as usize);
        let (own, mut lengths) = ([bytes.len() as u64], vec![0u64; size]);
        scope(|scope| {
            let request = world.immediate_all_gather_into(scope, &own[..], &mut lengths[..]);
            self.finish(request);
        });
        // MPI counts in 32 bits with a sign: what is longer goes in pieces.
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

    /// Ends MPI, once all ranks want it.
    fn leave(mut self, universe: Universe, reply: &mpsc::Sender<()>) {
        self.gather(&[]);
        // Nobody sends any more. What says that somebody lived may still be on its way.
        while !self.pings.is_empty() {
            self.pings = unfinished(std::mem::take(&mut self.pings));
            self.attend();
        }
        drop(universe);
        let _ = reply.send(());
    }

    /// Tells the others that this rank ends, as far as they can be reached within a second.
    fn fail(&mut self, reason: String, reply: &mpsc::Sender<()>) -> ! {
        // The words must outlive the call, and the process ends with it.
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
