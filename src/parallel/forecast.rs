//! Predicts the time of a step on many ranks before running on them.
//!
//! ```text
//! wire     = 2 (n-1)/n B / link                     a ring's all-reduce of B bytes: reduce-scatter, then all-gather
//! latency  = 2 ceil(log2 n) a per bucket            the depth of the tree that small messages take
//! copies   = B / down + B / up                      between GPU and host memory
//! hidden   = min(copies + wire + latency, h c (1 - 1/buckets))
//! step     = max(c, k u c) + max(1, k / cores) copies + wire + latency - hidden
//! ```
//!
//! c is a rank's step time alone on its adapter, k the number of ranks that share one adapter's cores (1 for GPUs), u
//! the share of the cores that one rank keeps busy (what one leaves idle, another takes; a copy keeps one core busy), h
//! the share of a step spent in the backward pass (2/3: two of three products). Hidden time is communication during the
//! backward pass, which is impossible where ranks share cores. With independent steps, everything but c is divided by
//! the number of steps between two meetings, and nothing is hidden. The batch per rank stays the same with more ranks,
//! so the whole batch grows.

/// The measurements that a forecast is based on.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Rates {
    /// Seconds per step of one rank alone.
    pub step: f64,
    /// Tokens per step of one rank.
    pub tokens: usize,
    /// Number of trained parameters.
    pub parameters: usize,
    /// Bytes per number on the wire.
    pub bytes_per_number: f64,
    /// Bytes per second from GPU to host memory.
    pub down: f64,
    /// Bytes per second from host to GPU memory.
    pub up: f64,
    /// Bytes per second that a rank sends.
    pub link: f64,
    /// Additional seconds per message.
    pub latency: f64,
    /// Number of ranks that share one adapter's cores.
    pub sharing: usize,
    /// Number of cores.
    pub cores: usize,
    /// The share of the cores that a rank's step keeps busy when it runs alone.
    pub busy: f64,
    /// Steps between meetings.
    pub sync_every: u64,
}

/// A forecast for a number of ranks.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Forecast {
    /// Number of ranks.
    pub ranks: usize,
    /// Seconds per step.
    pub step_seconds: f64,
    /// Tokens per second of all ranks together.
    pub tokens_per_second: f64,
    /// `tokens_per_second` divided by the ranks' rate if each were alone on its own adapter.
    pub efficiency: f64,
    /// Average number of bytes that a rank sends per step.
    pub bytes_sent: f64,
}

/// The share of a step spent in the backward pass.
const BACKWARD: f64 = 2.0 / 3.0;

impl Rates {
    /// The forecast for `ranks` ranks, `sharing` of which share one adapter.
    pub fn forecast(&self, ranks: usize) -> Forecast {
        let Self { step, parameters, .. } = *self;
        let (count, alone) = (ranks as f64, ranks == 1);
        let sharing = self.sharing.clamp(1, ranks) as f64;
        let copying = (sharing / self.cores.max(1) as f64).max(1.0);
        let held = 4.0 * parameters as f64;
        let buckets = parameters.div_ceil(super::gradients::BUCKET).max(1) as f64;
        let sent = 2.0 * (count - 1.0) / count * parameters as f64 * self.bytes_per_number;
        let copies = if alone { 0.0 } else { held / self.down + held / self.up };
        let wire = sent / self.link + buckets * 2.0 * count.log2().ceil() * self.latency;
        let every = self.sync_every.max(1) as f64;
        let hides = every == 1.0 && sharing == 1.0;
        let hidden = if hides { (copies + wire).min(BACKWARD * step * (1.0 - 1.0 / buckets)) } else { 0.0 };
        let step_seconds = step.max(sharing * self.busy * step) + (copying * copies + wire - hidden) / every;
        let tokens_per_second = count * self.tokens as f64 / step_seconds;
        Forecast { ranks, step_seconds, tokens_per_second, efficiency: step / step_seconds, bytes_sent: sent / every }
    }

    /// Forecasts for 1, 2, 4 .. 1024 ranks.
    pub fn table(&self) -> Vec<Forecast> {
        (0..=10).map(|power| self.forecast(1 << power)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: Rates = Rates {
        step: 0.3,
        tokens: 16384,
        parameters: 124_000_000,
        bytes_per_number: 4.0,
        down: 10e9,
        up: 10e9,
        link: 10e9,
        latency: 20e-6,
        sharing: 1,
        cores: 1,
        busy: 1.0,
        sync_every: 1,
    };

    #[test]
    fn one_rank_sends_nothing() {
        let found = RATES.forecast(1);
        assert_eq!((found.step_seconds, found.efficiency, found.bytes_sent), (0.3, 1.0, 0.0));
    }

    #[test]
    fn what_fits_behind_the_backward_pass_costs_nothing() {
        // 2 * 7/8 * 496 MB over 10 GB/s: 86.8 ms; copies: 99.2 ms; 119 buckets' latency: 14.3 ms. All but 2 of it fit into 198.3.
        let found = RATES.forecast(8);
        assert!((found.step_seconds - 0.302).abs() < 1e-4, "{found:?}");
        assert!((found.bytes_sent - 868e6).abs() < 1e3, "{found:?}");
        let slow = Rates { link: 1e9, ..RATES }.forecast(8);
        // 868 ms of wire, 99 of copies, 119 * 6 * 20 us of latency, less 198 that are hidden.
        assert!((slow.step_seconds - (0.3 + 0.868 + 0.0992 + 0.01428 - 0.19832)).abs() < 1e-3, "{slow:?}");
    }

    #[test]
    fn shared_cores_add_up_and_outer_steps_are_rare() {
        let found = Rates { sharing: 2, link: 1e15, latency: 0.0, ..RATES }.forecast(2);
        assert!((found.step_seconds - 2.0 * (0.3 + 0.0992)).abs() < 1e-6, "{found:?}");
        // What one rank leaves idle, the other takes.
        let idle = Rates { sharing: 2, busy: 0.75, link: 1e15, latency: 0.0, ..RATES }.forecast(2);
        assert!((found.step_seconds - idle.step_seconds - 0.15).abs() < 1e-6, "{idle:?}");
        let every = RATES.forecast(8).bytes_sent;
        let rarely = Rates { sync_every: 50, ..RATES }.forecast(8);
        assert!((every / rarely.bytes_sent - 50.0).abs() < 1e-9);
        assert!(RATES.table().windows(2).all(|pair| pair[1].efficiency <= pair[0].efficiency + 1e-12));
    }
}
