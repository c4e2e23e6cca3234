//! Checks every variant with every front end and back end that is available without the hardware.

use std::{collections::BTreeSet, path::Path, process::Command, sync::OnceLock, thread};

use wgpt::{
    doctor::variants::{variants, variants_of},
    gpu::{
        Capabilities, Form, Variant,
        platform::Platform,
        translate::{Language, Needs, Shader},
    },
};

use crate::device::device;

/// The variants of a platform, collected once for all tests.
fn platform_variants(platform: Platform) -> &'static [Variant] {
    static FOUND: [OnceLock<Vec<Variant>>; Platform::ALL.len()] = [const { OnceLock::new() }; Platform::ALL.len()];
    FOUND[platform as usize].get_or_init(|| {
        pollster::block_on(variants_of(&device().gpu, platform.adapters())).expect("checks can be noted")
    })
}

fn shader(variant: &Variant, form: Form) -> Shader {
    Shader::new(&variant.text(form).expect("composes")).unwrap_or_else(|error| panic!("{variant}: {error}"))
}

/// Runs a check of each variant, on all cores; whatever it returns is a complaint. At most ten are shown.
fn check_each(variants: &[Variant], check: impl Fn(&Variant) -> Option<String> + Sync) {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let complaints: Vec<_> = thread::scope(|scope| {
        let parts = variants.chunks(variants.len().div_ceil(cores).max(1));
        let running: Vec<_> =
            parts.map(|part| scope.spawn(|| part.iter().filter_map(&check).collect::<Vec<_>>())).collect();
        running.into_iter().flat_map(|part| part.join().expect("no check panics")).collect()
    });
    let some: Vec<_> = complaints.iter().take(10).collect();
    assert!(complaints.is_empty(), "{} of {}: {some:#?}", complaints.len(), variants.len());
}

/// The list has a variant of every kernel, so that the checks cannot forget a kernel.
#[test]
fn every_kernel_is_listed() {
    let listed: BTreeSet<_> =
        platform_variants(Platform::Vulkan).iter().map(|variant| variant.kernel.name.to_string()).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let files = std::fs::read_dir(folder).expect("the shaders are here").map(|entry| entry.expect("an entry").path());
    let kernels = files.filter(|file| file.extension().is_some_and(|ending| ending == "wgsl"));
    let kernels: BTreeSet<_> =
        kernels.map(|file| file.file_stem().expect("a name").to_string_lossy().into_owned()).collect();
    assert_eq!(listed, kernels);
}

/// An adapter with nothing beyond the WebGPU baseline is never asked for more.
#[test]
fn baseline_adapters_get_what_they_can_run() {
    let limits = Capabilities::baseline();
    let found = pollster::block_on(variants(&device().gpu, limits.clone())).expect("checks can be noted");
    check_each(&found, |variant| {
        let shader = shader(variant, Form::native(false));
        let [x, y, z] = shader.interface.workgroup;
        let bytes = shader.workgroup_bytes();
        let fits = shader.needs == Needs::default()
            && bytes <= limits.workgroup_memory
            && x * y * z <= limits.invocations
            && x.max(y) <= 256
            && z <= 64
            && shader.interface.bindings.len() <= 8;
        (!fits).then(|| format!("{variant}: {:?}, {bytes} bytes, workgroup {x}x{y}x{z}", shader.needs))
    });
}

/// A function that a text defines twice, as naga's HLSL does for a type with two names.
fn defined_twice(text: &str) -> Option<&str> {
    let mut seen = BTreeSet::new();
    let defines = |line: &&str| line.contains('(') && line.ends_with('{') && !line.starts_with([' ', '\t']);
    text.lines().filter(defines).find(|line| !seen.insert(*line))
}

