//! The relative position bias of T5 (Raffel et al. 2020, arXiv 1910.10683): a learned number per head and bucket of
//! distances.
//!
//! Distances beyond the largest have the bucket of the largest, so a table with one row per distance serves every
//! length. Buckets are those of transformers' `_relative_position_bucket`.

use std::sync::Arc;

use super::Positions;
use crate::{
    arch::{ArchError, Tensors},
    mil::{Builder, Constant, Recipe, Value, Var},
};

/// The table [2 * farthest + 1, heads]: one row per distance of a key behind a query, from `-farthest` to `farthest`.
#[derive(Debug, Clone)]
pub struct RelativeBias {
    table: Constant,
    farthest: i32,
}

/// How distances become buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buckets {
    /// How many there are.
    pub count: u64,
    /// Distances from here on share a bucket.
    pub farthest: u64,
    /// Whether keys behind a query have buckets of their own; else all of them have bucket 0.
    pub bidirectional: bool,
}

impl Buckets {
    /// The bucket of a key that stands `distance` behind its query.
    fn of(self, distance: i64) -> u64 {
        let (count, base, distance) = match self.bidirectional {
            true => (self.count / 2, if distance > 0 { self.count / 2 } else { 0 }, distance.unsigned_abs()),
            false => (self.count, 0, u64::try_from(-distance).unwrap_or(0)),
        };
        let exact = count / 2;
        if distance < exact {
            return base + distance;
        }
        let (x, m, far) = (distance as f64, exact as f64, self.farthest as f64);
        let step = libm::log(x / m) / libm::log(far / m) * (count - exact) as f64;
        base + (exact + step as u64).min(count - 1)
    }
}

impl RelativeBias {
    /// Reads `name`, [buckets, heads].
    ///
    /// # Errors
    /// When it is missing or has another shape.
    pub fn read(tensors: &Tensors<'_>, name: &str, buckets: Buckets, heads: u64) -> Result<Self, ArchError> {
        let weight = tensors.get_shaped(name, &[buckets.count, heads])?;
        let farthest = i32::try_from(buckets.farthest).unwrap_or(i32::MAX / 2);
        let far = i64::from(farthest);
        let rows: Option<Vec<Constant>> =
            (-far..=far).map(|distance| weight.slice(0, buckets.of(distance), 1)).collect();
        let table = rows.and_then(|rows| Recipe::concat(&rows, 0));
        let missing = || ArchError::TensorShape {
            name: tensors.full(name),
            expected: "a row per bucket".to_owned(),
            found: weight.shape().to_vec(),
        };
        Ok(Self { table: table.ok_or_else(missing)?, farthest })
    }

    /// The table.
    pub fn constants(&self) -> Vec<Constant> {
        vec![Arc::clone(&self.table)]
    }

    /// [1, heads, queries, keys]; key `i` stands at position `i`.
    ///
    /// # Errors
    /// When the positions are no integers.
    pub fn build(&self, builder: &mut Builder, name: &str, positions: Positions, keys: u64) -> Result<Var, ArchError> {
        let part = |part: &str| format!("{name}_{part}");
        let queries = positions.indices(builder)?;
        let queries = builder.expand_dims(&part("queries"), queries, &[1])?;
        let keys: Vec<i32> = (0..i32::try_from(keys).unwrap_or(i32::MAX)).collect();
        let distance = builder.sub(&part("distance"), Value::ints(&keys), queries)?;
        let distance = builder.maximum(&part("nearer"), distance, -self.farthest)?;
        let distance = builder.minimum(&part("near"), distance, self.farthest)?;
        let row = builder.add(&part("row"), distance, self.farthest)?;
        let bias = builder.gather(&part("rows"), &self.table, row, 0)?;
        let bias = builder.transpose(&part("by_head"), bias, &[2, 0, 1])?;
        Ok(builder.expand_dims(name, bias, &[0])?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the formula in transformers 4.57, computed in float32 with numpy.
    #[test]
    fn buckets_are_those_of_the_reference() {
        let both = Buckets { count: 32, farthest: 128, bidirectional: true };
        let found: Vec<u64> =
            [0, -1, 1, -7, -8, -9, 8, 15, 16, 64, -64, 127, 128, -128, 500, -500].map(|d| both.of(d)).to_vec();
        assert_eq!(found, [0, 1, 17, 7, 8, 8, 24, 25, 26, 30, 14, 31, 31, 15, 31, 15]);
        let back = Buckets { bidirectional: false, ..both };
        let found: Vec<u64> = [3, 0, -1, -15, -16, -20, -32, -64, -127, -128, -1000].map(|d| back.of(d)).to_vec();
        assert_eq!(found, [0, 0, 1, 15, 16, 17, 21, 26, 31, 31, 31]);
    }
}
