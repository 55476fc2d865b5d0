//! Decoded constants that are needed more than once: the weights of a model that is run again and again, the constants of a loop's body.
//!
//! What is needed once is not kept, so that a single run takes no more memory than its largest operation.

use std::collections::HashMap;

use candle_core::Tensor;

use super::OperationError;
use crate::mil::Value;

/// The most bytes that are kept.
const MOST_BYTES: usize = 4 << 30;

/// Constants of one program, which are known by where they stand in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Decoded {
    /// Without a tensor: decoded once.
    tensors: HashMap<*const Value, Option<Tensor>>,
    bytes: usize,
}

impl Decoded {
    /// The tensor of a constant, decoded where it is not kept.
    pub(super) fn get(
        &mut self,
        value: &Value,
        decode: impl FnOnce() -> Result<Option<Tensor>, OperationError>,
    ) -> Result<Option<Tensor>, OperationError> {
        let kept = self.tensors.get(&std::ptr::from_ref(value));
        if let Some(Some(tensor)) = kept {
            return Ok(Some(tensor.clone()));
        }
        let again = kept.is_some();
        let tensor = decode()?;
        let bytes = tensor.as_ref().map_or(0, |tensor| tensor.elem_count() * tensor.dtype().size_in_bytes());
        let keep = again && bytes <= MOST_BYTES - self.bytes;
        if keep {
            self.bytes += bytes;
        }
        self.tensors.insert(value, tensor.clone().filter(|_| keep));
        Ok(tensor)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn what_is_needed_again_is_decoded_twice_and_not_more() {
        let (value, other) = (Value::int(1), Value::int(1));
        let mut decoded = Decoded::default();
        let mut count = 0;
        for _ in 0..5 {
            let mut decode = || {
                count += 1;
                Ok(Some(Tensor::new(&[1i64], &Device::Cpu).unwrap()))
            };
            assert!(decoded.get(&value, &mut decode).unwrap().is_some());
        }
        assert_eq!((count, decoded.bytes), (2, 8));
        assert!(decoded.get(&other, || Ok(None)).unwrap().is_none());
        assert_eq!(decoded.bytes, 8);
    }
}
