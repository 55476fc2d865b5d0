//! Combinations of axes that cannot be built: what Core ML has from a later target on, and what ONNX does not have.

use super::{
    axes::{Axes, Axis, Format},
    component::Conversion,
};
use crate::{
    base::Target,
    contract::{AttentionForm, CacheForm},
};

/// Values that cannot stand together.
pub(super) struct Conflict {
    pub(super) axes: Vec<(Axis, String)>,
    pub(super) reason: String,
    /// The first target that has all of them.
    pub(super) first_target: Option<Target>,
}

impl Conflict {
    /// The first rule that a combination breaks.
    pub(super) fn of(conversion: &Conversion, axes: &Axes) -> Option<Self> {
        match (axes.format, axes.target) {
            (Format::Onnx, _) => Self::with_onnx(conversion, axes),
            (_, Some(target)) => Self::with_target(conversion, axes, target),
            (_, None) => None,
        }
    }

    fn new(axes: &Axes, clashing: &[Axis], reason: String, first_target: Option<Target>) -> Self {
        let clashing = clashing.iter().filter_map(|axis| Some((*axis, axes.value(*axis)?)));
        Self { axes: clashing.collect(), reason, first_target }
    }

    fn with_onnx(conversion: &Conversion, axes: &Axes) -> Option<Self> {
        match axes.cache {
            _ if conversion.multifunction => {
                Some(Self::new(axes, &[Axis::Format], "only Core ML has `multifunction` bundles".to_owned(), None))
            }
            CacheForm::State => {
                Some(Self::new(axes, &[Axis::Cache, Axis::Format], "only Core ML has states".to_owned(), None))
            }
            _ => None,
        }
    }

    fn with_target(conversion: &Conversion, axes: &Axes, target: Target) -> Option<Self> {
        if target.opset().is_none() {
            return Some(Self::new(
                axes,
                &[Axis::Target],
                format!("no Core ML operator set is known for {target}"),
                None,
            ));
        }
        let by_value = Axis::ALL.iter().filter_map(|axis| Some((Some(*axis), axis.needs(&axes.value(*axis)?)?)));
        let fused = (conversion.attention == AttentionForm::Fused).then_some("fused attention operators");
        let functions = conversion.multifunction.then_some("`multifunction` bundles");
        let by_setting = fused.into_iter().chain(functions).map(|what| (None, (Target::Ios18, what.to_owned())));
        let (axis, (first, what)) = by_value.chain(by_setting).find(|(_, (first, _))| target < *first)?;
        let clashing: Vec<Axis> = axis.into_iter().chain([Axis::Target]).collect();
        Some(Self::new(axes, &clashing, format!("{what} need {first}"), Some(first)))
    }
}
