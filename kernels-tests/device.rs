//! The only device of the test binary: several at once crash some software drivers, and two tests must not use a
//! recorder at the same time.

use std::sync::{Mutex, MutexGuard, OnceLock};

use wgpt::gpu::{Gpu, Options};

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
        let options = Options { checked: checked(), ..Options::from_environment() };
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
