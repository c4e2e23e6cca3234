//! Checkpoints: `RUN/checkpoint-00000200/` with `config.json`, `tokenizer.json`, `model.safetensors`,
//! `optimizer.safetensors` and `state.json`. Adapters have `adapter_config.json` and `adapter_model.safetensors`
//! instead of `config.json` and `model.safetensors`, since they are not a model without their base. A model with a
//! reward or value head also has `head.safetensors`.
//!
//! A checkpoint folder appears atomically ([`atomic::publish_folder`]) and older ones are removed only afterwards, so a
//! run that has saved once always has a loadable checkpoint. The optimizer and the state are needed to resume training;
//! a folder without them is a model that can be used.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    atomic,
    tensors::{self, NamedTensor, TensorFile},
};
use crate::{Error, Result};

const TOKENIZER: &str = "tokenizer.json";
const HEAD: &str = "head.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";
const PREFIX: &str = "checkpoint-";

/// The kind of weights in a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A whole model.
    #[default]
    Model,
    /// Adapters of a model that is stored elsewhere.
    Adapter,
}

impl Kind {
    /// The file that describes the weights.
    pub fn config(self) -> &'static str {
        match self {
            Self::Model => "config.json",
            Self::Adapter => "adapter_config.json",
        }
    }

    /// The file that contains the weights.
    pub fn weights(self) -> &'static str {
        match self {
            Self::Model => "model.safetensors",
            Self::Adapter => "adapter_model.safetensors",
        }
    }
}

/// The contents of a checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct Contents<'a> {
    /// A whole model, or adapters.
    pub kind: Kind,
    /// The model's configuration, or the adapters'.
    pub config: &'a Value,
    /// The bytes of `tokenizer.json`.
    pub tokenizer: &'a [u8],
    /// Further files by name, which describe how a chat model formats conversations.
    pub codec: &'a [(&'static str, Value)],
    /// The weights.
    pub model: &'a [NamedTensor<'a>],
    /// A scalar head on the model's hidden states; empty if there is none.
    pub head: &'a [NamedTensor<'a>],
    /// The optimizer's moments.
    pub optimizer: &'a [NamedTensor<'a>],
    /// Everything else needed to resume the run: step, seeds, settings, best loss.
    pub state: &'a Value,
}

/// Saves a checkpoint of step `step` in the run folder `run`, then removes all but the `keep` newest (at least one).
/// Returns the checkpoint's folder. Saving the same step again replaces its checkpoint.
///
/// # Errors
/// [`Error::Io`] (for example if the disk is full) or [`Error::Shape`]; every older checkpoint is then still there.
pub fn save(run: &Path, step: u64, contents: &Contents<'_>, keep: usize) -> Result<PathBuf> {
    let folder = atomic::publish_folder(run, &format!("{PREFIX}{step:08}"), |tmp| {
        atomic::write(&tmp.join(contents.kind.config()), &pretty(contents.config))?;
        atomic::write(&tmp.join(TOKENIZER), contents.tokenizer)?;
        for (name, content) in contents.codec {
            atomic::write(&tmp.join(name), &pretty(content))?;
        }
        let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
        tensors::write(&tmp.join(contents.kind.weights()), contents.model, &metadata)?;
        if !contents.head.is_empty() {
            tensors::write(&tmp.join(HEAD), contents.head, &metadata)?;
        }
        tensors::write(&tmp.join(OPTIMIZER), contents.optimizer, &metadata)?;
        atomic::write(&tmp.join(STATE), &pretty(contents.state))
    })?;
    let mut all = list(run)?;
    all.truncate(all.len().saturating_sub(keep.max(1)));
    for (_, old) in all.iter().filter(|(_, path)| *path != folder) {
        atomic::remove_folder(old)?;
    }
    Ok(folder)
}

/// The checkpoint that `path` refers to: a checkpoint folder itself, a file in one, or the newest checkpoint of a run
/// folder.
///
/// # Errors
/// [`Error::Checkpoint`] if there is nothing, or nothing that wgpt recognises.
pub fn resolve(path: &Path) -> Result<PathBuf> {
    if !path.exists() {
        return Err(Error::checkpoint(path, "no such file or folder"));
    }
    if path.is_file() {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let (config, weights) = (Kind::Model.config(), Kind::Model.weights());
        return if kind(folder).is_some() {
            Ok(folder.to_path_buf())
        } else {
            Err(Error::checkpoint(path, format!("a model needs {config} and {weights} beside each other")))
        };
    }
    if kind(path).is_some() {
        return Ok(path.to_path_buf());
    }
    let newest = list(path)?.into_iter().map(|(_, folder)| folder).rfind(|folder| kind(folder).is_some());
    newest.ok_or_else(|| {
        let reason = format!(
            "neither a checkpoint ({}, {}) nor a run folder with {PREFIX}* in it; `wgpt pretrain` makes one",
            Kind::Model.config(),
            Kind::Model.weights()
        );
        Error::checkpoint(path, reason)
    })
}

/// Checkpoints in a run folder in ascending order of steps. An interrupted replacement leaves a folder `.old`, which is
/// used only if its step has no other checkpoint.
fn list(run: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let entries = fs::read_dir(run).map_err(Error::io(run, "list"))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io(run, "list"))?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let digits = name.strip_prefix(PREFIX).map(|rest| rest.strip_suffix(".old").unwrap_or(rest));
        if let Some(step) = digits.and_then(|d| d.parse::<u64>().ok()) {
            found.push((step, !name.ends_with(".old"), path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(step, _, path)| (step, path)).collect())
}

