//! Adapters in a checkpoint or run folder, and the model that results from merging them with their base.
//!
//! `adapter_config.json` holds rank, alpha, targets, and the base with its fingerprint; `adapter_model.safetensors`
//! holds A and B under wgpt's names, such as `blocks.0.attention.qkv.lora_a`. Queries, keys and values share one A, so
//! these are not peft files; use `wgpt merge` to export to other programs.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::open;
use crate::{
    Error, Result,
    formats::{Format, Rows, gguf::GgufFile},
    hash,
    io::{
        checkpoint::{self, Checkpoint, Kind},
        tensors::TensorFile,
    },
    model::{
        Config, Source,
        lora::{Base, Lora},
        parameters::{self, ParameterSpec},
    },
};

/// Opened, memory-mapped adapters.
#[derive(Debug)]
pub struct Adapters {
    folder: PathBuf,
    lora: Lora,
    file: TensorFile,
}

impl Adapters {
    /// The adapters at `path`, a checkpoint or run folder; [`None`] if there are none.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if they are broken, [`Error::Io`].
    pub fn find(path: &Path) -> Result<Option<Self>> {
        if GgufFile::is_gguf(path) {
            return Ok(None);
        }
        match checkpoint::resolve(path) {
            Ok(folder) if checkpoint::kind(&folder) == Some(Kind::Adapter) => Self::open(&folder).map(Some),
            _ => Ok(None),
        }
    }

    /// The adapters at `path`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if there are none or they are broken; [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self> {
        if GgufFile::is_gguf(path) {
            return Err(Error::checkpoint(path, "a whole model, not adapters"));
        }
        let Checkpoint { folder, kind, config, model: file } = Checkpoint::open(path)?;
        if kind != Kind::Adapter {
            return Err(Error::checkpoint(&folder, "a whole model, not adapters"));
        }
        if config.get("peft_type").is_some() {
            let base = config.get("base_model_name_or_path").and_then(Value::as_str).unwrap_or("some model");
            let reason = format!(
                "adapters of PEFT for {base}, which have another form than those of wgpt; merge them into their base and \
                 give that folder (in Python: `PeftModel.from_pretrained(..).merge_and_unload().save_pretrained(..)`)"
            );
            return Err(Error::checkpoint(&folder, reason));
        }
        let lora = serde_json::from_value(config)
            .map_err(|error| Error::checkpoint(&folder, format!("{}: {error}", kind.config())))?;
        Ok(Self { folder, lora, file })
    }

    /// Their shape and base.
    pub fn lora(&self) -> &Lora {
        &self.lora
    }

    /// The path of their base when they were trained.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if nothing is there any more, or if it now holds adapters itself.
    pub fn base_path(&self) -> Result<PathBuf> {
        let path = &self.lora.base.path;
        if !path.exists() {
            let reason = format!(
                "the adapters' base {} is not there any more; put it back, or change base.path in {}",
                path.display(),
                Kind::Adapter.config()
            );
            return Err(Error::checkpoint(&self.folder, reason));
        }
        whole(path)?;
        Ok(path.clone())
    }

    /// Their base, loaded from its path at the time of training.
    ///
    /// # Errors
    /// The errors of [`Adapters::base_path`], and [`Error::Checkpoint`] if a different model is there now.
    pub fn base(&self) -> Result<Box<dyn Source>> {
        self.base_at(&self.base_path()?)
    }

    /// The model at `path`, if it is their base.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it is a different model, and the errors of [`open`].
    pub fn base_at(&self, path: &Path) -> Result<Box<dyn Source>> {
        whole(path)?;
        let source = open(path)?;
        let wrong = |reason: String| Err(Error::checkpoint(&self.folder, reason));
        if let Err(error) = self.lora.config.validate(source.config()) {
            return wrong(format!("the adapters do not fit {}: {error}", path.display()));
        }
        for ParameterSpec { name, shape, .. } in self.lora.config.specs(source.config()) {
            if self.file.shape(&name)? != shape {
                let found = self.file.shape(&name)?;
                return wrong(format!("{name} is {found:?}, with {} it would be {shape:?}", path.display()));
            }
        }
        if fingerprint(&*source)? != self.lora.base.fingerprint {
            return wrong(format!(
                "the adapters were trained on {}, and {} holds other weights; give them their own base",
                self.lora.base.path.display(),
                path.display()
            ));
        }
        Ok(source)
    }

    /// The values of one of [`LoraConfig::specs`](crate::model::lora::LoraConfig::specs).
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if there is no such tensor.
    pub fn values(&self, spec: &ParameterSpec) -> Result<Vec<f32>> {
        self.file.to_f32(&spec.name)
    }

    /// The model merged from the adapters and their base at `path`: `W + alpha/rank B A` in f32 for every layer with an
    /// adapter.
    ///
    /// # Errors
    /// Returns the errors of [`Adapters::base_at`].
    pub fn merged(self, path: &Path) -> Result<Merged> {
        let base = self.base_at(path)?;
        let names = self.lora.config.specs(base.config()).into_iter().map(|spec| spec.name).collect();
        Ok(Merged { base, adapters: self, names })
    }
}

