//! Rows of a table by token, and the way into and out of the layout of activations.

use crate::{
    arch::{ArchError, Form, Tensors},
    contract::LinearForm,
    mil::{Builder, Constant, Var},
};

/// A table [rows, width].
#[derive(Debug, Clone)]
pub struct Embedding {
    name: String,
    table: Constant,
}

impl Embedding {
    /// Reads `<name>.weight`, times `factor`.
    ///
    /// # Errors
    /// When it is missing or not [`rows`, `width`].
    pub fn read(tensors: &Tensors<'_>, name: &str, rows: u64, width: u64, factor: f64) -> Result<Self, ArchError> {
        let table = tensors.get_scaled(&format!("{name}.weight"), &[rows, width], factor)?;
        Ok(Self { name: name.rsplit('.').next().unwrap_or(name).to_owned(), table })
    }

    /// The table.
    pub fn table(&self) -> &Constant {
        &self.table
    }

    /// [1, sequence] of int32 -> [1, sequence, width].
    ///
    /// # Errors
    /// When `ids` are no integers.
    pub fn build(&self, builder: &mut Builder, ids: Var) -> Result<Var, ArchError> {
        Ok(builder.gather(&self.name, &self.table, ids, 0)?)
    }
}

/// [1, sequence, channels] in the form's layout.
///
/// # Errors
/// When `x` has another rank.
pub fn to_layout(builder: &mut Builder, name: &str, x: Var, form: &Form) -> Result<Var, ArchError> {
    if form.linear == LinearForm::Linear {
        return Ok(x);
    }
    let turned = builder.transpose(&format!("{name}_turned"), x, &[0, 2, 1])?;
    Ok(builder.expand_dims(name, turned, &[2])?)
}

/// [1, sequence, channels] from the form's layout.
///
/// # Errors
/// When `x` has another rank.
pub fn from_layout(builder: &mut Builder, name: &str, x: Var, form: &Form) -> Result<Var, ArchError> {
    if form.linear == LinearForm::Linear {
        return Ok(x);
    }
    let flat = builder.squeeze(&format!("{name}_flat"), x, &[2])?;
    Ok(builder.transpose(name, flat, &[0, 2, 1])?)
}
