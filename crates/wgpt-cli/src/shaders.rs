//! `wgpt shaders`

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    thread,
};

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::json;

use super::Shared;
use wgpt::{
    Error, Result,
    doctor::variants::{variants, variants_of},
    error::counted,
    gpu::{
        Form, Gpu, Variant,
        platform::Platform,
        translate::{Language, Needs, Shader},
    },
    ops,
};

/// List every shader variant, and translate them to the languages of drivers
#[derive(Debug, Args)]
#[command(
    after_help = "Lists the variants that this adapter could choose or, with --for, those that adapters of a platform could, which \
need not be present. Each is validated and translated by naga, as wgpu would do it. The exit status is not 0 if that fails.

--dump writes FOLDER/PLATFORM/wgsl/VARIANT.wgsl, the same in spirv/, msl/, hlsl-5.1/ and hlsl-6.2/ (all of them for this adapter, \
for a platform those of its drivers), and FOLDER/shaders.json, which lists the files, and what is missing and why.

A variant that causes trouble can be disabled by its name or its kernel's: WGPT_WITHOUT_VARIANTS='tiled 64x64x16;matmul_vector'.

Examples:
  wgpt shaders
  wgpt shaders --only matmul_tiled
  wgpt shaders --dump shaders-here
  wgpt shaders --for metal --dump shaders-metal
  wgpt shaders --for all --json"
)]
pub(crate) struct Arguments {
    /// Which platform's shaders
    #[arg(long = "for", value_enum, default_value = "adapter", value_name = "WHO")]
    target: Target,
    /// Only variants whose name contains this; lists each of them
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Write the shaders to this folder, which must be empty or new
    #[arg(long, value_name = "FOLDER")]
    dump: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Target {
    Adapter,
    Browser,
    Metal,
    Dx12,
    Vulkan,
    All,
}

/// The shaders of an adapter or a platform.
#[derive(Serialize)]
struct Set {
    name: &'static str,
    variants: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    variant: String,
    kernel: &'static str,
    /// The file's name without its extension.
    file: String,
    #[serde(flatten)]
    needs: Needs,
    /// Why a language has no translation.
    missing: BTreeMap<&'static str, &'static str>,
    /// naga's errors for missing translations.
    errors: BTreeMap<&'static str, String>,
}

/// Runs the command.
pub(crate) async fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    if let Some(folder) = &arguments.dump {
        let taken = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
        if taken {
            return Err(Error::Usage(format!("{} is not empty: --dump takes a new folder", folder.display())));
        }
    }
    let gpu = shared.open_untuned().await?;
    let mut sets = Vec::new();
    for (name, form, languages, mut found) in wanted(&gpu, arguments.target).await? {
        if let Some(text) = &arguments.only {
            found.retain(|variant| variant.to_string().contains(text));
        }
        let folder = arguments.dump.as_ref().map(|folder| folder.join(name));
        let variants = translate(&found, form, languages, folder.as_deref())?;
        sets.push(Set { name, variants });
    }
    let names = ops::variant_names();
    let result = json!({ "sets": sets, "names": names });
    if let Some(folder) = &arguments.dump {
        write(&folder.join("shaders.json"), format!("{result:#}\n").as_bytes())?;
    }
    shared.result(&result, || words(&sets, &names, arguments.only.is_some()))?;
    let errors = sets.iter().flat_map(|set| &set.variants).map(|entry| entry.errors.len()).sum::<usize>();
    if errors > 0 {
        return Err(Error::Translation(format!("{errors} failed")));
    }
    Ok(())
}

type Wanted = (&'static str, Form, &'static [Language], Vec<Variant>);

/// The requested variants, by platform.
async fn wanted(gpu: &Gpu, target: Target) -> Result<Vec<Wanted>> {
    let platforms = match target {
        Target::Adapter => {
            let capabilities = gpu.capabilities().clone();
            let form = Form::of(&capabilities);
            return Ok(vec![("adapter", form, &Language::ALL, variants(gpu, capabilities).await?)]);
        }
        Target::Browser => vec![Platform::Browser],
        Target::Metal => vec![Platform::Metal],
        Target::Dx12 => vec![Platform::Dx12],
        Target::Vulkan => vec![Platform::Vulkan],
        Target::All => Platform::ALL.to_vec(),
    };
    let mut wanted = Vec::new();
    for platform in platforms {
        let found = variants_of(gpu, platform.adapters()).await?;
        wanted.push((platform.name(), platform.form(), Language::of(platform), found));
    }
    Ok(wanted)
}

