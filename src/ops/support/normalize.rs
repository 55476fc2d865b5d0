//! Normalization by mean and variance, both summed in float64.

use candle_core::{Device, Tensor};

use super::reduce::{fold, sum};
use crate::eval::KernelError;

/// `x` shifted and scaled to mean 0 and variance 1 over `axes`, then times `gamma` and plus `beta`, which broadcast.
pub(in crate::ops) fn normalized(
    x: &Tensor,
    axes: &[usize],
    gamma: Option<Tensor>,
    beta: Option<Tensor>,
    epsilon: f64,
) -> Result<Tensor, KernelError> {
    let shape: Vec<usize> = x.dims().iter().enumerate().map(|(i, &n)| if axes.contains(&i) { 1 } else { n }).collect();
    let mean = fold(x, axes, |values: &[f32]| (sum(values, |v| v) / values.len() as f64) as f32)?;
    let scale = fold(x, axes, |values: &[f32]| {
        let count = values.len() as f64;
        let mean = sum(values, |v| v) / count;
        (1.0 / (sum(values, |v| (v - mean) * (v - mean)) / count + epsilon).sqrt()) as f32
    })?;
    let centred = x.broadcast_sub(&Tensor::from_vec(mean, shape.as_slice(), &Device::Cpu)?)?;
    let mut result = centred.broadcast_mul(&Tensor::from_vec(scale, shape, &Device::Cpu)?)?;
    if let Some(gamma) = gamma {
        result = result.broadcast_mul(&gamma)?;
    }
    if let Some(beta) = beta {
        result = result.broadcast_add(&beta)?;
    }
    Ok(result)
}
