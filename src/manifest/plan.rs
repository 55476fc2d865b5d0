//! Variants that a build has to make, with their ids.

use std::collections::BTreeMap;

use super::{
    axes::{Axes, Axis},
    release::BundleKind,
};
use crate::base::Target;

/// A variant that a build has to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariantPlan {
    /// Its id, e.g. `decoder-768-float16-ios18`.
    pub id: String,
    /// The id without its target: the name when placed for a deployment floor.
    pub name: String,
    /// The component it belongs to.
    pub component: String,
    /// Lowest OS that can load it; `None` if any can.
    pub target: Option<Target>,
    /// Kind of its bundle.
    pub kind: BundleKind,
    /// Its source.
    pub content: Content,
}

/// Source of a variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The component's checkpoint, converted for these axes.
    Converted(Axes),
    /// A bundle made elsewhere.
    Imported {
        /// Its path.
        path: String,
        /// Its axes from pattern and manifest, spelled as by [`Axes::value`].
        axes: BTreeMap<Axis, String>,
    },
    /// The component's plain files.
    Files,
}

impl VariantPlan {
    /// The variant of these axes. Ids of all conversions are made here.
    pub fn converted(component: &str, axes: Axes) -> Self {
        let (target, kind) = (axes.target, axes.format.kind());
        let parts = std::iter::once(component.to_owned()).chain(axes.id_parts()).collect();
        Self::named(component, parts, target, kind, Content::Converted(axes))
    }

    /// Adds target and format to the parts of an id.
    pub(super) fn named(
        component: &str,
        parts: Vec<String>,
        target: Option<Target>,
        kind: BundleKind,
        content: Content,
    ) -> Self {
        let format = kind.id_suffix().map(str::to_owned);
        let join = |target: Option<String>| {
            parts.iter().cloned().chain(target).chain(format.clone()).collect::<Vec<_>>().join("-")
        };
        Self {
            id: join(target.map(Target::id)),
            name: join(None),
            component: component.to_owned(),
            target,
            kind,
            content,
        }
    }

    /// Its axes as release manifests list them.
    pub fn axes_map(&self) -> BTreeMap<String, String> {
        match &self.content {
            Content::Converted(axes) => axes.labels(),
            Content::Imported { axes, .. } => axes
                .iter()
                .filter(|(axis, _)| **axis != Axis::Target)
                .map(|(axis, value)| (axis.label().to_owned(), value.clone()))
                .collect(),
            Content::Files => BTreeMap::new(),
        }
    }

    /// Names it in messages about ids that clash.
    pub(super) fn describe(&self) -> String {
        match &self.content {
            Content::Converted(_) => format!("a variant of component `{}`", self.component),
            Content::Imported { path, .. } => format!("`{path}` of component `{}`", self.component),
            Content::Files => format!("the files of component `{}`", self.component),
        }
    }

    /// Whether id and extension make a safe file name.
    pub(super) fn is_file_name(&self) -> bool {
        self.kind.is_file_name(&self.id)
    }
}
