//! `slice_by_index`: elements `begin..end` of every dimension in steps of `stride`, as Python slices.
//!
//! `begin_mask` and `end_mask` stand for an open begin or end; `squeeze_mask` takes the one element at `begin` and
//! drops the dimension. `begin` and `end` may be computed, and nothing may be left between them. iOS17: 8 and 16 bit
//! elements and indices.

use candle_core::{Device, Tensor};

use super::{
    Op,
    support::{
        shapes::{UNKNOWN, single},
        types::{BOOL, INT32, PLAIN, SIZE, WIDE, X, var},
    },
};
use crate::{
    base::Target,
    eval::{Arguments, KernelError},
    mil::{BuildError, Builder, Call, Dimension, Domain, InferError, OpDef, OpVersion, Parameter, ValueType, Var},
};

const fn mask(name: &'static str) -> Parameter {
    Parameter::new(name, Domain::Of(BOOL)).constant().optional()
}

pub(super) const BEGIN: Parameter = var("begin", 'U');
pub(super) const END: Parameter = var("end", 'U');
pub(super) const STRIDE: Parameter = var("stride", 'U').constant().optional();
pub(super) const BEGIN_MASK: Parameter = mask("begin_mask");
pub(super) const END_MASK: Parameter = mask("end_mask");
pub(super) const SQUEEZE_MASK: Parameter = mask("squeeze_mask");
const PARAMETERS: &[Parameter] = &[X, BEGIN, END, STRIDE, BEGIN_MASK, END_MASK, SQUEEZE_MASK];

pub(super) static OP: Op = Op {
    def: OpDef {
        name: "slice_by_index",
        versions: &[
            OpVersion { since: Target::Ios15, domains: &[('T', PLAIN), ('U', INT32)], parameters: PARAMETERS },
            OpVersion { since: Target::Ios17, domains: &[('T', WIDE), ('U', SIZE)], parameters: PARAMETERS },
        ],
        infer,
    },
    kernel,
};

impl Builder {
    /// Elements `begin..end` of every dimension; `None` stands for an open end.
    ///
    /// # Errors
    /// When there are not as many ranges as dimensions.
    pub fn slice_by_index(&mut self, name: &str, x: Var, ranges: &[(i32, Option<i32>)]) -> Result<Var, BuildError> {
        let begin: Vec<i32> = ranges.iter().map(|range| range.0).collect();
        let end: Vec<i32> = ranges.iter().map(|range| range.1.unwrap_or(0)).collect();
        let open: Vec<bool> = ranges.iter().map(|range| range.1.is_none()).collect();
        let mut arguments = vec![("x", x.into()), ("begin", begin.as_slice().into()), ("end", end.as_slice().into())];
        if open.contains(&true) {
            arguments.push(("end_mask", crate::mil::Value::bools(&open).into()));
        }
        self.op1("slice_by_index", name, &arguments)
    }
}

/// What is taken of one dimension.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    /// First element; `None` where it is computed.
    begin: Option<i64>,
    end: Option<i64>,
    stride: i64,
    open_begin: bool,
    open_end: bool,
    /// One element, without its dimension.
    pub(super) squeeze: bool,
}

/// The ranges of a call, one per dimension of `x`.
pub(super) fn ranges(call: &Call<'_>, rank: usize) -> Result<Vec<Range>, InferError> {
    let count = |name: &'static str, found: usize| {
        if found == rank { Ok(()) } else { Err(InferError::rule(name, format!("expected {rank} values, found {found}"))) }
    };
    let ints = |name: &'static str| -> Result<Vec<Option<i64>>, InferError> {
        if call.has(name) && call.known(name).is_none() {
            let length = call.tensor(name)?.shape.first().and_then(|d| d.known());
            count(name, length.map_or(rank, |n| n as usize))?;
            return Ok(vec![None; rank]);
        }
        let values = call.ints(name)?;
        count(name, values.len())?;
        Ok(values.into_iter().map(Some).collect())
    };
    let mask = |name: &'static str| -> Result<Vec<bool>, InferError> {
        let values = if call.has(name) { call.bools(name)? } else { vec![false; rank] };
        count(name, values.len())?;
        Ok(values)
    };
    let stride = if call.has("stride") { call.ints("stride")? } else { vec![1; rank] };
    count("stride", stride.len())?;
    if stride.contains(&0) {
        return Err(InferError::rule("stride", "expected strides other than 0"));
    }
    let (begin, end) = (ints("begin")?, ints("end")?);
    let (open_begin, open_end, squeeze) = (mask("begin_mask")?, mask("end_mask")?, mask("squeeze_mask")?);
    let range = |i| Range {
        begin: begin[i],
        end: end[i],
        stride: stride[i],
        open_begin: open_begin[i],
        open_end: open_end[i],
        squeeze: squeeze[i],
    };
    Ok((0..rank).map(range).collect())
}

