//! `wgpt doctor`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{Shared, io_cache, terminal, tuner};
use crate::{
    Error, Result,
    doctor::{Doctor, FAMILIES, Row},
    gpu::{Capabilities, Gpu, adapter},
    io::atomic,
};

/// Check every kernel on this adapter
#[derive(Debug, Args)]
#[command(
    after_help = "Every kernel runs in every variant that could be chosen here and is held against an f64 oracle. \
The exit status is not 0 if one is wrong.

--tuner tunes from scratch for two usual trainings and for decoding, and holds every choice against the timing of all variants;
the exit status is not 0 if one takes more than 5 % longer than the best. What was tuned before stays as it is.

Examples:
  wgpt doctor
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
    /// Check the tuner's choices instead
    #[arg(long, conflicts_with_all = ["list", "no_times"])]
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
    let gpu = shared.open().await?;
    let bar = terminal::bar(FAMILIES.len() as u64, shared.quiet);
    let mut doctor = Doctor::new(&gpu, !arguments.no_times);
    for family in FAMILIES {
        bar.set_message(*family);
        doctor.check(family).await?;
        bar.inc(1);
    }
    bar.finish_and_clear();
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
        return Err(Error::Failed(format!("{failed} of {} kernel variants disagree with their oracle", rows.len())));
    }
    Ok(())
}

async fn list(shared: &Shared) -> Result<()> {
    let adapters: Vec<_> = adapter::list().await.iter().map(|adapter| adapter::describe(&adapter.get_info())).collect();
    if adapters.is_empty() {
        return Err(Error::NoAdapter(adapter::INSTALL_HINT.to_string()));
    }
    shared.result(&json!({ "adapters": adapters }), || {
        adapters.iter().enumerate().map(|(i, name)| format!("{i}: {name}")).collect::<Vec<_>>().join("\n")
    })
}

/// What could not be checked because the adapter lacks it.
fn skipped(capabilities: &Capabilities) -> Vec<String> {
    let mut skipped = Vec::new();
    if !capabilities.subgroups_of(8) {
        skipped.push("variants that share loads among subgroups of exactly 8 lanes".to_string());
    }
    for name in &capabilities.unused {
        skipped.push(format!("{name} (WGPT_WITHOUT_VARIANTS)"));
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
