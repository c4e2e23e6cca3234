//! The only file of this package with `unsafe`: Vulkan, which compiles a compute shader and tells what became of it.
//!
//! Nothing is ever dispatched: the devices are stubs, and what a stub would compute means nothing.
#![allow(unsafe_code)]

use std::{
    collections::BTreeMap,
    ffi::{CStr, CString, c_char},
};

use ash::{khr, vk};

/// A Vulkan device that reports what its compiler did.
pub(crate) struct Device {
    // Dropped last: it holds the loaded library.
    _entry: ash::Entry,
    instance: ash::Instance,
    device: ash::Device,
    statistics: khr::pipeline_executable_properties::Device,
    /// The name of the adapter.
    pub(crate) name: String,
    /// The driver and its version.
    pub(crate) driver: String,
}

/// A compute shader to compile.
pub(crate) struct Source<'a> {
    /// SPIR-V with the entry point `main`.
    pub(crate) words: &'a [u32],
    /// The numbers of its storage buffers, all in group 0.
    pub(crate) bindings: &'a [u32],
    /// Bytes of its immediates.
    pub(crate) immediate_bytes: u32,
}

/// What the compiler reports.
pub(crate) struct Compiled {
    /// Lanes of a subgroup, as the driver chose.
    pub(crate) subgroup: u32,
    /// Its figures, by the driver's own names.
    pub(crate) statistics: BTreeMap<String, f64>,
    /// Its representations of the shader, by the driver's own names.
    pub(crate) texts: BTreeMap<String, String>,
}

