//! Scales and zero points of quantized activations.

use crate::mil::{Call, InferError};

/// Refuses a scale and zero point that are not both scalars without `axis`, or both vectors along it.
pub(in crate::ops) fn check(call: &Call<'_>) -> Result<(), InferError> {
    let (input, scale) = (call.tensor("input")?, call.tensor("scale")?);
    if call.has("zero_point") && call.tensor("zero_point")?.rank() != scale.rank() {
        let zero_point = call.tensor("zero_point")?;
        return Err(InferError::rule(
            "zero_point",
            format!("expected the rank of `scale`, which is {scale}, found {zero_point}"),
        ));
    }
    match (scale.rank(), call.has("axis")) {
        (0, false) => Ok(()),
        (0, true) => Err(InferError::rule("axis", "a scalar scale has no axis")),
        (1, false) => Err(InferError::Missing("axis".to_owned())),
        (1, true) => {
            let length = input.shape[call.axis("axis", input.rank())?];
            let fits = |name: &str| !call.has(name) || call.tensor(name).is_ok_and(|ty| ty.shape[0] == length);
            match ["scale", "zero_point"].into_iter().find(|name| !fits(name)) {
                Some(name) => {
                    Err(InferError::rule(name, format!("expected a vector of {length}, found {}", call.tensor(name)?)))
                }
                None => Ok(()),
            }
        }
        _ => Err(InferError::rule("scale", format!("expected a scalar or a vector, found {scale}"))),
    }
}

/// The number of blocks per dimension that `scale` cuts `shape` into.
pub(in crate::ops) fn counts(call: &Call<'_>, shape: &[usize]) -> Result<Vec<usize>, InferError> {
    let mut counts = vec![1; shape.len()];
    if call.has("axis") {
        let axis = call.axis("axis", shape.len())?;
        counts[axis] = shape[axis];
    }
    Ok(counts)
}
