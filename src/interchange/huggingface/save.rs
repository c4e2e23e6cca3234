//! Writes a model as a Hugging Face folder that transformers loads.

use std::{borrow::Cow, collections::BTreeMap, path::Path};

use serde_json::json;

use super::{config, names};
use crate::{
    Error, Result,
    formats::Format,
    interchange::{TextCodec, family::Family, layout::Layout, piece_bytes},
    io::{
        atomic,
        tensors::{self, Dtype, Part},
    },
    model::Source,
    text::Tokenizer,
};

/// Writes config.json, model.safetensors, tokenizer.json and tokenizer_config.json into `folder`, which may already
/// exist. Every weight is stored as `format`: F32, F16 or BF16. GPT-2 without biases gets biases of 0.
///
/// # Errors
/// [`Error::Config`] for a model that transformers does not support, [`Error::Usage`] for a quantised format,
/// [`Error::Io`], and the errors of the source.
pub fn save(source: &dyn Source, codec: Option<&TextCodec>, folder: &Path, format: Format) -> Result<()> {
    let (dtype, torch) = match format {
        Format::F32 => (Dtype::F32, "float32"),
        Format::F16 => (Dtype::F16, "float16"),
        Format::BF16 => (Dtype::BF16, "bfloat16"),
        other => return Err(Error::Usage(format!("safetensors hold F32, F16 or BF16, not {}", other.name()))),
    };
    let family = Family::of(source.config())?;
    let model = family.completed(source.config());
    let layout = Layout::new(names::dialect(family), &model)?;
    let places: Vec<_> = layout
        .specs()
        .iter()
        .flat_map(|spec| layout.pieces(&spec.name).iter().map(move |piece| (spec, piece)))
        .collect();
    let part = |piece: &crate::interchange::layout::Piece| Part {
        name: piece.name.clone(),
        shape: piece.stored_shape(),
        dtype,
    };
    let parts: Vec<_> = places.iter().map(|(_, piece)| part(piece)).collect();
    let config = config::write(family, &model, torch, codec)?;

    std::fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
    let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
    tensors::write_parts(&folder.join("model.safetensors"), &parts, &metadata, |index| {
        #[expect(clippy::indexing_slicing, reason = "there are as many parts as places")]
        let (spec, piece) = places[index];
        let bytes = piece_bytes(source, spec, piece, format)?;
        source.done(&spec.name);
        Ok(Cow::Owned(bytes))
    })?;
    if let Some(codec) = codec {
        atomic::write(&folder.join("tokenizer.json"), codec.tokenizer.to_json().as_bytes())?;
        // Only wgpt reads a character tokenizer, and its chat conventions.
        if matches!(codec.tokenizer, Tokenizer::Bpe(_)) {
            let TextCodec { tokenizer, conventions } = codec;
            let name = |id: Option<u32>| id.map(|id| tokenizer.token_text(id));
            let about = json!({
                "tokenizer_class": "PreTrainedTokenizerFast",
                "bos_token": name(conventions.bos),
                "eos_token": name(conventions.eos),
                "add_bos_token": conventions.add_bos,
                "chat_template": conventions.template,
                "clean_up_tokenization_spaces": false,
                "model_max_length": model.context,
            });
            atomic::write(&folder.join("tokenizer_config.json"), format!("{about:#}\n").as_bytes())?;
        } else if codec.conventions.template.is_some() {
            for (name, content) in codec.conventions.files() {
                atomic::write(&folder.join(name), format!("{content:#}\n").as_bytes())?;
            }
        }
    }
    // Written last: without it, a folder is not recognised as a model.
    atomic::write(&folder.join("config.json"), format!("{config:#}\n").as_bytes())
}