/// The model at `path` as a base for adapters.
///
/// # Errors
/// [`Error::Checkpoint`] if it consists of adapters itself, and the errors of [`open`].
pub fn base(path: &Path) -> Result<(Base, Box<dyn Source>)> {
    whole(path)?;
    let source = open(path)?;
    let fingerprint = fingerprint(&*source)?;
    let path = std::path::absolute(path).map_err(Error::io(path, "find"))?;
    Ok((Base { path, fingerprint }, source))
}

/// Refuses adapters as a base: bases do not form chains.
fn whole(path: &Path) -> Result<()> {
    match Adapters::find(path)? {
        None => Ok(()),
        Some(_) => Err(Error::checkpoint(path, "adapters cannot be a base; make one model of them by `wgpt merge`")),
    }
}

/// Identifies a model's weights: FNV-1a (64 bits) over its configuration, and over the vectors and the first row of
/// each matrix of the embedding, the first and the last block, and the head.
///
/// # Errors
/// Returns the errors of the source.
pub fn fingerprint(source: &dyn Source) -> Result<String> {
    let mut state = hash::START;
    let mut add = |bytes: &[u8]| state = hash::add(state, bytes);
    let config = source.config();
    add(&serde_json::to_vec(config).map_err(Error::json("the model's configuration"))?);
    let last = format!("blocks.{}.", config.layers.saturating_sub(1));
    for ParameterSpec { name, .. } in parameters::specs(config) {
        if name.starts_with("blocks.") && !name.starts_with("blocks.0.") && !name.starts_with(&last) {
            continue;
        }
        add(name.as_bytes());
        for rows in source.parameter(&name)? {
            let row = rows.bytes.get(..rows.format.row_bytes(rows.width)).unwrap_or(&rows.bytes);
            let first = Rows { rows: 1, bytes: row.into(), ..rows };
            add(bytemuck::cast_slice(&first.to_f32()));
        }
        source.done(&name);
    }
    Ok(format!("{state:016x}"))
}

/// A base and its adapters as one model; each parameter is merged when it is requested.
pub struct Merged {
    base: Box<dyn Source>,
    adapters: Adapters,
    /// The names of the adapters' tensors; all have been checked to have the right shape.
    names: HashSet<String>,
}

impl Source for Merged {
    fn config(&self) -> &Config {
        self.base.config()
    }

    fn parameter(&self, name: &str) -> Result<Vec<Rows<'_>>> {
        let pieces = self.base.parameter(name)?;
        let Some(layer) = name.strip_suffix(".weight") else { return Ok(pieces) };
        let file = &self.adapters.file;
        let (a, b) = (format!("{layer}.lora_a"), format!("{layer}.lora_b"));
        if !self.names.contains(&a) || pieces.is_empty() {
            return Ok(pieces);
        }
        let (rows, width) =
            (pieces.iter().map(|piece| piece.rows).sum(), pieces.first().map_or(0, |piece| piece.width));
        let mut weight: Vec<f32> = pieces.iter().flat_map(Rows::to_f32).collect();
        merge(&mut weight, width, &file.to_f32(&a)?, &file.to_f32(&b)?, self.adapters.lora.config.scale());
        let bytes = bytemuck::cast_slice(&weight).to_vec().into();
        Ok(vec![Rows { format: Format::F32, rows, width, bytes }])
    }

    fn done(&self, name: &str) {
        self.base.done(name);
    }
}

/// `weight[out, width] += scale b[out, rank] a[rank, width]`.
fn merge(weight: &mut [f32], width: usize, a: &[f32], b: &[f32], scale: f32) {
    let rank = a.len() / width;
    for (row, factors) in weight.chunks_exact_mut(width).zip(b.chunks_exact(rank)) {
        for (factor, a) in factors.iter().zip(a.chunks_exact(width)) {
            let factor = factor * scale;
            row.iter_mut().zip(a).for_each(|(weight, a)| *weight += factor * a);
        }
    }
}
