//! The only file with `unsafe`: memory-mapped files, shader modules without run-time checks, devices that do not check
//! accesses to buffers, saved compiled pipelines, and wgpu's experimental features.
#![allow(unsafe_code)]

use std::{fs::File, ops::Range, path::Path};

use crate::{Error, Result, hash};

/// Maps a file into memory, read-only.
///
/// # Errors
/// [`Error::Io`] when the file cannot be opened or mapped; [`Error::Data`] for a folder, a pipe or a device.
pub fn map(path: &Path) -> Result<memmap2::Mmap> {
    // Opening a pipe would wait for a writer.
    if !std::fs::metadata(path).map_err(Error::io(path, "open"))?.is_file() {
        return Err(Error::data(path, "not a regular file"));
    }
    map_file(&File::open(path).map_err(Error::io(path, "open"))?, path)
}

/// Maps an open file, which messages call `path`, into memory, read-only.
///
/// # Errors
/// [`Error::Io`] when it cannot be mapped.
pub fn map_file(file: &File, path: &Path) -> Result<memmap2::Mmap> {
    // SAFETY: wgpt never shortens or overwrites in place what it maps: checkpoints and models are written under a temporary
    // name that is renamed (`io::atomic`), and temporary files have no name, so the pages stay valid. Another program that
    // truncates the file while it is mapped can end this process; the alternative, reading whole models into memory, would
    // rule out large ones. That holds for texts that a user trains on, too; token files, which are read for as long as a run
    // lasts, are not mapped.
    unsafe { memmap2::Mmap::map(file) }.map_err(Error::io(path, "map"))
}

/// Tells the system that the pages of a range of a mapped file need not stay in memory. Only a hint: a page that is read
/// again is loaded from the file. Does nothing on systems without such a call.
pub fn release(map: &memmap2::Mmap, range: Range<usize>) {
    #[cfg(unix)]
    if range.start < range.end && range.end <= map.len() {
        // SAFETY: `map` maps a file read-only and shared, so a dropped page holds nothing that the file does not:
        // reading it again gives the same bytes (memory that is not backed by a file would come back as zeros).
        let advised = unsafe {
            map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.end - range.start)
        };
        // A refused hint changes nothing.
        advised.ok();
    }
    #[cfg(not(unix))]
    let _ = (map, range);
}

/// Permission to use features that wgpu calls experimental.
pub fn experimental() -> wgpu::ExperimentalFeatures {
    // SAFETY: the caller must accept that such features may still have bugs that break memory safety. The only one used
    // is cooperative matrices: their only kernel loads and stores them in its own workgroup memory, at indices bounded
    // by constants. Without tuning, a kernel that fits every product takes precedence, and the tuner chooses the
    // cooperative one only where its result agreed with the plainest kernel's on the same adapter;
    // `WGPT_WITHOUT=cooperative` leaves the feature unused.
    unsafe { wgpu::ExperimentalFeatures::enabled() }
}

/// Creates a shader module without loop counters and index clamps; `checked` keeps them.
pub fn shader_module(
    device: &wgpu::Device,
    descriptor: wgpu::ShaderModuleDescriptor<'_>,
    checked: bool,
) -> wgpu::ShaderModule {
    if checked {
        return device.create_shader_module(descriptor);
    }
    // SAFETY: only this crate's kernels are compiled here, and only its own operations dispatch them; `Gpu::dispatch`,
    // which anybody may call, compiles with checks. Each kernel guards its indices against the sizes in its parameters,
    // and its loops are bounded by them; the operations that dispatch it have checked that the tensors have those
    // sizes, and that uploaded indices are within them. The tests open their devices with `checked`, so every variant
    // is compared with its oracle while indices are clamped and loops are bounded; `scripts/matrix --quick` compares
    // some without checks, as users run them.
    unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
}

