//! Recipes: how a constant is made from the tensors of a checkpoint, as values.
//!
//! A [`Recipe`] names its sources and its steps. Its element type, shape and length in a weight file are known before a
//! byte was read. Equal recipes have equal [keys](Recipe::key), by which a weight file stores each constant once. An
//! [`Evaluator`] makes the bytes, streamed.
//!
//! Each step is one file, which holds its shape rule (the constructor on [`Recipe`]), its key, its reading and its
//! text. A new step is a file with a `Step` and a word in `steps!`.

mod constants;
mod error;
mod evaluator;
mod key;
mod memory;
mod numbers;
mod step;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

pub use constants::{ConstantSource, Literals, SourceError};
pub use error::{ConvertError, Origin};
pub use evaluator::Evaluator;
pub use literal::Literal;
pub use numbers::{float8_e4m3fn, float8_e5m2};

use self::{key::KeyHasher, step::Step};
use crate::{base::Blake3, types::DataType};

/// Declares the steps: a module for each, and the type that is any of them.
macro_rules! steps {
    ($($(#[$attribute:meta])* $file:ident::$name:ident,)*) => {
        $($(#[$attribute])* mod $file;)*

        #[derive(Debug, Clone, PartialEq)]
        enum AnyStep {
            $($(#[$attribute])* $name($file::$name),)*
        }

        impl AnyStep {
            fn get(&self) -> &dyn Step {
                match self {
                    $($(#[$attribute])* Self::$name(step) => step,)*
                }
            }
        }

        $(
            $(#[$attribute])*
            impl From<$file::$name> for AnyStep {
                fn from(step: $file::$name) -> Self {
                    Self::$name(step)
                }
            }
        )*
    };
}

steps! {
    blob::Blob,
    cast::Cast,
    concat::Concat,
    literal::InPlace,
    reinterpret::Reinterpret,
    reshape::Reshape,
    scale::Scale,
    scale_blocks::ScaleBlocks,
    slice::Slice,
    source::Source,
    transpose::Transpose,
    #[cfg(test)]
    tests_fit::Fit,
}

/// How to make a tensor of a known element type and shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe {
    dtype: DataType,
    shape: Vec<u64>,
    step: AnyStep,
}

impl Recipe {
    fn new(dtype: DataType, shape: &[u64], step: impl Into<AnyStep>) -> Arc<Self> {
        Arc::new(Self { dtype, shape: shape.to_vec(), step: step.into() })
    }

    /// Element type.
    pub fn dtype(&self) -> DataType {
        self.dtype
    }

    /// Dimensions, outermost first.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// Number of elements; `None` on overflow, which only damaged input can cause.
    pub fn elements(&self) -> Option<u64> {
        product(&self.shape)
    }

    /// Length in a weight file, in bytes; `None` for strings and on overflow.
    pub fn byte_length(&self) -> Option<u64> {
        Some(self.elements()?.checked_mul(self.dtype.bits()?)?.div_ceil(8))
    }

    /// The names of the checkpoint tensors that the recipe reads, in order.
    pub fn sources(&self) -> Vec<&str> {
        self.step.get().sources()
    }

    /// Identifies the bytes that the recipe makes: equal for equal steps. Shapes that do not change the bytes do not
    /// count.
    pub fn key(&self) -> Blake3 {
        let mut hasher = KeyHasher::default();
        hasher.recipe(self);
        hasher.finish()
    }

    /// The place from which the element `index` comes, and its index there. Steps that mix elements name the one at the
    /// same place.
    fn origin(&self, index: u64) -> (Origin, u64) {
        self.step.get().origin(self, index)
    }

    /// Number of elements of one index of the dimensions before `axis`; 0 on overflow, which only shapes without
    /// elements can cause.
    fn row_length(&self, axis: usize) -> u64 {
        product(&self.shape[axis..]).unwrap_or(0)
    }
}

/// The steps, innermost first: `` `w`[0: 0+4] as fp16 ``.
impl fmt::Display for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.step.get().print(self, f)
    }
}

fn product(shape: &[u64]) -> Option<u64> {
    shape.iter().try_fold(1u64, |product, &n| product.checked_mul(n))
}
