//! `wgpt doctor`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{Shared, full, io_cache, terminal, tuner};
use wgpt::{
    Error, Result,
    doctor::{Doctor, FAMILIES, Row},
    gpu::{Capabilities, Gpu, adapter, capabilities},
    io::atomic,
    wgpu,
};

/// Check every kernel on this adapter
#[derive(Debug, Args)]
#[command(
    after_help = "Every kernel runs in every variant that could be chosen here and is held against an f64 oracle. \
The exit status is not 0 if one is wrong.

--full goes on with twenty steps of two trainings, whose losses an independent program computed, in f16 too where the adapter has
it, and has the model that comes with wgpt answer over a cache, over pages and by whole texts. It ends with a short report to
paste into an issue.

--tuner tunes from scratch for two usual trainings and for decoding, and holds every choice against the timing of all variants;
the exit status is not 0 if one takes more than 5 % longer than the best. What was tuned before stays as it is.

Examples:
  wgpt doctor
  wgpt doctor --full --report report.md
  wgpt doctor --tuner
  wgpt doctor --tuner --classes rows --json
  wgpt doctor --list
  wgpt doctor --adapter llvmpipe --report doctor.md"
)]
pub(crate) struct Arguments {
    /// Only list the adapters
    #[arg(long)]
    list: bool,
    /// Do not time the kernels
    #[arg(long)]
    no_times: bool,
    /// Check training and decoding too, without times, and report for an issue
    #[arg(long, conflicts_with_all = ["list", "no_times"])]
    full: bool,
    /// Check the tuner's choices instead
    #[arg(long, conflicts_with_all = ["list", "no_times", "full"])]
    tuner: bool,
    /// Only the classes of shapes whose name contains this
    #[arg(long, requires = "tuner", default_value = "", hide_default_value = true, value_name = "TEXT")]
    classes: String,
    /// Write the report as Markdown
    #[arg(long, value_name = "FILE.md")]
    report: Option<PathBuf>,
}

/// Runs the command.
pub(crate) async fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    if arguments.list {
        return list(shared).await;
    }
    if arguments.tuner {
        return tuner::run(shared, &arguments.classes, arguments.report.as_deref()).await;
    }
    if arguments.full {
        return full::run(shared, arguments.report.as_deref()).await;
    }
    let gpu = shared.open().await?;
    let mut doctor = Doctor::new(&gpu, !arguments.no_times);
    check(shared, &mut doctor).await?;
    let rows = doctor.rows();
    let skipped = skipped(gpu.capabilities());
    let failed = rows.iter().filter(|row| !row.pass).count();
    if let Some(file) = &arguments.report {
        atomic::write(file, markdown(&gpu, rows, &skipped).as_bytes())?;
    }
    let result = json!({
        "adapter": gpu.description(), "passed": rows.len() - failed, "failed": failed, "skipped": skipped.len(),
        "capabilities": gpu.capabilities(), "choices": gpu.tuner().choices(), "skips": skipped, "kernels": rows,
    });
    shared.result(&result, || words(&gpu, rows, &skipped))?;
    shared.close(&gpu)?;
    if failed > 0 {
        return Err(Error::WrongKernels { wrong: failed, checked: rows.len() });
    }
    Ok(())
}

/// Every family of kernels, with a progress bar.
pub(super) async fn check(shared: &Shared, doctor: &mut Doctor<'_>) -> Result<()> {
    let bar = terminal::bar(FAMILIES.len() as u64, shared.quiet);
    for family in FAMILIES {
        bar.set_message(*family);
        doctor.check(family).await?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

async fn list(shared: &Shared) -> Result<()> {
    let found = adapter::list().await;
    let adapters: Vec<_> = found.iter().map(|adapter| adapter::describe(&adapter.get_info())).collect();
    let named = |features: wgpu::Features| capabilities::names(|feature| features.contains(feature));
    let features: Vec<_> = found.iter().map(|adapter| named(adapter.features())).collect();
    if adapters.is_empty() {
        return Err(Error::NoAdapter(adapter::INSTALL_HINT.to_string()));
    }
    shared.result(&json!({ "adapters": adapters, "features": features }), || {
        let line = |(i, (name, features)): (usize, (&String, &Vec<_>))| format!("{i}: {name}: {}", features.join(", "));
        adapters.iter().zip(&features).enumerate().map(line).collect::<Vec<_>>().join("\n")
    })
}

/// What could not be checked because the adapter lacks it.
pub(super) fn skipped(capabilities: &Capabilities) -> Vec<String> {
    let mut skipped = Vec::new();
    if !capabilities.subgroups_of(8) {
        skipped.push("variants that share loads among subgroups of exactly 8 lanes".to_string());
    }
    for name in &capabilities.unused {
        skipped.push(format!("{name} (WGPT_WITHOUT_VARIANTS)"));
    }
    if !capabilities.f16 {
        skipped.push("kernels on activations in f16".to_string());
    }
    if capabilities.cooperative.is_none() {
        skipped.push("variants by cooperative matrices".to_string());
    }
    if !capabilities.timestamps {
        skipped.push("--profile (no timestamp queries)".to_string());
    }
    skipped
}

fn rate(row: &Row) -> String {
    match (row.gflops, row.gbps) {
        (Some(rate), _) => format!("{rate:.1} GFLOP/s"),
        (_, Some(rate)) => format!("{rate:.1} GB/s"),
        _ => String::new(),
    }
}

fn words(gpu: &Gpu, rows: &[Row], skipped: &[String]) -> String {
    let capabilities = gpu.capabilities();
    let mut text = format!("{}\n", gpu.description());
    text += &format!(
        "subgroups {}, f16 {}, immediates {}, timestamps {}; {} MiB per binding, {} KiB workgroup memory\n\n",
        capabilities.subgroups.map_or("none".into(), |(least, most)| format!("{least}-{most}")),
        capabilities.f16,
        capabilities.immediates,
        capabilities.timestamps,
        capabilities.binding >> 20,
        capabilities.workgroup_memory >> 10,
    );
    for row in rows {
        let mark = if row.pass { "ok  " } else { "FAIL" };
        text += &format!("{mark} {:<26} {:<16} {:>9.1e}  {}\n", row.kernel, row.variant, row.max_error, rate(row));
        if let Some(failure) = &row.failure {
            text += &format!("     {failure}\n");
        }
    }
    for skip in skipped {
        text += &format!("skipped: {skip}\n");
    }
    let choices = gpu.tuner().choices();
    if !choices.is_empty() {
        text += &format!("\nchosen variants (kept in {}):\n", io_cache::place(gpu));
        for (class, variant) in choices {
            text += &format!("  {class:<28} {variant}\n");
        }
    }
    let failed = rows.iter().filter(|row| !row.pass).count();
    text + &format!("\n{} passed, {failed} failed, {} skipped", rows.len() - failed, skipped.len())
}

fn markdown(gpu: &Gpu, rows: &[Row], skipped: &[String]) -> String {
    let mut text = format!("# wgpt doctor\n\nAdapter: {}\n\n", gpu.description());
    text += "| kernel | variant | result | max error | rate |\n|---|---|---|---|---|\n";
    for row in rows {
        let result = row.failure.as_deref().unwrap_or("ok");
        text += &format!("| {} | {} | {result} | {:.1e} | {} |\n", row.kernel, row.variant, row.max_error, rate(row));
    }
    for skip in skipped {
        text += &format!("\nSkipped: {skip}\n");
    }
    text
}
