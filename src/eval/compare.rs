//! How far two rows of numbers are apart. Sums are kept in float64; rows must have one length.

/// Distances between two rows of numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// Largest absolute difference; NaN where one side is NaN and the other not.
    pub max_abs: f64,
    /// Where it is.
    pub worst: usize,
    /// Mean absolute difference.
    pub mae: f64,
    /// Root of the mean squared difference.
    pub rmse: f64,
    /// Peak signal to noise ratio in decibels; infinite for equal rows.
    pub psnr: f64,
    /// Cosine of the angle between the rows; 1 where both are zero, 0 where one is.
    pub cosine: f64,
}

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
    let mut sums = Sums::default();
    for (index, (&a, &e)) in actual.iter().zip(expected).enumerate() {
        sums.add(index, f64::from(a), f64::from(e));
    }
    Ok(sums.finish(actual.len(), peak))
}

#[derive(Default)]
struct Sums {
    max_abs: f64,
    worst: usize,
    absolute: f64,
    squared: f64,
    product: f64,
    actual: f64,
    expected: f64,
}

impl Sums {
    fn add(&mut self, index: usize, a: f64, e: f64) {
        // Equal infinities and two NaNs are no difference.
        let difference = if a == e || (a.is_nan() && e.is_nan()) { 0.0 } else { (a - e).abs() };
        if difference > self.max_abs || (difference.is_nan() && !self.max_abs.is_nan()) {
            (self.max_abs, self.worst) = (difference, index);
        }
        self.absolute += difference;
        self.squared += difference * difference;
        self.product += a * e;
        self.actual += a * a;
        self.expected += e * e;
    }

    fn finish(self, count: usize, peak: f64) -> Comparison {
        let count = count.max(1) as f64;
        let mse = self.squared / count;
        let cosine = match (self.actual == 0.0, self.expected == 0.0) {
            (true, true) => 1.0,
            (true, false) | (false, true) => 0.0,
            (false, false) => self.product / (self.actual.sqrt() * self.expected.sqrt()),
        };
        Comparison {
            max_abs: self.max_abs,
            worst: self.worst,
            mae: self.absolute / count,
            rmse: mse.sqrt(),
            psnr: if mse == 0.0 { f64::INFINITY } else { 10.0 * (peak * peak / mse).log10() },
            cosine,
        }
    }
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
    fn edges() {
        let same = compare(&[f32::INFINITY, f32::NAN], &[f32::INFINITY, f32::NAN]).unwrap();
        assert_eq!((same.max_abs, same.psnr), (0.0, f64::INFINITY));
        let broken = compare(&[1.0, f32::NAN, 5.0], &[1.0, 1.0, 1.0]).unwrap();
        assert!(broken.max_abs.is_nan() && broken.mae.is_nan());
        assert_eq!(broken.worst, 1);
        assert_eq!(compare(&[0.0], &[0.0]).unwrap().cosine, 1.0);
        assert_eq!(compare(&[0.0], &[1.0]).unwrap().cosine, 0.0);
        assert_eq!(compare(&[0.0], &[]), Err(LengthError { actual: 1, expected: 0 }));
    }
}
