//! Collects messages of the Khronos validation layer, if `WGPU_VALIDATION=1` asks for the layer and `WGPU_DEBUG=1`
//! makes wgpu listen to it: its messages go to wgpu's log and fail the test that caused them.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use crate::device::device;

/// What wgpu logs if the layer is missing.
const MISSING: &str = "unable to find layer";

/// Keeps log messages about Vulkan.
struct Collector;

static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
static ABSENT: AtomicBool = AtomicBool::new(false);

fn wanted() -> bool {
    std::env::var("WGPU_VALIDATION").is_ok_and(|value| value != "0")
}

impl log::Log for Collector {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("wgpu_hal::vulkan")
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string();
        if text.contains(MISSING) {
            ABSENT.store(true, Ordering::Relaxed);
        } else if record.level() <= log::Level::Warn {
            SAID.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(text);
        }
    }

    fn flush(&self) {}
}

/// Listens from now on if the layer was asked for. Must be called before the device is opened, because that is when wgpu
/// logs that the layer is missing, at a level at which it logs a lot.
pub fn listen() {
    if wanted() && log::set_logger(&Collector).is_ok() {
        log::set_max_level(log::LevelFilter::Debug);
    }
}

/// Panics with the messages since the last call, if there are any.
pub fn assert_none() {
    let said = std::mem::take(&mut *SAID.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
    assert!(said.is_empty(), "the validation layer complains:\n{}", said.join("\n"));
}

#[test]
fn the_layer_is_present_when_requested() {
    let _device = device();
    if !wanted() {
        return println!("skipped: WGPU_VALIDATION=1 does not ask for the validation layer");
    }
    assert!(!ABSENT.load(Ordering::Relaxed), "wgpu finds no validation layer: is VK_LAYER_PATH right?");
}
