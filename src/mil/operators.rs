//! The operators that a program may be built from. A bundle format chooses them; the deployment target alone does not.

use super::Registry;
use crate::base::Target;

/// Declarations of operators, and the target whose contracts they follow.
#[derive(Debug, Clone, Copy)]
pub struct OperatorSet {
    registry: Registry,
    contracts: Target,
}

impl OperatorSet {
    /// The operators of `registry`, with the contracts that hold at the target `contracts`.
    pub fn new(registry: Registry, contracts: Target) -> Self {
        Self { registry, contracts }
    }

    /// The declarations.
    pub fn registry(&self) -> Registry {
        self.registry
    }

    /// The target whose contracts the operators follow: the opset of the functions that are built from them.
    pub fn contracts(&self) -> Target {
        self.contracts
    }

    /// Whether the set has the operator `name`, under a contract that holds.
    pub fn has(&self, name: &str) -> bool {
        (self.registry)(name).is_some_and(|definition| definition.at(self.contracts).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops;

    #[test]
    fn an_operator_exists_where_the_registry_has_it_and_a_contract_holds() {
        let has = |registry: Registry, target| OperatorSet::new(registry, target).has("scaled_dot_product_attention");
        assert!(has(ops::find, Target::Ios18));
        assert!(!has(ops::find, Target::Ios17));
        let without_attention: Registry = |name| ops::find(name).filter(|it| it.name != "scaled_dot_product_attention");
        assert!(!has(without_attention, Target::Ios18));
    }
}
