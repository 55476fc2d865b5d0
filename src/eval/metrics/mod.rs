//! How far numbers are from a reference: errors, signal to noise, and for logits what a sampler would notice.
//!
//! One pass, sums in float64, no copies of contiguous tensors. Numbers that are not finite:
//! - NaN on either side, or on both, is never agreement: it makes every metric of errors NaN, and is always among the
//!   [`failures`](Metrics::failures).
//! - Equal infinities agree (masks are made of them) and stay out of every sum; unequal ones are an infinite error.

use candle_core::{DType, Tensor, WithDType};
use serde::{Serialize, Serializer};

use super::view;

/// What the peak signal to noise ratio takes as the peak.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Peak {
    /// The span of the reference's finite numbers, or their magnitude where all are equal. For latents and anything
    /// without a natural range.
    #[default]
    ReferenceRange,
    /// A known span: 1 of pictures in 0..1, 2 of pictures in -1..1, 255 of bytes.
    Value(f64),
}

/// What is allowed. Nothing given: everything but NaN.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Thresholds {
    /// Allowed absolute error. With [`rtol`](Self::rtol) as numpy's `allclose`: |actual - expected| <= atol + rtol *
    /// |expected|, each absent one 0.
    pub atol: Option<f64>,
    /// Allowed error relative to the reference.
    pub rtol: Option<f64>,
    /// Lowest allowed peak signal to noise ratio in decibels.
    pub min_psnr: Option<f64>,
}

/// How numbers are measured.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MeasureOptions {
    /// The peak of the signal to noise ratio.
    pub peak: Peak,
    /// Whether rows along the last axis are logits: adds [`Metrics::logits`].
    pub logits: bool,
    /// What is allowed.
    pub thresholds: Thresholds,
}

/// Numbers that are not finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct NonFinite {
    /// How many are NaN.
    pub nan: usize,
    /// How many are infinite.
    pub infinite: usize,
}

impl NonFinite {
    fn add(&mut self, value: f64) {
        self.nan += usize::from(value.is_nan());
        self.infinite += usize::from(value.is_infinite());
    }
}

/// An element on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Element {
    /// Its place in row-major order.
    pub index: usize,
    /// The number to judge.
    #[serde(serialize_with = "number")]
    pub actual: f64,
    /// The reference.
    #[serde(serialize_with = "number")]
    pub expected: f64,
}

/// Distances between numbers and a reference. In JSON, numbers that are not finite are the strings `inf`, `-inf` and
/// `nan`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metrics {
    /// How many numbers there are.
    pub count: usize,
    /// Largest absolute error.
    #[serde(serialize_with = "number")]
    pub max_abs: f64,
    /// Place of the largest absolute error, or of the first NaN; 0 where all are equal.
    pub worst: usize,
    /// What stands there; none of nothing.
    pub worst_element: Option<Element>,
    /// Largest error relative to a reference that is not 0.
    #[serde(serialize_with = "number")]
    pub max_relative: f64,
    /// Mean absolute error.
    #[serde(serialize_with = "number")]
    pub mae: f64,
    /// Root of the mean squared error.
    #[serde(serialize_with = "number")]
    pub rmse: f64,
    /// The peak that `psnr` was taken with.
    #[serde(serialize_with = "number")]
    pub peak: f64,
    /// Peak signal to noise ratio in decibels; infinite where all are equal.
    #[serde(serialize_with = "number")]
    pub psnr: f64,
    /// Signal to noise ratio in decibels: squares of the reference to squares of the errors; infinite where all are
    /// equal.
    #[serde(serialize_with = "number")]
    pub snr: f64,
    /// Cosine of the angle between both; 1 where both are zero, 0 where one is.
    #[serde(serialize_with = "number")]
    pub cosine: f64,
    /// What is not finite among the numbers.
    pub actual_non_finite: NonFinite,
    /// What is not finite in the reference.
    pub expected_non_finite: NonFinite,
    /// Elements outside of `atol + rtol * |expected|`; absent where neither is given.
    pub violations: Option<usize>,
    /// Metrics of logits, where asked for.
    pub logits: Option<LogitMetrics>,
    /// Why the numbers do not pass; empty where they do.
    pub failures: Vec<Failure>,
}

