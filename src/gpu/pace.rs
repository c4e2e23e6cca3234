//! Keeps submissions short. A system takes a GPU for hung if it is busy with one submission for long: two seconds with Windows and
//! AMD's driver on Linux; and a desktop on the same GPU stands still meanwhile.
//!
//! How long a dispatch takes is learned from how long submissions took: what a submission took longer or shorter than expected is
//! spread over its dispatches in proportion. A kernel over a grid that has not run yet is expected to take as long as its buffers
//! need on a slow adapter.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, OnceLock},
};

use web_time::Instant;

/// Expected seconds after which a submission is sent: half of what it may take, because expectations are sometimes wrong.
const LONGEST: f64 = 0.25;
/// Dispatches per submission: the GPU starts on the first while the host records the next.
const DISPATCHES: usize = 512;
/// Bytes per second that an unknown kernel is expected to read and write, on a GPU and with a driver in software.
const UNKNOWN: [f64; 2] = [10e9, 1e9];
/// Seconds of a dispatch that are not spent on bytes.
const LEAST: f64 = 20e-6;
/// The most by which one submission changes what is expected: it may have waited for the host or for another program.
const CHANGE: f64 = 4.0;
/// Submissions and kernels that are remembered.
const SUBMISSIONS: usize = 64;
const KERNELS: usize = 4096;

/// A pipeline, and the workgroups it was dispatched over.
type Key = (u32, u64);

/// Expected times of dispatches, and the submissions they are learned from.
pub struct Pace {
    /// Seconds per dispatch.
    known: HashMap<Key, f64>,
    /// Bytes per second of unknown kernels.
    unknown: f64,
    /// The dispatches of the open submission, and their expected seconds.
    open: Vec<Key>,
    expected: f64,
    /// Submissions that have not been learned from, the oldest first.
    sent: VecDeque<Sent>,
    /// When the last one of them ended that was learned from.
    ended: Option<Instant>,
}

/// How long a dispatch is expected to take.
pub struct Expected {
    key: Key,
    seconds: f64,
}

struct Sent {
    dispatches: Vec<Key>,
    at: Instant,
    end: Arc<OnceLock<Instant>>,
}

impl Pace {
    /// Nothing is known yet. `software`: whether the adapter is the processor.
    pub fn new(software: bool) -> Self {
        Self {
            known: HashMap::new(),
            unknown: UNKNOWN[usize::from(software)],
            open: Vec::new(),
            expected: 0.0,
            sent: VecDeque::new(),
            ended: None,
        }
    }

    /// What a dispatch of `pipeline` over `groups` workgroups, with `bytes` bytes in its buffers, is expected to take.
    pub fn expect(&mut self, pipeline: u32, groups: u64, bytes: u64) -> Expected {
        if self.known.len() >= KERNELS {
            self.known.clear();
        }
        let (key, unknown) = ((pipeline, groups), LEAST + bytes as f64 / self.unknown);
        Expected { key, seconds: *self.known.entry(key).or_insert(unknown) }
    }

    /// Whether the open submission should be sent before another dispatch is recorded.
    pub fn is_over(&self, next: &Expected) -> bool {
        let longer = self.expected + next.seconds;
        self.open.len() >= DISPATCHES || !self.open.is_empty() && longer > LONGEST
    }

    /// Counts a dispatch that is recorded.
    pub fn record(&mut self, dispatch: Expected) {
        self.expected += dispatch.seconds;
        self.open.push(dispatch.key);
    }

    /// Notes that the open submission is sent at `now`. The returned cell is to be set to the time at which it ends.
    pub fn send(&mut self, now: Instant) -> Arc<OnceLock<Instant>> {
        let (dispatches, end) = (std::mem::take(&mut self.open), Arc::new(OnceLock::new()));
        self.expected = 0.0;
        self.sent.push_back(Sent { dispatches, at: now, end: end.clone() });
        if self.sent.len() > SUBMISSIONS {
            self.sent.pop_front();
        }
        self.learn();
        end
    }

