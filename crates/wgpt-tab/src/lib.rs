//! The API of the page in web/tab: all of wgpt that needs neither files nor threads, on the browser's own WebGPU.
//!
//! Objects take and return JSON text. Slow calls are `async`, and errors reject with a message for people. Only one
//! call may run at a time, because there is one device.

#![cfg(target_family = "wasm")]

mod problem;
mod reinforce;
mod talk;
mod train;
mod words;

use serde_json::json;
use wasm_bindgen::prelude::*;
use wgpt::{
    doctor::{Doctor, FAMILIES},
    gpu::{Gpu, Options},
};

pub use reinforce::Reinforcer;
pub use talk::Talker;
pub use train::Trainer;

use problem::Result;

/// The opened adapter.
#[wasm_bindgen]
pub struct Engine {
    gpu: Gpu,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct OpenOptions {
    without: String,
}

#[wasm_bindgen]
impl Engine {
    /// Opens the browser's adapter. `{"without": "f16,subgroups"}` leaves capabilities unused.
    pub async fn open(options: String) -> Result<Engine> {
        let OpenOptions { without } = problem::read(&options)?;
        let gpu = Gpu::open(&Options { without, ..Options::default() }).await?;
        Ok(Self { gpu })
    }

    /// `{"adapter", "capabilities", "version"}`
    pub fn about(&self) -> String {
        let (adapter, capabilities) = (self.gpu.description(), self.gpu.capabilities());
        json!({ "adapter": adapter, "capabilities": capabilities, "version": env!("CARGO_PKG_VERSION") }).to_string()
    }

    /// Checks every variant of every kernel against its oracle; `report(family, index, count)` is called for each
    /// family. Returns `[{"kernel", "variant", "pass", "max_error", "failure"}]`.
    pub async fn check(&self, report: Option<js_sys::Function>) -> Result<String> {
        let mut doctor = Doctor::new(&self.gpu, false);
        for (index, family) in FAMILIES.iter().enumerate() {
            if let Some(report) = &report {
                // A callback that throws is ignored; the check continues.
                let _ = report.call3(&JsValue::NULL, &(*family).into(), &index.into(), &FAMILIES.len().into());
            }
            doctor.check(family).await?;
        }
        Ok(json!(doctor.rows()).to_string())
    }

    /// A new model to be trained on a text.
    pub fn train(&self, text: &str, options: &str) -> Result<Trainer> {
        Trainer::begin(&self.gpu, text, problem::read(options)?)
    }

    /// Resumes training from a checkpoint saved by `Trainer::save`, on the same text.
    pub fn resume(&self, checkpoint: Vec<u8>, text: &str) -> Result<Trainer> {
        Trainer::resume(&self.gpu, checkpoint, text)
    }

    /// Loads the model in a GGUF file for conversation.
    pub fn load(&self, gguf: Vec<u8>) -> Result<Talker> {
        Talker::load(&self.gpu, gguf)
    }

    /// Loads the model in a GGUF file for reinforcement.
    pub fn reinforce(&self, gguf: Vec<u8>, options: &str) -> Result<Reinforcer> {
        Reinforcer::begin(&self.gpu, gguf, problem::read(options)?)
    }

    /// Destroys the device, as a driver reset would, to test the recovery.
    pub fn lose(&self) {
        self.gpu.destroy();
    }
}

/// Reports the location of a panic on the page's console.
#[wasm_bindgen(start)]
fn start() {
    std::panic::set_hook(Box::new(|panic| problem::log(&panic.to_string())));
}
