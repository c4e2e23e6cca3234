//! A GGUF file as a source of weights.

use std::path::Path;

use super::{config, names};
use crate::{
    Error, Result,
    formats::{Rows, gguf::GgufFile},
    interchange::{
        arrange,
        layout::{Layout, Piece},
    },
    model::{Config, Source},
};

/// An opened, memory-mapped file.
#[derive(Debug)]
pub struct Model {
    file: GgufFile,
    config: Config,
    layout: Layout,
}

impl Model {
    /// Opens a file and checks that every tensor is there, with the shape given by the metadata.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the key or tensor, [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self> {
        Self::from_file(GgufFile::open(path)?)
    }

    /// Like [`Model::open`], from an opened file.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the key or tensor.
    pub fn from_file(file: GgufFile) -> Result<Self> {
        let (family, config) = config::read(&file)?;
        let tensors = file.names().count();
        if config.layers > tensors {
            let reason = format!("block_count is {}, but there are {tensors} tensors in all", config.layers);
            return Err(Error::checkpoint(file.path(), reason));
        }
        let layout = Layout::new(names::dialect(family), &config)?;
        for piece in layout.specs().iter().flat_map(|spec| layout.pieces(&spec.name)) {
            let (shape, wanted) = (file.shape(&piece.name)?, piece.stored_shape());
            if shape != wanted {
                let reason = format!("tensor '{}' is {shape:?}, the metadata say {wanted:?}", piece.name);
                return Err(Error::checkpoint(file.path(), reason));
            }
        }
        Ok(Self { file, config, layout })
    }

    /// The file.
    pub fn file(&self) -> &GgufFile {
        &self.file
    }

    fn rows(&self, piece: &Piece) -> Result<Rows<'_>> {
        Ok(arrange::from_file(self.file.rows(&piece.name)?, piece.order))
    }
}

impl Source for Model {
    fn config(&self) -> &Config {
        &self.config
    }

    fn parameter(&self, name: &str) -> Result<Vec<Rows<'_>>> {
        self.layout.pieces(name).iter().map(|piece| self.rows(piece)).collect()
    }

    fn done(&self, name: &str) {
        for piece in self.layout.pieces(name) {
            // A tensor that does not exist has no pages to release.
            let _ = self.file.release(&piece.name);
        }
    }
}
