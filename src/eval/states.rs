//! What programs remember between calls.

use std::collections::BTreeMap;

use candle_core::{Storage, Tensor};

use super::Mode;

/// The states of a program, by their names. Calls change them in place, so a copy has numbers of its own.
#[derive(Debug, Default)]
pub struct States {
    held: BTreeMap<String, Held>,
    /// Of a pipeline: those of each part.
    parts: Vec<States>,
}

/// A state, and the mode in which its numbers were rounded; `None` where somebody else gave them.
#[derive(Debug)]
pub(super) struct Held {
    pub tensor: Tensor,
    pub mode: Option<Mode>,
}

impl States {
    /// A copy of what a state holds; `None` where no call has had it yet.
    pub fn get(&self, name: &str) -> Option<Tensor> {
        self.held.get(name).map(|held| copied(&held.tensor))
    }

    /// Gives a state what it should hold at the next call.
    pub fn insert(&mut self, name: &str, tensor: &Tensor) {
        self.put(name, Held { tensor: copied(tensor), mode: None });
    }

    /// What a state holds, for as long as nobody changes it.
    pub(crate) fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.held.get(name).map(|held| &held.tensor)
    }

    /// The states of a part of a pipeline.
    pub(super) fn part(&mut self, index: usize) -> &mut Self {
        if self.parts.len() <= index {
            self.parts.resize_with(index + 1, Self::default);
        }
        &mut self.parts[index]
    }

    pub(super) fn take(&mut self, name: &str) -> Option<Held> {
        self.held.remove(name)
    }

    /// Keeps a tensor whose numbers are nobody else's.
    pub(super) fn put(&mut self, name: &str, held: Held) {
        self.held.insert(name.to_owned(), held);
    }

    /// Whether a state has its numbers where `tensor` has them.
    pub(crate) fn have(&self, tensor: &Tensor) -> bool {
        self.held.values().any(|held| share(&held.tensor, tensor))
    }
}

impl Clone for States {
    fn clone(&self) -> Self {
        let copy = |held: &Held| Held { tensor: copied(&held.tensor), mode: held.mode };
        Self {
            held: self.held.iter().map(|(name, held)| (name.clone(), copy(held))).collect(),
            parts: self.parts.clone(),
        }
    }
}

/// Whether two tensors have their numbers in the same place; one may be a part of the other.
pub(super) fn share(a: &Tensor, b: &Tensor) -> bool {
    let place = |tensor: &Tensor| std::ptr::from_ref::<Storage>(&tensor.storage_and_layout().0);
    place(a) == place(b)
}

/// The same numbers in a place of their own.
pub(super) fn copied(tensor: &Tensor) -> Tensor {
    tensor.force_contiguous().expect("memory of the processor can be copied")
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn copies_have_their_own_numbers() {
        let tensor = Tensor::new(&[1f32, 2.0], &Device::Cpu).unwrap();
        let mut states = States::default();
        states.insert("memory", &tensor);
        assert!(!states.have(&tensor) && !states.have(&states.get("memory").unwrap()));
        assert!(!states.clone().have(states.tensor("memory").unwrap()));
        assert!(states.have(&states.tensor("memory").unwrap().narrow(0, 1, 1).unwrap()));
        assert!(states.get("other").is_none());
    }
}
