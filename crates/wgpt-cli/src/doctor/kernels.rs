//! `wgpt doctor` without further options: every kernel against its oracle.

use serde_json::json;

use super::{
    super::{Shared, cache, output},
    Arguments,
};
use wgpt::{
    Error, Result,
    doctor::{Doctor, FAMILIES, Row},
    gpu::{Capabilities, Gpu, Options},
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

/// What could not be checked, and why.
pub(super) fn skipped(capabilities: &Capabilities) -> Vec<String> {
    let given = Options::from_environment().without;
    // What a capability is missing for.
    let why = |name: &str, words: &str| match given.split(',').any(|given| given.trim() == name) {
        true => format!("left out by WGPT_WITHOUT={given}"),
        false => format!("the adapter has no {words}"),
    };
    let mut skipped = Vec::new();
    if !capabilities.subgroups_of(8) {
        let reason = match capabilities.subgroups {
            None => why("subgroups", "subgroups"),
            Some((least, most)) if least == most => format!("the adapter's subgroups have {least} lanes"),
            Some((least, most)) => format!("the adapter's subgroups have {least} to {most} lanes"),
        };
        skipped.push(format!("variants for subgroups of exactly 8 lanes: {reason}"));
    }
    for name in &capabilities.unused {
        skipped.push(format!("{name}: left out by WGPT_WITHOUT_VARIANTS"));
    }
    if !capabilities.f16 {
        skipped.push(format!("kernels on f16 activations: {}", why("f16", "f16")));
    }
    if capabilities.cooperative.is_none() {
        // They multiply matrices in f16.
        let reason = match capabilities.f16 {
            true => why("cooperative", "cooperative matrices"),
            false => why("f16", "f16"),
        };
        skipped.push(format!("cooperative-matrix variants: {reason}"));
    }
    if !capabilities.timestamps {
        skipped.push(format!("times by the GPU's clock: {}", why("timestamps", "timestamp queries")));
    }
    skipped
}

/// What the errors in the table measure.
const ERRORS: &str = "errors: the largest difference from the f64 oracle, divided by the oracle where that is above 1";

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
    text += &format!("     {:<26} {:<16} {:>9}  rate\n", "kernel", "variant", "error");
    for row in rows {
        let mark = if row.pass { "ok  " } else { "FAIL" };
        text += &format!("{mark} {:<26} {:<16} {:>9.1e}  {}\n", row.kernel, row.variant, row.max_error, rate(row));
        if let Some(failure) = &row.failure {
            text += &format!("     {failure}\n");
        }
    }
    text += &format!("{ERRORS}\n");
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
    text += "| kernel | variant | result | error | rate |\n|---|---|---|---|---|\n";
    for row in rows {
        let result = row.failure.as_deref().unwrap_or("ok");
        text += &format!("| {} | {} | {result} | {:.1e} | {} |\n", row.kernel, row.variant, row.max_error, rate(row));
    }
    text += &format!("\n{ERRORS}\n");
    for skip in skipped {
        text += &format!("\nSkipped: {skip}\n");
    }
    text
}
