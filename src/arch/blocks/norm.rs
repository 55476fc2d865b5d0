//! Normalizations over the channels of [1, sequence, channels] or [1, channels, 1, sequence].
//!
//! Root mean squares are taken in float32 whatever the program computes in: squares leave float16 from 256 on.
//! `layer_norm` is one operation, which a runtime computes in one piece.

use crate::{
    arch::{ArchError, Form, Tensors},
    contract::LinearForm,
    mil::{Builder, Constant, DataType, Var},
};

/// The axis of channels.
fn channels(form: &Form) -> i32 {
    if form.linear == LinearForm::Linear { 2 } else { 1 }
}

/// x / sqrt(mean(x²) + epsilon) times a weight per channel.
#[derive(Debug, Clone)]
pub struct RmsNorm {
    name: String,
    weight: Constant,
    epsilon: f32,
}

impl RmsNorm {
    /// Reads `<stage>.<name>.weight`, `[width]`; without a stage `<name>.weight`.
    ///
    /// # Errors
    /// When it is missing or has another shape.
    pub fn read(tensors: &Tensors<'_>, stage: &str, name: &str, width: u64, epsilon: f64) -> Result<Self, ArchError> {
        let full = if stage.is_empty() { format!("{name}.weight") } else { format!("{stage}.{name}.weight") };
        Ok(Self { name: name.to_owned(), weight: tensors.get_shaped(&full, &[width])?, epsilon: epsilon as f32 })
    }

    /// The weight.
    pub fn constants(&self) -> Vec<Constant> {
        vec![self.weight.clone()]
    }

    /// Of activations in the form's layout.
    ///
    /// # Errors
    /// When `x` does not fit.
    pub fn build(&self, builder: &mut Builder, x: Var, form: &Form) -> Result<Var, ArchError> {
        let axis = channels(form);
        self.build_at(builder, &self.name, x, axis)
    }

    /// Over the axis `axis` of `x`, e.g. the channels of each head.
    ///
    /// # Errors
    /// When `x` does not fit.
    pub fn build_at(&self, builder: &mut Builder, name: &str, x: Var, axis: i32) -> Result<Var, ArchError> {
        let part = |part: &str| format!("{name}_{part}");
        let (dtype, rank) = (builder.ty(x).dtype, builder.shape(x).len());
        let wide = builder.cast(&part("wide"), x, DataType::Float32)?;
        let square = builder.mul(&part("square"), wide, wide)?;
        let mean = builder.reduce_mean(&part("mean"), square, &[axis], true)?;
        let root = builder.rsqrt(&part("root"), mean, self.epsilon)?;
        let normed = builder.mul(&part("normed"), wide, root)?;
        let normed = builder.cast(&part("narrow"), normed, dtype)?;
        // Behind the channels stand as many axes of length 1 as behind the axis in `x`.
        let mut shape = self.weight.shape().to_vec();
        shape.resize(rank - axis as usize, 1);
        let weight = self.weight.reshape(&shape).unwrap_or_else(|| self.weight.clone());
        Ok(builder.mul(name, normed, &weight)?)
    }
}

/// (x - mean) / sqrt(variance + epsilon), times a weight and plus a bias per channel.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    name: String,
    weight: Constant,
    bias: Constant,
    epsilon: f32,
}

impl LayerNorm {
    /// Reads `<stage>.<name>.weight` and `.bias`, `[width]` each; checkpoints that came from TensorFlow call them
    /// `gamma` and `beta`.
    ///
    /// # Errors
    /// When they are missing or have another shape.
    pub fn read(tensors: &Tensors<'_>, stage: &str, name: &str, width: u64, epsilon: f64) -> Result<Self, ArchError> {
        let read = |new: &str, old: &str| {
            let [new, old] = [new, old].map(|part| format!("{stage}.{name}.{part}"));
            tensors.get_shaped(if tensors.has(&old) && !tensors.has(&new) { &old } else { &new }, &[width])
        };
        Ok(Self {
            name: name.to_owned(),
            weight: read("weight", "gamma")?,
            bias: read("bias", "beta")?,
            epsilon: epsilon as f32,
        })
    }

    /// Weight, then bias.
    pub fn constants(&self) -> Vec<Constant> {
        vec![self.weight.clone(), self.bias.clone()]
    }

    /// Of activations in the form's layout.
    ///
    /// # Errors
    /// When `x` does not fit.
    pub fn build(&self, builder: &mut Builder, x: Var, form: &Form) -> Result<Var, ArchError> {
        let scale = Some(((&self.weight).into(), (&self.bias).into()));
        Ok(builder.layer_norm(&self.name, x, &[channels(form)], scale, self.epsilon)?)
    }
}
