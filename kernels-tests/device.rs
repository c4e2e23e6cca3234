//! The only device of the test binary: several at once crash some software drivers, and two tests must not use a
//! recorder at the same time.

use std::sync::{Mutex, MutexGuard, OnceLock};

use wgpt::{
    binds,
    gpu::{Gpu, Kernel, Options},
    ops::elementwise,
    tape::Tape,
    tensor::Tensor,
};

use crate::complaints;

/// The shared device, for as long as the guard lives. Every new tensor is filled with NaN. A test that made the
/// validation layer complain fails when it releases the guard.
pub struct Device {
    /// The device.
    pub gpu: Gpu,
    _alone: MutexGuard<'static, ()>,
}

impl Drop for Device {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            complaints::assert_none();
        }
    }
}

/// Whether kernels keep their run-time checks: yes, unless `WGPT_CHECKED=0` asks for kernels as users run them.
fn checked() -> bool {
    std::env::var("WGPT_CHECKED").as_deref() != Ok("0")
}

/// Waits until the device is free.
pub fn device() -> Device {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let gpu = GPU.get_or_init(|| {
        complaints::listen();
        let options = Options { checked: checked(), own_kernels_only: !checked(), ..Options::from_environment() };
        let gpu = pollster::block_on(Gpu::open(&options)).expect("a GPU adapter, real or software");
        gpu.poison(true);
        gpu
    });
    // Questions that other tests asked the tuner must not be answered in this test.
    gpu.tuner().forget();
    Device { gpu: gpu.clone(), _alone: alone }
}

/// What `checked` does to a kernel is tested in [`wgpt::gpu::kernel`].
#[test]
fn kernels_keep_their_checks_here() {
    let device = device();
    if !checked() {
        return println!("skipped: WGPT_CHECKED=0 asks for kernels without their run-time checks");
    }
    assert!(device.gpu.checked());
}

static ZERO: Kernel = Kernel {
    name: "zero",
    source: "// zero: out[0] = 0.
@group(0) @binding(0) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(1)
fn main() {
    out[0] = 0.0;
}
",
};

/// On a device whose accesses to buffers nothing checks, kernels that are not the library's own could reach anything.
#[test]
fn a_device_for_the_librarys_own_kernels_refuses_others() {
    let device = device();
    let options = Options { own_kernels_only: true, ..Options::from_environment() };
    let gpu = pollster::block_on(Gpu::open(&options)).expect("a second device");
    if gpu.wgpu_device().is_some() {
        return println!("skipped: this backend always checks accesses to buffers");
    }
    let x = Tensor::from_f32(&gpu, &[5], &[1.0, -2.0, 3.0, 4.0, 0.5]).expect("a tensor");
    let sum = elementwise::add(&Tape::off(&gpu), &x, &x).expect("its own kernels run");
    let sum = pollster::block_on(sum.to_f32()).expect("a readback");
    assert_eq!(sum, [2.0, -4.0, 6.0, 8.0, 1.0]);
    let refused = gpu.dispatch(&ZERO.plain(), binds![out: x.bind()], &[], [1, 1, 1]).expect_err("others do not");
    assert!(refused.to_string().contains("own kernels only"), "{refused}");
    // The shared device is not such a one, unless it runs kernels as users do.
    assert_eq!(device.gpu.wgpu_device().is_some(), checked());
}
