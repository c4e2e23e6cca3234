//! Builds models from random numbers, from files for training, and from files as they are stored; gives them f16 copies and
//! adapters.

use super::{
    block::{Affine, Block, Scale},
    config::{Config, Positions},
    gpt::Gpt,
    lora::{Lora, Target},
    parameters::{self, ParameterSpec},
};
use crate::{
    Error, Result, arena,
    formats::{self, Format, Rows},
    gpu::Gpu,
    ops::{head_norm, lora::Adapter, packed::Packed, rope, weight::Weight},
    tensor::{DType, Tensor},
};

/// How the matrices of a frozen model are stored on the GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// Each as stored in its file.
    #[default]
    AsStored,
    /// All in this format if their width is a multiple of its block size; the others in f16.
    As(Format),
}

/// A stored model.
pub trait Source {
    /// The shape of the model.
    fn config(&self) -> &Config;

    /// A parameter under wgpt's name (see [`parameters::specs`]), in the pieces that the file holds,
    /// in row order: a fused `attention.qkv` may come as queries, keys and values, each in its own format. Vectors come as one
    /// row per piece. Together the pieces have the shape that the configuration gives. Empty if the model has no such
    /// parameter.
    ///
    /// # Errors
    /// [`crate::Error::Checkpoint`] when the file lacks it, or has it in another shape or type.
    fn parameter(&self, name: &str) -> Result<Vec<Rows<'_>>>;

    /// Tells the source that a parameter will not be needed again soon, so that its memory can be released.
    fn done(&self, _name: &str) {}
}

/// First random stream of adapters, far from those of weights.
const STREAM: u64 = u64::from_le_bytes(*b"lora\0\0\0\0") << 32;

impl Gpt {
    /// A new model, its weights drawn from `seed`.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::OutOfMemory`].
    pub fn new(gpu: &Gpu, config: &Config, seed: u64) -> Result<Self> {
        let (mut stream, mut places) = (0, places(gpu, config)?.into_iter());
        Self::assemble(gpu, config, |spec| {
            stream += 1;
            let weight = place(&mut places)?;
            // Drawing billions of numbers takes minutes, and on an imagined device nobody would read them.
            if !gpu.is_imagined() {
                weight.write(&spec.values(seed, stream))?;
            }
            Ok(Weight::Plain(weight))
        })
    }

    /// A model whose weights come from `values`, by name and shape.
    ///
    /// # Errors
    /// [`Error::Config`], and the errors of `values`.
    pub fn build(
        gpu: &Gpu,
        config: &Config,
        mut values: impl FnMut(&ParameterSpec) -> Result<Vec<f32>>,
    ) -> Result<Self> {
        let mut places = places(gpu, config)?.into_iter();
        Self::assemble(gpu, config, |spec| {
            let weight = place(&mut places)?;
            weight.write(&values(spec)?)?;
            Ok(Weight::Plain(weight))
        })
    }

    /// A model with f32 weights from any source; it can be trained.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::OutOfMemory`], and the errors of the source.
    pub fn from_source(gpu: &Gpu, source: &dyn Source) -> Result<Self> {
        Self::build(gpu, source.config(), |spec| {
            let values = source.parameter(&spec.name)?.iter().flat_map(Rows::to_f32).collect();
            source.done(&spec.name);
            Ok(values)
        })
    }

    /// A model for inference, whose matrices stay as small as they are stored, or as `storage` says. `each` is called
    /// with the number of parameters loaded so far and their total.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::OutOfMemory`], and the errors of the source.
    pub fn frozen(
        gpu: &Gpu,
        source: &dyn Source,
        storage: Storage,
        mut each: impl FnMut(usize, usize),
    ) -> Result<Self> {
        let all = parameters::specs(source.config()).len();
        let mut done = 0;
        Self::assemble(gpu, source.config(), |spec| {
            let weight = freeze(gpu, spec, source.parameter(&spec.name)?, storage)?;
            source.done(&spec.name);
            done += 1;
            each(done, all);
            Ok(weight)
        })
    }

    /// Gives every matrix an f16 copy. From now on whole texts are computed with those copies, and activations between the
    /// layers are f16; sums, the residual stream and the trained weights stay f32.
    ///
    /// # Errors
    /// [`Error::Config`] for a model that is not trained as a whole, [`Error::OutOfMemory`].
    pub fn mix(&mut self) -> Result<()> {
        if self.lora.is_some() || self.parameters.is_empty() {
            return Err(Error::Config("mixed precision is for models that are trained as a whole".to_string()));
        }
        let gpu = self.norm.weight.gpu().clone();
        let shapes: Vec<_> = self.parameters.iter().map(|(_, master)| master.shape()).collect();
        let halves = arena::of_parameters(&gpu, &shapes, DType::F16)?;
        for ((_, master), half) in self.parameters.iter().zip(&halves) {
            master.scale_into(half, 1.0, false)?;
        }
        let of_blocks = self.blocks.iter_mut().flat_map(Block::weights);
        for weight in of_blocks.chain([&mut self.embed]).chain(&mut self.head) {
            let Weight::Plain(master) = weight else { continue };
            let found = self.parameters.iter().zip(&halves).find(|((_, other), _)| other.id() == master.id());
            if let Some((_, half)) = found {
                *weight = Weight::Mixed { master: master.clone(), half: half.clone() };
            }
        }
        self.halves = halves;
        Ok(())
    }

