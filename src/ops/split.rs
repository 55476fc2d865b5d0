//! `split`: `x` cut into pieces along `axis`: `num_splits` equal ones, or pieces of `split_sizes`.
//!
//! Any element type of iOS15; the same at every target.

use super::{
    Op,
    support::{
        shapes::UNKNOWN,
        types::{PLAIN, X, int},
    },
};
use crate::{
    base::Target,
    mil::{BuildError, Builder, Call, Dimension, InferError, OpDef, OpVersion, ValueType, Var},
};

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "split",
        versions: &[OpVersion {
            since: Target::Ios15,
            domains: &[('T', PLAIN)],
            parameters: &[X, int("num_splits").optional(), int("split_sizes").optional(), int("axis")],
        }],
        infer,
    },
    kernel: |arguments| {
        let x = arguments.tensor("x")?;
        let axis = arguments.call.axis("axis", x.rank())?;
        let mut start = 0;
        let pieces = (0..arguments.results.len()).map(|i| {
            let length = arguments.shape(i)?[axis];
            start += length;
            Ok(x.narrow(axis, start - length, length)?.contiguous()?)
        });
        pieces.collect()
    },
};

impl Builder {
    /// Pieces of the given lengths along `axis`.
    ///
    /// # Errors
    /// When the lengths do not add up to that of `x`.
    pub fn split(&mut self, name: &str, x: Var, sizes: &[i32], axis: i32) -> Result<Vec<Var>, BuildError> {
        self.op("split", name, &[("x", x.into()), ("split_sizes", sizes.into()), ("axis", axis.into())])
    }
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = call.tensor("x")?;
    let axis = call.axis("axis", x.rank())?;
    let lengths = if call.has("split_sizes") { by_size(call, x.shape[axis])? } else { by_number(call, x.shape[axis])? };
    let piece = |length| {
        let mut piece = x.clone();
        piece.shape[axis] = length;
        piece.into()
    };
    Ok(lengths.into_iter().map(piece).collect())
}

fn by_size(call: &Call<'_>, length: Dimension) -> Result<Vec<Dimension>, InferError> {
    let sizes = call.ints("split_sizes")?;
    let sum = sizes.iter().try_fold(0u64, |sum, &size| sum.checked_add(u64::try_from(size).ok()?));
    let number = !call.has("num_splits") || call.int("num_splits")? == sizes.len() as i64;
    match (sum, length.known()) {
        (Some(sum), known) if number && known.is_none_or(|known| known == sum) => {
            Ok(sizes.into_iter().map(|size| Dimension::Known(size as u64)).collect())
        }
        _ => Err(InferError::rule("split_sizes", format!("{sizes:?} do not make up a length of {length}"))),
    }
}

fn by_number(call: &Call<'_>, length: Dimension) -> Result<Vec<Dimension>, InferError> {
    if !call.has("num_splits") {
        return Err(InferError::Missing("num_splits".to_owned()));
    }
    let number = call.int("num_splits")?;
    let count = u64::try_from(number).ok().filter(|&n| (1..=1 << 16).contains(&n) && length.known().is_none_or(|l| l.is_multiple_of(n)));
    let count = count.ok_or_else(|| InferError::rule("num_splits", format!("{number} does not divide a length of \
         {length}")))?;
    Ok(vec![length.known().map_or(UNKNOWN, |length| Dimension::Known(length / count)); count as usize])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("split");
    }

    #[test]
    fn pieces_must_add_up() {
        let arguments = [("x", testing::float32(&[5])), ("split_sizes", testing::ints(&[2, 2])), ("axis", 0.into())];
        testing::refuses("split", Target::Ios15, &arguments, "parameter `split_sizes`: [2, 2] do not make up a length \
             of 5");
        let arguments = [("x", testing::float32(&[5])), ("num_splits", 2.into()), ("axis", 0.into())];
        testing::refuses("split", Target::Ios15, &arguments, "parameter `num_splits`: 2 does not divide a length of 5");
    }
}
