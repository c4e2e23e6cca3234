//! The state of a run: saves a trainer as a checkpoint in the run's folder, and restores it from there.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use super::{Settings, scaling::LossScale, trainer::Trainer};
use crate::{
    Error, Result,
    gpu::Gpu,
    interchange::{TextCodec, adapter::Adapters, checkpoint::CheckpointSource, load::adapted},
    io::{
        checkpoint::{self, Checkpoint, Contents, Kind},
        tensors::{NamedTensor, TensorFile},
    },
    model::{Gpt, build::Storage, heads::ScalarHead},
    parallel::{Kept, Replica},
    tensor::Tensor,
};

/// What a resumed run continues from, besides weights and moments.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// Steps taken.
    pub step: u64,
    /// The run's settings.
    pub settings: Settings,
    /// Lowest validation loss so far.
    pub best_val_loss: Option<f64>,
    /// The scale of the loss, in mixed precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<LossScale>,
    /// The kernel variants that were chosen.
    #[serde(flatten)]
    pub tuned: Tuned,
}

/// The kernel variants that the tuner chose for a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tuned {
    /// The adapter they were chosen on: other variants may round differently.
    pub adapter: String,
    /// Choices by class.
    pub choices: BTreeMap<String, String>,
}

impl Tuned {
    /// The tuner's choices on `gpu`.
    pub(super) fn of(gpu: &Gpu) -> Self {
        Self { adapter: gpu.tuner().adapter().to_string(), choices: gpu.tuner().settled_choices() }
    }

    /// Adopts the choices if they were made on this adapter.
    pub(super) fn adopt(&self, gpu: &Gpu) {
        if self.adapter == gpu.tuner().adapter() {
            gpu.tuner().adopt_from_run(self.choices.clone());
        }
    }
}

impl State {
    /// Takes the state from a trainer.
    pub(super) fn of(trainer: &Trainer, settings: &Settings, best_val_loss: Option<f64>) -> Self {
        Self {
            step: trainer.optimizer.step,
            settings: settings.clone(),
            best_val_loss,
            loss_scale: trainer.loss_scale,
            tuned: Tuned::of(&trainer.gpu),
        }
    }

    /// Restores a fresh trainer to where the run was; `moments` holds the optimizer's tensors, whose names begin with
    /// `before`.
    pub(super) fn restore(&self, trainer: &mut Trainer, moments: &TensorFile, before: &str) -> Result<()> {
        for (name, tensor) in trainer.optimizer.state() {
            tensor.write(&take(moments, &format!("{before}{name}"), tensor.shape())?)?;
            trainer.gpu.submit()?;
        }
        trainer.optimizer.step = self.step;
        if let Some(loss_scale) = self.loss_scale {
            trainer.optimizer.skipped = loss_scale.skipped;
            trainer.loss_scale = trainer.loss_scale.map(|_| loss_scale);
        }
        Ok(())
    }
}

/// The tensors of a head's file.
const HEAD: [&str; 4] = ["weight", "bias", "gain", "shift"];

/// Copies named tensors to the host.
pub(super) async fn download(tensors: &[(String, Tensor)]) -> Result<Vec<Vec<f32>>> {
    let mut values = Vec::with_capacity(tensors.len());
    for (_, tensor) in tensors {
        values.push(tensor.to_f32().await?);
    }
    Ok(values)
}

/// Copies what a resumed run needs besides the weights to the host, including what is spread over the ranks of
/// `replica`. All ranks must call this; only the first gets the result.
///
/// # Errors
/// [`Error::Rank`], and the driver's errors.
pub(super) async fn keep(replica: &Replica, tensors: impl Iterator<Item = (String, Tensor)>) -> Result<Vec<Kept>> {
    let mut kept = replica.moments()?;
    if !replica.group().is_first() {
        return Ok(Vec::new());
    }
    for (name, tensor) in tensors {
        kept.push(Kept { name, shape: tensor.shape().to_vec(), values: tensor.to_f32().await? });
    }
    Ok(kept)
}

/// Pairs tensors with their values, for writing files.
pub(super) fn named<'a>(tensors: &'a [(String, Tensor)], values: &'a [Vec<f32>]) -> Vec<NamedTensor<'a>> {
    let name = |((name, tensor), values): (&'a (String, Tensor), &'a Vec<f32>)| NamedTensor {
        name,
        shape: tensor.shape(),
        data: values,
    };
    tensors.iter().zip(values).map(name).collect()
}

/// Writes a checkpoint of `trainer` into the run folder `out`, atomically. For a model with adapters, only the adapters
/// are saved. The chat template is included if `codec` has one. All ranks must call this; the first writes, and returns
/// the folder.
///
/// # Errors
/// [`Error::Io`] (older checkpoints stay), and the driver's errors.
pub async fn save(
    out: &Path,
    trainer: &Trainer,
    codec: &TextCodec,
    settings: &Settings,
    best_val_loss: Option<f64>,
) -> Result<Option<std::path::PathBuf>> {
    let kept = trainer.kept().await?;
    if !trainer.group().is_first() {
        return Ok(None);
    }
    let state = State::of(trainer, settings, best_val_loss);
    let head_values = match &trainer.head {
        None => Vec::new(),
        Some(ScalarHead { weight, bias, gain, shift }) => {
            vec![weight.to_f32().await?, bias.to_f32().await?, vec![*gain], vec![*shift]]
        }
    };
    let head_shapes = [vec![1, trainer.model.config().width], vec![1], vec![1], vec![1]];
    let head: Vec<_> = HEAD
        .iter()
        .zip(&head_shapes)
        .zip(&head_values)
        .map(|((name, shape), data)| NamedTensor { name, shape, data })
        .collect();
    let json = serde_json::to_value(&state).map_err(Error::json("the run's state"))?;
    let parts = Parts { model: &trainer.model, head: &head, optimizer: &kept, state: &json };
    publish(out, state.step, parts, codec, settings.common.keep).await.map(Some)
}

