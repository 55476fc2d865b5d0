//! Lists of tensors of one shape. Evaluated, a list is one tensor whose first dimension counts its elements; elements never written are zeros.

use candle_core::{Device, Tensor};

use super::types::{BOOL, INT32, PLAIN};
use crate::{
    eval::KernelError,
    mil::{Call, Dimension, Domain, InferError, Parameter, TensorType, ValueType},
};

/// The list.
pub(in crate::ops) const LIST: Parameter = Parameter::new("ls", Domain::Any);
/// Which element.
pub(in crate::ops) const INDEX: Parameter = Parameter::new("index", Domain::Of(INT32));
/// Which elements.
pub(in crate::ops) const INDICES: Parameter = Parameter::new("indices", Domain::Of(INT32));
/// What is written.
pub(in crate::ops) const VALUE: Parameter = Parameter::new("value", Domain::Of(PLAIN));
/// Whether a list may grow.
pub(in crate::ops) const DYNAMIC_LENGTH: Parameter =
    Parameter::new("dynamic_length", Domain::Of(BOOL)).constant().default(super::defaults::on);

/// The most elements that a list grows to.
const MOST_ELEMENTS: usize = 1 << 24;

/// A list type.
pub(in crate::ops) fn list(element: TensorType, length: Dimension) -> ValueType {
    ValueType::List { element: Box::new(element.into()), length }
}

/// Element type and length of the list `ls`.
pub(in crate::ops) fn list_of<'a>(call: &'a Call<'_>) -> Result<(&'a TensorType, Dimension), InferError> {
    match call.value_type("ls")? {
        ValueType::List { element, length } => {
            let tensor = element.tensor().ok_or_else(|| InferError::rule("ls", format!("expected a list of tensors, found {element}")))?;
            Ok((tensor, *length))
        }
        other => Err(InferError::rule("ls", format!("expected a list, found {other}"))),
    }
}

/// Refuses a value that is no element of the list.
pub(in crate::ops) fn expect_element(call: &Call<'_>, value: &TensorType) -> Result<(), InferError> {
    let (element, _) = list_of(call)?;
    if value.agrees(element) { Ok(()) } else { Err(InferError::rule("value", format!("expected {element}, found {value}"))) }
}

/// `list` with `values` [n, element..] written to `places`; it grows where a place is behind its end.
pub(in crate::ops) fn written(list: &Tensor, places: &[i64], values: &Tensor) -> Result<Tensor, KernelError> {
    let outside = |index: i64| KernelError::Index { parameter: "index", index, length: list.dims()[0] };
    let mut rows: Vec<Option<Tensor>> = (0..list.dims()[0]).map(|_| None).collect();
    for (i, &place) in places.iter().enumerate() {
        let at = usize::try_from(place).ok().filter(|&at| at < MOST_ELEMENTS).ok_or_else(|| outside(place))?;
        rows.resize_with(rows.len().max(at + 1), || None);
        rows[at] = Some(values.get(i)?);
    }
    let element = &values.dims()[1..];
    // Where an element's shape was not known before, everything so far is empty.
    let known = &list.dims()[1..] == element;
    let zeros = Tensor::zeros(element, list.dtype(), &Device::Cpu)?;
    let row = |(i, row): (usize, Option<Tensor>)| match row {
        Some(row) => Ok(row),
        None if known && i < list.dims()[0] => list.get(i),
        None => Ok(zeros.clone()),
    };
    let rows: Vec<Tensor> = rows.into_iter().enumerate().map(row).collect::<Result<_, _>>()?;
    Ok(Tensor::stack(&rows, 0)?)
}