/// Translates all variants of a platform to its languages, with parameters as the platform has them and in a uniform
/// buffer, with and without run-time checks.
fn translates(platform: Platform) {
    let found = platform_variants(platform);
    let most = platform.adapters().iter().map(|adapter| adapter.workgroup_memory).max().unwrap_or_default();
    check_each(found, |variant| {
        let native = Form::native(true);
        for form in [native, Form::native(false), Form { pairs: true, ..native }] {
            let shader = shader(variant, form);
            if shader.interface.bindings.len() > 8 || shader.interface.params_bytes > 128 {
                return Some(format!("{variant}: {} bindings", shader.interface.bindings.len()));
            }
            if shader.workgroup_bytes() > most {
                return Some(format!("{variant}: {} bytes of workgroup memory", shader.workgroup_bytes()));
            }
            for language in Language::of(platform).iter().filter(|language| shader.missing(**language).is_none()) {
                for checked in [true, false] {
                    let said = match shader.translate(*language, checked) {
                        Ok(bytes) if *language == Language::SpirV => (bytes.len() < 20).then(|| "nothing".to_string()),
                        Ok(bytes) => defined_twice(&String::from_utf8_lossy(&bytes)).map(|it| format!("two of {it}")),
                        Err(error) => Some(error),
                    };
                    if let Some(said) = said {
                        return Some(format!("{variant} in {}: {said}", language.name()));
                    }
                }
            }
        }
        None
    });
}

#[test]
fn all_are_translated_to_spirv() {
    translates(Platform::Vulkan);
}

#[test]
fn all_are_translated_to_msl() {
    translates(Platform::Metal);
}

#[test]
fn all_are_translated_to_hlsl() {
    translates(Platform::Dx12);
}

/// A translation is missing only if the shader model lacks a feature: adapters with 5.1 have neither f16 nor subgroups.
#[test]
fn nothing_else_is_missing() {
    for platform in Platform::ALL {
        check_each(platform_variants(platform), |variant| {
            let shader = shader(variant, Form::native(true));
            let Needs { f16, subgroups, cooperative, .. } = shader.needs;
            let missing = |language| shader.missing(language).is_some();
            let fine = !missing(Language::SpirV)
                && missing(Language::Msl) == (cooperative == 16)
                && missing(Language::Hlsl51) == (f16 || subgroups || cooperative > 0)
                && missing(Language::Hlsl62) == (cooperative > 0)
                && (cooperative == 0 || matches!(platform, Platform::Vulkan | Platform::Metal));
            (!fine).then(|| format!("{variant} on {}: {:?}", platform.name(), shader.needs))
        });
    }
}

/// For browsers, parameters are a uniform, and features beyond the baseline are enabled by a line.
#[test]
fn browsers_get_the_lines_that_enable_features() {
    check_each(platform_variants(Platform::Browser), |variant| {
        let text = variant.text(Form::BROWSER).expect("composes");
        let needs = shader(variant, Form::native(false)).needs;
        let fine = !text.contains("var<immediate>")
            && !text.contains("wgpu_")
            && text.lines().any(|line| line == "enable f16;") == needs.f16
            && text.lines().any(|line| line == "enable subgroups;") == needs.subgroups;
        (!fine).then(|| format!("{variant}: {needs:?}"))
    });
}

/// The Khronos validator has no complaint about any variant.
#[test]
fn spirv_val_is_silent() {
    let Ok(version) = Command::new("spirv-val").arg("--version").output() else {
        eprintln!("skipped: spirv-val is missing (apt-get install spirv-tools), no SPIR-V is validated");
        return;
    };
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let year_and_number = version.split_once(" v").and_then(|(_, rest)| rest.split_once(' ')).map(|(number, _)| number);
    // The extension dates from 2023, and some versions of that year do not know it yet.
    let knows_matrices = year_and_number.is_some_and(|number| number >= "2023.5");
    if !knows_matrices {
        eprintln!("skipped: {} does not know cooperative matrices", version.lines().next().unwrap_or_default());
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    check_each(platform_variants(Platform::Vulkan), |variant| {
        let shader = shader(variant, Form::native(true));
        if shader.needs.cooperative > 0 && !knows_matrices {
            return None;
        }
        let path = folder.path().join(format!("{}.spv", variant.file_name()));
        // As drivers get it, without run-time checks.
        let bytes = shader.translate(Language::SpirV, false).expect("it is translated");
        std::fs::write(&path, bytes).expect("it is written");
        let run = Command::new("spirv-val").args(["--target-env", "vulkan1.1"]).arg(&path).output();
        let run = run.expect("spirv-val runs");
        std::fs::remove_file(&path).expect("it is removed");
        let said = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        (!run.status.success() || !said.trim().is_empty()).then(|| format!("{variant}: {said}"))
    });
}
