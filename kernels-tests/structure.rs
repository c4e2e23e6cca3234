//! Rules for the source tree: dependencies point one way, files stay small, kernels stand on their own.

use std::path::{Path, PathBuf};

use wgpt::{
    gpu::{Capabilities, Form, compose, platform::Platform, reflect, translate::Shader},
    ops::matmul::{self, variants::Types},
    tensor::DType::{F16, F32},
};

/// What each module of the library may use, all of it from lines above its own; every module may use `error`. A module that is
/// not listed fails the test.
const EDGES: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("hash", &[]),
    ("trusted", &["hash"]),
    ("content", &["trusted"]),
    ("random", &[]),
    ("assets", &[]),
    ("io", &["content", "random"]),
    // Files are written atomically.
    ("formats", &["content", "random", "io::atomic"]),
    ("gpu", &["trusted"]),
    ("tensor", &["gpu"]),
    ("arena", &["gpu", "tensor"]),
    ("tape", &["gpu", "tensor"]),
    ("ops", &["formats", "gpu", "tensor", "tape"]),
    ("optim", &["gpu", "tensor", "arena", "tape", "ops"]),
    // Ranks add up gradients before the optimizer reads them.
    ("parallel", &["gpu", "tensor", "arena", "tape", "ops", "optim"]),
    ("model", &["gpu", "tensor", "arena", "tape", "ops", "random", "formats"]),
    ("report", &["io", "random"]),
    ("text", &["trusted", "content", "random", "io::atomic"]),
    // Ratings know texts, and neither models nor GPUs.
    ("feedback", &["text"]),
    ("interchange", &["content", "hash", "formats", "gpu", "io", "model", "text"]),
    ("infer", &["gpu", "tensor", "tape", "ops", "model", "random"]),
    ("conversation", &["infer", "interchange", "text"]),
    (
        "train",
        &[
            "assets",
            "feedback",
            "formats",
            "gpu",
            "tensor",
            "tape",
            "ops",
            "optim",
            "model",
            "text",
            "io",
            "report",
            "interchange",
            "infer",
            "random",
            "parallel",
        ],
    ),
    // Checks of everything below, from single kernels to whole training steps.
    (
        "doctor",
        &[
            "formats",
            "gpu",
            "tensor",
            "tape",
            "ops",
            "optim",
            "random",
            "model",
            "text",
            "infer",
            "interchange",
            "train",
        ],
    ),
];

/// The modules of the model: each may use those before it, so a forward pass is read from `gpt` down.
const MODEL: &[&str] =
    &["config", "parameters", "lora", "cache", "block", "trainable", "gpt", "origin", "build", "paged", "heads"];

fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut open = vec![root];
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder can be read") {
            let path = entry.expect("the entry can be read").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|other| other == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a source file is text")
}

/// A file's lines without comments.
fn code(path: &Path) -> String {
    read(path).lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|line| [line, "\n"]).collect()
}

/// The paths below `root`, such as `crate::`, that a file uses, with one level of grouped imports expanded.
fn uses(text: &str, root: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, _) in text.match_indices(root) {
        let rest = &text[at + root.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let (mut depth, mut path) = (0usize, String::new());
            for letter in group.chars().chain([',']) {
                match letter {
                    '{' => depth += 1,
                    '}' if depth == 0 => {
                        paths.push(path);
                        break;
                    }
                    '}' => depth -= 1,
                    ',' if depth == 0 => paths.push(std::mem::take(&mut path)),
                    letter if depth == 0 && !letter.is_whitespace() => path.push(letter),
                    _ => {}
                }
            }
        } else {
            paths.push(rest.chars().take_while(|c| c.is_alphanumeric() || "_:".contains(*c)).collect());
        }
    }
    paths
}

