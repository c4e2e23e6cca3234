//! Score and gold score of several reinforcement runs over the distance from where they began: whether a policy becomes better, or
//! only finds what its judge mistakes for better (Gao et al. 2022, "Scaling Laws for Reward Model Overoptimization").

use plotters::{coord::Shift, prelude::*};
use serde_json::Value;

use super::curve::{INK, Points, TRAIN, VAL};
use crate::{Error, Result};

const SIZE: (u32, u32) = (860, 400);
/// A colour for each run, beginning with the colours that the other charts use.
const COLOURS: [RGBColor; 6] = [TRAIN, VAL, RGBColor(34, 160, 90), RGBColor(168, 85, 247), RGBColor(220, 60, 90), INK];

/// Number of steps whose mean is a point: those of single steps are noisy.
const WINDOW: usize = 9;

/// A run's name, and the lines of its `metrics.jsonl`.
pub type Run = (String, Vec<Value>);

/// Draws the score, and beside it the gold score if any run has one, over the KL: means of nine steps.
///
/// # Errors
/// [`Error::Usage`] naming a run without scores, or for more runs than there are colours; [`Error::Drawing`] if the drawing
/// library fails.
pub fn draw(runs: &[Run]) -> Result<String> {
    if runs.len() > COLOURS.len() {
        return Err(Error::Usage(format!("{} runs in one picture: give at most {}", runs.len(), COLOURS.len())));
    }
    let mut scores = Vec::new();
    for (name, lines) in runs {
        match path(lines, "score") {
            path if path.is_empty() => {
                let reason = "has no scores: only runs of wgpt ppo and wgpt grpo are compared";
                return Err(Error::Usage(format!("{name} {reason}")));
            }
            path => scores.push(path),
        }
    }
    let golds: Vec<_> = runs.iter().map(|(_, lines)| path(lines, "gold")).collect();
    let mut panels = vec![("score", scores)];
    if golds.iter().any(|path| !path.is_empty()) {
        panels.push(("gold score", golds));
    }
    let names: Vec<_> = runs.iter().map(|(name, _)| name.as_str()).collect();
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    for ((title, paths), part) in panels.iter().zip(area.split_evenly((1, panels.len()))) {
        panel(&part, title, paths, &names).map_err(|error| Error::drawing(*title, error))?;
    }
    drop(area);
    Ok(svg)
}

/// Means of KL and `key` over windows of steps, in the order of the steps.
fn path(lines: &[Value], key: &str) -> Points {
    let all: Points = lines.iter().filter_map(|line| Some((line["kl"].as_f64()?, line[key].as_f64()?))).collect();
    let mean = |window: &[(f64, f64)]| {
        let count = window.len() as f64;
        let sum = window.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (sum.0 / count, sum.1 / count)
    };
    // A short run has a shorter window.
    all.windows(WINDOW.min(all.len()).max(1)).map(mean).collect()
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    title: &str,
    paths: &[Points],
    names: &[&str],
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let all = || paths.iter().flatten();
    let last = all().map(|point| point.0).fold(0.1, f64::max);
    let (low, high) =
        all().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), point| (low.min(point.1), high.max(point.1)));
    let room = ((high - low) * 0.06).max(1e-3);
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .margin_top(26 + 18 * names.len() as u32)
        .margin_right(24)
        .x_label_area_size(42)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..last, low - room..high + room)?;
    chart
        .configure_mesh()
        .axis_style(INK)
        .bold_line_style(INK.mix(0.25))
        .light_line_style(TRANSPARENT)
        .label_style(("sans-serif", 13, &INK))
        .axis_desc_style(("sans-serif", 14, &INK))
        .x_desc("KL to the reference (nats per answer)")
        .x_labels(6)
        .y_labels(6)
        .x_label_formatter(&|x| format!("{x:.1}"))
        .y_label_formatter(&|y| format!("{y:.2}"))
        .draw()?;
    area.draw(&Text::new(title, (64, 6), ("sans-serif", 15).into_font().color(&INK)))?;
    for (row, ((path, name), colour)) in paths.iter().zip(names).zip(COLOURS).enumerate() {
        chart.draw_series(LineSeries::new(path.iter().copied(), colour.stroke_width(2)))?;
        let y = 34 + 18 * row as i32;
        area.draw(&PathElement::new([(66, y), (90, y)], colour.stroke_width(3)))?;
        area.draw(&Text::new(*name, (98, y - 7), ("sans-serif", 13).into_font().color(&INK)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn runs_are_drawn_over_their_kl() {
        let lines = |gold: bool| -> Vec<Value> {
            let line = |step: i32| {
                let kl = f64::from(step) / 10.0;
                let mut line = json!({ "step": step, "kl": kl, "score": kl.sqrt() });
                if gold {
                    line["gold"] = json!(0.5 + 0.1 * kl - 0.01 * kl * kl);
                }
                line
            };
            (0..80).map(line).chain([json!({ "step": 7, "sample": "text" })]).collect()
        };
        let both = draw(&[("one".into(), lines(true)), ("several".into(), lines(false))]).unwrap();
        assert!(both.starts_with("<svg") && both.contains("several") && both.contains("gold score"));
        assert!(!both.contains("NaN"));
        let alone = draw(&[("one".into(), lines(false))]).unwrap();
        assert!(!alone.contains("gold score"));
        assert_eq!(path(&lines(true), "gold").len(), 80 - WINDOW + 1);
        assert_eq!(path(&lines(true)[..3], "gold").len(), 1);
        let loss = vec![json!({ "step": 0, "train_loss": 2.0 })];
        assert!(draw(&[("sft".into(), loss)]).unwrap_err().to_string().contains("sft has no scores"));
        assert!(draw(&vec![("one".into(), lines(true)); 7]).unwrap_err().to_string().contains("at most 6"));
    }
}
