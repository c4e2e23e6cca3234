//! The loss curve of a run as SVG.

use plotters::{
    coord::Shift,
    prelude::*,
    style::{
        FontTransform,
        text_anchor::Pos,
        text_anchor::{HPos, VPos},
    },
};
use serde_json::Value;

use crate::{Error, Result};

const SIZE: (u32, u32) = (860, 480);
// Mid-tones on a transparent background read well on white and on black.
pub(super) const INK: RGBColor = RGBColor(125, 133, 144);
pub(super) const TRAIN: RGBColor = RGBColor(59, 130, 246);
pub(super) const VAL: RGBColor = RGBColor(249, 115, 22);
/// A curve with more points is thinned by averaging.
const MOST_POINTS: usize = 1500;

pub(super) type Points = Vec<(f64, f64)>;

/// Draws `train_loss` (each step as a thin line, smoothed as a thick one) and `val_loss` (dots) over `step` from the
/// lines of `metrics.jsonl`. Lines without them, and losses that are not finite, are skipped.
///
/// # Errors
/// [`Error::Usage`] if no line has a loss; [`Error::Drawing`] if the drawing library fails.
pub fn loss_curve(lines: &[Value]) -> Result<String> {
    let series = |key: &str| -> Points {
        let point = |line: &Value| Some((line["step"].as_f64()?, line[key].as_f64()?));
        lines.iter().filter_map(point).collect()
    };
    let (train, val) = (series("train_loss"), series("val_loss"));
    if train.is_empty() && val.is_empty() {
        return Err(Error::Usage("the metrics hold no train_loss or val_loss yet: there is no curve to draw".into()));
    }
    // Only language models have a loss per token.
    let compares = |line: &Value| line["stage"] == "dpo" || line["stage"] == "reward";
    let of = if lines.iter().any(compares) { "comparison" } else { "token" };
    let unit = format!("loss (nats per {of})");
    let mut svg = String::new();
    draw(&SVGBackend::with_string(&mut svg, SIZE).into_drawing_area(), &unit, &train, &val)
        .map_err(|e| Error::drawing("the loss curve", e))?;
    Ok(svg)
}

type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

fn draw(area: &DrawingArea<SVGBackend<'_>, Shift>, unit: &str, train: &Points, val: &Points) -> Drawn {
    let all = || train.iter().chain(val);
    let last = all().map(|p| p.0).fold(1.0, f64::max);
    let low = all().map(|p| p.1).fold(f64::INFINITY, f64::min);
    let high = all().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
    let room = ((high - low) * 0.06).max(0.01);
    let mut chart = ChartBuilder::on(area)
        .margin(16)
        .margin_right(30)
        .x_label_area_size(46)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..last, low - room..high + room)?;
    let decimals = if high - low < 0.5 { 3 } else { 2 };
    chart
        .configure_mesh()
        .axis_style(INK)
        .bold_line_style(INK.mix(0.25))
        .light_line_style(TRANSPARENT)
        .label_style(("sans-serif", 15, &INK))
        .axis_desc_style(("sans-serif", 17, &INK))
        .x_desc("step")
        .y_desc(unit)
        .x_labels(9)
        .y_labels(8)
        .x_label_formatter(&|x| thousands(*x))
        .y_label_formatter(&|y| format!("{y:.decimals$}"))
        .draw()?;

    chart.draw_series(LineSeries::new(thinned(train), TRAIN.mix(0.35).stroke_width(1)))?;
    chart.draw_series(LineSeries::new(thinned(&smoothed(train)), TRAIN.stroke_width(2)))?;
    chart.draw_series(LineSeries::new(thinned(val), VAL.stroke_width(2)))?;
    if val.len() <= 100 {
        chart.draw_series(val.iter().map(|&p| Circle::new(p, 3, VAL.filled())))?;
    }
    legend(area, train, val)
}

