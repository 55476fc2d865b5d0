//! Lists of tensors of one shape.
//!
//! Evaluated, a list is two tensors: its elements, stacked along a new first dimension, and a flag per element that
//! says whether it can be read. Elements of a fixed shape start as zeros. Where `make_list` leaves lengths open, no
//! element can be read before it is written; the first write settles the open lengths, which are 0 until then.

use candle_core::{Device, Tensor};

use super::types::{BOOL, INT32, PLAIN};
use crate::{
    eval::{Arguments, KernelError, view},
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
/// The most numbers that a list grows to.
const MOST_NUMBERS: usize = 1 << 31;

/// A list type.
pub(in crate::ops) fn list(element: TensorType, length: Dimension) -> ValueType {
    ValueType::List { element: Box::new(element.into()), length }
}

/// Element type and length of the list `ls`.
pub(in crate::ops) fn list_of<'a>(call: &'a Call<'_>) -> Result<(&'a TensorType, Dimension), InferError> {
    match call.value_type("ls")? {
        ValueType::List { element, length } => {
            let tensor = element
                .tensor()
                .ok_or_else(|| InferError::rule("ls", format!("expected a list of tensors, found {element}")))?;
            Ok((tensor, *length))
        }
        other => Err(InferError::rule("ls", format!("expected a list, found {other}"))),
    }
}

/// Refuses a value that is no element of the list.
pub(in crate::ops) fn expect_element(call: &Call<'_>, value: &TensorType) -> Result<(), InferError> {
    let (element, _) = list_of(call)?;
    if value.agrees(element) {
        Ok(())
    } else {
        Err(InferError::rule("value", format!("expected {element}, found {value}")))
    }
}

/// A list while the program runs.
#[derive(Debug)]
pub(in crate::ops) struct List<'a> {
    /// The elements, stacked.
    pub elements: &'a Tensor,
    readable: Vec<bool>,
}

impl<'a> List<'a> {
    /// The argument `ls`.
    pub(in crate::ops) fn of(arguments: &Arguments<'a>) -> Result<Self, KernelError> {
        let [elements, readable] = arguments.tensors("ls")? else {
            return Err(InferError::Missing("ls".to_owned()).into());
        };
        let readable = view(readable, |flags: &[u8]| flags.iter().map(|&flag| flag != 0).collect())?;
        Ok(Self { elements, readable })
    }

    /// Number of elements.
    pub(in crate::ops) fn length(&self) -> usize {
        self.readable.len()
    }

    /// Refuses to read elements that were never written.
    pub(in crate::ops) fn expect_readable(&self, places: &[usize]) -> Result<(), KernelError> {
        match places.iter().find(|&&place| !self.readable[place]) {
            Some(&index) => Err(KernelError::NeverWritten { index, length: self.length() }),
            None => Ok(()),
        }
    }

    /// The list with `values` [n, element..] written to `places`, as two tensors; it grows where a place is behind its
    /// end.
    pub(in crate::ops) fn written(self, places: &[i64], values: &Tensor) -> Result<Vec<Tensor>, KernelError> {
        let Self { elements, mut readable } = self;
        let (length, element) = (readable.len(), &values.dims()[1..]);
        let outside = |index: i64| KernelError::Index { parameter: "index", index, length };
        let size = element.iter().product::<usize>().max(1);
        let mut rows: Vec<Option<Tensor>> = vec![None; length];
        for (i, &place) in places.iter().enumerate() {
            let fits = |at: &usize| {
                *at < MOST_ELEMENTS && (*at < length || (*at + 1).checked_mul(size).is_some_and(|n| n <= MOST_NUMBERS))
            };
            let at = usize::try_from(place).ok().filter(fits).ok_or_else(|| outside(place))?;
            rows.resize(rows.len().max(at + 1), None);
            readable.resize(rows.len(), false);
            rows[at] = Some(values.get(i)?);
            readable[at] = true;
        }
        // Where the shape of an element was open, everything so far is empty.
        let is_settled = &elements.dims()[1..] == element;
        let zeros = Tensor::zeros(element, elements.dtype(), &Device::Cpu)?;
        let row = |(i, row): (usize, Option<Tensor>)| match row {
            Some(row) => Ok(row),
            None if is_settled && i < length => elements.get(i),
            None => Ok(zeros.clone()),
        };
        let rows: Vec<Tensor> = rows.into_iter().enumerate().map(row).collect::<Result<_, _>>()?;
        let elements = if rows.is_empty() { elements.clone() } else { Tensor::stack(&rows, 0)? };
        Ok(vec![elements, flags(&readable)?])
    }
}

/// The flags of a list.
pub(in crate::ops) fn flags(readable: &[bool]) -> Result<Tensor, KernelError> {
    let flags: Vec<u8> = readable.iter().map(|&flag| u8::from(flag)).collect();
    Ok(Tensor::from_vec(flags, readable.len(), &Device::Cpu)?)
}
