//! Any bytes as a numpy array: refused, or no tensor of more elements than there are bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    if let Ok(tensor) = mlreg::tensors::read_npy(file, file.len() as u64) {
        assert!(tensor.elem_count() <= file.len());
    }
});
