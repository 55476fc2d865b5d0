//! Plots as SVG, as wide as the page: bars with their names above them, so that long names have room on a phone, and a curve.

use std::fmt::Write;

use super::{Text, number};

/// Units of the drawing from left to right.
const WIDTH: f64 = 480.0;
/// Height of a bar with its name.
const ROW: f64 = 32.0;
/// Room for the number behind the longest bar.
const VALUE_ROOM: f64 = 80.0;
/// Height of a curve.
const HEIGHT: f64 = 220.0;
/// Room for the numbers beside a curve.
const LABEL_ROOM: f64 = 64.0;
/// How many powers of ten below the largest number a logarithmic bar shows at most.
const DECADES: f64 = 12.0;

pub(super) struct Bar {
    pub(super) label: String,
    pub(super) value: f64,
    pub(super) failed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    Logarithmic,
}

pub(super) fn bars(bars: &[Bar], scale: Scale) -> String {
    let values = || bars.iter().map(|bar| bar.value).filter(|value| value.is_finite() && *value > 0.0);
    let (lowest, highest) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    let part = |value: f64| match (value, scale) {
        (value, _) if value.is_nan() || value <= 0.0 || highest <= 0.0 => 0.0,
        (value, _) if value.is_infinite() => 1.0,
        (value, Scale::Linear) => value / highest,
        (value, Scale::Logarithmic) => {
            let floor = (lowest.log10() - 1.0).max(highest.log10() - DECADES);
            ((value.log10() - floor) / (highest.log10() - floor)).clamp(0.0, 1.0)
        }
    };
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\">", ROW * bars.len() as f64);
    for (index, bar) in bars.iter().enumerate() {
        let (y, length) = (ROW * index as f64, part(bar.value) * (WIDTH - VALUE_ROOM));
        let class = if bar.failed { "bar bad" } else { "bar" };
        let _ = write!(
            svg,
            "<text x=\"0\" y=\"{:.0}\">{}</text><rect class=\"{class}\" x=\"0\" y=\"{:.0}\" width=\"{length:.1}\" height=\"12\"/>\
             <text x=\"{:.1}\" y=\"{:.0}\">{}</text>",
            y + 11.0,
            Text(&bar.label),
            y + 15.0,
            length + 6.0,
            y + 25.0,
            number(bar.value),
        );
    }
    svg + "</svg>"
}

/// A curve of positive numbers on a logarithmic scale; zeros lie on its floor, what is not finite on its ceiling.
pub(super) fn line(values: &[f64]) -> String {
    let positive = || values.iter().copied().filter(|value| value.is_finite() && *value > 0.0);
    let (lowest, highest) = (positive().fold(f64::INFINITY, f64::min), positive().fold(0.0, f64::max));
    if highest <= 0.0 {
        return String::new();
    }
    let (floor, ceiling) = (lowest.log10().floor().max(highest.log10() - DECADES).floor() - 1.0, highest.log10().ceil());
    let y = |value: f64| {
        let level = if value.is_finite() { value.log10().clamp(floor, ceiling) } else { ceiling };
        8.0 + (ceiling - level) / (ceiling - floor) * (HEIGHT - 16.0)
    };
    let x = |index: usize| LABEL_ROOM + (WIDTH - LABEL_ROOM - 4.0) * index as f64 / (values.len() - 1).max(1) as f64;
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
    let step = ((ceiling - floor) / 6.0).ceil().max(1.0) as i32;
    for decade in (floor as i32..=ceiling as i32).step_by(step as usize) {
        let at = y(10f64.powi(decade));
        let _ = write!(
            svg,
            "<line class=\"axis\" x1=\"{LABEL_ROOM}\" x2=\"{WIDTH}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text x=\"0\" y=\"{:.1}\">1e{decade}</text>",
            at + 4.0,
        );
    }
    let points: Vec<String> = values.iter().enumerate().map(|(index, &value)| format!("{:.1},{:.1}", x(index), y(value))).collect();
    svg + &format!("<polyline class=\"curve\" points=\"{}\"/></svg>", points.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_numbers() {
        let bar = |value| Bar { label: "a".to_owned(), value, failed: value > 1.0 };
        let svg = bars(&[bar(1.0), bar(2.0), bar(f64::INFINITY), bar(0.0)], Scale::Linear);
        for width in ["width=\"200.0\"", "width=\"400.0\"", "width=\"0.0\""] {
            assert!(svg.contains(width), "{width}: {svg}");
        }
        assert_eq!(svg.matches("bar bad").count(), 2);
        let svg = bars(&[bar(1e-6), bar(1.0)], Scale::Logarithmic);
        assert!(svg.contains("width=\"57.1\"") && svg.contains("width=\"400.0\""), "{svg}");
    }

    #[test]
    fn a_curve_stays_inside_of_its_frame() {
        let svg = line(&[0.0, 1e-9, 1e-3, f64::NAN]);
        let points = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        let points: Vec<Vec<f64>> = points.split(' ').map(|point| point.split(',').map(|v| v.parse().unwrap()).collect()).collect();
        assert_eq!(points.len(), 4);
        assert!(points.iter().all(|point| (0.0..=WIDTH).contains(&point[0]) && (0.0..=HEIGHT).contains(&point[1])), "{points:?}");
        assert!(points[0][1] > points[1][1] && points[1][1] > points[2][1] && points[3][1] <= points[2][1], "{points:?}");
        assert_eq!(line(&[0.0, 0.0]), "");
    }
}
