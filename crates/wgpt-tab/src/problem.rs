//! Errors as JavaScript errors.

use serde::de::DeserializeOwned;
use wasm_bindgen::prelude::*;

/// A message for people.
pub struct Problem(pub String);

/// The result of calls from JavaScript.
pub type Result<T> = std::result::Result<T, Problem>;

impl From<wgpt::Error> for Problem {
    fn from(error: wgpt::Error) -> Self {
        Self(match error {
            // A page has no checkpoints to continue from.
            wgpt::Error::DeviceLost { reason, kernel, .. } => {
                format!("the GPU device was lost ({reason}; last kernel: {kernel})")
            }
            wgpt::Error::OutOfMemory(_) => format!("{error}; take a smaller model, batch or context"),
            wgpt::Error::Diverged { .. } => format!("{error}; take a smaller learning rate"),
            other => other.to_string(),
        })
    }
}

impl From<Problem> for JsValue {
    fn from(problem: Problem) -> Self {
        js_sys::Error::new(&problem.0).into()
    }
}

/// Parses options from JSON; an empty string means the defaults.
pub fn read<T: DeserializeOwned + Default>(options: &str) -> Result<T> {
    match options.trim() {
        "" => Ok(T::default()),
        options => serde_json::from_str(options).map_err(|error| Problem(format!("options: {error}"))),
    }
}

#[wasm_bindgen]
extern "C" {
    /// The page's console.
    #[wasm_bindgen(js_namespace = console, js_name = error)]
    pub fn log(text: &str);
}