/// Opens a Vulkan device without `robustBufferAccess` and `robustBufferAccess2`, which wgpu otherwise enables wherever they
/// exist, so that the compiler need not guard every load and store; `None` for other backends, which have no such switch.
///
/// # Errors
/// The driver's words.
#[cfg(any(windows, target_os = "linux", target_os = "android"))]
pub fn unbounded_device(
    adapter: &wgpu::Adapter,
    descriptor: &wgpu::DeviceDescriptor<'_>,
) -> std::result::Result<Option<(wgpu::Device, wgpu::Queue)>, String> {
    use ash::{ext, vk};
    use wgpu::hal::api::Vulkan;

    // SAFETY: nothing that the adapter refers to is destroyed.
    let Some(hal) = (unsafe { adapter.as_hal::<Vulkan>() }) else { return Ok(None) };
    let features = descriptor.required_features;
    let extensions = hal.required_device_extensions(features);
    // Without the extension in this list, the features do not include what it offers.
    let others: Vec<_> = extensions.iter().copied().filter(|name| *name != ext::robustness2::NAME).collect();
    let mut enabled = hal.physical_device_features(&others, features);
    let core = vk::PhysicalDeviceFeatures { robust_buffer_access: vk::FALSE, ..enabled.get_core() };
    // wgpu's own choice of family and queue.
    let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(0).queue_priorities(&[1.0])];
    let names: Vec<_> = extensions.iter().map(|name| name.as_ptr()).collect();
    let create = vk::DeviceCreateInfo::default().queue_create_infos(&queues).enabled_extension_names(&names);
    let create = enabled.add_to_device_create(create).enabled_features(&core);
    // SAFETY: the device is created as wgpu-hal itself does it, with the extensions that it requires and the features that
    // it asks for, but for the two that check accesses to buffers. wgpu relies on these for shader modules with run-time
    // checks only, and no such module is created here: `Gpu` lends this device to nobody (`Gpu::wgpu_device`) and refuses
    // kernels that are not the library's own (`Gpu::dispatch`); for those that are, what `shader_module` says holds. Devices
    // that were opened with `checked` are not opened here. wgpu-hal takes ownership of the device, and the second call gets
    // what this adapter opened with the descriptor's features.
    unsafe {
        let instance = hal.shared_instance().raw_instance();
        let raw =
            instance.create_device(hal.raw_physical_device(), &create, None).map_err(|error| error.to_string())?;
        let (limits, hints) = (&descriptor.required_limits, &descriptor.memory_hints);
        let opened = hal.device_from_raw(raw, None, &extensions, features, limits, hints, 0, 0);
        let opened = opened.map_err(|error| error.to_string())?;
        adapter.create_device_from_hal::<Vulkan>(opened, descriptor).map(Some).map_err(|error| error.to_string())
    }
}

/// `None`: no other platform has a switch for the checks of accesses to buffers.
///
/// # Errors
/// None.
#[cfg(not(any(windows, target_os = "linux", target_os = "android")))]
pub fn unbounded_device(
    _adapter: &wgpu::Adapter,
    _descriptor: &wgpu::DeviceDescriptor<'_>,
) -> std::result::Result<Option<(wgpu::Device, wgpu::Queue)>, String> {
    Ok(None)
}

/// Detects accidental changes to bytes.
fn checksum(bytes: &[u8]) -> [u8; 8] {
    hash::add(hash::START, bytes).to_le_bytes()
}

/// The contents of a pipeline cache, preceded by a checksum, as [`pipeline_cache`] takes them.
pub fn pipeline_data(cache: &wgpu::PipelineCache) -> Option<Vec<u8>> {
    let data = cache.get_data()?;
    Some([&checksum(&data)[..], &data].concat())
}

/// A pipeline cache filled with what [`pipeline_data`] returned in an earlier process. Anything else, or data from
/// another adapter or driver, gives an empty one.
pub fn pipeline_cache(device: &wgpu::Device, kept: Option<&[u8]>) -> wgpu::PipelineCache {
    let whole = |(sum, data): (&[u8; 8], &'_ [u8])| *sum == checksum(data);
    let data = kept.and_then(|kept| kept.split_first_chunk()).filter(|parts| whole(*parts)).map(|(_, data)| data);
    let descriptor = wgpu::PipelineCacheDescriptor { label: Some("wgpt"), data, fallback: true };
    // SAFETY: the data must come from a cache. The checksum shows that nothing was cut off or changed since, and wgpu's
    // header shows that it was made for this adapter, driver and format version; the file lies in the user's own cache
    // folder, and anyone who can write there can replace this program as well.
    unsafe { device.create_pipeline_cache(&descriptor) }
}

#[cfg(test)]
mod tests {
    use super::checksum;

    #[test]
    fn a_changed_byte_changes_the_checksum() {
        assert_eq!(checksum(b""), 0xcbf2_9ce4_8422_2325_u64.to_le_bytes());
        assert_ne!(checksum(b"pipelines"), checksum(b"pipelinet"));
    }
}
