//! What `wgpt doctor --full` checks besides the kernels: training runs and answers with known results.

use std::path::Path;

use wgpt::{
    doctor::{known_answers, trajectory},
    train::settings::Precision,
};

use crate::device::device;

#[test]
fn losses_match_an_independent_program() {
    let device = device();
    let found = pollster::block_on(trajectory::follow(&device.gpu)).expect("the driver works");
    assert_eq!(found.len(), if device.gpu.capabilities().f16 { 4 } else { 2 });
    for found in found {
        println!("{} in {:?}: off by {:e}", found.model, found.precision, found.worst);
        assert!(found.pass, "{found:?}");
        // Results in f32 are far closer than the tolerance, which allows for adapters that round differently.
        assert!(found.precision == Precision::F16 || found.worst < 1e-4, "{found:?}");
        assert!(found.losses.last() < found.losses.first().map(|first| first - 0.5).as_ref(), "it learns: {found:?}");
    }
}

#[test]
fn the_shipped_model_gives_its_known_answers() {
    let device = device();
    let talker = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights/talker.gguf");
    let answers = pollster::block_on(known_answers::ask(&device.gpu, &talker)).expect("the driver works");
    for answer in answers {
        assert!(answer.pass && answer.said.len() == 3, "{answer:#?}");
    }
}