    /// The model with fresh adapters, drawn from `seed`; see [`Gpt::attach_lora`].
    ///
    /// # Errors
    /// As [`Gpt::attach_lora`].
    pub fn with_lora(mut self, lora: Lora, seed: u64) -> Result<Self> {
        let mut stream = STREAM;
        self.attach_lora(lora, |spec| {
            stream += 1;
            Ok(spec.values(seed, stream))
        })?;
        Ok(self)
    }

    /// Attaches adapters to the model's layers, with values by name and shape from `values`. From now on they are the
    /// model's [`parameters`](Gpt::parameters), and the parameters it had before are frozen. Earlier adapters are removed.
    ///
    /// # Errors
    /// [`Error::Config`] for a configuration that does not fit, [`Error::OutOfMemory`], and the errors of `values`.
    pub fn attach_lora(
        &mut self,
        lora: Lora,
        mut values: impl FnMut(&ParameterSpec) -> Result<Vec<f32>>,
    ) -> Result<()> {
        lora.config.validate(&self.config)?;
        let gpu = self.norm.weight.gpu().clone();
        let mut parameters = Vec::new();
        for spec in lora.config.specs(&self.config) {
            let tensor = Tensor::from_f32(&gpu, &spec.shape, &values(&spec)?)?;
            gpu.submit()?;
            parameters.push((spec.name, tensor));
        }
        let find = |name: String| {
            let found = parameters.iter().find(|(other, _)| *other == name);
            found.map(|(_, tensor)| tensor.clone())
        };
        for (index, block) in self.blocks.iter_mut().enumerate() {
            for target in Target::ALL {
                let name = format!("blocks.{index}.{}", target.layer());
                let (a, b) = (find(format!("{name}.lora_a")), find(format!("{name}.lora_b")));
                let scale = lora.config.scale();
                layer(block, target).adapter = a.zip(b).map(|(a, b)| Adapter { a, b, scale });
            }
        }
        self.bytes += parameters.iter().map(|(_, tensor)| tensor.bytes()).sum::<u64>();
        self.parameters = parameters;
        self.lora = Some(lora);
        Ok(())
    }

    /// A model that shares this one's weights without a copy but has other adapters, so that several sets of adapters need
    /// the base in memory only once. Adapters that this model already has are not shared.
    ///
    /// # Errors
    /// As [`Gpt::attach_lora`].
    pub fn beside(&self, lora: Lora, values: impl FnMut(&ParameterSpec) -> Result<Vec<f32>>) -> Result<Self> {
        let mut other = Self {
            config: self.config.clone(),
            embed: self.embed.clone(),
            position: self.position.clone(),
            rope_table: self.rope_table.clone(),
            blocks: self.blocks.iter().map(Block::without_adapters).collect(),
            norm: self.norm.clone(),
            head: self.head.clone(),
            parameters: Vec::new(),
            bytes: self.bytes,
            halves: self.halves.clone(),
            lora: None,
        };
        other.attach_lora(lora, values)?;
        Ok(other)
    }

    fn assemble(gpu: &Gpu, config: &Config, mut weight: impl FnMut(&ParameterSpec) -> Result<Weight>) -> Result<Self> {
        config.validate()?;
        let mut all = Vec::new();
        for spec in parameters::specs(config) {
            let weight = weight(&spec)?;
            gpu.submit()?;
            all.push((spec.name, weight));
        }
        let position = match config.positions {
            Positions::Sinusoidal => {
                let values = parameters::sinusoidal(config.context, config.width);
                Some(Tensor::from_f32(gpu, &[config.context, config.width], &values)?)
            }
            _ => find(&all, "position.weight").map(|weight| weight.plain()).transpose()?,
        };
        let rotary = config.positions == Positions::Rotary;
        let divisor = |i, frequency| config.rope_scaling.as_ref().map_or(1.0, |scaling| scaling.divisor(i, frequency));
        let rope_table =
            rotary.then(|| rope::table(gpu, config.context, config.head_dim(), config.rope_theta, divisor));
        Ok(Self {
            config: config.clone(),
            embed: need(&all, "embed.weight")?,
            position,
            rope_table: rope_table.transpose()?,
            blocks: (0..config.layers).map(|index| block(config, &all, index)).collect::<Result<_>>()?,
            norm: scale(&all, "norm")?,
            head: find(&all, "head.weight"),
            bytes: all.iter().map(|(_, weight)| weight.bytes()).sum(),
            lora: None,
            parameters: all
                .into_iter()
                .filter_map(|(name, weight)| match weight {
                    Weight::Plain(plain) | Weight::Mixed { master: plain, .. } => Some((name, plain)),
                    Weight::Packed(_) => None,
                })
                .collect(),
            halves: Vec::new(),
        })
    }
}

