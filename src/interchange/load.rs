//! Loads models from files into GPU memory, for inference or for further training.

use std::path::Path;

use super::adapter::{self, Adapters};
use crate::{
    Result,
    gpu::Gpu,
    model::{
        Gpt,
        build::Storage,
        lora::{Lora, LoraConfig},
    },
    text::Tokenizer,
};

/// The model and tokenizer at `path`; see [`super::open`] and [`frozen`].
///
/// # Errors
/// [`crate::Error::Checkpoint`] for an unsupported, truncated or inconsistent model.
pub fn load(gpu: &Gpu, path: &Path) -> Result<(Gpt, Tokenizer)> {
    // The tokenizer first: it is small, so problems with it show at once.
    let tokenizer = super::tokenizer(path)?;
    Ok((frozen(gpu, path, Storage::AsStored, |_, _| ())?, tokenizer))
}

/// Loads the model at `path` for inference, its matrices stored as `storage` says. Adapters are kept separate from
/// their base. `each` is called with the number of parameters loaded and their total.
///
/// # Errors
/// Returns the errors of [`load`].
pub fn frozen(gpu: &Gpu, path: &Path, storage: Storage, each: impl FnMut(usize, usize)) -> Result<Gpt> {
    match Adapters::find(path)? {
        None => Gpt::frozen(gpu, &*super::open(path)?, storage, each),
        Some(adapters) => adapted(gpu, &adapters, storage, each),
    }
}

/// Loads the model at `path` for further training: either the whole model in f32, or fresh adapters over its weights as
/// they are stored.
///
/// # Errors
/// Returns the errors of [`load`]; [`crate::Error::Config`] for adapters that do not fit.
pub fn tunable(
    gpu: &Gpu,
    path: &Path,
    lora: Option<&LoraConfig>,
    seed: u64,
    each: impl FnMut(usize, usize),
) -> Result<Gpt> {
    let Some(config) = lora else { return Gpt::from_source(gpu, &*super::open(path)?) };
    let (base, source) = adapter::base(path)?;
    config.validate(source.config())?;
    let model = Gpt::frozen(gpu, &*source, Storage::AsStored, each)?;
    model.with_lora(Lora { config: config.clone(), base }, seed)
}

/// Loads the base of `adapters` with the adapters kept separate from it.
///
/// # Errors
/// Returns the errors of [`load`].
pub fn adapted(gpu: &Gpu, adapters: &Adapters, storage: Storage, each: impl FnMut(usize, usize)) -> Result<Gpt> {
    let mut model = Gpt::frozen(gpu, &*adapters.base()?, storage, each)?;
    model.attach_lora(adapters.lora().clone(), |spec| adapters.values(spec))?;
    Ok(model)
}

/// `base`, which was opened from `path`, combined with the adapters of a run: see [`Gpt::beside`].
///
/// # Errors
/// [`crate::Error::Checkpoint`] if the run holds no adapters, or adapters of another base;
/// [`crate::Error::OutOfMemory`].
pub fn beside(base: &Gpt, path: &Path, run: &Path) -> Result<Gpt> {
    let adapters = Adapters::open(run)?;
    adapters.base_at(path)?;
    base.beside(adapters.lora().clone(), |spec| adapters.values(spec))
}
