//! Group normalization over consecutive groups of channels (torch.nn.GroupNorm; Wu & He 2018, arXiv 1803.08494).
//!
//! One `instance_norm` over [1, groups, channels / groups * h, w] does the statistics, so that they are one fused
//! operation, whose sums a runtime keeps wider than its inputs; scale and offset per channel follow.

use crate::{
    arch::{ArchError, Tensors},
    mil::{Builder, Constant, Var},
};

/// The normalization's constants: scale and offset, [1, channels, 1, 1] each.
#[derive(Debug, Clone)]
pub struct GroupNorm {
    name: String,
    groups: u64,
    epsilon: f32,
    weight: Constant,
    bias: Constant,
}

impl GroupNorm {
    /// Reads `<name>.weight` and `<name>.bias`, `[channels]` each.
    ///
    /// # Errors
    /// When they are missing, or `groups` does not divide `channels`.
    pub fn read(
        tensors: &Tensors<'_>,
        name: &str,
        channels: u64,
        groups: u64,
        epsilon: f32,
    ) -> Result<Self, ArchError> {
        let read = |part: &str| {
            let tensor = format!("{name}.{part}");
            let constant = tensors.get_shaped(&tensor, &[channels])?;
            let fits = channels.is_multiple_of(groups);
            let expected = format!("a multiple of {groups} channels");
            let shaped = constant.reshape(&[1, channels, 1, 1]).filter(|_| fits);
            shaped.ok_or_else(|| ArchError::TensorShape {
                name: tensors.full(&tensor),
                expected,
                found: vec![channels],
            })
        };
        Ok(Self { name: name.to_owned(), groups, epsilon, weight: read("weight")?, bias: read("bias")? })
    }

    /// Scale, then offset.
    pub fn constants(&self) -> Vec<Constant> {
        vec![self.weight.clone(), self.bias.clone()]
    }

    /// [1, channels, h, w] -> the same shape.
    ///
    /// # Errors
    /// When `x` does not fit.
    pub fn build(&self, builder: &mut Builder, x: Var) -> Result<Var, ArchError> {
        let shape = builder.shape(x);
        let name = |part: &str| format!("{}_{part}", self.name);
        let dimensions =
            |shape: &[u64]| shape.iter().map(|&n| i32::try_from(n).unwrap_or(i32::MAX)).collect::<Vec<i32>>();
        let grouped = dimensions(&[1, self.groups, shape[1] / self.groups * shape[2], shape[3]]);
        let x = builder.op1("reshape", &name("grouped"), &[("x", x.into()), ("shape", grouped.as_slice().into())])?;
        let x =
            builder.op1("instance_norm", &name("normalized"), &[("x", x.into()), ("epsilon", self.epsilon.into())])?;
        let x = builder.op1(
            "reshape",
            &name("channels"),
            &[("x", x.into()), ("shape", dimensions(&shape).as_slice().into())],
        )?;
        let x = builder.op1("mul", &name("scaled"), &[("x", x.into()), ("y", (&self.weight).into())])?;
        Ok(builder.op1("add", &self.name, &[("x", x.into()), ("y", (&self.bias).into())])?)
    }
}
