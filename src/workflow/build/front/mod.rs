//! Front ends: a front end reads the source of a component and makes programs from it. The rest of a build knows
//! neither families of models nor files of checkpoints.

mod checkpoint;
mod model;

use std::{collections::BTreeMap, path::Path};

use super::{BuildWarning, error::BuildError, hashing::Hashing};
use crate::{
    base::Digest,
    checkpoint::Weights,
    emit::ModelTexts,
    manifest::{self, Axes, Component, VariantPlan, release::Source},
    mil::{Constant, OperatorSet, Program},
    store::StoreError,
    workflow::{Context, Error},
};

/// A component whose source is to be opened.
#[derive(Clone, Copy)]
pub(super) struct ComponentSource<'b, 'a> {
    pub(super) context: &'b Context,
    pub(super) hashing: &'b Hashing,
    /// The manifest's folder.
    pub(super) folder: &'b Path,
    pub(super) component: &'a Component,
    pub(super) settings: &'a manifest::Conversion,
}

/// Opens the source of a component with the front end that reads it; nothing is converted. A further front end
/// recognizes its sources here, before the one that takes every other source as a checkpoint.
///
/// # Errors
/// When the source cannot be read, or asks for something that the front end does not do.
pub(super) fn open<'a>(source: ComponentSource<'_, 'a>) -> Result<Box<dyn FrontEnd + 'a>, Error> {
    Ok(Box::new(checkpoint::CheckpointFrontEnd::open(source)?))
}

/// Name and keys of a component that converts the source at `file`, for an example of a manifest.
pub(super) fn example(file: &Path) -> (&'static str, &'static str) {
    checkpoint::example(file)
}

/// An opened source.
pub(super) trait FrontEnd: Send + Sync {
    /// What a release records about the source.
    fn source(&self) -> Result<Source, StoreError>;

    /// Warnings about the component as a whole.
    fn warnings(&self) -> Vec<BuildWarning>;

    /// Digests of the source's files, by name; waits for those that are still being computed.
    fn digests(&self) -> Result<BTreeMap<String, Digest>, StoreError>;

    /// Whether [`digests`](Self::digests) returns without waiting.
    fn is_hashed(&self) -> bool;

    /// Feeds everything that identifies the source.
    fn feed(&self, feed: &mut dyn FnMut(&[u8])) -> Result<(), StoreError>;

    /// Whether two variants have one model, and so one plan of weights.
    fn is_same_model(&self, one: &Axes, other: &Axes) -> bool;

    /// Reads the model of a variant.
    ///
    /// # Errors
    /// When the source does not hold the model.
    fn load(&self, axes: &Axes) -> Result<Box<dyn Model + '_>, Error>;
}

/// A model that was read: it has one set of constants and makes a program for each variant.
pub(super) trait Model: Send + Sync {
    /// Every constant, in the order of the weight file. The constants are the same for every form of the model.
    fn constants(&self) -> Vec<Constant>;

    /// The tensors that the constants are made from.
    fn weights(&self) -> &dyn Weights;

    /// The program of a variant, from `operators`.
    ///
    /// # Errors
    /// When the model cannot take the form that the axes ask for.
    fn program(&self, plan: &VariantPlan, axes: &Axes, operators: OperatorSet) -> Result<ModelProgram, BuildError>;
}

/// The program of a variant.
pub(super) struct ModelProgram {
    pub(super) program: Program,
    /// Description, notes and descriptions of features; the rest comes from the package manifest.
    pub(super) texts: ModelTexts,
}
