//! `wgpt doctor --tuner`

use std::{collections::BTreeMap, path::Path};

use serde_json::json;

use super::super::{Shared, output};
use wgpt::{
    Error, Result,
    doctor::audit::{self, Finding, MOST},
    gpu::Gpu,
    io::atomic,
};

/// Runs the check for the classes whose name contains `wanted`.
pub(super) async fn run(shared: &Shared, wanted: &str, report: Option<&Path>, save: Option<&Path>) -> Result<()> {
    // Stored choices are not loaded, because the choices are what is checked.
    let gpu = shared.open_untuned().await?;
    let mut cases = audit::cases(&gpu).await?;
    cases.retain(|case| case.question.0.contains(wanted));
    let bar = output::bar(cases.len() as u64, shared.quiet);
    let mut findings = Vec::new();
    for case in &cases {
        bar.set_message(case.question.0.clone());
        findings.extend(audit::audit(&gpu, case).await?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let worst = findings.iter().map(|finding| finding.ratio).fold(0.0, f64::max);
    let over = findings.iter().filter(|finding| finding.ratio > MOST).count();
    if let Some(file) = report {
        atomic::write(file, markdown(&gpu, wanted, &findings).as_bytes())?;
    }
    let adapter = gpu.description();
    if let Some(file) = save {
        let choices: BTreeMap<_, _> = findings.iter().map(|found| (&found.class, found.chosen)).collect();
        let text = serde_json::to_string_pretty(&json!({ "adapter": adapter, "choices": choices }));
        atomic::write(file, (text.map_err(Error::json("the choices"))? + "\n").as_bytes())?;
    }
    let result = json!({ "adapter": adapter, "most": MOST, "worst": worst, "over": over, "findings": findings });
    shared.result(&result, || words(&findings))?;
    if over > 0 {
        return Err(Error::SlowChoices { over, choices: findings.len(), most: MOST });
    }
    Ok(())
}

fn shape(finding: &Finding) -> String {
    let numbers: Vec<_> = finding.shape.iter().map(u32::to_string).collect();
    // The last numbers of products and of attention are flags.
    let sizes = if finding.class.starts_with("matmul") { &numbers[..3] } else { &numbers[..] };
    format!("{}{}", sizes.join("x"), if finding.sibling { " (sibling)" } else { "" })
}

fn used(finding: &Finding) -> String {
    json!(finding.used).as_str().unwrap_or_default().to_string()
}

fn own(finding: &Finding) -> f64 {
    let own = finding.seconds.iter().find(|(name, _)| *name == finding.chosen);
    own.and_then(|(_, seconds)| *seconds).unwrap_or(f64::NAN)
}

/// A summary of all findings on one line.
fn summary(findings: &[Finding]) -> String {
    let worst = findings.iter().max_by(|left, right| left.ratio.total_cmp(&right.ratio));
    let over = findings.iter().filter(|finding| finding.ratio > MOST).count();
    let worst = worst.map_or(String::new(), |worst| {
        format!("; the worst takes {:.3} times as long as the best ({}, {})", worst.ratio, worst.class, used(worst))
    });
    format!("{} choices, {over} over {MOST} times the best{worst}", findings.len())
}

fn words(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let mark = if finding.ratio <= MOST { "ok  " } else { "SLOW" };
        let (class, best, ratio) = (&finding.class, finding.best, finding.ratio);
        let (shape, used) = (shape(finding), used(finding));
        text += &format!("{mark} {class:<28} {shape:<26} {used:<13} {:<18} {best:<18} {ratio:.3}\n", finding.chosen);
    }
    text + &summary(findings)
}

fn markdown(gpu: &Gpu, wanted: &str, findings: &[Finding]) -> String {
    let only = if wanted.is_empty() { String::new() } else { format!(" --classes '{wanted}'") };
    let mut text = format!("# The tuner's choices against exhaustive timing\n\nAdapter: {}\n\n", gpu.description());
    text += &format!(
        "Command: `wgpt doctor --tuner{only} --report FILE.md`. A choice is made for the first shape of a class and its plain use;
each line holds it against the fastest of all variants for one shape and use. Siblings are shapes that nobody asked for, of
the same class.\n\n{}.\n\n",
        summary(findings)
    );
    text += "| class | shape | use | chosen | ms | best | chosen / best |\n|---|---|---|---|---|---|---|\n";
    for finding in findings {
        let (class, chosen, best) = (&finding.class, finding.chosen, finding.best);
        let (shape, used, ms) = (shape(finding), used(finding), own(finding) * 1e3);
        text += &format!("| {class} | {shape} | {used} | {chosen} | {ms:.3} | {best} | {:.3} |\n", finding.ratio);
    }
    text
}
