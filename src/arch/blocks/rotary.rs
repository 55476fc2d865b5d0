//! Rotary position embeddings (Su et al. 2021, arXiv 2104.09864), the half-split kind: `[a | b]` becomes `[a cos - b
//! sin | b cos + a sin]`.
//!
//! Angles are computed in float64 with `libm`, so that tables are equal on every system. A table has one length per
//! component and programs take rows of it. Scaled frequencies (linear, llama3, yarn) are the caller's: a table only
//! wants one frequency per pair.

use super::Positions;
use crate::{
    arch::{ArchError, Form},
    contract::LinearForm,
    mil::{Builder, Constant, DataType, Literal, Recipe, Value, Var},
};

/// Cosines and sines, [positions, frequencies] each.
#[derive(Debug, Clone)]
pub struct Rotary {
    cos: Constant,
    sin: Constant,
}

/// The rows of a call: [tokens, frequencies], or [frequencies, tokens] where channels stand first.
#[derive(Debug, Clone, Copy)]
pub struct RotaryRows {
    /// Cosines.
    pub cos: Var,
    /// Sines.
    pub sin: Var,
}

impl Rotary {
    /// The frequencies `theta^(-2i / size)` of a head of `size` channels.
    pub fn frequencies(theta: f64, size: u64) -> Vec<f64> {
        (0..size / 2).map(|i| libm::pow(theta, -((2 * i) as f64) / size as f64)).collect()
    }

    /// A table for the positions below `positions`; cosines and sines are multiplied by `magnitude`. `None` without
    /// positions or frequencies.
    pub fn new(frequencies: &[f64], positions: u64, magnitude: f64, compute: DataType) -> Option<Self> {
        let table = |function: fn(f64) -> f64| {
            let row =
                |position: u64| frequencies.iter().map(move |f| (function(position as f64 * f) * magnitude) as f32);
            let values: Vec<f32> = (0..positions).flat_map(row).collect();
            let shape = [positions, frequencies.len() as u64];
            Some(Recipe::literal(DataType::Float32, &shape, Literal::Floats(values))?.cast(compute))
        };
        let empty = positions == 0 || frequencies.is_empty();
        if empty { None } else { Some(Self { cos: table(libm::cos)?, sin: table(libm::sin)? }) }
    }

    /// Cosines, then sines.
    pub fn constants(&self) -> Vec<Constant> {
        vec![self.cos.clone(), self.sin.clone()]
    }

    /// The rows of `positions`. Padding behind the last row of the table has its last row.
    ///
    /// # Errors
    /// When the positions are no integers, or more than the table has.
    pub fn rows(&self, builder: &mut Builder, positions: Positions, form: &Form) -> Result<RotaryRows, ArchError> {
        let last = i32::try_from(self.cos.shape()[0]).unwrap_or(i32::MAX) - 1;
        let rows = match positions {
            Positions::FromStart(_) => None,
            Positions::From { .. } => {
                let indices = positions.indices(builder)?;
                Some(builder.minimum("rows", indices, last)?)
            }
        };
        let mut take = |name: &str, table: &Constant| -> Result<Var, ArchError> {
            let picked = match rows {
                Some(rows) => builder.gather(name, table, rows, 0)?,
                None => {
                    let count = i32::try_from(positions.count()).unwrap_or(i32::MAX);
                    let table = builder.constant(&format!("{name}_table"), Value::Tensor(table.clone()));
                    builder.slice_by_index(name, table, &[(0, Some(count)), (0, None)])?
                }
            };
            match form.linear {
                LinearForm::Linear => Ok(picked),
                LinearForm::Conv => Ok(builder.transpose(&format!("{name}_turned"), picked, &[1, 0])?),
            }
        };
        Ok(RotaryRows { cos: take("cos", &self.cos)?, sin: take("sin", &self.sin)? })
    }
}

impl RotaryRows {
    /// Turns the first channels of every head, two per frequency; [1, heads, tokens, size], or [1, heads, size,
    /// tokens].
    ///
    /// # Errors
    /// When a head has fewer channels than that.
    pub fn apply(&self, builder: &mut Builder, name: &str, x: Var, form: &Form) -> Result<Var, ArchError> {
        let part = |part: &str| format!("{name}_{part}");
        let axis = if form.linear == LinearForm::Linear { 3 } else { 2 };
        let size = builder.shape(x)[axis];
        let half = builder.shape(self.cos)[axis - 2];
        let sizes: Vec<i32> =
            [half, half, size.saturating_sub(2 * half)].iter().map(|&n| i32::try_from(n).unwrap_or(i32::MAX)).collect();
        let axis = axis as i32;
        let parts = builder.split(&part("halves"), x, &sizes[..if sizes[2] == 0 { 2 } else { 3 }], axis)?;
        let (a, b) = (parts[0], parts[1]);
        let (a_cos, b_sin) = (builder.mul(&part("a_cos"), a, self.cos)?, builder.mul(&part("b_sin"), b, self.sin)?);
        let (b_cos, a_sin) = (builder.mul(&part("b_cos"), b, self.cos)?, builder.mul(&part("a_sin"), a, self.sin)?);
        let first = builder.sub(&part("first"), a_cos, b_sin)?;
        let second = builder.add(&part("second"), b_cos, a_sin)?;
        let all: Vec<Var> = [first, second].into_iter().chain(parts.get(2).copied()).collect();
        Ok(builder.concat(name, &all, axis)?)
    }
}
