//! Golden files: recorded inputs and outputs, brought into the form that a program takes and gives.
//!
//! [`cases`] groups named tensors, [`fit_all`] matches them with an interface: names, shapes, kinds of numbers. What it
//! does to make a case fit is written at [`fit`]; nothing else is changed, so that a case either is compared or says
//! why it is not. Reading files is up to the caller.

mod cases;
mod error;
mod fit;
mod layout;

pub use cases::{Case, NameMap, cases};
pub use error::{GoldenError, Misfit};
pub use fit::{FitOptions, FittedCase, Fitting, Padding, fit, fit_all, fit_inputs};
pub(crate) use fit::{is_mask, starts_empty};

#[cfg(test)]
mod tests;
