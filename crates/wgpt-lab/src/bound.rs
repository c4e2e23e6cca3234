//! The share of a GPU's peak that a hot loop allows, as `docs/lab.md` explains: no kernel is faster than its loop.

use serde::{Deserialize, Serialize};

use crate::{
    gpus::Gpu,
    machine_code::{Counts, Hot, Nest},
    variant::{Item, Phase},
};

/// What the hot loop allows, and why not more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bound {
    /// The share of the peak, from 0 to 1: of multiply-adds or, for kernels that stream weights or a cache, of the memory
    /// bandwidth.
    pub(crate) share: f64,
    /// Of what it is a share.
    pub(crate) of: Peak,
    /// What limits it.
    pub(crate) limit: Limit,
    /// The share that the turns of the multiply-adds' unit alone would allow.
    pub(crate) issue: f64,
    /// The share that workgroup memory alone would allow.
    pub(crate) workgroup_memory: f64,
    /// The share that waiting for loads alone would allow, at the occupancy that registers and workgroup memory leave.
    pub(crate) latency: f64,
}

/// A peak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Peak {
    /// f32 multiply-adds.
    MultiplyAdds,
    /// Global memory.
    Bandwidth,
}

/// What limits a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Limit {
    /// Instructions other than multiply-adds.
    Issue,
    /// Bytes from workgroup memory.
    WorkgroupMemory,
    /// Waiting for loads.
    Latency,
    /// Nothing: it runs at the peak.
    Peak,
}

/// The bytes per multiply-add that a kernel reads from global memory and no cache has, if it streams; see `docs/lab.md`.
pub(crate) type Stream = Option<f64>;

/// The bound of a loop of subgroups of `lanes`, of which `waves` take turns on a scheduler. `None` without a multiply-add.
pub(crate) fn bound(gpu: &Gpu, hot: &Hot, waves: f64, lanes: f64, item: &Item) -> Option<Bound> {
    let (whole, waits) = with_around(hot, &item.phases);
    let multiply_adds = f64::from(whole.multiply_adds);
    if multiply_adds == 0.0 {
        return None;
    }
    // Clocks for one round of all lanes of a unit, by each resource.
    let peak = multiply_adds / gpu.multiply_adds;
    let issue = (whole.slots / gpu.turns).max(whole.multiply_add_slots) / gpu.multiply_adds;
    let issue = issue.max(f64::from(whole.special) / gpu.special).max(peak);
    let workgroup = f64::from(whole.workgroup_load_bytes + whole.workgroup_store_bytes) / gpu.workgroup_bytes;
    // One wave's round takes its turns on one scheduler; while it waits for memory, the others have theirs.
    let round = issue.max(workgroup) * lanes * gpu.simds;
    let waiting = (round + waits * gpu.latency) / waves.max(1.0) / (lanes * gpu.simds);
    let (peak, of) = match item.stream {
        None => (peak, Peak::MultiplyAdds),
        Some(bytes) => {
            let per_clock = gpu.bandwidth / gpu.gigahertz / gpu.units;
            (multiply_adds * bytes / per_clock, Peak::Bandwidth)
        }
    };
    let share = |clocks: f64| if clocks > peak { peak / clocks } else { 1.0 };
    let shares = [share(issue), share(workgroup), share(waiting)];
    let limits = [Limit::Issue, Limit::WorkgroupMemory, Limit::Latency];
    let least = limits.into_iter().zip(shares).min_by(|left, right| left.1.total_cmp(&right.1))?;
    let limit = if least.1 < 1.0 { least.0 } else { Limit::Peak };
    // Three digits are more than the model deserves.
    let round = |share: f64| (share * 1e3).round() / 1e3;
    let [issue, workgroup_memory, latency] = shares.map(round);
    Some(Bound { share: round(least.1), of, limit, issue, workgroup_memory, latency })
}

/// What is executed in a turn of the kernel's outer loop, as far as that is known, and how often it waits for loads.
fn with_around(hot: &Hot, phases: &[Phase]) -> (Counts, f64) {
    let (counts, around) = (&hot.counts, &hot.around);
    if phases.len() == 1 && counts.global_loads > 0 {
        return (counts.clone(), 1.0); // It is the outer loop.
    }
    if let Some(whole) = whole(&hot.nest, phases) {
        return (whole, phases.iter().map(|phase| phase.stages).sum());
    }
    // A loop whose operands are loaded around it is taken to turn twice.
    if counts.global_loads > 0 || around.global_loads == 0 {
        return (counts.clone(), f64::from(counts.global_loads > 0));
    }
    (counts.repeated(2).plus(around), 1.0)
}

/// A turn of the outer loop. `None` where the loops are not those of the phases, as when a compiler writes one of them out.
fn whole(nest: &Nest, phases: &[Phase]) -> Option<Counts> {
    if phases.is_empty() || nest.inner.len() != phases.len() {
        return None;
    }
    let turns = nest.inner.iter().zip(phases).map(|(inner, phase)| {
        let turns = (phase.multiply_adds / f64::from(inner.counts.multiply_adds)).round();
        inner.counts.repeated((turns as u32).max(1)).plus(&inner.between.repeated(phase.stages as u32))
    });
    Some(turns.fold(nest.outer.clone(), |sum, phase| sum.plus(&phase)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine_code::Inner;

    #[test]
    fn loops_turn_as_often_as_their_phases_say() {
        let counts = |multiply_adds, barriers| Counts { multiply_adds, barriers, ..Counts::default() };
        let inner = |multiply_adds, barriers| Inner { counts: counts(multiply_adds, 0), between: counts(0, barriers) };
        let nest = Nest { outer: counts(5, 1), inner: vec![inner(16, 2), inner(8, 1)] };
        let phase = |multiply_adds, stages| Phase { multiply_adds, stages };
        let phases = [phase(64.0, 2.0), phase(32.0, 4.0)];
        assert_eq!(whole(&nest, &phases), Some(counts(5 + 64 + 32, 1 + 2 * 2 + 4)));
        assert_eq!(whole(&nest, &phases[..1]), None);
    }
}
