//! Memory as people say it, and whether the adapter has it.

use wgpt::{Result, gpu::Gpu, wgpu};

/// Whether `bytes` more fit; None where the adapter does not tell.
///
/// # Errors
/// What the driver complains about beside a lack of memory.
pub(super) async fn fits(gpu: &Gpu, bytes: u64) -> Result<Option<bool>> {
    Ok(match gpu.info().device_type {
        // A software adapter takes the machine's own memory, and promises more than there is.
        wgpu::DeviceType::Cpu => available().map(|free| bytes <= free),
        _ => Some(gpu.has_room(bytes).await?),
    })
}

/// Bytes of memory that programs can still get, where the system tells.
fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Bytes in words.
pub(super) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
