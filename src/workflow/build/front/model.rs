//! The model of a checkpoint: a network that an architecture read, and its form for each variant.

use std::{collections::BTreeMap, sync::Arc};

use super::{Model, ModelProgram};
use crate::{
    arch::{self, ArchError, Architecture, Form, FunctionPlan, Network},
    checkpoint::Weights,
    contract::{CacheForm, features::MAIN_FUNCTION},
    emit::ModelTexts,
    manifest::{self, Axes, Precision, VariantPlan},
    mil::{Constant, DataType, OperatorSet},
    workflow::build::error::BuildError,
};

/// A network, the tensors of its checkpoint, and the manifest's settings.
pub(super) struct CheckpointModel<'a> {
    pub(super) component: &'a str,
    pub(super) settings: &'a manifest::Conversion,
    pub(super) architecture: &'static dyn Architecture,
    pub(super) network: Network,
    pub(super) weights: Arc<dyn Weights>,
}

impl Model for CheckpointModel<'_> {
    fn constants(&self) -> Vec<Constant> {
        self.network.constants()
    }

    fn weights(&self) -> &dyn Weights {
        self.weights.as_ref()
    }

    fn program(&self, plan: &VariantPlan, axes: &Axes, operators: OperatorSet) -> Result<ModelProgram, BuildError> {
        let refused = |source| BuildError::Program { id: plan.id.clone(), source };
        let forms = self.forms(axes, operators)?;
        forms.iter().try_for_each(|(_, form)| fits_its_cache(form)).map_err(refused)?;
        let functions = arch::functions(&self.network, &forms).map_err(refused)?;
        let program = arch::program(&self.network, operators, &functions).map_err(refused)?;
        Ok(ModelProgram { program, texts: self.texts(&functions) })
    }
}

impl CheckpointModel<'_> {
    /// Names and forms of a variant's functions: one for each shape.
    fn forms(&self, axes: &Axes, operators: OperatorSet) -> Result<Vec<(String, Form)>, BuildError> {
        axes.shapes.iter().map(|shape| Ok((self.function_name(shape), self.form(axes, operators, shape)?))).collect()
    }

    fn function_name(&self, shape: &manifest::Shape) -> String {
        let name = shape.function_name().filter(|_| self.settings.multifunction);
        name.unwrap_or_else(|| MAIN_FUNCTION.to_owned())
    }

    fn form(&self, axes: &Axes, operators: OperatorSet, shape: &manifest::Shape) -> Result<Form, BuildError> {
        Ok(Form {
            operators,
            shape: self.shape(shape)?,
            layout: axes.layout,
            io: data_type(axes.io_precision()),
            linear: axes.linear,
            cache: axes.cache,
            logits: axes.logits,
            attention: self.settings.attention,
        })
    }

    fn shape(&self, shape: &manifest::Shape) -> Result<arch::Shape, BuildError> {
        let key = self.architecture.shape_key();
        let missing =
            || BuildError::Shape { component: self.component.to_owned(), architecture: self.architecture.name(), key };
        match shape {
            manifest::Shape::Image(size) if key == "size" => {
                Ok(arch::Shape::Image { width: size.width.into(), height: size.height.into() })
            }
            manifest::Shape::Text(text) if key == "sequence" => {
                let sequence = text.sequence.ok_or_else(missing)?.into();
                let encoder_sequence = text.encoder_sequence.map_or(sequence, u64::from);
                Ok(arch::Shape::Text(arch::TextShape {
                    sequence,
                    encoder_sequence,
                    context: text.context.map_or(0, u64::from),
                }))
            }
            _ => Err(missing()),
        }
    }

    fn texts(&self, functions: &[FunctionPlan]) -> ModelTexts {
        let features = functions.iter().map(|FunctionPlan { interface, .. }| {
            let described = interface.features().map(|feature| (feature.name.clone(), feature.description.clone()));
            (interface.name.clone(), described.collect::<BTreeMap<_, _>>())
        });
        ModelTexts {
            description: self.network.description.clone(),
            notes: self.network.notes.to_metadata(),
            features: features.collect(),
            ..ModelTexts::default()
        }
    }
}

/// Refuses calls of more tokens than the cache that they are written to has slots.
fn fits_its_cache(form: &Form) -> Result<(), ArchError> {
    match form.shape {
        arch::Shape::Text(text) if form.cache != CacheForm::None && text.sequence > text.context => {
            let why = format!("the tokens of a call are written to the cache, whose `context` is {}", text.context);
            Err(ArchError::Form { axis: "sequence", found: text.sequence.to_string(), why })
        }
        _ => Ok(()),
    }
}

pub(super) fn data_type(precision: Precision) -> DataType {
    match precision {
        Precision::Float16 => DataType::Float16,
        Precision::Float32 => DataType::Float32,
    }
}
