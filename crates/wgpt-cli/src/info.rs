//! `wgpt info`

use std::{collections::BTreeMap, path::PathBuf};

use clap::Args;
use serde::Serialize;

use super::{Shared, output::mib};
use wgpt::{
    Result,
    error::counted,
    formats::{Format, gguf::GgufFile},
    gpu::Gpu,
    interchange::{self, TextCodec, family::Family, gguf},
    model::{
        Config, Source,
        parameters::{self, ParameterSpec},
    },
    ops::packed::layout::Layout,
};

/// Describe a model, and check whether it fits this adapter
#[derive(Debug, Args)]
#[command(
    after_help = "Memory is the size of the weights in GPU memory if all matrices are stored in a format (vectors stay \
f32), and that of the keys and values for a full context. Training needs f32 weights, gradients and two moments, plus \
activations.

Examples:
  wgpt info model.gguf
  wgpt info runs/shakespeare --tensors
  wgpt info model.gguf --json"
)]
pub(crate) struct Arguments {
    /// GGUF file, Hugging Face folder, checkpoint or run folder
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// List every tensor
    #[arg(long)]
    tensors: bool,
}

#[derive(Serialize)]
struct Output {
    family: String,
    config: Config,
    parameters: u64,
    vocabulary: usize,
    chat_template: bool,
    /// Number of tensors and bytes in the file, by format.
    formats: BTreeMap<&'static str, Stored>,
    tensors: Vec<Tensor>,
    memory: Vec<Need>,
    /// Bytes of the keys and values of a full context, in f32 and in f16.
    cache: [u64; 2],
    training: Need,
    adapter: String,
    /// What the file has that is not used, and what is assumed where it has nothing.
    remarks: Vec<String>,
    /// The texts of the tokens that end an answer.
    stops: Vec<String>,
}

#[derive(Default, Serialize)]
struct Stored {
    tensors: usize,
    bytes: u64,
}

#[derive(Serialize)]
struct Tensor {
    name: String,
    shape: Vec<usize>,
    format: String,
    bytes: u64,
}

#[derive(Serialize)]
struct Need {
    weights: &'static str,
    bytes: u64,
    /// [`None`] if the adapter does not report its memory.
    fits: Option<bool>,
}

/// Runs the command.
pub(crate) async fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    let source = interchange::open(&arguments.model)?;
    let codec = TextCodec::open(&arguments.model)?;
    let gpu = shared.open().await?;
    let config = source.config().clone();
    let specs = parameters::specs(&config);
    let (mut tensors, mut formats) = (Vec::new(), BTreeMap::<_, Stored>::new());
    let (mut parameters, mut as_stored) = (0, 0);
    for spec in &specs {
        let tensor = tensor(&*source, spec, &mut formats, &mut as_stored)?;
        parameters += tensor.shape.iter().product::<usize>() as u64;
        tensors.push(tensor);
    }
    let position = config.head_dim() * config.kv_heads * config.layers * 2;
    let cache = [4, 2].map(|bytes| (position * config.context * bytes) as u64);
    let mut memory = vec![need(&gpu, "as stored", as_stored, cache[0]).await?];
    for format in [Format::F32, Format::F16, Format::Q8_0, Format::Q4_1, Format::Q4K] {
        let bytes = specs.iter().map(|spec| bytes_in(spec, format)).sum();
        memory.push(need(&gpu, format.name(), bytes, cache[0]).await?);
    }
    let output = Output {
        family: Family::of(&config).map_or_else(|_| "wgpt's own".to_string(), |family| format!("{family:?}")),
        parameters,
        vocabulary: codec.tokenizer.vocab_size(),
        chat_template: codec.conventions.template.is_some(),
        formats,
        tensors: if arguments.tensors || shared.json { tensors } else { Vec::new() },
        memory,
        cache,
        training: need(&gpu, "training", parameters * 16, 0).await?,
        adapter: gpu.description(),
        remarks: match GgufFile::is_gguf(&arguments.model) {
            true => gguf::remarks(&GgufFile::open(&arguments.model)?),
            false => Vec::new(),
        },
        stops: codec.conventions.stops.iter().map(|&id| codec.tokenizer.token_text(id)).collect(),
        config,
    };
    shared.result(&output, || words(&output))?;
    shared.close(&gpu)
}

