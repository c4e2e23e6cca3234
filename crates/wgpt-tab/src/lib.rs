//! What the page in web/tab calls: the whole of wgpt that needs neither files nor threads, on the browser's own WebGPU.
//!
//! Objects take and give JSON text; what takes long is `async`, and a mistake rejects with a message for people. One call at a
//! time: the device is one.

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

/// The adapter, opened.
#[wasm_bindgen]
pub struct Engine {
    gpu: Gpu,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wishes {
    without: String,
}

#[wasm_bindgen]
impl Engine {
    /// Opens the browser's adapter. `{"without": "f16,subgroups"}` leaves capabilities unused.
    pub async fn open(options: String) -> Result<Engine> {
        let Wishes { without } = problem::read(&options)?;
        let gpu = Gpu::open(&Options { without, ..Options::default() }).await?;
        Ok(Self { gpu })
    }

    /// `{"adapter", "capabilities", "version"}`
    pub fn about(&self) -> String {
        let (adapter, capabilities) = (self.gpu.description(), self.gpu.capabilities());
        json!({ "adapter": adapter, "capabilities": capabilities, "version": env!("CARGO_PKG_VERSION") }).to_string()
    }

    /// Holds every variant of every kernel against its oracle; `report(family, index, count)` hears of each family. Gives
    /// `[{"kernel", "variant", "pass", "max_error", "failure"}]`.
    pub async fn check(&self, report: Option<js_sys::Function>) -> Result<String> {
        let mut doctor = Doctor::new(&self.gpu, false);
        for (index, family) in FAMILIES.iter().enumerate() {
            if let Some(report) = &report {
                // A listener that throws hears nothing; the check goes on.
                let _ = report.call3(&JsValue::NULL, &(*family).into(), &index.into(), &FAMILIES.len().into());
            }
            doctor.check(family).await?;
        }
        Ok(json!(doctor.rows()).to_string())
    }

    /// A new model that is to learn a text.
    pub fn train(&self, text: &str, options: &str) -> Result<Trainer> {
        Trainer::begin(&self.gpu, text, problem::read(options)?)
    }

    /// The training that `Trainer::save` saved, of the same text.
    pub fn resume(&self, checkpoint: Vec<u8>, text: &str) -> Result<Trainer> {
        Trainer::resume(&self.gpu, checkpoint, text)
    }

    /// A model in a GGUF file, to talk with.
    pub fn load(&self, gguf: Vec<u8>) -> Result<Talker> {
        Talker::load(&self.gpu, gguf)
    }

    /// A model in a GGUF file, to reinforce.
    pub fn reinforce(&self, gguf: Vec<u8>, options: &str) -> Result<Reinforcer> {
        Reinforcer::begin(&self.gpu, gguf, problem::read(options)?)
    }

    /// Destroys the device, as a driver does that resets: for trying what happens then.
    pub fn lose(&self) {
        self.gpu.device().destroy();
    }
}

/// A panic says where it was on the page's console instead of only ending.
#[wasm_bindgen(start)]
fn start() {
    std::panic::set_hook(Box::new(|panic| problem::log(&panic.to_string())));
}
