//! Which of a file's tensors make up a parameter, described by tables.
//!
//! wgpt keeps queries, keys and values in one weight, and gate and up in another; other programs split, name and order
//! them in their own ways. A [`Dialect`] describes one such way; a [`Layout`] expands it for one model.

use std::collections::HashMap;

use crate::{
    Error, Result,
    model::{
        Config,
        parameters::{self, ParameterSpec},
    },
};

/// How the rows of a stored tensor are ordered, compared with wgpt's `[out, in]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The same order.
    Same,
    /// `[in, out]`.
    Transposed,
    /// With this many heads: within each head, row `2i + j` is wgpt's row `j * half + i`, so rotary pairs are adjacent.
    Interleaved(usize),
}

/// A tensor in a file that holds some rows of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its name in the file.
    pub name: String,
    /// The first of the parameter's rows (elements of a vector) that it holds.
    pub first: usize,
    /// How many rows it holds.
    pub rows: usize,
    /// Elements per row; [`None`] for a vector.
    pub width: Option<usize>,
    /// The order of its rows.
    pub order: Order,
}

impl Piece {
    /// The tensor's shape in the file, outermost first.
    pub fn stored_shape(&self) -> Vec<usize> {
        match (self.width, self.order) {
            (None, _) => vec![self.rows],
            (Some(width), Order::Transposed) => vec![width, self.rows],
            (Some(width), _) => vec![self.rows, width],
        }
    }
}

/// How a family of programs names and orders the tensors of one architecture.
#[derive(Debug)]
pub struct Dialect {
    /// Names outside the blocks: wgpt's, and the file's.
    pub top: &'static [(&'static str, &'static str)],
    /// The prefix before a block's number.
    pub block: &'static str,
    /// Layers inside a block: wgpt's name, and the file's names in row order.
    pub layers: &'static [(&'static str, &'static [&'static str])],
    /// Layers inside blocks whose weights are stored as `[in, out]`.
    pub transposed: &'static [&'static str],
    /// Whether the rows of queries and keys are interleaved.
    pub interleaved: bool,
}

/// The pieces of every parameter of a model.
#[derive(Clone, Debug)]
pub struct Layout {
    specs: Vec<ParameterSpec>,
    pieces: HashMap<String, Vec<Piece>>,
}

impl Layout {
    /// Expands `dialect` for `config`.
    ///
    /// # Errors
    /// [`Error::Config`] for an impossible configuration, or a parameter that the dialect has no name for.
    pub fn new(dialect: &Dialect, config: &Config) -> Result<Self> {
        config.validate()?;
        let specs = parameters::specs(config);
        let mut pieces = HashMap::with_capacity(specs.len());
        for spec in &specs {
            let found = dialect.pieces(config, spec);
            let found = found.ok_or_else(|| Error::Config(format!("the file format has no place for '{}'", spec.name)));
            pieces.insert(spec.name.clone(), found?);
        }
        Ok(Self { specs, pieces })
    }

    /// Every parameter, in a fixed order.
    pub fn specs(&self) -> &[ParameterSpec] {
        &self.specs
    }

    /// The pieces of a parameter; empty if the model has no such parameter.
    pub fn pieces(&self, parameter: &str) -> &[Piece] {
        self.pieces.get(parameter).map_or(&[], Vec::as_slice)
    }
}

impl Dialect {
    fn pieces(&self, config: &Config, spec: &ParameterSpec) -> Option<Vec<Piece>> {
        let (module, kind) = spec.name.rsplit_once('.')?;
        let (height, width) = (*spec.shape.first()?, spec.shape.get(1).copied());
        let Some((index, layer)) = module.strip_prefix("blocks.").and_then(|rest| rest.split_once('.')) else {
            let (_, theirs) = self.top.iter().find(|(ours, _)| *ours == module)?;
            let name = format!("{theirs}.{kind}");
            return Some(vec![Piece { name, first: 0, rows: height, width, order: Order::Same }]);
        };
        let (_, names) = self.layers.iter().find(|(ours, _)| *ours == layer)?;
        let rows = match names.len() {
            1 => vec![height],
            2 => vec![config.hidden; 2],
            _ => config.qkv_rows().to_vec(),
        };
        let heads = [config.heads, config.kv_heads];
        let order = |part: usize| match () {
            () if self.transposed.contains(&layer) && width.is_some() => Order::Transposed,
            // Queries and keys; values are not rotated.
            () if self.interleaved && layer == "attention.qkv" => {
                heads.get(part).map_or(Order::Same, |heads| Order::Interleaved(*heads))
            }
            () => Order::Same,
        };
        let piece = |(part, (name, count)): (usize, (&&str, &usize))| Piece {
            name: format!("{}{index}.{name}.{kind}", self.block),
            first: rows.iter().take(part).sum(),
            rows: *count,
            width,
            order: order(part),
        };
        Some(names.iter().zip(&rows).enumerate().map(piece).collect())
    }
}