/// Describes a parameter as stored in the file, and adds the size of its packed rows to `on_gpu`.
fn tensor(
    source: &dyn Source,
    spec: &ParameterSpec,
    formats: &mut BTreeMap<&'static str, Stored>,
    on_gpu: &mut u64,
) -> Result<Tensor> {
    let pieces = source.parameter(&spec.name)?;
    let mut names = Vec::new();
    for piece in &pieces {
        let stored = formats.entry(piece.format.name()).or_default();
        stored.tensors += 1;
        stored.bytes += piece.bytes.len() as u64;
        *on_gpu += match spec.shape.len() {
            1 => 4 * piece.elements() as u64,
            _ => (piece.rows * Layout::of(piece.format).row_quads(piece.width) * 16) as u64,
        };
        if !names.contains(&piece.format.name()) {
            names.push(piece.format.name());
        }
    }
    let bytes = pieces.iter().map(|piece| piece.bytes.len() as u64).sum();
    drop(pieces);
    source.done(&spec.name);
    Ok(Tensor { name: spec.name.clone(), shape: spec.shape.clone(), format: names.join(", "), bytes })
}

/// Bytes of a parameter in GPU memory if matrices are kept in `format`; f16 if its rows are not whole blocks.
fn bytes_in(spec: &ParameterSpec, format: Format) -> u64 {
    let [rows, width] = spec.shape[..] else { return 4 * spec.shape.iter().product::<usize>() as u64 };
    let format = if width % format.block() == 0 { format } else { Format::F16 };
    (rows * Layout::of(format).row_quads(width) * 16) as u64
}

async fn need(gpu: &Gpu, weights: &'static str, bytes: u64, beside: u64) -> Result<Need> {
    Ok(Need { weights, bytes, fits: gpu.fits(bytes + beside).await? })
}

fn words(output: &Output) -> String {
    let config = &output.config;
    let mut text = format!(
        "{} with {} parameters: {}, width {}, {} ({} for keys and values) of {}, feed-forward {}, context \
         {}\nvocabulary {}{}{}\n\nstored",
        output.family,
        output.parameters,
        counted(config.layers, "layer"),
        config.width,
        counted(config.heads, "head"),
        config.kv_heads,
        config.head_dim(),
        config.hidden,
        config.context,
        output.vocabulary,
        if config.tied { ", tied to the head" } else { "" },
        if output.chat_template { ", with a chat template" } else { ", no chat template" },
    );
    for (format, stored) in &output.formats {
        text += &format!("\n  {format:<5} {:>5} tensors {:>12}", stored.tensors, mib(stored.bytes));
    }
    text += &format!("\n\nin memory on {}, a full context included", output.adapter);
    for need in output.memory.iter().chain([&output.training]) {
        let fits = match need.fits {
            Some(true) => "fits",
            Some(false) => "does not fit",
            None => "fits? the adapter does not tell",
        };
        let all = need.bytes + if need.weights == "training" { 0 } else { output.cache[0] };
        text += &format!("\n  {:<9} {:>12}  {fits}", need.weights, mib(all));
    }
    text += &format!(
        "\n  keys and values of a full context: {} in f32, {} in f16",
        mib(output.cache[0]),
        mib(output.cache[1])
    );
    if !output.stops.is_empty() {
        text += &format!("\n\nan answer ends with {}", output.stops.join(" "));
    }
    for remark in &output.remarks {
        text += &format!("\n{remark}");
    }
    for tensor in &output.tensors {
        text += &format!(
            "\n{:<36} {:<16} {:<10} {:>12}",
            tensor.name,
            format!("{:?}", tensor.shape),
            tensor.format,
            mib(tensor.bytes)
        );
    }
    text
}
