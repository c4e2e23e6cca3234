//! Which of a file's tensors make up a parameter, told by tables.
//!
//! wgpt keeps queries, keys and values in one weight, and gate and up in another; other programs cut, name and order them
//! their own way. A [`Dialect`] is such a way; a [`Layout`] spells it out for one model.

use std::collections::HashMap;

use crate::{
    Error, Result,
    model::{
        Config,
        parameters::{self, ParameterSpec},
    },
};

/// How the rows of a stored tensor lie, compared with wgpt's `[out, in]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The same.
    Same,
    /// `[in, out]`.
    Transposed,
    /// Within each of so many heads, row `2i + j` is wgpt's row `j * half + i`: rotary pairs lie beside each other.
    Interleaved(usize),
}

/// A tensor in a file that holds some rows of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its name in the file.
    pub name: String,
    /// The first of the parameter's rows (elements of a vector) that it holds.
    pub first: usize,
    /// How many it holds.
    pub rows: usize,
    /// Elements per row; [`None`] for a vector.
    pub width: Option<usize>,
    /// How its rows lie.
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
    /// wgpt's names outside the blocks, and the file's.
    pub top: &'static [(&'static str, &'static str)],
    /// What stands before a block's number.
    pub block: &'static str,
    /// wgpt's layers inside a block, and the file's, in row order.
    pub layers: &'static [(&'static str, &'static [&'static str])],
    /// The layers inside blocks whose weights are `[in, out]`.
    pub transposed: &'static [&'static str],
    /// Rows of queries and keys are interleaved.
    pub interleaved: bool,
}

/// The pieces of every parameter of a model.
#[derive(Clone, Debug)]
pub struct Layout {
    specs: Vec<ParameterSpec>,
    pieces: HashMap<String, Vec<Piece>>,
}

impl Layout {
    /// Spells out `dialect` for `config`.
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

    /// The pieces of a parameter; none where the model has no such parameter.
    pub fn pieces(&self, parameter: &str) -> &[Piece] {
        self.pieces.get(parameter).map_or(&[], Vec::as_slice)
    }
}

impl Dialect {
    fn pieces(&self, config: &Config, spec: &ParameterSpec) -> Option<Vec<Piece>> {
        let (module, kind) = spec.name.rsplit_once('.')?;
        let width = spec.shape.get(1).copied();
        let Some((index, layer)) = module.strip_prefix("blocks.").and_then(|rest| rest.split_once('.')) else {
            let (_, theirs) = self.top.iter().find(|(ours, _)| *ours == module)?;
            let name = format!("{theirs}.{kind}");
            return Some(vec![Piece { name, first: 0, rows: spec.shape[0], width, order: Order::Same }]);
        };
        let (_, names) = self.layers.iter().find(|(ours, _)| *ours == layer)?;
        let rows = match names.len() {
            1 => vec![spec.shape[0]],
            2 => vec![config.hidden; 2],
            _ => config.qkv_rows().to_vec(),
        };
        let heads = [config.heads, config.kv_heads];
        let order = |part: usize| match () {
            () if self.transposed.contains(&layer) && width.is_some() => Order::Transposed,
            () if self.interleaved && layer == "attention.qkv" && part < 2 => Order::Interleaved(heads[part]),
            () => Order::Same,
        };
        let piece = |(part, (name, count)): (usize, (&&str, &usize))| Piece {
            name: format!("{}{index}.{name}.{kind}", self.block),
            first: rows[..part].iter().sum(),
            rows: *count,
            width,
            order: order(part),
        };
        Some(names.iter().zip(&rows).enumerate().map(piece).collect())
    }
}