/// Distances between rows of logits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LogitMetrics {
    /// How many rows there are.
    pub rows: usize,
    /// Part of the rows whose largest element (the first of equals) is in the same place; rows with NaN never agree.
    #[serde(serialize_with = "number")]
    pub argmax_agreement: f64,
    /// Mean over the rows of KL(softmax(expected) || softmax(actual)), in nats.
    #[serde(serialize_with = "number")]
    pub kl_mean: f64,
    /// Largest of them.
    #[serde(serialize_with = "number")]
    pub kl_max: f64,
    /// The row of the largest, or the first whose divergence is not defined.
    pub worst_row: usize,
}

/// Why numbers do not pass.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum Failure {
    /// NaN on one side or both.
    #[error("{actual} of {count} numbers are NaN, {expected} of the reference")]
    NotANumber {
        /// How many numbers there are.
        count: usize,
        /// How many of the numbers to judge are NaN.
        actual: usize,
        /// How many of the reference.
        expected: usize,
    },
    /// Errors above the tolerance.
    #[error(
        "{violations} of {count} numbers are off by more than {atol:e} + {rtol:e} * |expected|, at most by \
         {max_abs:.3e}"
    )]
    Tolerance {
        /// How many are outside.
        violations: usize,
        /// How many numbers there are.
        count: usize,
        /// Allowed absolute error.
        atol: f64,
        /// Allowed relative error.
        rtol: f64,
        /// The largest absolute error.
        #[serde(serialize_with = "number")]
        max_abs: f64,
    },
    /// Too much noise.
    #[error("the peak signal to noise ratio is {found:.2} dB, at least {minimum} dB are asked for")]
    Psnr {
        /// The ratio.
        #[serde(serialize_with = "number")]
        found: f64,
        /// The lowest allowed.
        minimum: f64,
    },
}

/// Why tensors cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// They have different shapes.
    #[error("cannot compare the shape {actual:?} with {expected:?}")]
    Shape {
        /// Shape of the tensor to judge.
        actual: Vec<usize>,
        /// Shape of the reference.
        expected: Vec<usize>,
    },
    /// The tensor library refused.
    #[error("the tensors cannot be compared")]
    Tensor(#[from] candle_core::Error),
}

/// Compares a tensor with a reference of the same shape; floats, integers and booleans are compared as numbers.
///
/// # Errors
/// When the shapes differ.
pub fn measure(actual: &Tensor, expected: &Tensor, options: &MeasureOptions) -> Result<Metrics, MetricsError> {
    if actual.dims() != expected.dims() {
        return Err(MetricsError::Shape { actual: actual.dims().to_vec(), expected: expected.dims().to_vec() });
    }
    let row = actual.dims().last().copied().unwrap_or(1);
    match actual.dtype() {
        DType::F32 => Ok(view(actual, |values: &[f32]| against(values, expected, row, options))??),
        DType::I64 => Ok(view(actual, |values: &[i64]| against(values, expected, row, options))??),
        DType::U8 => Ok(view(actual, |values: &[u8]| against(values, expected, row, options))??),
        _ => Ok(view(&actual.to_dtype(DType::F32)?, |values: &[f32]| against(values, expected, row, options))??),
    }
}

fn against<A: Number>(
    actual: &[A],
    expected: &Tensor,
    row: usize,
    options: &MeasureOptions,
) -> candle_core::Result<Metrics> {
    match expected.dtype() {
        DType::F32 => view(expected, |values: &[f32]| measure_rows(actual, values, row, options)),
        DType::I64 => view(expected, |values: &[i64]| measure_rows(actual, values, row, options)),
        DType::U8 => view(expected, |values: &[u8]| measure_rows(actual, values, row, options)),
        _ => view(&expected.to_dtype(DType::F32)?, |values: &[f32]| measure_rows(actual, values, row, options)),
    }
}

/// Compares as many numbers of both; `row` is the length of a row of logits.
pub(super) fn measure_rows<A: Number, E: Number>(
    actual: &[A],
    expected: &[E],
    row: usize,
    options: &MeasureOptions,
) -> Metrics {
    let mut sums = Sums::new(options.thresholds);
    for (index, (&a, &e)) in actual.iter().zip(expected).enumerate() {
        sums.add(index, a.wide(), e.wide());
    }
    let mut metrics = sums.finish(options.peak);
    if options.logits {
        let row = row.max(1);
        metrics.logits = Some(logit_metrics(actual.chunks(row).zip(expected.chunks(row))));
    }
    metrics.failures = metrics.judge(options.thresholds);
    metrics
}

