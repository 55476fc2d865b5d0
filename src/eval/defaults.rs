//! What optional inputs hold when they are left out: one number, in the default shape, as Core ML fills them.

use candle_core::{DType, Device, Tensor};

use super::storage_type;
use crate::{
    contract::Feature,
    mil::{DataType, TensorType},
};

/// The tensor of an input of type `ty` that is left out. `None` without a default, where the type cannot hold it, and
/// where the shape is not known or has more than `most` elements.
pub(super) fn tensor(feature: &Feature, ty: &TensorType, most: u64) -> Option<Tensor> {
    let text = feature.default.as_deref()?;
    let shape = shape(feature, ty)?;
    shape.iter().try_fold(1u64, |product, &n| product.checked_mul(n)).filter(|&elements| elements <= most)?;
    let shape: Vec<usize> = shape.into_iter().map(usize::try_from).collect::<Result<_, _>>().ok()?;
    match storage_type(ty.dtype)? {
        DType::F32 => Tensor::full(text.parse::<f32>().ok()?, shape, &Device::Cpu).ok(),
        DType::I64 => Tensor::full(integer(text, ty.dtype)?, shape, &Device::Cpu).ok(),
        _ => Tensor::full(u8::try_from(integer(text, DataType::Bool)?).ok()?, shape, &Device::Cpu).ok(),
    }
}

/// The default shape: a scalar of the program is described as `[1]`.
fn shape(feature: &Feature, ty: &TensorType) -> Option<Vec<u64>> {
    match (&feature.ranges, feature.shape.as_slice()) {
        _ if ty.rank() == 0 => Some(Vec::new()),
        (_, shape @ [_, ..]) => Some(shape.to_vec()),
        (Some(ranges), []) => ranges.iter().map(|&(least, _)| Some(least).filter(|&least| least > 0)).collect(),
        (None, []) => ty.fixed_shape(),
    }
}

/// The integer that a text says, if the type has it: `3` and `3.0`, not `0.5`.
fn integer(text: &str, dtype: DataType) -> Option<i64> {
    let value = text.parse::<i64>().ok().or_else(|| {
        let number = text.parse::<f64>().ok().filter(|number| number.fract() == 0.0 && number.abs() < 9e15)?;
        Some(number as i64)
    })?;
    let (least, most) = match dtype {
        DataType::Bool => (0, 1),
        dtype => {
            let bits = dtype.bits()?.min(63);
            let is_signed =
                matches!(dtype, DataType::Int4 | DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64);
            if is_signed { (-(1i64 << (bits - 1)), (1i64 << (bits - 1)) - 1) } else { (0, i64::MAX >> (63 - bits)) }
        }
    };
    (least..=most).contains(&value).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mil::Dimension;

    fn feature(default: &str, shape: &[u64]) -> Feature {
        Feature { default: Some(default.to_owned()), shape: shape.to_vec(), optional: true, ..Feature::default() }
    }

    fn floats(feature: &Feature, shape: &[u64]) -> Option<(Vec<usize>, Vec<f32>)> {
        let tensor = tensor(feature, &TensorType::new(DataType::Float16, shape), 100)?;
        Some((tensor.dims().to_vec(), tensor.flatten_all().unwrap().to_vec1().unwrap()))
    }

    #[test]
    fn every_element_holds_the_default() {
        assert_eq!(floats(&feature("0.1", &[1, 3]), &[1, 3]), Some((vec![1, 3], vec![0.1; 3])));
        assert_eq!(floats(&feature("-inf", &[2]), &[2]), Some((vec![2], vec![f32::NEG_INFINITY; 2])));
        assert_eq!(floats(&feature("3", &[1]), &[]), Some((vec![], vec![3.0])), "a scalar is described as [1]");
        assert_eq!(floats(&feature("2", &[]), &[2, 1]), Some((vec![2, 1], vec![2.0; 2])));
        assert_eq!(floats(&feature("2", &[1000, 1000]), &[1000, 1000]), None, "too large");
        assert_eq!(floats(&Feature { default: None, ..feature("2", &[1]) }, &[1]), None);
    }

    #[test]
    fn flexible_inputs_have_their_default_shape() {
        let open = TensorType {
            dtype: DataType::Float32,
            shape: vec![Dimension::Known(1), Dimension::Unknown { variadic: false }],
        };
        let ranges = Some(vec![(1, Some(1)), (2, None)]);
        let dims = |feature: &Feature| Some(tensor(feature, &open, 100)?.dims().to_vec());
        assert_eq!(dims(&Feature { ranges: ranges.clone(), ..feature("1", &[1, 5]) }), Some(vec![1, 5]));
        assert_eq!(dims(&Feature { ranges, ..feature("1", &[]) }), Some(vec![1, 2]), "least lengths");
        assert_eq!(dims(&feature("1", &[])), None);
    }

    #[test]
    fn integers_hold_what_their_type_has() {
        let held = |text: &str, dtype| {
            tensor(&feature(text, &[1]), &TensorType::new(dtype, &[1]), 100).map(|it| it.to_vec1::<i64>().unwrap()[0])
        };
        assert_eq!(
            (held("-7", DataType::Int32), held("4.0", DataType::Int32), held("0.5", DataType::Int32)),
            (Some(-7), Some(4), None)
        );
        assert_eq!(
            (held("127", DataType::Int8), held("128", DataType::Int8), held("-1", DataType::UInt8)),
            (Some(127), None, None)
        );
        assert_eq!((held("2147483648", DataType::Int32), held("inf", DataType::Int32)), (None, None));
    }
}