impl Device {
    /// Opens the first adapter of the loader, with or without checks of every access to a buffer.
    ///
    /// # Errors
    /// What is missing.
    pub(crate) fn open(robust: bool) -> Result<Self, String> {
        // SAFETY: the loader is the system's; its functions are called as the specification demands.
        let entry = unsafe { ash::Entry::load() }.map_err(|error| format!("no Vulkan loader: {error}"))?;
        let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
        let create = vk::InstanceCreateInfo::default().application_info(&application);
        // SAFETY: `create` and what it refers to are valid for the call.
        let instance = unsafe { entry.create_instance(&create, None) }.map_err(|error| format!("instance: {error}"))?;
        // SAFETY: the instance is valid, here and below: it is destroyed in `drop` only.
        let adapters =
            unsafe { instance.enumerate_physical_devices() }.map_err(|error| format!("adapters: {error}"))?;
        let adapter = *adapters.first().ok_or("the driver shows no adapter")?;
        let mut driver = vk::PhysicalDeviceDriverProperties::default();
        let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
        // SAFETY: the structures are valid and chained once.
        unsafe { instance.get_physical_device_properties2(adapter, &mut properties) };
        let name = text(&properties.properties.device_name);
        let driver = format!("{} {}", text(&driver.driver_name), text(&driver.driver_info));

        // SAFETY: the adapter belongs to the instance.
        let extensions = unsafe { instance.enumerate_device_extension_properties(adapter) }
            .map_err(|error| format!("extensions: {error}"))?;
        let offers = |name: &CStr| extensions.iter().any(|it| it.extension_name_as_c_str() == Ok(name));
        let mut wanted = vec![khr::pipeline_executable_properties::NAME];
        if !offers(wanted[0]) {
            return Err(format!("{driver} reports nothing about pipelines"));
        }
        let cooperative = offers(khr::cooperative_matrix::NAME);
        let robust2 = offers(ash::ext::robustness2::NAME);
        wanted.extend(cooperative.then_some(khr::cooperative_matrix::NAME));
        wanted.extend(robust2.then_some(ash::ext::robustness2::NAME));

        let mut statistics = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default();
        let mut matrices = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default();
        let mut checks = vk::PhysicalDeviceRobustness2FeaturesEXT::default();
        let mut features_1_1 = vk::PhysicalDeviceVulkan11Features::default();
        let mut features_1_2 = vk::PhysicalDeviceVulkan12Features::default();
        let mut features_1_3 = vk::PhysicalDeviceVulkan13Features::default();
        let mut features = vk::PhysicalDeviceFeatures2::default()
            .push_next(&mut statistics)
            .push_next(&mut features_1_1)
            .push_next(&mut features_1_2)
            .push_next(&mut features_1_3);
        if cooperative {
            features = features.push_next(&mut matrices);
        }
        if robust2 {
            features = features.push_next(&mut checks);
        }
        // SAFETY: as above; every structure belongs to an extension that the adapter offers or to Vulkan 1.3.
        unsafe { instance.get_physical_device_features2(adapter, &mut features) };
        let mut core = features.features;
        core.robust_buffer_access &= vk::Bool32::from(robust);
        checks.robust_buffer_access2 &= vk::Bool32::from(robust);
        checks.robust_image_access2 = vk::FALSE;
        checks.null_descriptor = vk::FALSE;
        features_1_3.robust_image_access = vk::FALSE;
        matrices.cooperative_matrix_robust_buffer_access = vk::FALSE;
        (statistics.p_next, matrices.p_next, checks.p_next) = Default::default();
        (features_1_1.p_next, features_1_2.p_next, features_1_3.p_next) = Default::default();

        // SAFETY: the adapter belongs to the instance.
        let families = unsafe { instance.get_physical_device_queue_family_properties(adapter) };
        let computes = |family: &vk::QueueFamilyProperties| family.queue_flags.contains(vk::QueueFlags::COMPUTE);
        let family = families.iter().position(computes).ok_or("no queue computes")?;
        let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(family as u32).queue_priorities(&[1.0])];
        let names: Vec<_> = wanted.iter().map(|name| name.as_ptr()).collect();
        let mut enabled = vk::PhysicalDeviceFeatures2::default().features(core);
        let mut create = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&names)
            .push_next(&mut enabled)
            .push_next(&mut statistics)
            .push_next(&mut features_1_1)
            .push_next(&mut features_1_2)
            .push_next(&mut features_1_3);
        if cooperative {
            create = create.push_next(&mut matrices);
        }
        if robust2 {
            create = create.push_next(&mut checks);
        }
        // SAFETY: the features are among those that the adapter reports, and all of `create` is valid for the call.
        let device =
            unsafe { instance.create_device(adapter, &create, None) }.map_err(|error| format!("device: {error}"))?;
        let statistics = khr::pipeline_executable_properties::Device::new(&instance, &device);
        Ok(Self { _entry: entry, instance, device, statistics, name, driver })
    }

    /// Compiles a shader, and asks what became of it.
    ///
    /// # Errors
    /// What the driver refused.
    pub(crate) fn compile(&self, source: &Source<'_>) -> Result<Compiled, String> {
        let entries: Vec<_> = source
            .bindings
            .iter()
            .map(|binding| {
                vk::DescriptorSetLayoutBinding::default()
                    .binding(*binding)
                    .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
                    .descriptor_count(1)
                    .stage_flags(vk::ShaderStageFlags::COMPUTE)
            })
            .collect();
        let device = &self.device;
        let set = vk::DescriptorSetLayoutCreateInfo::default().bindings(&entries);
        // SAFETY: the device lives as long as `self`; every structure is valid for its call, and each object is
        // destroyed once, after the last use, in reverse order of creation.
        unsafe {
            let set = device.create_descriptor_set_layout(&set, None).map_err(|error| format!("bindings: {error}"))?;
            let sets = [set];
            let ranges = [vk::PushConstantRange::default()
                .stage_flags(vk::ShaderStageFlags::COMPUTE)
                .size(source.immediate_bytes)];
            let mut layout = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets);
            if source.immediate_bytes > 0 {
                layout = layout.push_constant_ranges(&ranges);
            }
            let compiled = device.create_pipeline_layout(&layout, None).map_err(|error| format!("layout: {error}"));
            let compiled = compiled.and_then(|layout| {
                let compiled = self.with_layout(source, layout);
                device.destroy_pipeline_layout(layout, None);
                compiled
            });
            device.destroy_descriptor_set_layout(set, None);
            compiled
        }
    }

    /// # Safety
    /// The layout must be valid and have the source's bindings.
    unsafe fn with_layout(&self, source: &Source<'_>, layout: vk::PipelineLayout) -> Result<Compiled, String> {
        let device = &self.device;
        let create = vk::ShaderModuleCreateInfo::default().code(source.words);
        // SAFETY: naga wrote the SPIR-V; the rest as in `compile`.
        unsafe {
            let module = device.create_shader_module(&create, None).map_err(|error| format!("module: {error}"))?;
            let name = CString::from(c"main");
            let stage = vk::PipelineShaderStageCreateInfo::default()
                // As wgpu creates pipelines on devices with subgroups.
                .flags(vk::PipelineShaderStageCreateFlags::ALLOW_VARYING_SUBGROUP_SIZE)
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(module)
                .name(&name);
            let capture = vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR
                | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR;
            let create = vk::ComputePipelineCreateInfo::default().flags(capture).stage(stage).layout(layout);
            let made = device.create_compute_pipelines(vk::PipelineCache::null(), &[create], None);
            let compiled = made.map_err(|(_, error)| format!("pipeline: {error}")).and_then(|pipelines| {
                let compiled = self.ask(pipelines[0]);
                device.destroy_pipeline(pipelines[0], None);
                compiled
            });
            device.destroy_shader_module(module, None);
            compiled
        }
    }

    /// # Safety
    /// The pipeline must be valid and have captured statistics and representations.
    unsafe fn ask(&self, pipeline: vk::Pipeline) -> Result<Compiled, String> {
        let pipeline = vk::PipelineInfoKHR::default().pipeline(pipeline);
        let failed = |error: vk::Result| format!("statistics: {error}");
        // SAFETY: as in `compile`. The lists are asked for twice: for their length, and for their contents.
        unsafe {
            let executables = self.statistics.get_pipeline_executable_properties(&pipeline).map_err(failed)?;
            let subgroup = executables.first().ok_or("the driver reports no executable")?.subgroup_size;
            let first = vk::PipelineExecutableInfoKHR { pipeline: pipeline.pipeline, ..Default::default() };
            let mut statistics = BTreeMap::new();
            for it in self.statistics.get_pipeline_executable_statistics(&first).map_err(failed)? {
                let value = match it.format {
                    vk::PipelineExecutableStatisticFormatKHR::BOOL32 => f64::from(it.value.b32),
                    vk::PipelineExecutableStatisticFormatKHR::INT64 => it.value.i64 as f64,
                    vk::PipelineExecutableStatisticFormatKHR::UINT64 => it.value.u64 as f64,
                    _ => it.value.f64,
                };
                statistics.insert(text(&it.name), value);
            }
            let list = self.statistics.fp().get_pipeline_executable_internal_representations_khr;
            let mut count = 0;
            let answer = list(self.device.handle(), &first, &mut count, std::ptr::null_mut());
            answer.result().map_err(failed)?;
            let mut parts = vec![vk::PipelineExecutableInternalRepresentationKHR::default(); count as usize];
            list(self.device.handle(), &first, &mut count, parts.as_mut_ptr()).result().map_err(failed)?;
            // Now their sizes are known.
            let mut buffers: Vec<Vec<u8>> = parts.iter().map(|part| vec![0; part.data_size]).collect();
            for (part, buffer) in parts.iter_mut().zip(&mut buffers) {
                part.p_data = buffer.as_mut_ptr().cast();
            }
            list(self.device.handle(), &first, &mut count, parts.as_mut_ptr()).result().map_err(failed)?;
            let texts = parts.iter().zip(&buffers).map(|(part, buffer)| {
                let bytes = buffer.split(|byte| *byte == 0).next().unwrap_or_default();
                (text(&part.name), String::from_utf8_lossy(bytes).into_owned())
            });
            Ok(Compiled { subgroup, statistics, texts: texts.collect() })
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: nothing made from the device is left, and nothing made from the instance but the device.
        unsafe {
            self.device.destroy_device(None);
            self.instance.destroy_instance(None);
        }
    }
}

/// A fixed-size C string.
fn text(chars: &[c_char]) -> String {
    let bytes: Vec<u8> = chars.iter().map(|byte| *byte as u8).take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
