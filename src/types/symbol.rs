//! Names of symbolic dimensions, such as `batch_size`.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Mutex, PoisonError},
};

/// Every name that was used, each once. Names live as long as the process, so that a [`Symbol`] is a copy of a
/// reference.
static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// A length that is chosen at each call of a program: dimensions with equal symbols have equal lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(&'static str);

impl Symbol {
    /// The symbol of that name.
    pub fn new(name: &str) -> Self {
        let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&known) = names.get(name) {
            return Self(known);
        }
        let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
        names.insert(name);
        Self(name)
    }

    /// The name.
    pub fn name(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_are_one_symbol() {
        let (one, other) = (Symbol::new("batch_size"), Symbol::new("batch_size"));
        assert_eq!(one, other);
        assert!(std::ptr::eq(one.name(), other.name()));
        assert_ne!(one, Symbol::new("sequence"));
    }
}