impl Metrics {
    /// Every reason why the numbers do not pass.
    fn judge(&self, thresholds: Thresholds) -> Vec<Failure> {
        let mut failures = Vec::new();
        let (actual, expected) = (self.actual_non_finite.nan, self.expected_non_finite.nan);
        if actual + expected > 0 {
            failures.push(Failure::NotANumber { count: self.count, actual, expected });
        }
        if let Some(violations) = self.violations.filter(|&n| n > 0) {
            let (atol, rtol) = (thresholds.atol.unwrap_or(0.0), thresholds.rtol.unwrap_or(0.0));
            failures.push(Failure::Tolerance { violations, count: self.count, atol, rtol, max_abs: self.max_abs });
        }
        // A ratio that is not defined is not high enough.
        if let Some(minimum) = thresholds.min_psnr.filter(|minimum| self.psnr.is_nan() || self.psnr < *minimum) {
            failures.push(Failure::Psnr { found: self.psnr, minimum });
        }
        failures
    }
}

/// A number as it is held.
pub(super) trait Number: Copy {
    /// In float64.
    fn wide(self) -> f64;
}

impl<T: WithDType> Number for T {
    fn wide(self) -> f64 {
        self.to_f64()
    }
}

/// What one pass collects.
struct Sums {
    tolerance: Option<(f64, f64)>,
    count: usize,
    max_abs: f64,
    worst: Option<Element>,
    max_relative: f64,
    absolute: f64,
    squared: f64,
    product: f64,
    actual: f64,
    expected: f64,
    lowest: f64,
    highest: f64,
    violations: usize,
    actual_non_finite: NonFinite,
    expected_non_finite: NonFinite,
}

impl Sums {
    fn new(thresholds: Thresholds) -> Self {
        let given = thresholds.atol.is_some() || thresholds.rtol.is_some();
        Self {
            tolerance: given.then(|| (thresholds.atol.unwrap_or(0.0), thresholds.rtol.unwrap_or(0.0))),
            count: 0,
            max_abs: 0.0,
            worst: None,
            max_relative: 0.0,
            absolute: 0.0,
            squared: 0.0,
            product: 0.0,
            actual: 0.0,
            expected: 0.0,
            lowest: f64::INFINITY,
            highest: f64::NEG_INFINITY,
            violations: 0,
            actual_non_finite: NonFinite::default(),
            expected_non_finite: NonFinite::default(),
        }
    }

    fn add(&mut self, index: usize, a: f64, e: f64) {
        self.count += 1;
        let finite = a.is_finite() && e.is_finite();
        if !finite {
            self.actual_non_finite.add(a);
            self.expected_non_finite.add(e);
        }
        if e.is_finite() {
            (self.lowest, self.highest) = (self.lowest.min(e), self.highest.max(e));
        }
        let agrees = a == e;
        // Infinities of one sign have no difference.
        let difference = if agrees { 0.0 } else { (a - e).abs() };
        if self.worst.is_none() || difference > self.max_abs || (difference.is_nan() && !self.max_abs.is_nan()) {
            (self.max_abs, self.worst) = (difference, Some(Element { index, actual: a, expected: e }));
        }
        if e != 0.0 && !agrees {
            let relative = difference / e.abs();
            // Infinity to infinity is no number; the error is infinite.
            let relative = if relative.is_nan() && !difference.is_nan() { f64::INFINITY } else { relative };
            self.max_relative = if relative.is_nan() || self.max_relative.is_nan() {
                f64::NAN
            } else {
                self.max_relative.max(relative)
            };
        }
        self.add_squares(agrees && !finite, difference, a, e);
    }

    /// Sums, and whether the element is inside of the tolerance; equal infinities stay out.
    fn add_squares(&mut self, equal_infinities: bool, difference: f64, a: f64, e: f64) {
        if equal_infinities {
            return;
        }
        self.absolute += difference;
        self.squared += difference * difference;
        self.product += a * e;
        self.actual += a * a;
        self.expected += e * e;
        if let Some((atol, rtol)) = self.tolerance {
            // An infinite reference would allow anything.
            let allowed = e.is_finite() && difference <= atol + rtol * e.abs();
            self.violations += usize::from(!allowed);
        }
    }

    fn peak(&self, peak: Peak) -> f64 {
        match peak {
            Peak::Value(peak) => peak,
            Peak::ReferenceRange if self.highest > self.lowest => self.highest - self.lowest,
            Peak::ReferenceRange => {
                if self.highest.is_finite() {
                    self.highest.abs()
                } else {
                    0.0
                }
            }
        }
    }

