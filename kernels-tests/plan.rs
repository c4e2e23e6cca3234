//! Tests of the imagined device and of plans made with it.

use wgpt::{
    gpu::{Bind, replay::Replay},
    model::Config,
    ops::elementwise,
    tape::Tape,
    tensor::Tensor,
    train::{Settings, plan},
};

use crate::device::device;

#[test]
fn imagining_only_takes_notes() {
    let device = device();
    let before = (device.gpu.memory(), device.gpu.created());
    let imagined = device.gpu.imagine();
    let tensor = Tensor::zeros(&imagined, &[1 << 10, 1 << 10]).expect("a tensor");
    let tape = Tape::off(&imagined);
    for _ in 0..3 {
        elementwise::add(&tape, &tensor, &tensor).expect("a note");
    }
    tensor.fill(1.0).expect("another");
    assert_eq!(pollster::block_on(tensor.rows(4, 5).expect("rows").to_f32()).expect("zeros"), vec![0.0; 5 << 10]);
    pollster::block_on(imagined.finish()).expect("nothing to wait for");
    let works = imagined.ledger().expect("an imagined device has a ledger").take(false).works;
    let notes: Vec<_> = works.iter().map(|work| (work.variant.kernel.name, work.count)).collect();
    assert_eq!(notes, [("add", 3), ("fill", 1)]);
    let (live, peak, _) = imagined.memory();
    assert_eq!((live, peak), (4 << 20, 8 << 20));
    assert_eq!((device.gpu.memory(), device.gpu.created()), before);
}

/// A replay does everything that was noted in order: uploads, dispatches, copies and readbacks, in as many bytes as were
/// imagined.
#[test]
fn a_replay_does_what_was_noted() {
    let device = device();
    let gpu = &device.gpu;
    let imagined = gpu.imagine();
    imagined.ledger().expect("a ledger").take(true);
    let tensor = Tensor::from_f32(&imagined, &[4], &[1.0, 2.0, 3.0, -4.0]).expect("a tensor");
    let double = elementwise::add(&Tape::off(&imagined), &tensor, &tensor).expect("a note");
    imagined.copy(Bind { size: 4, ..tensor.bind() }, Bind { offset: 12, size: 4, ..double.bind() });
    drop(double.read());
    imagined.submit().expect("a note");
    let ledger = imagined.ledger().expect("a ledger").take(false);
    let before = gpu.memory().0;
    let replay = pollster::block_on(Replay::new(gpu, &ledger)).expect("buffers");
    assert_eq!(gpu.memory().0 - before, 512, "two buffers of the smallest class");
    for _ in 0..2 {
        let [read] = <[_; 1]>::try_from(replay.run().expect("a run")).ok().expect("one is read");
        assert_eq!(pollster::block_on(read.numbers::<f32>()).expect("numbers"), [2.0, 4.0, 6.0, 1.0]);
    }
    drop(replay);
    assert_eq!(gpu.memory().0, before);
}

/// If there is no room for a whole step, its kernels are timed alone, and the plan says so.
#[test]
fn a_plan_without_room_is_the_sum_of_its_kernels() {
    let device = device();
    let gpu = &device.gpu;
    let settings = Settings { batch: 2, ..Settings::recipe(Config::gpt2(31, 8, 1, 2, 16)) };
    let imagined = pollster::block_on(plan::imagine(gpu, &settings, |_, _, _| {})).expect("imagined");
    for replay in [false, true] {
        let plan = pollster::block_on(plan::plan(gpu, &settings, &imagined, replay, |_, _, _| {})).expect("a plan");
        let sum: f64 = plan.kernels.iter().map(|share| share.seconds).sum();
        assert!((sum / plan.seconds - 1.0).abs() < 1e-9 && plan.alone_seconds > 0.0);
        assert_eq!((plan.replayed, plan.seconds == plan.alone_seconds), (replay, !replay));
    }
}
