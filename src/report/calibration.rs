//! A chart of predicted probabilities against observed frequencies, as SVG.

use plotters::prelude::*;

use super::curve::{INK, TRAIN};
use crate::{Error, Result};

const SIZE: (u32, u32) = (480, 480);

/// Draws bins of (count, mean predicted probability, observed share), each as a disc whose area grows with its count,
/// and the diagonal, which a calibrated model follows. Empty bins are skipped.
///
/// # Errors
/// [`Error::Drawing`] if the drawing library fails.
pub fn chart(bins: &[(usize, f64, f64)]) -> Result<String> {
    let mut svg = String::new();
    draw(&mut svg, bins).map_err(|e| Error::drawing("the calibration", e))?;
    Ok(svg)
}

fn draw(svg: &mut String, bins: &[(usize, f64, f64)]) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin(16)
        .margin_right(30)
        .x_label_area_size(46)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
    chart
        .configure_mesh()
        .axis_style(INK)
        .bold_line_style(INK.mix(0.25))
        .light_line_style(TRANSPARENT)
        .label_style(("sans-serif", 15, &INK))
        .axis_desc_style(("sans-serif", 17, &INK))
        .x_desc("predicted probability to be the best")
        .y_desc("observed share")
        .x_labels(6)
        .y_labels(6)
        .draw()?;
    chart.draw_series(LineSeries::new([(0.0, 0.0), (1.0, 1.0)], INK.stroke_width(1)))?;
    let points: Vec<_> = bins.iter().filter(|(count, ..)| *count > 0).collect();
    chart.draw_series(LineSeries::new(points.iter().map(|(_, x, y)| (*x, *y)), TRAIN.stroke_width(2)))?;
    let most = points.iter().map(|(count, ..)| *count).max().unwrap_or(1) as f64;
    let disc = |(count, x, y): &&(usize, f64, f64)| {
        let radius = 3.0 + 11.0 * (*count as f64 / most).sqrt();
        Circle::new((*x, *y), radius.round() as i32, TRAIN.mix(0.55).filled())
    };
    chart.draw_series(points.iter().map(disc))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::chart;

    #[test]
    fn empty_bins_are_passed_over() {
        let svg = chart(&[(3, 0.04, 0.1), (0, 0.0, 0.0), (30, 0.25, 0.2)]).unwrap();
        assert!(svg.starts_with("<svg") && svg.matches("<circle").count() == 2 && !svg.contains("NaN"));
        assert!(chart(&[]).is_ok());
    }
}