    fn finish(self, peak: Peak) -> Metrics {
        let count = self.count.max(1) as f64;
        let mse = self.squared / count;
        let peak = self.peak(peak);
        let cosine = match (self.actual == 0.0, self.expected == 0.0) {
            (true, true) => 1.0,
            (true, false) | (false, true) => 0.0,
            (false, false) => self.product / (self.actual.sqrt() * self.expected.sqrt()),
        };
        let not_defined = self.actual.is_nan() || self.expected.is_nan();
        Metrics {
            count: self.count,
            max_abs: self.max_abs,
            worst: self.worst.map_or(0, |element| element.index),
            worst_element: self.worst,
            max_relative: if not_defined { f64::NAN } else { self.max_relative },
            mae: self.absolute / count,
            rmse: mse.sqrt(),
            peak,
            psnr: decibels(peak * peak, mse),
            snr: decibels(self.expected, self.squared),
            cosine: if not_defined { f64::NAN } else { cosine.clamp(-1.0, 1.0) },
            actual_non_finite: self.actual_non_finite,
            expected_non_finite: self.expected_non_finite,
            violations: self.tolerance.map(|_| self.violations),
            logits: None,
            failures: Vec::new(),
        }
    }
}

/// Ten times the decimal logarithm of signal to noise; infinite without noise.
fn decibels(signal: f64, noise: f64) -> f64 {
    match (signal, noise) {
        _ if noise == 0.0 => f64::INFINITY,
        // Noise without bound drowns every signal.
        _ if noise == f64::INFINITY && !signal.is_nan() => f64::NEG_INFINITY,
        _ => 10.0 * (signal / noise).log10(),
    }
}

fn logit_metrics<'a, A: Number + 'a, E: Number + 'a>(rows: impl Iterator<Item = (&'a [A], &'a [E])>) -> LogitMetrics {
    let (mut count, mut agreeing, mut sum) = (0usize, 0usize, 0.0);
    let (mut kl_max, mut worst_row) = (0.0f64, 0);
    for (row, (actual, expected)) in rows.enumerate() {
        count += 1;
        let place = argmax(expected);
        agreeing += usize::from(place.is_some() && place == argmax(actual));
        let divergence = divergence(actual, expected);
        sum += divergence;
        if divergence > kl_max || (divergence.is_nan() && !kl_max.is_nan()) {
            (kl_max, worst_row) = (divergence, row);
        }
    }
    let rows = count.max(1) as f64;
    LogitMetrics { rows: count, argmax_agreement: agreeing as f64 / rows, kl_mean: sum / rows, kl_max, worst_row }
}

/// Place of the largest number, the first of equals; `None` where one is NaN.
fn argmax<T: Number>(row: &[T]) -> Option<usize> {
    let mut best = (f64::NEG_INFINITY, 0);
    for (index, value) in row.iter().map(|value| value.wide()).enumerate() {
        if value.is_nan() {
            return None;
        }
        if value > best.0 {
            best = (value, index);
        }
    }
    Some(best.1)
}

/// KL(softmax(expected) || softmax(actual)) in nats, by logarithms of probabilities; at least 0, NaN where a softmax is
/// not defined.
fn divergence<A: Number, E: Number>(actual: &[A], expected: &[E]) -> f64 {
    let (log_a, log_e) = (log_sum_exp(actual), log_sum_exp(expected));
    if !log_a.is_finite() || !log_e.is_finite() {
        return f64::NAN;
    }
    let mut sum = 0.0;
    for (a, e) in actual.iter().zip(expected) {
        let (log_q, log_p) = (a.wide() - log_a, e.wide() - log_e);
        let p = log_p.exp();
        // What the reference rules out costs nothing, whatever the other says.
        if p > 0.0 {
            sum += p * (log_p - log_q);
        }
    }
    // Not `max`, which would turn NaN into 0; equal rows may round to a little below it.
    if sum < 0.0 { 0.0 } else { sum }
}

fn log_sum_exp<T: Number>(row: &[T]) -> f64 {
    let max = row.iter().map(|value| value.wide()).fold(f64::NEG_INFINITY, f64::max);
    max + row.iter().map(|value| (value.wide() - max).exp()).sum::<f64>().ln()
}

/// JSON has no infinities.
pub(super) fn number<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() {
        serializer.serialize_f64(*value)
    } else if value.is_nan() {
        serializer.serialize_str("nan")
    } else {
        serializer.serialize_str(if *value > 0.0 { "inf" } else { "-inf" })
    }
}

#[cfg(test)]
mod tests;