/// What kind of weights a folder contains, if it is a checkpoint.
pub fn kind(folder: &Path) -> Option<Kind> {
    let holds = |kind: &Kind| folder.join(kind.config()).is_file() && folder.join(kind.weights()).is_file();
    [Kind::Model, Kind::Adapter].into_iter().find(holds)
}

fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

/// An opened checkpoint; the weights are read tensor by tensor.
#[derive(Debug)]
pub struct Checkpoint {
    /// The checkpoint's folder.
    pub folder: PathBuf,
    /// A whole model, or adapters.
    pub kind: Kind,
    /// The model's configuration, or the adapters'.
    pub config: Value,
    /// The weights.
    pub model: TensorFile,
}

impl Checkpoint {
    /// Opens the checkpoint that [`resolve`] finds at `path`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] or [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self> {
        let folder = resolve(path)?;
        let kind = kind(&folder).unwrap_or_default();
        let config = parse(&folder.join(kind.config()))?;
        let model = TensorFile::open(&folder.join(kind.weights()))?;
        Ok(Self { folder, kind, config, model })
    }

    /// The path of the tokenizer.
    pub fn tokenizer_path(&self) -> PathBuf {
        self.folder.join(TOKENIZER)
    }

    /// The training state.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if the folder holds a model without a training state, or the state is broken.
    pub fn state(&self) -> Result<Value> {
        self.need(STATE)?;
        parse(&self.folder.join(STATE))
    }

    /// The scalar head, if the model has one.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it is broken, [`Error::Io`].
    pub fn head(&self) -> Result<Option<TensorFile>> {
        let path = self.folder.join(HEAD);
        path.is_file().then(|| TensorFile::open(&path)).transpose()
    }

    /// The optimizer's moments.
    ///
    /// # Errors
    /// Returns the errors of [`Checkpoint::state`].
    pub fn optimizer(&self) -> Result<TensorFile> {
        self.need(OPTIMIZER)?;
        TensorFile::open(&self.folder.join(OPTIMIZER))
    }

    fn need(&self, name: &str) -> Result<()> {
        if self.folder.join(name).is_file() {
            return Ok(());
        }
        Err(Error::checkpoint(&self.folder, format!("no {name}: this is a model to run, not a run to resume")))
    }
}

fn parse(path: &Path) -> Result<Value> {
    let bytes = fs::read(path).map_err(Error::io(path, "read"))?;
    serde_json::from_slice(&bytes).map_err(|e| Error::checkpoint(path, format!("not valid JSON: {e}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn put(run: &Path, step: u64, keep: usize) -> PathBuf {
        let data = [step as f32];
        let model = [NamedTensor { name: "w", shape: &[1], data: &data }];
        let (config, state) = (json!({"layers": 1}), json!({"step": step}));
        let tokenizer = b"{}";
        let (kind, config, state) = (Kind::Model, &config, &state);
        let (head, optimizer) = (&[][..], &model[..]);
        let contents = Contents { kind, config, tokenizer, codec: &[], model: &model, head, optimizer, state };
        save(run, step, &contents, keep).unwrap()
    }

    #[test]
    fn the_newest_is_found_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        for step in [100, 9, 200, 200] {
            put(dir.path(), step, 2);
        }
        let steps: Vec<u64> = list(dir.path()).unwrap().into_iter().map(|(step, _)| step).collect();
        assert_eq!(steps, [100, 200]);
        let open = Checkpoint::open(dir.path()).unwrap();
        assert_eq!(open.config, json!({"layers": 1}));
        assert_eq!(open.state().unwrap(), json!({"step": 200}));
        assert_eq!(open.model.to_f32("w").unwrap(), [200.0]);
        assert_eq!(open.optimizer().unwrap().names(), ["w"]);
        assert_eq!(resolve(&open.folder).unwrap(), open.folder);
        assert_eq!(resolve(&open.folder.join(Kind::Model.weights())).unwrap(), open.folder);
    }

    #[test]
    fn a_kill_at_any_moment_leaves_a_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let one = put(dir.path(), 1, 1);
        // As if killed while the next checkpoint was being written, and while step 1 was being replaced.
        fs::create_dir(dir.path().join(".tmp-checkpoint-00000002-1")).unwrap();
        fs::rename(&one, dir.path().join("checkpoint-00000001.old")).unwrap();
        assert_eq!(Checkpoint::open(dir.path()).unwrap().state().unwrap(), json!({"step": 1}));
        assert_eq!(put(dir.path(), 1, 1), resolve(dir.path()).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the leftovers are gone");
    }

    #[test]
    fn what_is_no_checkpoint_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let says = |path: &Path, words: &str| {
            let text = Checkpoint::open(path).unwrap_err().to_string();
            assert!(text.contains(words), "{text}");
        };
        says(&dir.path().join("none"), "no such file or folder");
        says(dir.path(), "neither a checkpoint");
        let at = put(dir.path(), 3, 1);
        fs::remove_file(at.join(STATE)).unwrap();
        let text = Checkpoint::open(&at).unwrap().state().unwrap_err().to_string();
        assert!(text.contains("not a run to resume"), "{text}");
        fs::write(at.join(Kind::Model.config()), "{").unwrap();
        says(&at, "not valid JSON");
    }
}