    /// Learns from the submissions that have ended, in order.
    fn learn(&mut self) {
        while let Some(end) = self.sent.front().and_then(|sent| sent.end.get().copied()) {
            let Some(Sent { mut dispatches, at, .. }) = self.sent.pop_front() else { return };
            let start = self.ended.map_or(at, |ended| ended.max(at));
            self.ended = Some(end);
            let took = end.saturating_duration_since(start).as_secs_f64();
            let expected: f64 = dispatches.iter().filter_map(|key| self.known.get(key)).sum();
            if expected == 0.0 {
                continue;
            }
            let factor = (took / expected).clamp(1.0 / CHANGE, CHANGE);
            dispatches.sort_unstable();
            dispatches.dedup();
            for key in dispatches {
                self.known.entry(key).and_modify(|seconds| *seconds *= factor);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use web_time::Duration;

    use super::*;

    /// Sends `dispatches` of (pipeline, seconds, bytes) as a device would that does one thing after the other; returns the
    /// seconds of every submission.
    fn send(pace: &mut Pace, clock: &mut Instant, dispatches: impl Iterator<Item = (u32, f64, u64)>) -> Vec<f64> {
        let mut submissions = vec![0.0];
        let mut finish = |pace: &mut Pace, seconds: f64| {
            let end = pace.send(*clock);
            *clock += Duration::from_secs_f64(seconds);
            end.set(*clock).expect("a submission ends once");
        };
        for (pipeline, seconds, bytes) in dispatches {
            let expected = pace.expect(pipeline, 1, bytes);
            if pace.is_over(&expected) {
                finish(pace, *submissions.last().unwrap());
                submissions.push(0.0);
            }
            pace.record(expected);
            *submissions.last_mut().unwrap() += seconds;
        }
        finish(pace, *submissions.last().unwrap());
        submissions
    }

    /// A step of training on an adapter that takes `scale` as long as expected: small kernels, among them a few slow ones.
    fn step(scale: f64) -> impl Iterator<Item = (u32, f64, u64)> {
        (0..600u32).map(move |index| match index % 50 {
            0 => (1000, 0.04 * scale, 4_000_000),
            _ => (index % 50, 0.0002 * scale, 400_000),
        })
    }

    #[test]
    fn submissions_stay_short() {
        for scale in [0.01, 1.0, 5.0] {
            let (mut pace, mut clock) = (Pace::new(false), Instant::now());
            // What is unknown may take long once.
            for _ in 0..5 {
                send(&mut pace, &mut clock, step(scale));
            }
            let submissions = send(&mut pace, &mut clock, step(scale));
            let longest = submissions.iter().copied().fold(0.0, f64::max);
            assert!(longest <= 0.5, "a submission of {longest} s at {scale} of {}", submissions.len());
            // Neither are there more than it takes, four times over.
            let least = (submissions.iter().sum::<f64>() / LONGEST).ceil().max(2.0);
            assert!(
                submissions.len() as f64 <= 4.0 * least,
                "{} submissions at {scale}, not {least}",
                submissions.len()
            );
        }
    }

    #[test]
    fn a_device_that_becomes_slow_is_believed() {
        let (mut pace, mut clock) = (Pace::new(false), Instant::now());
        for _ in 0..5 {
            send(&mut pace, &mut clock, step(0.01));
        }
        for _ in 0..4 {
            send(&mut pace, &mut clock, step(4.0));
        }
        let submissions = send(&mut pace, &mut clock, step(4.0));
        assert!(submissions.iter().all(|seconds| *seconds <= 0.5), "{submissions:?}");
    }

    #[test]
    fn dispatches_are_counted_too() {
        let (mut pace, mut clock) = (Pace::new(true), Instant::now());
        let small = || (0..2000).map(|_| (7, 1e-6, 64));
        send(&mut pace, &mut clock, small());
        assert_eq!(send(&mut pace, &mut clock, small()).len(), 2000usize.div_ceil(DISPATCHES));
    }
}
