//! The feed-forward part of a layer: `down(activation(up(x)))`, or with a gate `down(activation(gate(x)) up(x))`.

use super::{Activation, Linear};
use crate::{
    arch::{ArchError, Form},
    mil::{Builder, Constant, Var},
};

/// Its products and its activation.
#[derive(Debug, Clone)]
pub struct FeedForward {
    /// What goes through the activation, where there is a gate.
    pub gate: Option<Linear>,
    /// The first product.
    pub up: Linear,
    /// The last product.
    pub down: Linear,
    /// The activation.
    pub activation: Activation,
}

impl FeedForward {
    /// Gate, up, down.
    pub fn constants(&self) -> Vec<Constant> {
        self.gate.iter().chain([&self.up, &self.down]).flat_map(Linear::constants).collect()
    }

    /// Of activations in the form's layout.
    ///
    /// # Errors
    /// When `x` does not fit.
    pub fn build(&self, builder: &mut Builder, x: Var, form: &Form) -> Result<Var, ArchError> {
        let up = self.up.build(builder, x, form)?;
        let inner = match &self.gate {
            None => self.activation.build(builder, "activated", up)?,
            Some(gate) => {
                let gate = gate.build(builder, x, form)?;
                let gate = self.activation.build(builder, "activated", gate)?;
                builder.mul("gated", gate, up)?
            }
        };
        self.down.build(builder, inner, form)
    }
}
