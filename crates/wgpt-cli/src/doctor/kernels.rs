//! `wgpt doctor` without further options: every kernel against its oracle.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::{
    super::{Shared, cache, output, training},
    Arguments,
};
use wgpt::{
    Error, Result,
    doctor::{Doctor, FAMILIES, Row},
    gpu::{Capabilities, Gpu, Options},
    io::atomic,
    wgpu,
};

/// Checks every kernel and reports the results, also when it is stopped early.
pub(super) async fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    let gpu = shared.open().await?;
    let brief = gpu.info().device_type == wgpu::DeviceType::Cpu;
    let doctor = Doctor::new(&gpu, !arguments.no_times);
    let (rows, ended) = check(shared, if brief { doctor.brief() } else { doctor }).await;
    if !matches!(ended, Ok(()) | Err(Error::Interrupted)) {
        return ended;
    }
    let mut skipped = skipped(gpu.capabilities());
    if brief {
        let reason = "compiling takes long on a driver in software; wgpt doctor --full checks them all";
        skipped.push(format!(
            "some widths of heads, transpositions, formats and fused operations of each variant: {reason}"
        ));
    }
    if ended.is_err() {
        skipped.push("everything after the last line above: stopped on request".to_string());
    }
    let failed = rows.iter().filter(|row| !row.pass).count();
    if let Some(file) = &arguments.report {
        atomic::write(file, markdown(&gpu, &rows, &skipped).as_bytes())?;
    }
    let result = json!({
        "adapter": gpu.description(), "passed": rows.len() - failed, "failed": failed, "skipped": skipped.len(),
        "stopped": ended.is_err(), "capabilities": gpu.capabilities(), "choices": gpu.tuner().choices(),
        "skips": skipped, "kernels": rows,
    });
    shared.result(&result, || words(&gpu, &rows, &skipped))?;
    shared.close(&gpu)?;
    if failed > 0 {
        return Err(Error::WrongKernels { wrong: failed, checked: rows.len() });
    }
    ended
}

/// Checks every family of kernels, and shows which kernel is being checked; returns the rows so far and how it ended.
/// Ctrl-C ends it.
pub(super) async fn check(shared: &Shared, doctor: Doctor<'_>) -> (Vec<Row>, Result<()>) {
    let stop = training::stop_on_interrupt("finishing this check");
    let bar = output::bar(FAMILIES.len() as u64, shared.quiet);
    let watch = |kernel: &str, variant: &str| {
        bar.set_message(format!("{kernel} {variant}"));
        !stop.load(Ordering::Relaxed)
    };
    let mut doctor = doctor.watched(Box::new(watch));
    let mut ended = Ok(());
    for family in FAMILIES {
        ended = doctor.check(family).await;
        if ended.is_err() {
            break;
        }
        bar.inc(1);
    }
    let rows = doctor.rows().to_vec();
    drop(doctor);
    bar.finish_and_clear();
    (rows, ended)
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
