//! Activations by the names that configs have for them.

use crate::{
    arch::ArchError,
    mil::{Builder, Var},
};

/// A function of every element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// max(x, 0)
    Relu,
    /// x sigmoid(x)
    Silu,
    /// x times the normal distribution, exact.
    Gelu,
    /// The same, approximated with tanh.
    GeluTanh,
}

impl Activation {
    /// The names that [`from_name`](Self::from_name) knows, for messages.
    pub const NAMES: &'static str = "relu, silu, swish, gelu, gelu_new or gelu_pytorch_tanh";

    /// The activation of that name in configs of transformers.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "relu" => Some(Self::Relu),
            "silu" | "swish" => Some(Self::Silu),
            "gelu" | "gelu_python" => Some(Self::Gelu),
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Some(Self::GeluTanh),
            _ => None,
        }
    }

    /// Whether `f(c x) = c f(x)` for every c above 0.
    pub fn is_homogeneous(self) -> bool {
        self == Self::Relu
    }

    /// Applies it.
    ///
    /// # Errors
    /// When `x` holds no floating point numbers.
    pub fn build(self, builder: &mut Builder, name: &str, x: Var) -> Result<Var, ArchError> {
        Ok(match self {
            Self::Relu => builder.relu(name, x)?,
            Self::Silu => builder.silu(name, x)?,
            Self::Gelu => builder.gelu(name, x, "EXACT")?,
            Self::GeluTanh => builder.gelu(name, x, "TANH_APPROXIMATION")?,
        })
    }
}