/// In the top right corner, where a falling curve leaves room. Drawn by hand, because the library's legend measures
/// text with fonts, which are not needed otherwise.
fn legend(area: &DrawingArea<SVGBackend<'_>, Shift>, train: &Points, val: &Points) -> Drawn {
    let text = ("sans-serif", 16)
        .into_font()
        .transform(FontTransform::None)
        .color(&INK)
        .pos(Pos::new(HPos::Left, VPos::Center));
    let smooth = smoothed(train);
    let best = val.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
    let entries = [
        smooth.last().map(|p| (TRAIN, format!("train: {:.3} (smoothed)", p.1))),
        val.last().map(|p| (VAL, format!("validation: {:.3}, best {best:.3}", p.1))),
    ];
    for (row, (colour, label)) in entries.into_iter().flatten().enumerate() {
        let (x, y) = (SIZE.0 as i32 - 300, 40 + 26 * row as i32);
        area.draw(&PathElement::new([(x, y), (x + 26, y)], colour.stroke_width(3)))?;
        area.draw(&Text::new(label, (x + 36, y), text.clone()))?;
    }
    Ok(())
}

/// Means over windows of about a fiftieth of the points, centred so that the curve does not lag. The window shrinks
/// towards the first point and is one-sided at the last.
pub(super) fn smoothed(points: &Points) -> Points {
    let radius = points.len() / 100;
    let mut sums = vec![0.0];
    points.iter().for_each(|p| sums.push(sums[sums.len() - 1] + p.1));
    let mean = |i: usize| {
        let (from, to) = (i - radius.min(i), (i + radius.min(i) + 1).min(points.len()));
        (points[i].0, (sums[to] - sums[from]) / (to - from) as f64)
    };
    (0..points.len()).map(mean).collect()
}

pub(super) fn thinned(points: &Points) -> Points {
    let mean = |chunk: &[(f64, f64)]| {
        let n = chunk.len() as f64;
        (chunk.iter().map(|p| p.0).sum::<f64>() / n, chunk.iter().map(|p| p.1).sum::<f64>() / n)
    };
    points.chunks(points.len().div_ceil(MOST_POINTS).max(1)).map(mean).collect()
}

pub(super) fn thousands(x: f64) -> String {
    let digits = format!("{x:.0}");
    let grouped = |(i, c): (usize, char)| {
        let comma = i > 0 && (digits.len() - i).is_multiple_of(3);
        [comma.then_some(','), Some(c)]
    };
    digits.chars().enumerate().flat_map(grouped).flatten().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_curve_is_drawn_from_whatever_is_finite() {
        let mut lines: Vec<Value> = (0..4000)
            .map(|s| {
                let noise = crate::random::uniform(1, 0, s) - 0.5;
                json!({"step": s, "train_loss": 1.4 + 2.8 * (-(s as f64) / 400.0).exp() + 0.3 * noise})
            })
            .collect();
        lines.extend((0..=16).map(|i| {
            let s = f64::from(i) * 250.0;
            json!({"step": s, "val_loss": 1.55 + 2.6 * (-s / 400.0).exp()})
        }));
        lines.push(json!({"note": "no step"}));
        lines.push(json!({"step": 5, "train_loss": f64::NAN}));
        let svg = loss_curve(&lines).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>") && !svg.contains("NaN"));
        assert!(svg.contains("best 1.55") && svg.contains("4,000") && svg.len() < 200_000);
        if let Some(path) = std::env::var_os("WGPT_TEST_CURVE") {
            std::fs::write(path, svg).unwrap();
        }
    }

    #[test]
    fn one_point_is_a_curve_and_none_is_an_error() {
        assert!(!loss_curve(&[json!({"step": 0, "train_loss": 4.2})]).unwrap().contains("NaN"));
        let pairs = loss_curve(&[json!({"stage": "dpo", "step": 0, "train_loss": 0.7})]).unwrap();
        assert!(pairs.contains("nats per comparison"));
        assert!(loss_curve(&[json!({"step": 0})]).unwrap_err().to_string().contains("no train_loss"));
    }

    #[test]
    fn smoothing_keeps_constants_and_numbers_are_grouped() {
        assert!(smoothed(&vec![(0.0, 2.0); 500]).iter().all(|p| (p.1 - 2.0).abs() < 1e-12));
        assert_eq!([0.0, 999.0, 1000.0, 1234567.0].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
