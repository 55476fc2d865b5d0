//! What an operator's evaluation looks like: arguments in, tensors out.

use std::collections::BTreeMap;

use candle_core::{DType, Storage, Tensor, WithDType};

use crate::mil::{Call, DataType, InferError, TensorType, ValueType};

/// Computes an operator's results: a tensor each; of a list two, its stacked elements and a flag for each that can be
/// read. Floats are computed in float32 (sums wider where it matters); the caller rounds to the declared type.
pub type Kernel = fn(&Arguments<'_>) -> Result<Vec<Tensor>, KernelError>;

/// Why an operator cannot be computed.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// An argument that does not fit.
    #[error(transparent)]
    Arguments(#[from] InferError),
    /// The tensor library refused.
    #[error("tensor arithmetic failed")]
    Tensor(#[from] candle_core::Error),
    /// Indices that point outside.
    #[error("parameter `{parameter}`: index {index} is outside of {length} elements")]
    Index {
        /// The parameter.
        parameter: &'static str,
        /// The index.
        index: i64,
        /// Number of elements.
        length: usize,
    },
    /// An element of a list that has no numbers yet.
    #[error("element {index} of a list of {length} was never written")]
    NeverWritten {
        /// The element.
        index: usize,
        /// Number of elements.
        length: usize,
    },
    /// Random numbers, of which no two devices have the same.
    #[error("its numbers come from the random generator of the device")]
    Random,
    /// A result of another shape than inference promised, which is a defect of mlreg.
    #[error("computed shape {computed:?}, inferred {inferred}: this is a defect of mlreg")]
    Shape {
        /// The computed shape.
        computed: Vec<usize>,
        /// The inferred type.
        inferred: String,
    },
}

/// The arguments of an operation that runs: its types with the shapes that they have now, and the tensors.
#[derive(Debug)]
pub struct Arguments<'a> {
    /// Types and known values, defaults included. Integer vectors and scalars are known at run time, whether constant
    /// or not.
    pub call: &'a Call<'a>,
    /// The types of the results as inferred from the shapes at run time.
    pub results: &'a [ValueType],
    tensors: &'a BTreeMap<&'a str, Vec<Tensor>>,
    in_place: bool,
}

impl<'a> Arguments<'a> {
    /// Arguments with their tensors; strings have none.
    pub fn new(call: &'a Call<'a>, results: &'a [ValueType], tensors: &'a BTreeMap<&'a str, Vec<Tensor>>) -> Self {
        Self { call, results, tensors, in_place: false }
    }

    /// The same; whether the numbers of `x` may be changed, since nobody else needs them.
    pub fn in_place(mut self, in_place: bool) -> Self {
        self.in_place = in_place;
        self
    }

    /// Whether the numbers of `x` may be changed.
    pub fn may_change_x(&self) -> bool {
        self.in_place
    }

    /// An argument, where it was given.
    pub fn given(&self, name: &str) -> Option<&'a Tensor> {
        self.tensors.get(name)?.first()
    }

    /// An argument.
    ///
    /// # Errors
    /// When it was not given.
    pub fn tensor(&self, name: &str) -> Result<&'a Tensor, KernelError> {
        self.given(name).ok_or_else(|| InferError::Missing(name.to_owned()).into())
    }

    /// The values of a variadic argument.
    ///
    /// # Errors
    /// When it was not given.
    pub fn tensors(&self, name: &str) -> Result<&'a [Tensor], KernelError> {
        self.tensors.get(name).map(Vec::as_slice).ok_or_else(|| InferError::Missing(name.to_owned()).into())
    }

    /// The type of result `i`.
    ///
    /// # Errors
    /// When there is no such tensor.
    pub fn result(&self, i: usize) -> Result<&'a TensorType, KernelError> {
        let tensor = self.results.get(i).and_then(ValueType::tensor);
        tensor.ok_or_else(|| InferError::Missing(format!("result {i}")).into())
    }

    /// The shape of result `i`, for operators whose shapes follow from their arguments.
    ///
    /// # Errors
    /// When it is not known.
    pub fn shape(&self, i: usize) -> Result<Vec<usize>, KernelError> {
        let ty = self.result(i)?;
        let shape: Option<Vec<usize>> = ty.shape.iter().map(|d| usize::try_from(d.known()?).ok()).collect();
        shape.ok_or_else(|| KernelError::Shape { computed: Vec::new(), inferred: ty.to_string() })
    }
}

/// How elements of a declared type are held: floats as `f32`, booleans as `u8`, integers as `i64`. `None` for strings.
pub fn storage_type(dtype: DataType) -> Option<DType> {
    match dtype {
        DataType::String => None,
        DataType::Bool => Some(DType::U8),
        float if float.is_float() => Some(DType::F32),
        _ => Some(DType::I64),
    }
}

/// Looks at a tensor's elements in order, without a copy where it is contiguous.
///
/// # Errors
/// When the tensor is not of that element type.
pub fn view<T: WithDType, R>(tensor: &Tensor, look: impl FnOnce(&[T]) -> R) -> candle_core::Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { candle_core::bail!("the tensor is not on the CPU") };
    let Some((start, end)) = layout.contiguous_offsets() else { candle_core::bail!("the tensor is not contiguous") };
    Ok(look(&storage.as_slice::<T>()?[start..end]))
}
