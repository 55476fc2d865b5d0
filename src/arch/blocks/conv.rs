//! A 2-d convolution with a square, odd kernel and padding that keeps the size (`padding = kernel / 2`), at stride 1 or
//! more.

use crate::{
    arch::{ArchError, Tensors},
    mil::{Builder, Constant, Var},
};

/// The convolution's constants: weight `[out, in, k, k]` and maybe a bias `[out]`.
#[derive(Debug, Clone)]
pub struct Conv2d {
    name: String,
    weight: Constant,
    bias: Option<Constant>,
    stride: i32,
}

impl Conv2d {
    /// Reads `<name>.weight` and, where it is there, `<name>.bias`.
    ///
    /// # Errors
    /// When the weight is missing or not [out, `channels_in`, k, k] with odd k.
    pub fn read(tensors: &Tensors<'_>, name: &str, channels_in: u64, stride: i32) -> Result<Self, ArchError> {
        let weight = format!("{name}.weight");
        let found = tensors.shape(&weight)?.to_vec();
        let &[out, input, k, kw] = found.as_slice() else {
            return Err(ArchError::TensorShape {
                name: tensors.full(&weight),
                expected: "4 dimensions".to_owned(),
                found,
            });
        };
        if input != channels_in || k != kw || k % 2 == 0 || out == 0 {
            let expected = format!("[out, {channels_in}, k, k] with odd k");
            return Err(ArchError::TensorShape { name: tensors.full(&weight), expected, found });
        }
        let bias = format!("{name}.bias");
        let bias = if tensors.has(&bias) { Some(tensors.get_shaped(&bias, &[out])?) } else { None };
        Ok(Self { name: name.to_owned(), weight: tensors.get(&weight)?, bias, stride })
    }

    /// Number of output channels.
    pub fn channels_out(&self) -> u64 {
        self.weight.shape()[0]
    }

    /// Whether it has a bias.
    pub fn has_bias(&self) -> bool {
        self.bias.is_some()
    }

    /// Weight, then bias.
    pub fn constants(&self) -> Vec<Constant> {
        std::iter::once(&self.weight).chain(&self.bias).cloned().collect()
    }

    /// [1, in, h, w] -> [1, out, h / stride, w / stride]
    ///
    /// # Errors
    /// When `x` does not fit.
    pub fn build(&self, builder: &mut Builder, x: Var) -> Result<Var, ArchError> {
        let pad = i32::try_from(self.weight.shape()[2] / 2).unwrap_or(0);
        let mut arguments = vec![
            ("x", x.into()),
            ("weight", (&self.weight).into()),
            ("strides", [self.stride, self.stride].into()),
            ("pad_type", if pad == 0 { "valid" } else { "custom" }.into()),
            ("pad", [pad; 4].into()),
            ("dilations", [1, 1].into()),
            ("groups", 1.into()),
        ];
        arguments.extend(self.bias.as_ref().map(|bias| ("bias", bias.into())));
        Ok(builder.op1("conv", &self.name, &arguments)?)
    }
}
