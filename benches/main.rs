//! `cargo bench`: the adapter's rooflines, every kernel, training steps and decoding.
//! `scripts/bench` makes tables of it.

mod common;
mod decode;
mod kernels;
mod training;

fn main() {
    let mut criterion = common::criterion();
    let gpu = common::device();
    kernels::bench(&mut criterion, &gpu);
    training::bench(&mut criterion, &gpu);
    decode::bench(&mut criterion, &gpu);
    criterion.final_summary();
}
