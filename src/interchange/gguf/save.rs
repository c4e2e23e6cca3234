//! Writes a model as a GGUF file that llama.cpp loads.

use std::{io::Write, path::Path};

use super::{config, names, vocabulary};
use crate::{
    Error, Result,
    formats::{
        Format,
        gguf::{self, TensorSpec, Value},
    },
    interchange::{TextCodec, family::Family, layout::Layout, piece_bytes},
    io::atomic,
    model::{Source, parameters::ParameterSpec},
};

/// Writes the model with its matrices stored as `format`. A matrix whose rows are not whole blocks of that format is
/// stored as F16. Vectors and learned positions stay F32, which llama.cpp requires. GPT-2 without biases gets biases of
/// 0.
///
/// # Errors
/// [`Error::Config`] for a model that llama.cpp does not support, [`Error::Tokenizer`] for a tokenizer that GGUF cannot
/// hold, [`Error::Io`], and the errors of the source.
pub fn save(source: &dyn Source, codec: Option<&TextCodec>, path: &Path, format: Format) -> Result<()> {
    atomic::write_with(path, |file| write(file, source, codec, path, format))
}

/// Like [`save`], but to any writer; `path` gives the model's name.
///
/// # Errors
/// Returns the errors of [`save`]; a partial file may have been written.
pub fn write(
    out: &mut dyn Write,
    source: &dyn Source,
    codec: Option<&TextCodec>,
    path: &Path,
    format: Format,
) -> Result<()> {
    let family = Family::of(source.config())?;
    let model = family.completed(source.config());
    let layout = Layout::new(names::dialect(family), &model)?;
    let (mut metadata, factors) = config::write(family, &model)?;
    metadata.push(("general.name".into(), Value::Str(name_of(path))));
    metadata.push(("general.quantization_version".into(), Value::U32(2)));
    if let Some(codec) = codec {
        metadata.extend(vocabulary::metadata(codec, model.vocabulary)?);
    }

    let mut tensors = Vec::new();
    let mut places = Vec::new();
    for spec in layout.specs() {
        for piece in layout.pieces(&spec.name) {
            let stored = stored_format(spec, piece.width, format);
            tensors.push(TensorSpec { name: piece.name.clone(), shape: piece.stored_shape(), format: stored });
            places.push((spec, piece));
        }
    }
    if let Some(factors) = &factors {
        let name = names::ROPE_FACTORS.to_string();
        tensors.push(TensorSpec { name, shape: vec![factors.len()], format: Format::F32 });
    }
    let mut next = places.iter();
    gguf::write_to(out, path, &metadata, &tensors, |tensor, out| {
        let bytes = match next.next() {
            Some((spec, piece)) => {
                let bytes = piece_bytes(source, spec, piece, tensor.format)?;
                source.done(&spec.name);
                bytes
            }
            None => bytemuck::cast_slice(factors.as_deref().unwrap_or_default()).to_vec(),
        };
        out.write_all(&bytes).map_err(Error::io(path, "write"))
    })
}

fn stored_format(spec: &ParameterSpec, width: Option<usize>, format: Format) -> Format {
    match width {
        Some(width) if spec.name != "position.weight" => {
            if width % format.block() == 0 {
                format
            } else {
                Format::F16
            }
        }
        _ => Format::F32,
    }
}

fn name_of(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}
