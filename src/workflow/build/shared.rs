//! Shared tensors: components of one checkpoint with `shared = true` store their common tensors in a separate weight
//! file, which is equal in all of their bundles.
//!
//! The file holds the constants that every bundle of every such component has at one precision, so no bundle carries
//! bytes that it does not use.

use std::collections::{BTreeMap, HashSet};

use super::{conversion::Conversion, error::BuildError, package::Input};
use crate::{
    base::Digest,
    manifest::{Precision, VariantPlan},
    mil::Constant,
    store::StoreError,
    workflow::Error,
};

/// The shared tensors of a package, by checkpoint and precision.
#[derive(Debug, Default)]
pub(super) struct SharedTensors(Vec<Group>);

#[derive(Debug)]
struct Group {
    digests: BTreeMap<String, Digest>,
    precision: Precision,
    components: Vec<String>,
    /// Constants in the order of the first component.
    constants: Vec<Constant>,
}

impl SharedTensors {
    /// Finds the constants that all variants of the sharing components have, so that files do not depend on which
    /// variants are built.
    pub(super) fn find(inputs: &[Input<'_>], plans: &[VariantPlan]) -> Result<Self, Error> {
        let mut found = Self::default();
        for input in inputs {
            let Input::Checkpoint(conversion) = input else { continue };
            if conversion.is_shared() {
                let plans: Vec<&VariantPlan> =
                    plans.iter().filter(|plan| plan.component == conversion.component()).collect();
                for (precision, constants) in conversion.constants(&plans)? {
                    found.add(conversion, precision, constants)?;
                }
            }
        }
        match found.0.iter().find(|group| group.components.len() < 2 || group.constants.is_empty()) {
            Some(Group { components, precision, .. }) => {
                Err(BuildError::NothingShared { components: components.clone(), precision: *precision }.into())
            }
            None => Ok(found),
        }
    }

    fn add(
        &mut self,
        conversion: &Conversion<'_>,
        precision: Precision,
        constants: Vec<Constant>,
    ) -> Result<(), StoreError> {
        let (component, digests) = (conversion.component(), conversion.front().digests()?);
        let known = self.0.iter_mut().find(|group| group.precision == precision && group.digests == digests);
        let Some(group) = known else {
            self.0.push(Group { digests, precision, components: vec![component.to_owned()], constants });
            return Ok(());
        };
        let keys: HashSet<_> = constants.iter().map(|constant| constant.key()).collect();
        group.constants.retain(|constant| keys.contains(&constant.key()));
        if !group.components.iter().any(|known| known == component) {
            group.components.push(component.to_owned());
        }
        Ok(())
    }

    /// The shared constants of a component at a precision; empty without `shared = true`.
    pub(super) fn of(&self, conversion: &Conversion<'_>, precision: Precision) -> Result<&[Constant], StoreError> {
        if !conversion.is_shared() {
            return Ok(&[]);
        }
        let digests = conversion.front().digests()?;
        let group = self.0.iter().find(|group| group.precision == precision && group.digests == digests);
        Ok(group.map_or(&[], |group| &group.constants))
    }
}
