//! `wgpt doctor` without further options: every kernel against its oracle.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    panic::resume_unwind,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    thread,
};

use serde_json::json;

use super::{
    super::{Shared, cache, output, training},
    Arguments,
};
use wgpt::{
    Error, Result,
    doctor::{Doctor, FAMILIES, Gate, Row, elements},
    gpu::{Capabilities, Gpu, Options, adapter::on_processor},
    io::atomic,
    tensor::DType,
};

/// Checks every kernel and reports the results, also when it is stopped early.
pub(super) async fn run(shared: &Shared, arguments: &Arguments) -> Result<()> {
    let gpu = shared.open().await?;
    let brief = on_processor(gpu.info());
    let Checked { rows, ended, unfinished } = check(shared, &gpu, Manner { times: !arguments.no_times, brief }).await;
    if !matches!(ended, Ok(()) | Err(Error::Interrupted)) {
        return ended;
    }
    let mut skipped = skipped(gpu.capabilities());
    if brief {
        let reason = "compiling takes long on a driver in software; wgpt doctor --full checks them all";
        let forms = "some widths of heads, transpositions, formats, norms and fused operations of each variant";
        skipped.push(format!("{forms}, segments in f16, and f16's times: {reason}"));
    }
    if ended.is_err() {
        skipped.push(format!("all or part of {}: stopped on request", unfinished.join(", ")));
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

/// How the kernels are checked.
#[derive(Clone, Copy)]
pub(super) struct Manner {
    /// Whether to time them.
    pub(super) times: bool,
    /// Whether to leave out some forms of each variant.
    pub(super) brief: bool,
}

/// The results so far.
pub(super) struct Checked {
    /// By family.
    pub(super) rows: Vec<Row>,
    /// How the checks ended.
    pub(super) ended: Result<()>,
    /// The families whose checks did not come to their end.
    pub(super) unfinished: Vec<String>,
}

/// Checks every family of kernels, and shows which kernel is being checked. Ctrl-C ends it.
///
/// A driver in software compiles with one thread, and compiling takes most of the time: there a second device in a second
/// thread takes half of the checks.
pub(super) async fn check(shared: &Shared, gpu: &Gpu, manner: Manner) -> Checked {
    let stop = training::stop_on_interrupt("finishing this check");
    let mut checks: Vec<_> = FAMILIES
        .iter()
        .flat_map(|family| elements(gpu, family).iter().map(|element| (*family, *element)))
        .enumerate()
        .collect();
    // What takes long comes first, so that the devices end at about the same time.
    checks.sort_by_key(|(_, (family, _))| Reverse(share(family)));
    let all: u64 = checks.iter().map(|(_, (family, _))| share(family)).sum();
    let several = on_processor(gpu.info())
        && !shared.profile
        && thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
    // Without a second device, the first does everything. What the second compiled is not kept: those drivers keep it
    // themselves.
    let second = if several { shared.open_device().await.ok() } else { None };
    let bar = output::coarse_bar(shared.quiet);
    let done = AtomicU64::new(0);
    let (gate, next, ended) = (Gate::default(), AtomicUsize::new(0), AtomicBool::new(false));
    let work = |gpu: &Gpu| {
        let mut results = BTreeMap::new();
        while let Some(&(index, (family, element))) = checks.get(next.fetch_add(1, Ordering::Relaxed)) {
            let watch = |kernel: &str, variant: &str| {
                bar.set_message(format!("{kernel} {variant}"));
                !stop.load(Ordering::Relaxed) && !ended.load(Ordering::Relaxed)
            };
            let doctor = Doctor::new(gpu, manner.times).beside(&gate).watched(Box::new(watch));
            let mut doctor = if manner.brief { doctor.brief() } else { doctor };
            let outcome = pollster::block_on(doctor.check_stored(family, element));
            let over = outcome.is_err();
            ended.fetch_or(over, Ordering::Relaxed);
            results.insert(index, (doctor.rows().to_vec(), outcome));
            if over {
                break;
            }
            let done = done.fetch_add(share(family), Ordering::Relaxed) + share(family);
            bar.set_position(100 * done / all);
        }
        results
    };
    let mut results = thread::scope(|scope| {
        let second = second.as_ref().map(|gpu| scope.spawn(move || work(gpu)));
        let mut results = work(gpu);
        results.extend(
            second.map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).unwrap_or_default(),
        );
        results
    });
    bar.finish_and_clear();
    checks.sort_by_key(|(index, _)| *index);
    let (mut rows, mut unfinished, mut ended) = (Vec::new(), Vec::new(), Ok(()));
    for (index, (family, element)) in checks {
        let (found, outcome) = results.remove(&index).unwrap_or((Vec::new(), Err(Error::Interrupted)));
        rows.extend(found);
        if let Err(error) = outcome {
            unfinished.push(if element == DType::F16 { format!("{family} f16") } else { family.to_string() });
            // The cause counts, not that the other device's checks ended for it.
            if matches!(ended, Ok(()) | Err(Error::Interrupted)) {
                ended = Err(error);
            }
        }
    }
    Checked { rows, ended, unfinished }
}

/// About how long the checks of a family take beside the others, most of which is compiling.
fn share(family: &str) -> u64 {
    match family {
        "packed" => 14,
        "matmul" => 12,
        "attention" => 10,
        "rows" => 4,
        "sample" => 3,
        _ => 1,
    }
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
        // They multiply matrices in f16, by subgroups.
        let reason = match (capabilities.f16, capabilities.subgroups) {
            (false, _) => why("f16", "f16"),
            (_, None) => why("subgroups", "subgroups"),
            _ => why("cooperative", "cooperative matrices"),
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
