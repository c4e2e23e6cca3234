//! Lists this machine's adapters and picks one.

use wgpu::{Adapter, AdapterInfo, Backend, Backends, DeviceType, Instance, InstanceDescriptor};

use crate::{Error, Result};

/// The install line for machines without any driver.
pub const INSTALL_HINT: &str = if cfg!(target_os = "linux") {
    "install your GPU's Vulkan driver, or the software one: apt-get install mesa-vulkan-drivers libvulkan1"
} else if cfg!(target_os = "windows") {
    "install your GPU vendor's current driver (DirectX 12 or Vulkan)"
} else if cfg!(target_os = "macos") {
    "Metal comes with macOS 10.13 or newer; update the system"
} else {
    "install a Vulkan driver"
};

/// Sorts discrete before integrated before virtual before software adapters.
fn rank(kind: DeviceType) -> u8 {
    match kind {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu => 2,
        DeviceType::Other => 3,
        DeviceType::Cpu => 4,
    }
}

/// Whether the driver runs kernels on the processor.
pub fn on_processor(info: &AdapterInfo) -> bool {
    info.device_type == DeviceType::Cpu
}

/// Every adapter that can compute, best first.
pub async fn list() -> Vec<Adapter> {
    let mut descriptor = InstanceDescriptor::new_without_display_handle();
    descriptor.backends = Backends::PRIMARY;
    // Validation layers are for debugging drivers: WGPU_VALIDATION=1 brings them back.
    descriptor.flags = wgpu::InstanceFlags::empty().with_env();
    let mut adapters = Instance::new(descriptor).enumerate_adapters(Backends::PRIMARY).await;
    adapters.retain(|adapter| adapter.get_info().backend != Backend::Noop);
    adapters.sort_by_key(|adapter| rank(adapter.get_info().device_type));
    adapters
}

/// Describes an adapter: name, kind, backend, driver.
pub fn describe(info: &AdapterInfo) -> String {
    let driver = format!("{} {}", info.driver, info.driver_info);
    format!("{} ({:?}, {:?}, {})", info.name, info.device_type, info.backend, driver.trim())
}

/// A file name for an adapter and its driver. Choices made on a device that was opened with less than its adapter offers
/// (`reduced`, in words) are kept apart from those of the full one.
pub fn key(info: &AdapterInfo, reduced: &str) -> String {
    let text = format!("{} {} {} {:?}", info.name, info.driver, info.driver_info, info.backend);
    let text = if reduced.is_empty() { text } else { format!("{text} {reduced}") };
    text.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect()
}

/// The adapter that `wanted` names by index or by part of its name; without `wanted`, the `nth` of the best kind, modulo
/// their number.
///
/// # Errors
/// [`Error::NoAdapter`] with the platform's install line, [`Error::UnknownAdapter`] with the adapters that exist.
pub async fn choose(wanted: Option<&str>, nth: usize) -> Result<Adapter> {
    let adapters = list().await;
    if adapters.is_empty() {
        return Err(Error::NoAdapter(INSTALL_HINT.to_string()));
    }
    let Some(wanted) = wanted.map(str::trim).filter(|wanted| !wanted.is_empty()) else {
        let kind = |adapter: &Adapter| rank(adapter.get_info().device_type);
        let alike = adapters.iter().take_while(|adapter| kind(adapter) == kind(&adapters[0])).count();
        return Ok(adapters.into_iter().nth(nth % alike).expect("the list is not empty"));
    };
    let available = adapters
        .iter()
        .enumerate()
        .map(|(index, adapter)| format!("{index}: {}", describe(&adapter.get_info())))
        .collect::<Vec<_>>()
        .join("; ");
    let position = match wanted.parse::<usize>() {
        Ok(index) => (index < adapters.len()).then_some(index),
        Err(_) => {
            let wanted = wanted.to_lowercase();
            adapters.iter().position(|adapter| describe(&adapter.get_info()).to_lowercase().contains(&wanted))
        }
    };
    let position = position.ok_or_else(|| Error::UnknownAdapter { wanted: wanted.to_string(), available })?;
    Ok(adapters.into_iter().nth(position).expect("the position was found in this list"))
}
