//! The device of this crate's own tests: kernels that are not the project's, and copies to the host.

use std::sync::{Mutex, MutexGuard, OnceLock};

use super::{Bind, Gpu, Kernel, Options, pool::Purpose, wait};
use crate::binds;

/// The one device of these tests, which checks indices, for as long as the guard lives.
pub(super) fn device() -> (&'static Gpu, MutexGuard<'static, ()>) {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let options = Options { checked: true, ..Options::from_environment() };
    let open = || wait::now(Gpu::open(&options)).expect("a GPU adapter, real or software");
    (GPU.get_or_init(open), alone)
}

/// Index 5 of an array of four: with checks it is its last element, without them what lies behind.
static PAST: Kernel = Kernel {
    name: "past",
    source: "// past: reads out of bounds.
struct Both { first: array<u32, 4>, second: array<u32, 4> }
var<workgroup> both: Both;
@group(0) @binding(0) var<storage, read_write> out: array<u32>;

@compute @workgroup_size(1)
fn main() {
    for (var i = 0u; i < 4u; i += 1u) {
        both.first[i] = 10u + i;
        both.second[i] = 20u + i;
    }
    out[1] = both.first[out[0]];
}
",
};

#[test]
fn a_device_that_checks_clamps_indices() {
    let (gpu, _alone) = device();
    assert!(gpu.checked() && gpu.imagine().checked());
    let storage = gpu.allocate(8, Purpose::Compute);
    let out = Bind { storage: &storage, offset: 0, size: 8 };
    gpu.upload(out, bytemuck::cast_slice(&[5u32, 0]));
    gpu.run(&PAST.plain(), binds![out: out], &[], [1, 1, 1]).expect("it runs");
    assert_eq!(wait::now(gpu.read(out).numbers::<u32>()).expect("a readback"), [5, 13]);
}

/// A copy that is given up while it is mapped, or once it is, leaves its buffer to the next one.
#[test]
fn copies_that_are_given_up_leave_their_buffers_usable() {
    let (gpu, _alone) = device();
    let storage = gpu.allocate(2000, Purpose::Compute);
    let source = Bind { storage: &storage, offset: 0, size: 2000 };
    gpu.clear(source);
    for wait in [false, true] {
        let copy = gpu.read(source).hand_over().expect("a submission");
        while wait && !copy.is_here() {
            std::thread::yield_now();
        }
        drop(copy);
        assert_eq!(wait::now(gpu.read(source).numbers::<u32>()).expect("a readback"), [0; 500]);
    }
}

/// The callback of one thread's copy may come to another thread that waits for its own.
#[test]
fn several_threads_read_from_one_device() {
    let (gpu, _alone) = device();
    std::thread::scope(|scope| {
        for number in 0..4u32 {
            scope.spawn(move || {
                let storage = gpu.allocate(2000, Purpose::Compute);
                let bind = Bind { storage: &storage, offset: 0, size: 2000 };
                for round in 0..200 {
                    gpu.upload(bind, bytemuck::cast_slice(&[number + round; 500]));
                    let found = wait::now(gpu.read(bind).numbers::<u32>()).expect("a readback");
                    assert_eq!(found, [number + round; 500]);
                }
            });
        }
    });
}