#[test]
fn dependencies_point_one_way() {
    let known: Vec<_> = EDGES.iter().map(|(name, _)| *name).collect();
    for file in files("src", "rs") {
        let relative = file.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("below src");
        let module = relative.iter().next().map(|part| part.to_string_lossy().replace(".rs", "")).unwrap_or_default();
        if module == "lib" {
            continue;
        }
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == module) else {
            panic!("{}: say in EDGES what the module '{module}' may use", relative.display())
        };
        for path in uses(&code(&file), "crate::") {
            let target = path.split("::").next().unwrap_or_default();
            let fine = target == module || !known.contains(&target) || target == "error";
            let allows = |edge: &&str| path == **edge || path.starts_with(&format!("{edge}::"));
            assert!(fine || allowed.iter().any(allows), "{} uses crate::{path}", relative.display());
        }
    }
}

#[test]
fn modules_use_those_above() {
    for (index, (module, allowed)) in EDGES.iter().enumerate() {
        for edge in *allowed {
            let used = edge.split("::").next().unwrap_or_default();
            assert!(EDGES[..index].iter().any(|(name, _)| *name == used), "'{module}' uses '{edge}' from below");
        }
    }
}

#[test]
fn the_model_is_read_in_one_direction() {
    for file in files("src/model", "rs") {
        let module = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        if module == "mod" {
            continue;
        }
        let own = MODEL.iter().position(|name| *name == module);
        let Some(own) = own else { panic!("say in MODEL where the module '{module}' stands") };
        let code = code(&file);
        for path in uses(&code, "super::").into_iter().chain(uses(&code, "crate::model::")) {
            let used = match path.split("::").next().unwrap_or_default() {
                // By the names that the model's root gives them.
                "Config" => "config",
                "Gpt" => "gpt",
                "Source" => "build",
                used => used,
            };
            let used = MODEL.iter().position(|name| *name == used);
            assert!(used.is_none_or(|used| used <= own), "src/model/{module}.rs uses {path}");
        }
    }
}

#[test]
fn files_stay_small() {
    let kinds = [
        ("src", "rs"),
        ("shaders", "wgsl"),
        ("kernels-tests", "rs"),
        ("benches", "rs"),
        ("crates", "rs"),
        ("crates/wgpt-server/web", "js"),
        ("crates/wgpt-server/web", "css"),
        ("scripts", "mjs"),
    ];
    for (folder, ending) in kinds {
        for file in files(folder, ending) {
            let lines = read(&file).lines().count();
            assert!(lines <= 600, "{} has {lines} lines: more than one idea?", file.display());
        }
    }
}

#[test]
fn unsafe_is_in_one_file() {
    let all = ["src", "crates", "kernels-tests", "benches"].iter().flat_map(|folder| files(folder, "rs"));
    let itself = Path::new("kernels-tests/structure.rs");
    for file in all.filter(|file| !file.ends_with("trusted.rs") && !file.ends_with(itself)) {
        assert!(!read(&file).contains("allow(unsafe_code)"), "{}", file.display());
    }
}

/// Texts in the library and the browser's engine that look like options but are not: properties in style sheets.
const NO_OPTIONS: &[(&str, &[&str])] =
    &[("src/report/page.rs", &["line", "soft"]), ("src/report/timeline.rs", &["line"])];

/// The library's messages also reach web pages and other programs; only the command line names its options.
#[test]
fn only_the_program_names_its_options() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in ["src", "crates/wgpt-tab"].iter().flat_map(|folder| files(folder, "rs")) {
        let relative = file.strip_prefix(root).expect("below the root");
        let known = NO_OPTIONS.iter().find(|(name, _)| relative == Path::new(name)).map_or(&[][..], |(_, known)| known);
        for (number, line) in read(&file).lines().enumerate() {
            let code =
                if line.trim_start().starts_with("//") { "" } else { line.split(" // ").next().unwrap_or_default() };
            for (at, _) in code.match_indices("--") {
                let name: String = code[at + 2..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
                let option = name.starts_with(|c: char| c.is_ascii_lowercase()) && !known.contains(&name.as_str());
                assert!(!option, "{}:{}: --{name} is for crates/wgpt-cli to name", relative.display(), number + 1);
            }
        }
    }
}

