//! Runs the same work with wgpt and its peers on one adapter, case after case, so that all see the machine in the same
//! state. `scripts/bench --peers` makes a table of ratios of it.

mod burn;
mod burn_gpt;
mod cases;
#[path = "../common.rs"]
mod common;
mod forge;
mod ours;

use std::time::Duration;

use cases::Peer;
use criterion::SamplingMode;

fn main() {
    // Longer than for single kernels, because the cases include whole steps.
    let mut criterion = common::criterion().measurement_time(Duration::from_millis(1500));
    let peers: Vec<Box<dyn Peer>> =
        vec![Box::new(ours::Wgpt::open()), Box::new(burn::Burn::open()), Box::new(forge::Forge::open())];
    for case in cases::all() {
        let mut group = criterion.benchmark_group(case.to_string());
        if let Some(throughput) = case.throughput() {
            group.throughput(throughput);
        }
        if case.is_step() {
            // The same number of iterations in every sample, because a peer's step can take a quarter of a minute.
            group.sampling_mode(SamplingMode::Flat);
        }
        for peer in peers.iter().filter(|peer| peer.does(&case)) {
            // Prepared only if criterion's filter lets the case through.
            let mut work = None;
            group.bench_function(peer.name(), |bencher| {
                bencher.iter_custom(|count| work.get_or_insert_with(|| peer.work(&case))(count));
            });
        }
        group.finish();
    }
    criterion.final_summary();
}
