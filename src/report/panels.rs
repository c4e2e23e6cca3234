//! Several metrics of a run over its steps, as small SVG charts.

use plotters::{coord::Shift, prelude::*};
use serde_json::Value;

use super::curve::{self, INK, Points, TRAIN, VAL, smoothed, thinned, thousands};
use crate::{Error, Result};

/// Width of a drawing, and height of a row of two panels.
const WIDTH: u32 = 860;
const HEIGHT: u32 = 280;

/// One chart.
#[derive(Clone, Copy, Debug)]
pub struct Panel {
    /// The metric's name in the lines of `metrics.jsonl`.
    pub key: &'static str,
    /// The chart's title.
    pub title: &'static str,
    /// A value to mark, such as a target.
    pub mark: Option<f64>,
}

/// Score, KL, beta and entropy, and the gold score if there is one.
pub fn reinforcement(target_kl: Option<f64>) -> [Panel; 5] {
    let panel = |key, title, mark| Panel { key, title, mark };
    [
        panel("score", "score", None),
        panel("kl", "KL to the reference (nats per answer)", target_kl),
        panel("beta", "beta, coefficient of the KL penalty", None),
        panel("entropy", "entropy (nats per token)", None),
        panel("gold", "gold score", None),
    ]
}

/// The curves of a run: the panels of reinforcement learning if its lines have scores, otherwise its losses.
///
/// # Errors
/// Returns the errors of [`draw`] and [`curve::loss_curve`].
pub fn of_run(lines: &[Value]) -> Result<String> {
    if reinforces(lines) { draw(lines, &reinforcement(None)) } else { curve::loss_curve(lines) }
}

/// Whether the lines are those of a run scored by a judge.
pub fn reinforces(lines: &[Value]) -> bool {
    lines.iter().any(|line| line["score"].is_number())
}

/// Draws each panel's metric over `step`, two panels side by side: every step as a thin line, smoothed as a thick one.
/// Lines without the metric are skipped, and so are panels without a line.
///
/// # Errors
/// [`Error::Usage`] if no line has any of the metrics; [`Error::Drawing`] if the drawing library fails.
pub fn draw(lines: &[Value], panels: &[Panel]) -> Result<String> {
    let series = |key: &str| -> Points {
        lines.iter().filter_map(|line| Some((line["step"].as_f64()?, line[key].as_f64()?))).collect()
    };
    let all: Vec<_> = panels.iter().map(|panel| (panel, series(panel.key))).collect();
    if all.iter().all(|(_, points)| points.is_empty()) {
        let names: Vec<_> = panels.iter().map(|panel| panel.key).collect();
        let reason = format!("the metrics hold no {} yet: there is no curve to draw", names.join(", "));
        return Err(Error::Usage(reason));
    }
    let mut svg = String::new();
    let filled = all.iter().filter(|(_, points)| !points.is_empty());
    let rows = filled.clone().count().div_ceil(2);
    let area = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT * rows as u32)).into_drawing_area();
    for ((panel, points), part) in filled.zip(&area.split_evenly((rows, 2))) {
        chart(part, panel, points).map_err(|e| Error::drawing(format!("the curve of {}", panel.key), e))?;
    }
    drop(area);
    Ok(svg)
}

fn chart(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    panel: &Panel,
    points: &Points,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let last = points.iter().map(|p| p.0).fold(1.0, f64::max);
    let values = || points.iter().map(|p| p.1).chain(panel.mark);
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    let room = ((high - low) * 0.06).max(1e-3);
    let decimals = if high - low < 0.05 {
        4
    } else if high - low < 5.0 {
        2
    } else {
        1
    };
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .margin_top(26)
        .margin_right(24)
        .x_label_area_size(30)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..last, low - room..high + room)?;
    chart
        .configure_mesh()
        .axis_style(INK)
        .bold_line_style(INK.mix(0.25))
        .light_line_style(TRANSPARENT)
        .label_style(("sans-serif", 13, &INK))
        .x_labels(5)
        .y_labels(6)
        .x_label_formatter(&|x| thousands(*x))
        .y_label_formatter(&|y| format!("{y:.decimals$}"))
        .draw()?;
    if let Some(mark) = panel.mark {
        chart.draw_series(LineSeries::new([(0.0, mark), (last, mark)], VAL.stroke_width(1)))?;
    }
    chart.draw_series(LineSeries::new(thinned(points), TRAIN.mix(0.35).stroke_width(1)))?;
    chart.draw_series(LineSeries::new(thinned(&smoothed(points)), TRAIN.stroke_width(2)))?;
    let now = smoothed(points).last().map_or(f64::NAN, |p| p.1);
    area.draw(&Text::new(format!("{}: {now:.3}", panel.title), (64, 6), ("sans-serif", 14).into_font().color(&INK)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn charts_are_drawn_from_what_is_there() {
        let lines: Vec<_> = (0..300)
            .map(
                |s| json!({"step": s, "score": (f64::from(s) / 100.0).tanh(), "kl": f64::from(s) / 50.0, "beta": 0.15}),
            )
            .chain([json!({"step": 7, "sample": "text"})])
            .collect();
        let svg = draw(&lines, &reinforcement(Some(6.0))).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>") && !svg.contains("NaN"));
        assert!(svg.contains("KL to the reference") && svg.contains("beta") && !svg.contains("entropy"));
        assert!(draw(&lines[300..], &reinforcement(None)).unwrap_err().to_string().contains("no score"));
        if let Some(path) = std::env::var_os("WGPT_TEST_PANELS") {
            std::fs::write(path, svg).unwrap();
        }
    }
}
