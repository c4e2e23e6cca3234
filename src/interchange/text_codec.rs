//! What goes with a model's weights so that it can read and write.

use std::path::Path;

use super::{adapter::Adapters, folder_of, gguf, huggingface};
use crate::{
    Result,
    formats::gguf::GgufFile,
    io::checkpoint,
    text::{Conventions, Tokenizer},
};

/// How a model reads and writes.
#[derive(Clone, Debug)]
pub struct TextCodec {
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// First and last tokens, chat template.
    pub conventions: Conventions,
}

impl TextCodec {
    /// That of a tokenizer alone: texts end with [`Tokenizer::end_of_text`].
    pub fn plain(tokenizer: Tokenizer) -> Self {
        let end = tokenizer.end_of_text();
        let stops = end.into_iter().collect();
        Self { tokenizer, conventions: Conventions { bos: end, eos: end, stops, ..Conventions::default() } }
    }

    /// The tokens of a text that the model is to go on with, special tokens by their names, after the token that begins a
    /// text where the model wants one.
    ///
    /// # Errors
    /// [`crate::Error::Tokenizer`].
    pub fn read(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = self.tokenizer.encode_special(text)?;
        let begins = |bos: &u32| self.conventions.add_bos && !ids.is_empty() && ids.first() != Some(bos);
        if let Some(bos) = self.conventions.bos.filter(begins) {
            ids.insert(0, bos);
        }
        Ok(ids)
    }

    /// That of a GGUF file.
    ///
    /// # Errors
    /// As [`TextCodec::open`].
    pub fn of_gguf(file: &GgufFile) -> Result<Self> {
        let tokenizer = gguf::tokenizer(file)?;
        let conventions = Conventions::of_gguf(&gguf::vocabulary(file)?, &tokenizer);
        Ok(Self { tokenizer, conventions })
    }

    /// That of the model at `path`; see [`super::open`]. Adapters have their base's, unless they were
    /// taught one of their own.
    ///
    /// # Errors
    /// [`crate::Error::Tokenizer`], [`crate::Error::Checkpoint`], [`crate::Error::Data`] or [`crate::Error::Io`] when
    /// there is none, or none that wgpt reads.
    pub fn open(path: &Path) -> Result<Self> {
        if GgufFile::is_gguf(path) {
            return Self::of_gguf(&GgufFile::open(path)?);
        }
        let folder = folder_of(path);
        if huggingface::Folder::is_one(folder) {
            let tokenizer = Tokenizer::load(folder)?;
            let conventions = Conventions::of_folder(folder, &tokenizer)?;
            return Ok(Self { tokenizer, conventions });
        }
        let folder = checkpoint::resolve(path)?;
        // Models that were only pretrained have no conventions beside the tokenizer.
        if !folder.join("tokenizer_config.json").exists() {
            return match Adapters::find(path)? {
                Some(adapters) => Self::open(&adapters.base_path()?),
                None => Tokenizer::load(&folder).map(Self::plain),
            };
        }
        let tokenizer = Tokenizer::load(&folder)?;
        let conventions = Conventions::of_folder(&folder, &tokenizer)?;
        Ok(Self { tokenizer, conventions })
    }

    /// That of the adapters at `lora` over the model at `base`: what they were taught, or else their base's.
    ///
    /// # Errors
    /// As [`TextCodec::open`].
    pub fn adapted(lora: &Path, base: &Path) -> Result<Self> {
        let folder = checkpoint::resolve(lora)?;
        Self::open(if folder.join("tokenizer_config.json").exists() { &folder } else { base })
    }
}
