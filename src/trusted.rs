//! The only place with `unsafe`: memory-mapped files and shader modules without run-time checks.
#![allow(unsafe_code)]

use std::{fs::File, path::Path};

use crate::{Error, Result};

/// Maps a file into memory, read-only.
///
/// # Errors
/// [`Error::Io`] when the file cannot be opened or mapped.
pub fn map(path: &Path) -> Result<memmap2::Mmap> {
    let file = File::open(path).map_err(Error::io(path, "open"))?;
    // SAFETY: wgpt never shortens a file in place (every write goes to a temporary name that is renamed), so the
    // pages stay valid. Another program that truncates the file while it is mapped can end this process; the
    // alternative, reading whole shards into memory, would rule out large data sets.
    unsafe { memmap2::Mmap::map(&file) }.map_err(Error::io(path, "map"))
}

/// Creates a shader module without loop counters and index clamps.
///
/// The kernels-tests run every variant with the checks on; `checked` keeps them on here as well.
pub fn shader_module(
    device: &wgpu::Device,
    descriptor: wgpu::ShaderModuleDescriptor<'_>,
    checked: bool,
) -> wgpu::ShaderModule {
    if checked {
        return device.create_shader_module(descriptor);
    }
    // SAFETY: only the project's own kernels come here. Each guards its indices against the sizes in its parameters,
    // the recorder binds buffers of at least those sizes, and every loop is bounded by them; the test suite runs
    // all of them with the checks on.
    unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
}
