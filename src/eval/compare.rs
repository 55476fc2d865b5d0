//! How far two rows of numbers are apart: [`metrics`](super::metrics) of slices.

use super::metrics::{MeasureOptions, Peak, measure_rows};

pub use super::metrics::Metrics as Comparison;

/// Rows of different lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot compare {actual} numbers with {expected}")]
pub struct LengthError {
    /// Length of the row to judge.
    pub actual: usize,
    /// Length of the reference.
    pub expected: usize,
}

/// Compares numbers with a reference whose peak is 1.
///
/// # Errors
/// When the lengths differ.
pub fn compare(actual: &[f32], expected: &[f32]) -> Result<Comparison, LengthError> {
    compare_with_peak(actual, expected, 1.0)
}

/// Compares numbers with a reference; `peak` is the largest signal, for the signal to noise ratio.
///
/// # Errors
/// When the lengths differ.
pub fn compare_with_peak(actual: &[f32], expected: &[f32], peak: f64) -> Result<Comparison, LengthError> {
    if actual.len() != expected.len() {
        return Err(LengthError { actual: actual.len(), expected: expected.len() });
    }
    let options = MeasureOptions { peak: Peak::Value(peak), ..MeasureOptions::default() };
    Ok(measure_rows(actual, expected, actual.len(), &options))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_of_a_small_row() {
        let c = compare(&[1.0, 2.0, 3.0], &[1.0, 2.5, 1.0]).unwrap();
        assert_eq!((c.max_abs, c.worst), (2.0, 2));
        assert!((c.mae - 2.5 / 3.0).abs() < 1e-12);
        assert!((c.rmse - (4.25f64 / 3.0).sqrt()).abs() < 1e-12);
        assert!((c.psnr - 10.0 * (3.0f64 / 4.25).log10()).abs() < 1e-12);
        assert!((c.cosine - 9.0 / (14f64.sqrt() * 8.25f64.sqrt())).abs() < 1e-12);
        assert!((compare_with_peak(&[0.0], &[0.1], 10.0).unwrap().psnr - 40.0).abs() < 1e-5);
    }

    #[test]
    fn rows_of_different_lengths_are_refused() {
        assert_eq!(compare(&[0.0], &[]), Err(LengthError { actual: 1, expected: 0 }));
    }
}
