//! A run's folder: saving a trainer as a checkpoint, and making one again from it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{Settings, trainer::Trainer};
use crate::{
    Error, Result,
    gpu::Gpu,
    interchange::{self, Language, own::Own},
    io::{
        checkpoint::{self, Checkpoint, Contents},
        tensors::{NamedTensor, TensorFile},
    },
    model::{Gpt, build::Storage},
    tensor::Tensor,
    text::Tokenizer,
};

/// What a resumed run continues from, beside weights and moments.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// Steps taken.
    pub step: u64,
    /// The run's settings.
    pub settings: Settings,
    /// Lowest validation loss so far.
    pub best_val_loss: Option<f64>,
    /// The adapter, and the variants that were chosen on it: other choices may round differently.
    pub adapter: String,
    /// Choices by class.
    pub choices: std::collections::BTreeMap<String, String>,
}

/// The host's copy of named tensors.
async fn download(tensors: &[(String, Tensor)]) -> Result<Vec<Vec<f32>>> {
    let mut values = Vec::with_capacity(tensors.len());
    for (_, tensor) in tensors {
        values.push(tensor.to_f32().await?);
    }
    Ok(values)
}

fn named<'a>(tensors: &'a [(String, Tensor)], values: &'a [Vec<f32>]) -> Vec<NamedTensor<'a>> {
    let name = |((name, tensor), values): (&'a (String, Tensor), &'a Vec<f32>)| NamedTensor {
        name,
        shape: tensor.shape(),
        data: values,
    };
    tensors.iter().zip(values).map(name).collect()
}

/// Writes a checkpoint of `trainer` into the run folder `out`: all of it or nothing. The chat template goes with it if
/// `language` has one.
///
/// # Errors
/// [`Error::Io`] (older checkpoints stay), and those of the driver.
pub async fn save(
    out: &Path,
    trainer: &Trainer,
    language: &Language,
    settings: &Settings,
    best_val_loss: Option<f64>,
) -> Result<std::path::PathBuf> {
    let state = State {
        step: trainer.optimizer.step,
        settings: settings.clone(),
        best_val_loss,
        adapter: trainer.gpu.tuner().adapter().to_string(),
        choices: trainer.gpu.tuner().choices(),
    };
    let moments = trainer.optimizer.state();
    let (weights, moment_values) = (download(trainer.model.parameters()).await?, download(&moments).await?);
    let json = |value: serde_json::Result<serde_json::Value>| value.map_err(|error| Error::Config(error.to_string()));
    let vocabulary = language.tokenizer.to_json();
    let conventions = &language.conventions;
    let files = conventions.template.is_some().then(|| conventions.files());
    let contents = Contents {
        config: &json(serde_json::to_value(trainer.model.config()))?,
        tokenizer: vocabulary.as_bytes(),
        language: files.as_ref().map_or(&[], |files| &files[..]),
        model: &named(trainer.model.parameters(), &weights),
        optimizer: &named(&moments, &moment_values),
        state: &json(serde_json::to_value(&state))?,
    };
    checkpoint::save(out, state.step, &contents, settings.keep)
}

/// A tensor of `file` with the shape that the configuration asks for.
fn take(file: &TensorFile, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    if file.shape(name)? != shape {
        let reason = format!("{name} is {:?}, the configuration says {shape:?}", file.shape(name)?);
        return Err(Error::checkpoint(file.path(), reason));
    }
    file.to_f32(name)
}

/// The model and tokenizer of whatever model lies at `path`; see [`interchange::open`].
///
/// # Errors
/// [`Error::Checkpoint`] for a foreign, truncated or inconsistent one.
pub fn load(gpu: &Gpu, path: &Path) -> Result<(Gpt, Tokenizer)> {
    // The tokenizer first: it is small, and what is wrong with it shows at once.
    let tokenizer = interchange::tokenizer(path)?;
    Ok((Gpt::frozen(gpu, &*interchange::open(path)?, Storage::AsStored, |_, _| ())?, tokenizer))
}

/// The trainer, language and state that a checkpoint or run folder holds.
///
/// # Errors
/// [`Error::Checkpoint`] for a foreign, truncated or inconsistent one.
pub fn resume(gpu: &Gpu, path: &Path) -> Result<(Trainer, Language, State)> {
    let checkpoint = Checkpoint::open(path)?;
    let state: State = serde_json::from_value(checkpoint.state()?)
        .map_err(|error| Error::checkpoint(&checkpoint.folder, format!("state.json: {error}")))?;
    if state.adapter == gpu.tuner().adapter() {
        gpu.tuner().adopt(state.choices.clone());
    }
    let mut trainer = Trainer::new(gpu, Gpt::from_source(gpu, &Own::open(path)?)?, &state.settings)?;
    let moments = checkpoint.optimizer()?;
    for (name, tensor) in trainer.optimizer.state() {
        tensor.write(&take(&moments, &name, tensor.shape())?)?;
        gpu.submit()?;
    }
    trainer.optimizer.step = state.step;
    Ok((trainer, Language::open(&checkpoint.folder)?, state))
}
