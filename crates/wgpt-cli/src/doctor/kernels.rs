//! `wgpt doctor` without further options: every kernel against its oracle.

use serde_json::json;

use super::{
    super::{Shared, cache, output},
    Arguments,
};
use wgpt::{
    Error, Result,
    doctor::{Doctor, FAMILIES, Row},
    gpu::{Capabilities, Gpu},
    io::atomic,
};

/// Checks every kernel and reports the results.
pub(super) async fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
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

/// Checks every family of kernels, with a progress bar.
pub(super) async fn check(shared: &Shared, doctor: &mut Doctor<'_>) -> Result<()> {
    let bar = output::bar(FAMILIES.len() as u64, shared.quiet);
    for family in FAMILIES {
        bar.set_message(*family);
        doctor.check(family).await?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
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
        text += &format!("\nchosen variants (kept in {}):\n", cache::place(gpu));
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
