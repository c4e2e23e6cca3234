//! A whole run as one sequence of bytes, for environments without folders, such as a browser: weights, moments,
//! tokenizer and state in one safetensors file.

use std::{collections::BTreeMap, path::Path};

use super::{
    Settings,
    state::{self, State},
    trainer::Trainer,
};
use crate::{
    Error, Result,
    formats::Format,
    gpu::Gpu,
    interchange::{TextCodec, checkpoint::CheckpointSource, gguf},
    io::tensors::{self, TensorFile},
    model::Gpt,
    text::Tokenizer,
};

/// Prefix of the names of the optimizer's tensors, which share a file with the weights.
const OPTIMIZER: &str = "optimizer.";
/// The name of the bytes in error messages.
const NAME: &str = "checkpoint";

/// Saves a trainer whose whole model is trained as a checkpoint.
///
/// # Errors
/// [`Error::Config`] for adapters or a reward head, and the driver's errors.
pub async fn save(
    trainer: &Trainer,
    tokenizer: &Tokenizer,
    settings: &Settings,
    best_val_loss: Option<f64>,
) -> Result<Vec<u8>> {
    if trainer.head.is_some() || trainer.model.lora().is_some() {
        return Err(Error::Config("adapters and reward heads are saved in folders only".to_string()));
    }
    let state = State::of(trainer, settings, best_val_loss);
    let state = serde_json::to_string(&state).map_err(Error::json("the run's state"))?;
    let metadata = [("state", state), ("tokenizer", tokenizer.to_json())];
    let metadata = metadata.map(|(key, value)| (key.to_string(), value)).into();
    let mut all = trainer.model.parameters().to_vec();
    let moments = trainer.optimizer.state().into_iter();
    all.extend(moments.map(|(name, tensor)| (format!("{OPTIMIZER}{name}"), tensor)));
    let values = state::download(&all).await?;
    tensors::to_bytes(&state::named(&all, &values), &metadata)
}

/// Restores trainer, tokenizer and state from what [`save`] returned; training continues bit for bit.
///
/// # Errors
/// [`Error::Checkpoint`] for anything else.
pub fn resume(gpu: &Gpu, bytes: Vec<u8>) -> Result<(Trainer, Tokenizer, State)> {
    let file = TensorFile::parse(Path::new(NAME), bytes)?;
    let metadata = file.metadata();
    let text = |key: &str| {
        let reason = format!("no '{key}' in it; it is no checkpoint of a run");
        metadata.get(key).cloned().ok_or_else(|| Error::checkpoint(file.path(), reason))
    };
    let state: State = serde_json::from_str(&text("state")?)
        .map_err(|error| Error::checkpoint(file.path(), format!("state: {error}")))?;
    let tokenizer = Tokenizer::from_json(text("tokenizer")?)?;
    state.tuned.adopt(gpu);
    let source = CheckpointSource::of(file, state.settings.config.clone(), Path::new(NAME))?;
    let mut trainer = Trainer::new(gpu, Gpt::from_source(gpu, &source)?, &state.settings)?;
    state.restore(&mut trainer, source.tensors(), OPTIMIZER)?;
    Ok((trainer, tokenizer, state))
}

/// Exports a model as it is on the GPU now to a GGUF file in f32 that wgpt and llama.cpp can load.
///
/// # Errors
/// Same as [`gguf::save`], and the driver's errors.
pub async fn export(model: &Gpt, codec: &TextCodec, name: &str) -> Result<Vec<u8>> {
    let values = state::download(model.parameters()).await?;
    let weights = tensors::to_bytes(&state::named(model.parameters(), &values), &BTreeMap::new())?;
    let file = TensorFile::parse(Path::new(NAME), weights)?;
    let source = CheckpointSource::of(file, model.config().clone(), Path::new(NAME))?;
    let mut bytes = Vec::new();
    gguf::write(&mut bytes, &source, Some(codec), Path::new(name), Format::F32)?;
    Ok(bytes)
}
