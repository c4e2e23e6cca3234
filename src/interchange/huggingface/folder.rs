//! A Hugging Face folder as a source of weights.

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    path::{Component, Path, PathBuf},
};

use serde_json::Value;

use super::{config, names};
use crate::{
    Error, Result,
    formats::{Format, Rows},
    interchange::{
        arrange,
        layout::{Layout, Piece},
        read_json,
    },
    io::tensors::{Dtype, TensorFile},
    model::{Config, Source},
};

const MODEL: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// Weights in the format of PyTorch.
const PICKLES: &[&str] = &["pytorch_model.bin", "pytorch_model.bin.index.json"];
const PICKLE: &str = "weights in PyTorch's format, which can run any program when it is read; wgpt reads model.safetensors, which \
    transformers writes with save_pretrained(.., safe_serialization=True)";

/// An opened, memory-mapped folder.
#[derive(Debug)]
pub struct Folder {
    config: Config,
    layout: Layout,
    files: Vec<TensorFile>,
    /// The file that holds each tensor, as an index into `files`.
    place: HashMap<String, usize>,
    path: PathBuf,
}

impl Folder {
    /// Whether `path` is such a folder, judging by its config.json.
    pub fn is_one(path: &Path) -> bool {
        path.is_dir() && read_json(&path.join("config.json")).is_ok_and(|value| config::is_foreign(&value))
    }

    /// Opens a folder and checks that every tensor is there, with the shape given by config.json.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the file and field or tensor, [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self> {
        let file = path.join("config.json");
        let (family, config) = config::read(&file, &read_json(&file)?)?;
        let files = files(path)?;
        let mut place = HashMap::new();
        for (index, file) in files.iter().enumerate() {
            for name in file.names() {
                if let Some(other) = place.insert(name.clone(), index).and_then(|other| files.get(other)) {
                    let reason = format!("tensor '{name}' is in {} as well", other.path().display());
                    return Err(Error::checkpoint(file.path(), reason));
                }
            }
        }
        if config.layers > place.len() {
            let reason =
                format!("num_hidden_layers is {}, but there are {} tensors in all", config.layers, place.len());
            return Err(Error::checkpoint(&file, reason));
        }
        let layout = Layout::new(names::dialect(family), &config)?;
        let folder = Self { config, layout, files, place, path: path.to_path_buf() };
        for spec in folder.layout.specs() {
            folder.layout.pieces(&spec.name).iter().try_for_each(|piece| folder.check(piece))?;
        }
        Ok(folder)
    }

    /// The file that holds a piece, and the piece's name in it.
    fn find<'a>(&self, piece: &'a Piece) -> Result<(&TensorFile, &'a str)> {
        let names = [Some(&piece.name[..]), names::without_prefix(&piece.name)];
        let found = names.into_iter().flatten().find_map(|name| Some((self.files.get(*self.place.get(name)?)?, name)));
        found.ok_or_else(|| Error::checkpoint(&self.path, format!("no tensor '{}' in it", piece.name)))
    }

    fn check(&self, piece: &Piece) -> Result<()> {
        let (file, name) = self.find(piece)?;
        let (shape, wanted) = (file.shape(name)?, piece.stored_shape());
        if shape != wanted {
            let reason = format!("tensor '{name}' is {shape:?}, config.json says {wanted:?}");
            return Err(Error::checkpoint(file.path(), reason));
        }
        format(file, name).map(|_| ())
    }

    fn rows(&self, piece: &Piece) -> Result<Rows<'_>> {
        let (file, name) = self.find(piece)?;
        let (_, bytes) = file.stored(name)?;
        let (rows, width) = match piece.stored_shape()[..] {
            [rows, width] => (rows, width),
            _ => (1, piece.rows),
        };
        let rows = Rows { format: format(file, name)?, rows, width, bytes: bytes.into() };
        Ok(arrange::from_file(rows, piece.order))
    }
}

impl Source for Folder {
    fn config(&self) -> &Config {
        &self.config
    }

    fn parameter(&self, name: &str) -> Result<Vec<Rows<'_>>> {
        self.layout.pieces(name).iter().map(|piece| self.rows(piece)).collect()
    }

    fn done(&self, name: &str) {
        for piece in self.layout.pieces(name) {
            // A tensor that does not exist has no pages to release.
            let _ = self.find(piece).and_then(|(file, name)| file.release(name));
        }
    }
}

/// The format of a tensor.
pub(in crate::interchange) fn format(file: &TensorFile, name: &str) -> Result<Format> {
    match file.stored(name)?.0 {
        Dtype::F32 => Ok(Format::F32),
        Dtype::F16 => Ok(Format::F16),
        Dtype::BF16 => Ok(Format::BF16),
        other => {
            let reason = format!("tensor '{name}' is {other:?}; wgpt reads F32, F16 and BF16");
            Err(Error::checkpoint(file.path(), reason))
        }
    }
}

/// The safetensors files of a folder: those listed in the index, if there is one.
fn files(folder: &Path) -> Result<Vec<TensorFile>> {
    let index = folder.join(INDEX);
    if folder.join(MODEL).is_file() || !index.is_file() {
        return match PICKLES.iter().find(|name| !folder.join(MODEL).exists() && folder.join(name).exists()) {
            Some(name) => Err(Error::checkpoint(&folder.join(name), PICKLE)),
            None => Ok(vec![TensorFile::open(&folder.join(MODEL))?]),
        };
    }
    let value = read_json(&index)?;
    let wrong = |reason: String| Error::checkpoint(&index, reason);
    let Some(Value::Object(map)) = value.get("weight_map") else {
        return Err(wrong("weight_map is missing".into()));
    };
    let mut shards = BTreeMap::new();
    for (tensor, file) in map {
        let name = file.as_str().unwrap_or_default();
        let mut parts = Path::new(name).components();
        // An index must not point outside its folder.
        if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
            return Err(wrong(format!("weight_map says that '{tensor}' is in {file}, which is no file name")));
        }
        let shard = match shards.entry(name) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(TensorFile::open(&folder.join(name))?),
        };
        if !shard.contains(tensor) {
            return Err(wrong(format!("weight_map says that '{tensor}' is in {name}, but it is not")));
        }
    }
    Ok(shards.into_values().collect())
}