fn layer(block: &mut Block, target: Target) -> &mut Affine {
    match target {
        Target::Qkv => &mut block.qkv,
        Target::Out => &mut block.out,
        Target::Up => &mut block.up,
        Target::Down => &mut block.down,
    }
}

/// Allocates the parameters of a trainable model.
fn places(gpu: &Gpu, config: &Config) -> Result<Vec<Tensor>> {
    config.validate()?;
    let specs = parameters::specs(config);
    let shapes: Vec<_> = specs.iter().map(|spec| &spec.shape[..]).collect();
    arena::of_parameters(gpu, &shapes, DType::F32)
}

fn place(places: &mut impl Iterator<Item = Tensor>) -> Result<Tensor> {
    places.next().ok_or_else(|| Error::Config("the model has more parameters than were made room for".to_string()))
}

type All = [(String, Weight)];

fn find(all: &All, name: &str) -> Option<Weight> {
    all.iter().find(|(other, _)| other == name).map(|(_, weight)| weight.clone())
}

fn need(all: &All, name: &str) -> Result<Weight> {
    find(all, name).ok_or_else(|| Error::Config(format!("the model has no parameter '{name}'")))
}

/// A vector, as plain f32; vectors are never packed.
fn vector(all: &All, name: &str) -> Result<Option<Tensor>> {
    find(all, name).map(|weight| weight.plain()).transpose()
}

fn scale(all: &All, name: &str) -> Result<Scale> {
    Ok(Scale { weight: need(all, &format!("{name}.weight"))?.plain()?, bias: vector(all, &format!("{name}.bias"))? })
}

fn block(config: &Config, all: &All, index: usize) -> Result<Block> {
    let affine = |name: &str| {
        let name = format!("blocks.{index}.{name}");
        let (weight, bias) = (need(all, &format!("{name}.weight"))?, vector(all, &format!("{name}.bias"))?);
        Ok::<_, Error>(Affine { weight, bias, adapter: None })
    };
    let head = |name: &str| need(all, &format!("blocks.{index}.attention.{name}.weight"))?.plain();
    let head_norm = || Ok::<_, Error>(head_norm::Weights { query: head("q_norm")?, key: head("k_norm")? });
    Ok(Block {
        norm1: scale(all, &format!("blocks.{index}.norm1"))?,
        qkv: affine("attention.qkv")?,
        head_norm: config.qk_norm.then(head_norm).transpose()?,
        out: affine("attention.out")?,
        norm2: scale(all, &format!("blocks.{index}.norm2"))?,
        up: affine("mlp.up")?,
        down: affine("mlp.down")?,
    })
}

/// A parameter as a frozen model stores it. Vectors and positions are small and are added to f32 values anyway.
fn freeze(gpu: &Gpu, spec: &ParameterSpec, parts: Vec<Rows<'_>>, storage: Storage) -> Result<Weight> {
    let &[_, width] = &spec.shape[..] else { return plain(gpu, spec, &parts) };
    if spec.name == "position.weight" || !Packed::can_hold(width) {
        return plain(gpu, spec, &parts);
    }
    let format = match storage {
        Storage::As(format) if width % format.block() == 0 => Some(format),
        Storage::As(_) => Some(Format::F16),
        Storage::AsStored => None,
    };
    let parts = match format {
        None => parts,
        Some(format) => parts.into_iter().map(|part| restore(part, format)).collect::<Result<_>>()?,
    };
    match parts.iter().all(|part| part.format == Format::F32) {
        true => plain(gpu, spec, &parts),
        false => Ok(Weight::Packed(Packed::new(gpu, &parts)?)),
    }
}

fn plain(gpu: &Gpu, spec: &ParameterSpec, parts: &[Rows<'_>]) -> Result<Weight> {
    let values: Vec<f32> = parts.iter().flat_map(Rows::to_f32).collect();
    Ok(Weight::Plain(Tensor::from_f32(gpu, &spec.shape, &values)?))
}

fn restore(part: Rows<'_>, format: Format) -> Result<Rows<'_>> {
    if part.format == format {
        return Ok(part);
    }
    let bytes = formats::quantise(format, &part.to_f32())?.into();
    Ok(Rows { format, bytes, ..part })
}
