//! wgpt's own checkpoints as a source of weights.

use std::path::Path;

use super::huggingface;
use crate::{
    Error, Result,
    formats::Rows,
    io::checkpoint::{Checkpoint, Kind},
    model::{
        Config, Source,
        parameters::{self, Spec},
    },
};

/// A checkpoint folder, or the newest of a run folder.
#[derive(Debug)]
pub struct Own {
    checkpoint: Checkpoint,
    config: Config,
    specs: std::collections::HashMap<String, Spec>,
}

impl Own {
    /// Opens a checkpoint or run folder and checks that every tensor is there in its shape.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] or [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self> {
        let checkpoint = Checkpoint::open(path)?;
        if checkpoint.kind == Kind::Adapter {
            return Err(Error::checkpoint(&checkpoint.folder, "adapters, not a whole model"));
        }
        let file = checkpoint.folder.join(checkpoint.kind.config());
        let config: Config = serde_json::from_value(checkpoint.config.clone())
            .map_err(|error| Error::checkpoint(&file, error.to_string()))?;
        config.validate().map_err(|error| Error::checkpoint(&file, error.to_string()))?;
        let model = &checkpoint.model;
        if config.layers > model.names().len() {
            let reason = format!("layers is {}, but there are {} tensors in all", config.layers, model.names().len());
            return Err(Error::checkpoint(&file, reason));
        }
        let specs: std::collections::HashMap<_, _> =
            parameters::specs(&config).into_iter().map(|spec| (spec.name.clone(), spec)).collect();
        for Spec { name, shape, .. } in specs.values() {
            if model.shape(name)? != shape {
                let reason = format!("{name} is {:?}, the configuration says {shape:?}", model.shape(name)?);
                return Err(Error::checkpoint(model.path(), reason));
            }
        }
        Ok(Self { checkpoint, config, specs })
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.checkpoint.folder
    }
}

impl Source for Own {
    fn config(&self) -> &Config {
        &self.config
    }

    fn parameter(&self, name: &str) -> Result<Vec<Rows<'_>>> {
        let Some(spec) = self.specs.get(name) else { return Ok(Vec::new()) };
        let file = &self.checkpoint.model;
        let (rows, width) = match spec.shape[..] {
            [rows, width] => (rows, width),
            _ => (1, spec.shape[0]),
        };
        let format = huggingface::format(file, name)?;
        Ok(vec![Rows { format, rows, width, bytes: file.stored(name)?.1.into() }])
    }

    fn done(&self, name: &str) {
        // A tensor that is not there has no pages.
        let _ = self.checkpoint.model.release(name);
    }
}