/// Restores the replica of a resumed `trainer` from the checkpoint in `out`. A checkpoint written by a single rank has
/// nothing to restore.
///
/// # Errors
/// [`Error::Checkpoint`] for a truncated or inconsistent one.
pub(super) fn rejoin(out: &Path, trainer: &mut Trainer) -> Result<()> {
    let state = trainer.replica.state();
    if state.is_empty() {
        return Ok(());
    }
    let file = Checkpoint::open(out)?.optimizer()?;
    for (name, tensor) in state.iter().filter(|(name, _)| file.contains(name)) {
        tensor.write(&take(&file, name, tensor.shape())?)?;
        trainer.gpu.submit()?;
    }
    Ok(())
}

/// Adds the checkpoint to continue from in `out` to `error` if the device or a rank was lost.
pub(super) fn interrupted(out: &Path, error: Error) -> Error {
    match error {
        Error::DeviceLost { reason, kernel, .. } => {
            Error::DeviceLost { reason, kernel, saved: checkpoint::resolve(out).ok() }
        }
        Error::Rank { ranks, hosts, reason, .. } => {
            Error::Rank { ranks, hosts, reason, saved: checkpoint::resolve(out).ok() }
        }
        error => error,
    }
}

/// The parts of a stage's checkpoint, besides the tokenizer.
pub(super) struct Parts<'a> {
    /// The model; if it has adapters, only they are saved.
    pub model: &'a Gpt,
    /// The reward head, if there is one.
    pub head: &'a [NamedTensor<'a>],
    /// What the optimizer continues from.
    pub optimizer: &'a [Kept],
    /// What else a resumed run continues from.
    pub state: &'a serde_json::Value,
}

/// Writes the checkpoint of `step` into the run folder `out`, atomically. The newest `keep` checkpoints remain.
///
/// # Errors
/// Same as [`save`].
pub(super) async fn publish<'a>(
    out: &Path,
    step: u64,
    parts: Parts<'a>,
    codec: &TextCodec,
    keep: usize,
) -> Result<std::path::PathBuf> {
    let Parts { model, head, optimizer, state } = parts;
    let weights = download(model.parameters()).await?;
    let moment = |Kept { name, shape, values }: &'a Kept| NamedTensor { name, shape, data: values };

    let vocabulary = codec.tokenizer.to_json();
    let conventions = &codec.conventions;
    let files = conventions.template.is_some().then(|| conventions.files());
    let (kind, config) = match model.lora() {
        None => (Kind::Model, serde_json::to_value(model.config())),
        Some(lora) => (Kind::Adapter, serde_json::to_value(lora)),
    };
    let contents = Contents {
        kind,
        config: &config.map_err(Error::json("the model's configuration"))?,
        tokenizer: vocabulary.as_bytes(),
        codec: files.as_ref().map_or(&[], |files| &files[..]),
        model: &named(model.parameters(), &weights),
        head,
        optimizer: &optimizer.iter().map(moment).collect::<Vec<_>>(),
        state,
    };
    checkpoint::save(out, step, &contents, keep)
}

/// Reads a tensor of `file`, which must have the shape that the configuration requires.
pub(super) fn take(file: &TensorFile, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    if file.shape(name)? != shape {
        let reason = format!("{name} is {:?}, the configuration says {shape:?}", file.shape(name)?);
        return Err(Error::checkpoint(file.path(), reason));
    }
    file.to_f32(name)
}

/// The head in `checkpoint`, trained with a model of this `width`; `None` if there is none.
///
/// # Errors
/// [`Error::Checkpoint`] for a truncated or inconsistent one, [`Error::Io`].
pub fn head(gpu: &Gpu, checkpoint: &Checkpoint, width: usize) -> Result<Option<ScalarHead>> {
    let Some(file) = checkpoint.head()? else { return Ok(None) };
    let one = |name| take(&file, name, &[1]);
    Ok(Some(ScalarHead {
        weight: Tensor::from_f32(gpu, &[1, width], &take(&file, HEAD[0], &[1, width])?)?,
        bias: Tensor::from_f32(gpu, &[1], &one(HEAD[1])?)?,
        gain: one(HEAD[2])?[0],
        shift: one(HEAD[3])?[0],
    }))
}

/// Restores the trainer, tokenizer and state from a checkpoint or run folder.
///
/// # Errors
/// [`Error::Checkpoint`] for a foreign, truncated or inconsistent one.
pub fn resume(gpu: &Gpu, path: &Path) -> Result<(Trainer, TextCodec, State)> {
    let checkpoint = Checkpoint::open(path)?;
    let state: State = serde_json::from_value(checkpoint.state()?)
        .map_err(|error| Error::checkpoint(&checkpoint.folder, format!("state.json: {error}")))?;
    state.tuned.adopt(gpu);
    let model = match checkpoint.kind {
        Kind::Model => Gpt::from_source(gpu, &CheckpointSource::open(path)?)?,
        Kind::Adapter => adapted(gpu, &Adapters::open(path)?, Storage::AsStored, |_, _| ())?,
    };
    let head = head(gpu, &checkpoint, model.config().width)?;
    let mut trainer = Trainer::with_head(gpu, model, head, &state.settings)?;
    state.restore(&mut trainer, &checkpoint.optimizer()?, "")?;
    Ok((trainer, TextCodec::open(&checkpoint.folder)?, state))
}
