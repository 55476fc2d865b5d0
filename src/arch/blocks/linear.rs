//! A matrix product with a weight `[out, in]` and maybe a bias, as `linear` over [1, sequence, in] or as a 1x1
//! convolution over [1, in, 1, sequence]. Both forms name the same bytes.

use crate::{
    arch::{ArchError, Form, Tensors},
    contract::LinearForm,
    mil::{Builder, Constant, Var},
};

/// The product's constants.
#[derive(Debug, Clone)]
pub struct Linear {
    name: String,
    weight: Constant,
    bias: Option<Constant>,
}

impl Linear {
    /// Reads `<stage>.<name>.weight` and, where it is there, `<stage>.<name>.bias`.
    ///
    /// # Errors
    /// When the weight is missing or not [`output`, `input`].
    pub fn read(tensors: &Tensors<'_>, stage: &str, name: &str, input: u64, output: u64) -> Result<Self, ArchError> {
        Self::read_scaled(tensors, stage, name, input, output, 1.0)
    }

    /// [`read`](Self::read), with results that are `factor` times as large.
    ///
    /// # Errors
    /// As there.
    pub fn read_scaled(
        tensors: &Tensors<'_>,
        stage: &str,
        name: &str,
        input: u64,
        output: u64,
        factor: f64,
    ) -> Result<Self, ArchError> {
        let weight = tensors.get_scaled(&format!("{stage}.{name}.weight"), &[output, input], factor)?;
        let bias = format!("{stage}.{name}.bias");
        let bias = if tensors.has(&bias) { Some(tensors.get_scaled(&bias, &[output], factor)?) } else { None };
        Ok(Self { name: name.to_owned(), weight, bias })
    }

    /// A product with this weight and bias.
    pub fn new(name: &str, weight: Constant, bias: Option<Constant>) -> Self {
        Self { name: name.to_owned(), weight, bias }
    }

    /// Weight, then bias.
    pub fn constants(&self) -> Vec<Constant> {
        std::iter::once(&self.weight).chain(&self.bias).cloned().collect()
    }

    /// [1, sequence, in] -> [1, sequence, out], or [1, in, 1, sequence] -> [1, out, 1, sequence].
    ///
    /// # Errors
    /// When `x` does not fit.
    pub fn build(&self, builder: &mut Builder, x: Var, form: &Form) -> Result<Var, ArchError> {
        let bias = self.bias.as_ref();
        if form.linear == LinearForm::Linear {
            return Ok(builder.linear(&self.name, x, &self.weight, bias.map(Into::into))?);
        }
        let shape = self.weight.shape();
        let kernel = self.weight.reshape(&[shape[0], shape[1], 1, 1]).unwrap_or_else(|| self.weight.clone());
        let mut arguments = vec![
            ("x", x.into()),
            ("weight", (&kernel).into()),
            ("strides", [1, 1].into()),
            ("pad_type", "valid".into()),
            ("pad", [0; 4].into()),
            ("dilations", [1, 1].into()),
            ("groups", 1.into()),
        ];
        arguments.extend(bias.map(|bias| ("bias", bias.into())));
        Ok(builder.op1("conv", &self.name, &arguments)?)
    }
}