/// Translates variants on all of the processor's cores, and writes them to `folder` if given.
fn translate(found: &[Variant], form: Form, languages: &[Language], folder: Option<&Path>) -> Result<Vec<Entry>> {
    let files = files(found);
    let work: Vec<_> = found.iter().zip(files).collect();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let parts = work.chunks(work.len().div_ceil(cores).max(1));
        let part = |part: &[(&Variant, String)]| {
            part.iter().map(|(variant, file)| entry(variant, file, form, languages, folder)).collect::<Result<Vec<_>>>()
        };
        let running: Vec<_> = parts.map(|work| scope.spawn(move || part(work))).collect();
        let mut entries = Vec::new();
        for running in running {
            let done = running.join().map_err(|_| Error::Translation("naga panicked".to_string()))?;
            entries.extend(done?);
        }
        Ok(entries)
    })
}

/// A file name for each variant; variants of the same name are numbered.
fn files(found: &[Variant]) -> Vec<String> {
    let mut seen = BTreeMap::<String, usize>::new();
    let number = |variant: &Variant| {
        let name = variant.file_name();
        let count = seen.entry(name.clone()).or_default();
        *count += 1;
        if *count == 1 { name } else { format!("{name}.{count}") }
    };
    found.iter().map(number).collect()
}

fn entry(variant: &Variant, file: &str, form: Form, languages: &[Language], folder: Option<&Path>) -> Result<Entry> {
    let shader = Shader::new(&variant.text(Form { subgroup_line: false, ..form })?);
    let shader = shader.map_err(|reason| variant.error(reason))?;
    let place =
        |language: &str, ending: &str| folder.map(|folder| folder.join(language).join(format!("{file}.{ending}")));
    if let Some(path) = place("wgsl", "wgsl") {
        write(&path, variant.text(form)?.as_bytes())?;
    }
    let (mut missing, mut errors) = (BTreeMap::new(), BTreeMap::new());
    for language in languages {
        if let Some(reason) = shader.missing(*language) {
            missing.insert(language.name(), reason);
            continue;
        }
        match shader.translate(*language, false) {
            Ok(bytes) => {
                if let Some(path) = place(language.name(), language.ending()) {
                    write(&path, &bytes)?;
                }
            }
            Err(reason) => {
                errors.insert(language.name(), reason);
            }
        }
    }
    let (variant, kernel) = (variant.to_string(), variant.kernel.name);
    Ok(Entry { variant, kernel, file: file.to_string(), needs: shader.needs, missing, errors })
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
    fs::write(path, bytes).map_err(Error::io(path, "write"))
}

fn words(sets: &[Set], names: &[&str], each: bool) -> String {
    let mut text = String::new();
    for Set { name, variants } in sets {
        text += &format!("{name}: {}\n", counted(variants.len(), "variant"));
        if each {
            variants.iter().for_each(|entry| text += &format!("  {}\n", entry.variant));
        } else {
            let mut kernels = BTreeMap::<_, usize>::new();
            variants.iter().for_each(|entry| *kernels.entry(entry.kernel).or_default() += 1);
            kernels.iter().for_each(|(kernel, count)| text += &format!("{count:>6} {kernel}\n"));
        }
        let mut reasons = BTreeMap::<_, usize>::new();
        for (language, reason) in variants.iter().flat_map(|entry| &entry.missing) {
            *reasons.entry((language, reason)).or_default() += 1;
        }
        reasons
            .iter()
            .for_each(|((language, reason), count)| text += &format!("{count:>6} not in {language}: {reason}\n"));
        for entry in variants {
            for (language, error) in &entry.errors {
                text += &format!("FAIL {} in {language}: {error}\n", entry.variant);
            }
        }
    }
    text + &format!("names for WGPT_WITHOUT_VARIANTS: {}", names.join("; "))
}
