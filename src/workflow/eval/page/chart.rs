//! Charts of the pages as values that templates draw: bars with their names above them, and curves. Sizes are in
//! percent of what there is, so that text keeps its size on every screen.

use serde::Serialize;

use super::number;

/// How many powers of ten below the largest number a logarithmic scale shows at most.
const DECADES: f64 = 12.0;
/// How many points a curve has at most: more than any screen has pixels.
const MOST_POINTS: usize = 2000;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Bars {
    pub title: &'static str,
    pub note: String,
    pub bars: Vec<Bar>,
    pub ticks: Vec<Tick>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Bar {
    pub label: String,
    pub value: String,
    pub percent: String,
    pub failed: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Tick {
    pub label: String,
    pub percent: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Curve {
    pub title: String,
    pub note: String,
    pub lines: Vec<Line>,
    pub ticks: Vec<Tick>,
    pub first: String,
    pub last: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Line {
    pub label: String,
    pub number: usize,
    pub points: String,
}

/// Something to draw a bar of.
#[derive(Debug, Clone)]
pub(super) struct Datum {
    pub label: String,
    pub value: f64,
    pub failed: bool,
}

/// From where to where a chart shows numbers.
#[derive(Debug, Clone, Copy)]
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    /// Place of a number in percent; what is not a number is at the low end.
    fn percent(self, value: f64) -> f64 {
        let place = (value - self.low) / (self.high - self.low) * 100.0;
        if place.is_nan() { 0.0 } else { place.clamp(0.0, 100.0) }
    }

    /// Round numbers at equal distances, both ends included where they are round.
    fn ticks(self, step: f64, label: impl Fn(f64) -> String) -> Vec<Tick> {
        let count = ((self.high - self.low) / step).round() as usize;
        let at = |index: usize| self.low + step * index as f64;
        (0..=count).map(|index| Tick { label: label(at(index)), percent: short(self.percent(at(index))) }).collect()
    }
}

fn short(percent: f64) -> String {
    format!("{percent:.2}")
}

fn bars(
    title: &'static str,
    note: String,
    data: &[Datum],
    ticks: Vec<Tick>,
    place: impl Fn(f64) -> (f64, String),
) -> Bars {
    let bar = |datum: &Datum| {
        let (percent, value) = place(datum.value);
        Bar { label: datum.label.clone(), value, percent: short(percent), failed: datum.failed }
    };
    Bars { title, note, bars: data.iter().map(bar).collect(), ticks }
}

/// Bars on a logarithmic scale from the power of ten below the smallest number: errors, divergences. 0 has no bar.
pub(super) fn logarithmic(title: &'static str, data: &[Datum]) -> Bars {
    let found = || data.iter().map(|datum| datum.value).filter(|value| value.is_finite() && *value > 0.0);
    let (lowest, highest) = (found().fold(f64::INFINITY, f64::min), found().fold(0.0, f64::max));
    if highest <= 0.0 {
        return bars(title, String::new(), data, Vec::new(), |value| {
            (if value > 0.0 { 100.0 } else { 0.0 }, number(value))
        });
    }
    let high = highest.log10().ceil();
    // A number on a power of ten has a bar as well.
    let low = (lowest.log10().ceil() - 1.0).max(high - DECADES).min(high - 1.0);
    let axis = Axis { low, high };
    let step = ((high - low) / 4.0).ceil().max(1.0);
    let ticks =
        Axis { low, high: low + step * ((high - low) / step).floor() }.ticks(step, |power| format!("1e{power:.0}"));
    let ticks = ticks
        .into_iter()
        .enumerate()
        .map(|(index, tick)| Tick { percent: short(axis.percent(low + step * index as f64)), ..tick });
    let place = |value: f64| match value {
        value if value.is_infinite() => (100.0, number(value)),
        value if value > 0.0 => (axis.percent(value.log10()), number(value)),
        value => (0.0, number(value)),
    };
    bars(title, "logarithmic scale".to_owned(), data, ticks.collect(), place)
}

/// Bars of decibels, from ten below the smallest or the threshold on: what differs by less shows. Infinity, where both
/// sides are equal, is full.
pub(super) fn decibels(title: &'static str, data: &[Datum], threshold: Option<f64>) -> Bars {
    let found = || data.iter().map(|datum| datum.value).chain(threshold).filter(|value| value.is_finite());
    let (lowest, highest) = (found().fold(f64::INFINITY, f64::min), found().fold(f64::NEG_INFINITY, f64::max));
    if lowest > highest {
        return bars(title, String::new(), data, Vec::new(), |value| {
            (if value > 0.0 { 100.0 } else { 0.0 }, equal_or(value))
        });
    }
    let low = (((lowest - 2.0) / 10.0).floor() * 10.0).max(if lowest >= 0.0 { 0.0 } else { f64::NEG_INFINITY });
    let high = ((highest / 10.0).ceil() * 10.0).max(low + 10.0);
    let axis = Axis { low, high };
    let step = if high - low > 40.0 { ((high - low) / 40.0).ceil() * 10.0 } else { 10.0 };
    let high = low + ((high - low) / step).ceil() * step;
    let axis = Axis { high, ..axis };
    let note = format!(
        "starts at {low:.0} dB{}",
        threshold.map_or(String::new(), |least| format!("; at least {least} dB are asked for"))
    );
    bars(title, note, data, axis.ticks(step, |level| format!("{level:.0}")), |value| {
        (axis.percent(value), equal_or(value))
    })
}

/// Decibels; infinite ones are of equal signals.
pub(super) fn equal_or(value: f64) -> String {
    if value == f64::INFINITY { "equal".to_owned() } else { format!("{value:.2} dB") }
}

/// Bars from 0 on, to the end of the scale where it has one.
pub(super) fn linear(title: &'static str, data: &[Datum], end: Option<f64>) -> Bars {
    let highest = data.iter().map(|datum| datum.value).filter(|value| value.is_finite()).fold(0.0, f64::max);
    let high = end.unwrap_or_else(|| rounded_up(highest));
    let axis = Axis { low: 0.0, high: if high > 0.0 { high } else { 1.0 } };
    let label = |level: f64| match axis.high {
        8.0.. => format!("{level:.0}"),
        _ => format!("{level:.4}").trim_end_matches('0').trim_end_matches('.').to_owned(),
    };
    bars(title, String::new(), data, axis.ticks(axis.high / 4.0, label), |value| {
        (axis.percent(value), format!("{value:.2}"))
    })
}

/// The next of 1, 2, 4, 8, 10 times a power of ten.
fn rounded_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    let factor = [1.0, 2.0, 4.0, 8.0].into_iter().find(|factor| factor * power >= value).unwrap_or(10.0);
    factor * power
}

/// Curves of positive numbers on one logarithmic scale; zeros lie on its floor, what is not finite on its ceiling.
/// `None` where nothing is above zero.
pub(super) fn curve(title: String, ends: [String; 2], lines: &[(String, Vec<f64>)]) -> Option<Curve> {
    let found =
        || lines.iter().flat_map(|(_, values)| values).copied().filter(|value| value.is_finite() && *value > 0.0);
    let (lowest, highest) = (found().fold(f64::INFINITY, f64::min), found().fold(0.0, f64::max));
    if highest <= 0.0 {
        return None;
    }
    let high = highest.log10().ceil();
    let axis = Axis { low: (lowest.log10().floor()).max(high - DECADES).min(high - 1.0), high };
    let line = |(number, (label, values)): (usize, &(String, Vec<f64>))| Line {
        label: label.clone(),
        number,
        points: points(values, |value| match value {
            value if !value.is_finite() => 0.0,
            value if value > 0.0 => 100.0 - axis.percent(value.log10()),
            _ => 100.0,
        }),
    };
    let step = ((axis.high - axis.low) / 6.0).ceil().max(1.0);
    let steps = ((axis.high - axis.low) / step).floor();
    let tick = |index: f64| Tick {
        label: format!("1e{:.0}", axis.low + step * index),
        percent: short(100.0 - axis.percent(axis.low + step * index)),
    };
    let [first, last] = ends;
    let ticks = (0..=steps as u32).map(|index| tick(f64::from(index))).collect();
    Some(Curve {
        title,
        note: "logarithmic scale".to_owned(),
        lines: lines.iter().enumerate().map(line).collect(),
        ticks,
        first,
        last,
    })
}

/// Points of a polyline. Of many values, the highest and the lowest of every piece are drawn.
fn points(values: &[f64], height: impl Fn(f64) -> f64) -> String {
    let across = |index: usize| 100.0 * index as f64 / (values.len() - 1).max(1) as f64;
    let piece = (2 * values.len()).div_ceil(MOST_POINTS).max(1);
    let mut points = Vec::new();
    for start in (0..values.len()).step_by(piece) {
        let indices = start..(start + piece).min(values.len());
        let by_height = |a: &usize, b: &usize| height(values[*a]).total_cmp(&height(values[*b]));
        let ends = [indices.clone().min_by(by_height), indices.max_by(by_height)];
        let mut ends: Vec<usize> = ends.into_iter().flatten().collect();
        ends.sort_unstable();
        ends.dedup();
        points.extend(ends.into_iter().map(|index| format!("{:.2},{:.2}", across(index), height(values[index]))));
    }
    points.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(values: &[f64]) -> Vec<Datum> {
        values.iter().map(|&value| Datum { label: "a".to_owned(), value, failed: false }).collect()
    }

    fn percents(chart: &Bars) -> Vec<&str> {
        chart.bars.iter().map(|bar| bar.percent.as_str()).collect()
    }

    fn labels(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().map(|tick| tick.label.as_str()).collect()
    }

    #[test]
    fn errors_have_a_logarithmic_scale() {
        let chart = logarithmic("errors", &data(&[1e-3, 1e-1, 0.0, f64::INFINITY, f64::NAN]));
        assert_eq!(percents(&chart), ["33.33", "100.00", "0.00", "100.00", "0.00"]);
        assert_eq!(labels(&chart.ticks), ["1e-4", "1e-3", "1e-2", "1e-1"]);
        assert_eq!(chart.bars[2].value, "0");
        let equal = logarithmic("errors", &data(&[0.0, 0.0]));
        assert!(equal.ticks.is_empty() && percents(&equal) == ["0.00", "0.00"]);
    }

    #[test]
    fn decibels_start_below_the_smallest_number() {
        let chart = decibels("PSNR", &data(&[61.0, 64.0, f64::INFINITY, f64::NAN]), None);
        assert_eq!(percents(&chart), ["55.00", "70.00", "100.00", "0.00"]);
        assert_eq!(labels(&chart.ticks), ["50", "60", "70"]);
        assert_eq!((chart.bars[2].value.as_str(), chart.note.as_str()), ("equal", "starts at 50 dB"));
        let chart = decibels("PSNR", &data(&[61.0]), Some(45.0));
        assert_eq!(labels(&chart.ticks)[0], "40", "the threshold is on the scale");
        assert_eq!(labels(&decibels("PSNR", &data(&[-5.0]), None).ticks), ["-10", "0"]);
    }

    #[test]
    fn scores_start_at_zero() {
        assert_eq!(percents(&linear("BLEU", &data(&[25.0, 50.0]), Some(100.0))), ["25.00", "50.00"]);
        assert_eq!(labels(&linear("perplexity", &data(&[17.0]), None).ticks), ["0", "5", "10", "15", "20"]);
        assert_eq!([0.0, 0.3, 9.0, 10.0].map(rounded_up), [1.0, 0.4, 10.0, 10.0]);
    }

    #[test]
    fn a_curve_stays_inside_of_its_frame() {
        let chart =
            curve("x".to_owned(), Default::default(), &[(String::new(), vec![0.0, 1e-9, 1e-3, f64::NAN])]).unwrap();
        assert_eq!(chart.lines[0].points, "0.00,100.00 33.33,100.00 66.67,0.00 100.00,0.00");
        assert_eq!(labels(&chart.ticks), ["1e-9", "1e-8", "1e-7", "1e-6", "1e-5", "1e-4", "1e-3"]);
        assert_eq!(curve("x".to_owned(), Default::default(), &[(String::new(), vec![0.0, 0.0])]), None);
        let many = curve("x".to_owned(), Default::default(), &[(String::new(), (1..100_000).map(f64::from).collect())])
            .unwrap();
        assert!(many.lines[0].points.split(' ').count() <= MOST_POINTS + 2);
    }
}
