//! wgpt's own checkpoints as a source of weights.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use super::huggingface;
use crate::{
    Error, Result,
    formats::Rows,
    io::{
        checkpoint::{Checkpoint, Kind},
        tensors::TensorFile,
    },
    model::{
        Config, Source,
        parameters::{self, ParameterSpec},
    },
};

/// A checkpoint folder, the newest checkpoint of a run folder, or weights under wgpt's names in one file.
#[derive(Debug)]
pub struct CheckpointSource {
    folder: PathBuf,
    model: TensorFile,
    config: Config,
    specs: HashMap<String, ParameterSpec>,
}

impl CheckpointSource {
    /// Opens a checkpoint or run folder and checks that every tensor is there with the right shape.
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
        Self::of(checkpoint.model, config, &file)
    }

    /// A model with configuration `config` and the weights in `model`; `file` is the file of the configuration, for
    /// error messages.
    ///
    /// # Errors
    /// [`Error::Checkpoint`].
    pub fn of(model: TensorFile, config: Config, file: &Path) -> Result<Self> {
        config.validate().map_err(|error| Error::checkpoint(file, error.to_string()))?;
        if config.layers > model.names().len() {
            let reason = format!("layers is {}, but there are {} tensors in all", config.layers, model.names().len());
            return Err(Error::checkpoint(file, reason));
        }
        let specs: HashMap<_, _> =
            parameters::specs(&config).into_iter().map(|spec| (spec.name.clone(), spec)).collect();
        for ParameterSpec { name, shape, .. } in specs.values() {
            if model.shape(name)? != shape {
                let reason = format!("{name} is {:?}, the configuration says {shape:?}", model.shape(name)?);
                return Err(Error::checkpoint(model.path(), reason));
            }
        }
        let folder = file.parent().unwrap_or(file).to_path_buf();
        Ok(Self { folder, model, config, specs })
    }

    /// All tensors in its file.
    pub fn tensors(&self) -> &TensorFile {
        &self.model
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Source for CheckpointSource {
    fn config(&self) -> &Config {
        &self.config
    }

    fn parameter(&self, name: &str) -> Result<Vec<Rows<'_>>> {
        let Some(spec) = self.specs.get(name) else { return Ok(Vec::new()) };
        let file = &self.model;
        let (rows, width) = match spec.shape[..] {
            [rows, width] => (rows, width),
            _ => (1, spec.shape.iter().product()),
        };
        let format = huggingface::format(file, name)?;
        Ok(vec![Rows { format, rows, width, bytes: file.stored(name)?.1.into() }])
    }

    fn done(&self, name: &str) {
        // A tensor that does not exist has no pages to release.
        let _ = self.model.release(name);
    }
}