impl Range {
    /// First element and number of elements of a dimension of `length`; `None` where a bound is computed.
    pub(super) fn resolve(&self, length: u64) -> Option<(u64, u64)> {
        let length = length as i64;
        let bound = |value: i64| if value < 0 { value.saturating_add(length) } else { value };
        if self.squeeze {
            return Some((bound(self.begin?).clamp(0, (length - 1).max(0)) as u64, 1));
        }
        let (first, last) = if self.stride > 0 { (0, length) } else { (length - 1, -1) };
        let limit = |value: i64| if self.stride > 0 { value.clamp(0, length) } else { value.clamp(-1, length - 1) };
        let begin = if self.open_begin { first } else { limit(bound(self.begin?)) };
        let end = if self.open_end { last } else { limit(bound(self.end?)) };
        let span = if self.stride > 0 { end - begin } else { begin - end };
        Some((begin.max(0) as u64, span.max(0).unsigned_abs().div_ceil(self.stride.unsigned_abs())))
    }
}

impl Range {
    /// Whether the range takes a whole dimension, whatever its length.
    fn is_whole(&self) -> bool {
        self.open_begin && self.open_end && self.stride.abs() == 1
    }

    /// Every element that is taken of a dimension of `length`; `None` where a bound is computed.
    pub(super) fn places(&self, length: u64) -> Option<Vec<usize>> {
        let (begin, count) = self.resolve(length)?;
        let stride = if self.squeeze { 1 } else { self.stride };
        Some((0..count as i64).map(|i| (begin as i64 + i * stride) as usize).collect())
    }
}

/// The shape of the slice, squeezed dimensions included.
pub(super) fn sliced(shape: &[Dimension], ranges: &[Range]) -> Vec<Dimension> {
    let length = |(d, range): (&Dimension, &Range)| match d.known() {
        Some(length) => range.resolve(length).map_or(UNKNOWN, |(_, count)| Dimension::Known(count)),
        None if range.squeeze => Dimension::Known(1),
        None if range.is_whole() => *d,
        None => UNKNOWN,
    };
    shape.iter().zip(ranges).map(length).collect()
}

fn infer(call: &Call<'_>) -> Result<Vec<ValueType>, InferError> {
    let x = call.tensor("x")?;
    let ranges = ranges(call, x.rank())?;
    let shape = sliced(&x.shape, &ranges);
    single(x.dtype, shape.into_iter().zip(&ranges).filter(|(_, range)| !range.squeeze).map(|(d, _)| d).collect())
}

fn kernel(arguments: &Arguments<'_>) -> Result<Vec<Tensor>, KernelError> {
    let (x, shape) = (arguments.tensor("x")?, arguments.shape(0)?);
    let ranges = ranges(arguments.call, x.rank())?;
    if shape.contains(&0) {
        return Ok(vec![Tensor::zeros(shape, x.dtype(), x.device())?]);
    }
    let mut result = x.clone();
    for (axis, range) in ranges.iter().enumerate() {
        let length = x.dims()[axis];
        let (begin, count) = range.resolve(length as u64).ok_or_else(|| InferError::NotConstant("begin".to_owned()))?;
        let begin = begin as usize;
        if range.squeeze && begin >= length {
            return Err(KernelError::Index { parameter: "begin", index: begin as i64, length });
        }
        if range.stride == 1 || count == 1 {
            result = result.narrow(axis, begin, count as usize)?;
        } else {
            let indices: Vec<i64> = (0..count as i64).map(|i| begin as i64 + i * range.stride).collect();
            result = result.contiguous()?.index_select(&Tensor::from_vec(indices, count as usize, &Device::Cpu)?, axis)?;
        }
    }
    Ok(vec![result.contiguous()?.reshape(shape)?])
}

#[cfg(test)]
mod tests {
    use crate::{base::Target, ops::support::testing};

    #[test]
    fn agrees_with_the_reference() {
        testing::fixture("slice_by_index");
    }

    #[test]
    fn every_dimension_needs_a_range() {
        let arguments = [("x", testing::float32(&[2, 3])), ("begin", testing::ints(&[0])), ("end", testing::ints(&[1, 1]))];
        testing::refuses("slice_by_index", Target::Ios15, &arguments, "parameter `begin`: expected 2 values, found 1");
    }

    #[test]
    fn computed_bounds_give_unknown_lengths() {
        let arguments = [("x", testing::float32(&[2, 3])), ("begin", testing::int32(&[2])), ("end", testing::int32(&[2]))];
        testing::accepts("slice_by_index", Target::Ios15, &arguments, "tensor<fp32, [?, ?]>");
    }
}
