//! Decoded constants that are needed more than once: the weights of a model that is run again and again, the constants
//! of a loop's body.
//!
//! What is needed once is not kept, so that a single run takes no more memory than its largest operation.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use candle_core::Tensor;

use super::OperationError;
use crate::mil::Value;

/// The most bytes that are kept.
const MOST_BYTES: usize = 4 << 30;

/// Constants of one program, which are known by where they stand in it.
#[derive(Debug, Default)]
pub(super) struct Decoded(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// By address; without a tensor: decoded once.
    tensors: HashMap<usize, Option<Tensor>>,
    bytes: usize,
}

impl Decoded {
    /// The tensor of a constant, decoded where it is not kept.
    pub(super) fn get(
        &self,
        value: &Value,
        decode: impl FnOnce() -> Result<Option<Tensor>, OperationError>,
    ) -> Result<Option<Tensor>, OperationError> {
        let place = std::ptr::from_ref(value).addr();
        // Nothing of what is kept is ever half-made.
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = lock().tensors.get(&place).cloned();
        if let Some(Some(tensor)) = kept {
            return Ok(Some(tensor));
        }
        let tensor = decode()?;
        let bytes = tensor.as_ref().map_or(0, |tensor| tensor.elem_count() * tensor.dtype().size_in_bytes());
        let mut all = lock();
        let keep = kept.is_some() && bytes <= MOST_BYTES - all.bytes;
        if keep {
            all.bytes += bytes;
        }
        all.tensors.insert(place, tensor.clone().filter(|_| keep));
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
        let decoded = Decoded::default();
        let mut count = 0;
        for _ in 0..5 {
            let mut decode = || {
                count += 1;
                Ok(Some(Tensor::new(&[1i64], &Device::Cpu).unwrap()))
            };
            assert!(decoded.get(&value, &mut decode).unwrap().is_some());
        }
        assert_eq!((count, decoded.0.lock().unwrap().bytes), (2, 8));
        assert!(decoded.get(&other, || Ok(None)).unwrap().is_none());
        assert_eq!(decoded.0.lock().unwrap().bytes, 8);
    }
}
