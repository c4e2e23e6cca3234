//! `wgpt doctor --full`: checks whether an adapter computes correctly, and writes a report for an issue.

use std::path::Path;

use serde_json::json;

use super::{
    super::{Shared, cache, hints},
    kernels::{self, Manner},
};
use wgpt::{
    Error, Result,
    doctor::{
        Row,
        known_answers::{self, Answer},
        trajectory::{self, Trajectory},
    },
    gpu::{Gpu, Options, adapter::on_processor, capabilities},
    io::atomic,
};

/// The results, as far as the driver got.
#[derive(Default)]
struct Findings {
    rows: Vec<Row>,
    trajectories: Vec<Trajectory>,
    answers: Vec<Answer>,
    /// The error that ended the checks early.
    error: Option<Error>,
}

/// Runs everything, and writes the report even if it ends early.
pub(super) async fn run(shared: &Shared, report: Option<&Path>) -> Result<()> {
    let gpu = shared.open().await?;
    let mut findings = Findings::default();
    findings.error = findings.collect(shared, &gpu).await.err();
    let passed = findings.passed();
    let text = findings.markdown(&gpu);
    if let Some(file) = report {
        atomic::write(file, text.as_bytes())?;
    }
    let Findings { rows, trajectories, answers, error } = &findings;
    let result = json!({
        "passed": passed, "version": env!("CARGO_PKG_VERSION"), "system": system(), "adapter": gpu.description(),
        "driver": gpu.info().driver_info, "reduced": Options::from_environment().reduced(), "features": features(&gpu, true),
        "capabilities": gpu.capabilities(), "kernels": rows, "skips": kernels::skipped(gpu.capabilities()),
        "trajectories": trajectories, "answers": answers, "choices": gpu.tuner().choices(),
        "error": error.as_ref().map(hints::words),
    });
    shared.result(&result, || text)?;
    shared.close(&gpu)?;
    if passed { Ok(()) } else { Err(Error::WrongAdapter) }
}

fn system() -> String {
    format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)
}

/// The optional features with which the device was opened or, if not `has`, without which.
fn features(gpu: &Gpu, has: bool) -> Vec<&'static str> {
    let features = gpu.features();
    let mut names = capabilities::names(|feature| features.contains(feature) == has);
    // Only drivers on the processor are asked for them.
    names.retain(|name| *name != "int64" || on_processor(gpu.info()));
    names
}

fn words(list: &[&str]) -> String {
    if list.is_empty() { "nothing".to_string() } else { list.join(", ") }
}

impl Findings {
    async fn collect(&mut self, shared: &Shared, gpu: &Gpu) -> Result<()> {
        let checked = kernels::check(shared, gpu, Manner { times: false, brief: false }).await;
        self.rows = checked.rows;
        checked.ended?;
        shared.say(format_args!("kernels are done; training {} steps", trajectory::STEPS));
        self.trajectories = trajectory::follow(gpu).await?;
        self.answers = known_answers::ask(gpu, &cache::or_talker(None)?).await?;
        Ok(())
    }

    fn passed(&self) -> bool {
        let rows = self.rows.iter().all(|row| row.pass);
        let trainings = self.trajectories.iter().all(|found| found.pass);
        self.error.is_none() && rows && trainings && self.answers.iter().all(|answer| answer.pass)
    }

    fn markdown(&self, gpu: &Gpu) -> String {
        let (capabilities, info) = (gpu.capabilities(), gpu.info());
        let mut text = format!("### wgpt doctor --full: {}\n\n", if self.passed() { "passed" } else { "FAILED" });
        let mut line = |name: &str, value: String| text += &format!("| {name} | {value} |\n");
        line("wgpt", format!("{}, {}", env!("CARGO_PKG_VERSION"), system()));
        line("---", "---".to_string());
        line("adapter", gpu.description());
        line("PCI vendor, device", format!("{:#06x}, {:#06x}", info.vendor, info.device));
        let lanes = capabilities.subgroups.map(|(least, most)| format!("; {least} to {most} lanes in a subgroup"));
        line("has", words(&features(gpu, true)) + &lanes.unwrap_or_default());
        line("has not", words(&features(gpu, false)));
        let reduced = Options::from_environment().reduced();
        if !reduced.is_empty() {
            line("asked for", reduced);
        }
        let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
        let limits = [
            format!("{} per binding", mib(capabilities.binding)),
            format!("{} per buffer", mib(capabilities.buffer)),
            format!("{} KiB of workgroup memory", capabilities.workgroup_memory >> 10),
            format!("{} invocations", capabilities.invocations),
            format!("{} groups", capabilities.groups),
            format!("bindings at multiples of {}", capabilities.alignment),
        ];
        line("limits", limits.join(", "));
        let failed = self.rows.iter().filter(|row| !row.pass).count();
        line("kernels", format!("{} variants passed, {failed} failed", self.rows.len() - failed));
        for skip in kernels::skipped(capabilities) {
            line("skipped", skip);
        }
        for found in &self.trajectories {
            let (model, steps, precision) = (found.model, found.losses.len(), json!(found.precision));
            let precision = precision.as_str().unwrap_or_default();
            let value = format!("{steps} steps, losses off by at most {:.1e} ({:.0e} passes)", found.worst, found.most);
            line(&format!("{model} in {precision}"), value);
        }
        let ways = self.answers.first().map(|answer| answer.said.iter().map(|(way, _)| *way).collect::<Vec<_>>());
        let right = self.answers.iter().filter(|answer| answer.pass).count();
        let ways = words(&ways.unwrap_or_default());
        line("decoding", format!("{right} of {} answers as known, each over {ways}", self.answers.len()));
        text + &self.failures() + &choices(gpu)
    }

    /// The failed checks, each with its first error.
    fn failures(&self) -> String {
        let mut lines = Vec::new();
        for row in self.rows.iter().filter(|row| !row.pass) {
            lines.push(format!("{} {}: {}", row.kernel, row.variant, row.failure.as_deref().unwrap_or("wrong")));
        }
        for found in self.trajectories.iter().filter(|found| !found.pass) {
            let near = |(loss, expected): (&f32, &f32)| (loss - expected).abs() <= found.most;
            let step = found.losses.iter().zip(found.expected).position(|pair| !near(pair)).unwrap_or_default();
            let (loss, expected) = (found.losses[step], found.expected[step]);
            lines.push(format!(
                "{} in {:?}: the loss of step {step} is {loss}, not {expected}",
                found.model, found.precision
            ));
        }
        for answer in self.answers.iter().filter(|answer| !answer.pass) {
            lines.push(format!("{:?} is answered {:?}, not {:?}", answer.prompt, answer.said, answer.expected));
        }
        lines.extend(self.error.as_ref().map(|error| format!("ended early: {}", hints::words(error))));
        lines
            .iter()
            .enumerate()
            .map(|(i, line)| if i == 0 { format!("\n- {line}\n") } else { format!("- {line}\n") })
            .collect()
    }
}

/// The tuner's choices on this adapter so far, in a collapsed section.
fn choices(gpu: &Gpu) -> String {
    let choices = gpu.tuner().choices();
    if choices.is_empty() {
        return "\nThe tuner has chosen nothing yet.".to_string();
    }
    let lines: String = choices.iter().map(|(class, variant)| format!("{class}: {variant}\n")).collect();
    format!("\n<details><summary>{} choices of the tuner</summary>\n\n```\n{lines}```\n</details>", choices.len())
}
