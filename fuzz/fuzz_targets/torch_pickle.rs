//! Any bytes as a torch checkpoint: refused, or every tensor lies in the file and has the length of its type.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    if let Ok(tensors) = mlreg::checkpoint::read_pickle(file) {
        for tensor in tensors.values() {
            assert_eq!(Some(tensor.data(file).len() as u64), tensor.info.bytes());
        }
    }
});
