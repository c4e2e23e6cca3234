//! Checks the buffers and parameters of a dispatch against the kernel's declarations; bind groups
//! are created once and kept.

use std::{collections::HashMap, sync::Arc};

use wgpu::naga::ScalarKind;

use super::{Storage, kernel::Pipeline};
use crate::{Error, Result};

/// A range of a buffer.
#[derive(Clone, Copy, Debug)]
pub struct Bind<'a> {
    /// The buffer.
    pub storage: &'a Arc<Storage>,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub size: u64,
}

/// A parameter's value.
#[derive(Clone, Copy, Debug)]
pub enum Param {
    /// A `u32`.
    Uint(u32),
    /// An `f32`.
    Float(f32),
}

impl From<u32> for Param {
    fn from(value: u32) -> Self {
        Self::Uint(value)
    }
}

impl From<usize> for Param {
    /// Sizes beyond `u32` cannot be indexed in WGSL; shapes are checked long before, so saturating is only a guard.
    fn from(value: usize) -> Self {
        Self::Uint(u32::try_from(value).unwrap_or(u32::MAX))
    }
}

impl From<bool> for Param {
    fn from(value: bool) -> Self {
        Self::Uint(u32::from(value))
    }
}

impl From<f32> for Param {
    fn from(value: f32) -> Self {
        Self::Float(value)
    }
}

fn mistake(pipeline: &Pipeline, reason: String) -> Error {
    Error::Kernel { kernel: pipeline.label.clone(), reason }
}

/// The bytes of `Params`. Every declared field must be given exactly once, with its declared type.
///
/// # Errors
/// [`Error::Kernel`] naming the field that is missing, unknown or of another type.
pub fn pack(pipeline: &Pipeline, values: &[(&str, Param)]) -> Result<Vec<u8>> {
    let fields = &pipeline.interface.params;
    if values.len() != fields.len() {
        let names: Vec<_> = fields.iter().map(|field| field.name.as_str()).collect();
        return Err(mistake(pipeline, format!("takes the parameters {names:?}, {} were given", values.len())));
    }
    let mut bytes = vec![0; pipeline.interface.params_bytes as usize];
    for field in fields {
        let value = values.iter().find(|(name, _)| *name == field.name);
        let value = value.ok_or_else(|| mistake(pipeline, format!("parameter '{}' is missing", field.name)))?.1;
        let word = match (value, field.kind) {
            (Param::Uint(value), ScalarKind::Uint) => value.to_le_bytes(),
            (Param::Float(value), ScalarKind::Float) => value.to_le_bytes(),
            (value, kind) => {
                return Err(mistake(pipeline, format!("parameter '{}' is {kind:?}, given {value:?}", field.name)));
            }
        };
        bytes[field.offset as usize..field.offset as usize + 4].copy_from_slice(&word);
    }
    Ok(bytes)
}

type Key = (u32, Vec<(u64, u64, u64)>);

/// Bind groups by pipeline and buffer ranges.
#[derive(Default)]
pub struct BindGroups {
    groups: HashMap<Key, wgpu::BindGroup>,
    created: u64,
}

impl BindGroups {
    /// Bind groups created since the device was opened.
    pub fn created(&self) -> u64 {
        self.created
    }

    /// Drops every bind group, and with them the buffers that only they keep alive.
    pub fn clear(&mut self) {
        self.groups.clear();
    }

    /// The bind group for `binds`, which must name every binding of the kernel exactly once.
    ///
    /// # Errors
    /// [`Error::Kernel`] naming what is missing or unknown.
    pub fn get(
        &mut self,
        device: &wgpu::Device,
        pipeline: &Pipeline,
        binds: &[(&str, Bind<'_>)],
    ) -> Result<wgpu::BindGroup> {
        let declared = &pipeline.interface.bindings;
        if binds.len() != declared.len() {
            let names: Vec<_> = declared.iter().map(|binding| binding.name.as_str()).collect();
            return Err(mistake(pipeline, format!("binds {names:?}, {} buffers were given", binds.len())));
        }
        let mut ordered = Vec::with_capacity(declared.len());
        for binding in declared {
            let bind = binds.iter().find(|(name, _)| *name == binding.name);
            ordered.push(bind.ok_or_else(|| mistake(pipeline, format!("buffer '{}' is missing", binding.name)))?.1);
        }
        let key = (pipeline.id, ordered.iter().map(|bind| (bind.storage.id(), bind.offset, bind.size)).collect());
        if let Some(group) = self.groups.get(&key) {
            return Ok(group.clone());
        }
        let entries: Vec<_> = declared
            .iter()
            .zip(&ordered)
            .map(|(binding, bind)| wgpu::BindGroupEntry {
                binding: binding.index,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: bind.storage.buffer(),
                    offset: bind.offset,
                    size: std::num::NonZeroU64::new(bind.size),
                }),
            })
            .collect();
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(&pipeline.label),
            layout: &pipeline.layout,
            entries: &entries,
        });
        self.created += 1;
        self.groups.insert(key, group.clone());
        Ok(group)
    }
}