/// Every kernel says in its first line what it computes, parses, and keeps within WebGPU's limits, with and without
/// immediates.
#[test]
fn kernels_stand_on_their_own() {
    for file in files("shaders", "wgsl").iter().filter(|file| !file.to_string_lossy().contains("shaders/lib")) {
        let text = read(file);
        let name = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        assert!(text.starts_with(&format!("// {name}: ")), "{name} does not begin with what it computes");
        for form in [Form::native(true), Form::native(false)] {
            // The element types of a matmul kernel come from its variant.
            let variants = matmul::variants::VARIANTS.iter().filter(|spec| spec.kernel.name == name);
            let mut texts: Vec<_> = variants
                .map(|spec| spec.variant(Types::SINGLE, &adapter(spec.cooperative)).text(form).expect("composes"))
                .collect();
            if texts.is_empty() {
                texts.push(compose::compose(&text, &[], form).expect("composes"));
            }
            // Rows by vectors and within a subgroup, if the kernel has the choice.
            for (include, file) in [("elements", "lib/elements_vec4.wgsl"), ("rows", "lib/rows_subgroup.wgsl")] {
                if text.contains(&format!("// @include {include} = \"lib/{include}.wgsl\"")) {
                    let file = [(include, format!("\"{file}\""))];
                    texts.push(compose::compose(&text, &file, form).expect("composes"));
                }
            }
            for text in texts {
                let (module, info) = reflect::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
                let interface = reflect::interface(&module, &info).expect("has an interface");
                assert!(interface.bindings.len() <= 8, "{name} binds more than WebGPU's 8 storage buffers");
                assert!(interface.params_bytes <= 128, "{name} has more parameters than immediates hold");
            }
        }
    }
}

/// WGSL zeroes a variable declared in a loop on every iteration. Not every compiler does (Chromium's did not on
/// Vulkan), so the kernels initialise them explicitly.
#[test]
fn variables_in_loops_have_initial_values() {
    for file in files("shaders", "wgsl") {
        for (number, line) in read(&file).lines().enumerate() {
            let inner = line.starts_with("        ") && line.trim_start().starts_with("var ");
            assert!(
                !inner || line.contains(" = "),
                "{}:{}: give it a value, as in `= T()`",
                file.display(),
                number + 1
            );
        }
    }
}

/// An adapter that multiplies matrices of this side, if it is not 0.
fn adapter(side: u32) -> Capabilities {
    let mut adapters = Platform::ALL.into_iter().flat_map(Platform::adapters);
    adapters.find(|adapter| side == 0 || adapter.cooperative == Some(side)).expect("some platform has them")
}

/// Kernels for cooperative matrices, which few adapters have, compile in every form all the same, and take no more
/// workgroup memory than their specification says.
#[test]
fn cooperative_kernels_keep_to_their_memory() {
    let mixtures =
        [(F16, F16), (F16, F32), (F32, F16), (F32, F32)].map(|(a, out)| Types { a, b: F16, out, before: out });
    let flags = [(false, false), (false, true), (true, false), (true, true)];
    let mut sides = Vec::new();
    for spec in matmul::variants::VARIANTS.iter().filter(|spec| spec.cooperative > 0) {
        for (types, (trans_a, trans_b), fused) in mixtures
            .iter()
            .flat_map(|types| flags.map(|flags| (types, flags)))
            .flat_map(|(types, flags)| [false, true].map(|fused| (types, flags, fused)))
        {
            let variant =
                spec.variant(*types, &adapter(spec.cooperative)).set("TRANS_A", trans_a).set("TRANS_B", trans_b);
            let variant = variant.set("BIAS", fused).set("GELU", fused).set("RESIDUAL", fused);
            let text = variant.text(Form::native(true)).expect("composes");
            let shader = Shader::new(&text).unwrap_or_else(|error| panic!("{variant}: {error}"));
            let memory = shader.workgroup_bytes();
            assert!(memory <= spec.memory, "{variant} takes {memory} bytes of workgroup memory");
        }
        sides.push(spec.cooperative);
    }
    assert!(sides.contains(&8) && sides.contains(&16));
}
