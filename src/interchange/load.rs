//! Models from files into GPU memory: to compute with, or to train further.

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

/// The model and tokenizer of whatever model lies at `path`; see [`super::open`] and [`frozen`].
///
/// # Errors
/// [`crate::Error::Checkpoint`] for a foreign, truncated or inconsistent one.
pub fn load(gpu: &Gpu, path: &Path) -> Result<(Gpt, Tokenizer)> {
    // The tokenizer first: it is small, and what is wrong with it shows at once.
    let tokenizer = super::tokenizer(path)?;
    Ok((frozen(gpu, path, Storage::AsStored, |_, _| ())?, tokenizer))
}

/// The model at `path` to compute with, its matrices kept as `storage` says. Adapters stay beside their base. `each` is called
/// with how many of how many parameters are loaded.
///
/// # Errors
/// As [`load`].
pub fn frozen(gpu: &Gpu, path: &Path, storage: Storage, each: impl FnMut(usize, usize)) -> Result<Gpt> {
    match Adapters::find(path)? {
        None => Gpt::frozen(gpu, &*super::open(path)?, storage, each),
        Some(adapters) => adapted(gpu, &adapters, storage, each),
    }
}

/// The model at `path` to train further: as a whole in f32, or with fresh adapters over its weights as they are stored.
///
/// # Errors
/// As [`load`]; [`crate::Error::Config`] for adapters that do not fit.
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

/// The model that adapters make of their base, which they stay beside.
///
/// # Errors
/// As [`load`].
pub fn adapted(gpu: &Gpu, adapters: &Adapters, storage: Storage, each: impl FnMut(usize, usize)) -> Result<Gpt> {
    let mut model = Gpt::frozen(gpu, &*adapters.base()?, storage, each)?;
    model.attach_lora(adapters.lora().clone(), |spec| adapters.values(spec))?;
    Ok(model)
}

/// `base`, which was opened from `path`, with the adapters of a run beside its weights: see [`Gpt::beside`].
///
/// # Errors
/// [`crate::Error::Checkpoint`] when the run holds no adapters, or those of another base; [`crate::Error::OutOfMemory`].
pub fn beside(base: &Gpt, path: &Path, run: &Path) -> Result<Gpt> {
    let adapters = Adapters::open(run)?;
    adapters.base_at(path)?;
    base.beside(adapters.lora().clone(), |spec| adapters.values(spec))
}
