//! The bundle format `mlpackage`: a specification, its weight files and a `Manifest.json`.

use bytes::Bytes;

use super::{
    CoreMlError, FeatureNote, FunctionNotes, ModelMetadata, WEIGHT_FILE_LIMIT, decode, encode, package_files,
    plan_weights,
};
use crate::{
    base::Target,
    contract::{Feature, Interface},
    emit::{
        BundleContents, BundleFile, BundleFormat, BundleSource, FormatError, ModelTexts, WeightPlan, WriteError,
        WrittenBundle, interface_of,
    },
    manifest::Format,
    mil::{self, Constant, OperatorSet, Program, Registry},
};

/// Core ML packages.
#[derive(Debug)]
pub struct MlPackage;

impl BundleFormat for MlPackage {
    fn format(&self) -> Format {
        Format::MlPackage
    }

    fn noun(&self) -> &'static str {
        "a Core ML package"
    }

    fn operators(&self, target: Option<Target>, registry: Registry) -> Option<OperatorSet> {
        target.map(|target| OperatorSet::new(registry, target))
    }

    fn plan_weights(&self, constants: &[Constant], shared: &[Constant]) -> Result<WeightPlan, FormatError> {
        plan_weights(constants, shared, WEIGHT_FILE_LIMIT).map_err(|error| FormatError::new(error, None))
    }

    fn write(&self, source: &BundleSource<'_>) -> Result<WrittenBundle, WriteError> {
        let specification = Specification::write(source)?;
        let contents = BundleContents::Files(specification.package()?);
        Ok(specification.bundle(contents))
    }
}

/// A specification that was encoded, decoded and verified.
pub(super) struct Specification<'a> {
    pub(super) bytes: Bytes,
    /// The program that the bytes decode to.
    pub(super) program: Program,
    /// Names of the weight files.
    pub(super) weights: Vec<&'a str>,
}

impl<'a> Specification<'a> {
    pub(super) fn write(source: &BundleSource<'a>) -> Result<Self, WriteError> {
        let (bytes, program) = round_trip(source).map_err(FormatError::from)?;
        mil::verify(&program, source.registry).map_err(|error| WriteError::Unsound(Box::new(error)))?;
        let weights = source.weights.files().iter().map(|file| file.name()).collect();
        Ok(Self { bytes, program, weights })
    }

    /// The files of the package.
    pub(super) fn package(&self) -> Result<Vec<BundleFile>, FormatError> {
        Ok(package_files(self.bytes.to_vec(), &self.weights)?)
    }

    pub(super) fn bundle(self, contents: BundleContents) -> WrittenBundle {
        WrittenBundle { interface: interface(&self.program), program: self.program, contents }
    }
}

fn round_trip(source: &BundleSource<'_>) -> Result<(Bytes, Program), CoreMlError> {
    let bytes = Bytes::from(encode(source.program, &metadata(source.texts), source.weights)?);
    let (program, _) = decode(bytes.clone(), source.weights)?;
    Ok((bytes, program))
}

/// The texts as a `Model` message holds them.
fn metadata(texts: &ModelTexts) -> ModelMetadata {
    let note = |description: &String| FeatureNote { description: description.clone(), ..FeatureNote::default() };
    let functions = texts.features.iter().map(|(function, features)| {
        let features = features.iter().map(|(name, description)| (name.clone(), note(description))).collect();
        (function.clone(), FunctionNotes { features, ..FunctionNotes::default() })
    });
    ModelMetadata {
        author: texts.author.clone(),
        license: texts.license.clone(),
        version: texts.version.clone(),
        description: texts.description.clone(),
        user_defined: texts.notes.clone().into_iter().collect(),
        functions: functions.collect(),
    }
}

/// The interface as the specification describes it: Core ML has no scalar inputs, so their shape is `[1]`.
fn interface(program: &Program) -> Interface {
    let mut interface = interface_of(program);
    interface.inputs.iter_mut().for_each(lift_scalar);
    interface.functions.values_mut().flat_map(|function| &mut function.inputs).for_each(lift_scalar);
    interface
}

fn lift_scalar(feature: &mut Feature) {
    if feature.shape.is_empty() && feature.dtype != "string" && feature.dtype != "dictionary" {
        feature.shape = vec![1];
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        emit::coreml::describe_specification,
        mil::{Builder, DataType, Function, TensorType},
        ops,
    };

    fn function(shape: &[u64]) -> Function {
        let mut builder = Builder::new(ops::find, Target::Ios18);
        let scale = builder.input("scale", TensorType::scalar(DataType::Float16));
        let x = builder.input("x", TensorType::new(DataType::Float16, shape));
        let state = builder.state("state", TensorType::new(DataType::Float16, shape));
        let read = builder.op1("read_state", "read", &[("input", state.into())]).unwrap();
        let scaled = builder.op1("mul", "scaled", &[("x", x.into()), ("y", scale.into())]).unwrap();
        let y = builder.op1("add", "y", &[("x", scaled.into()), ("y", read.into())]).unwrap();
        builder.finish(&[("y", y)]).unwrap()
    }

    fn program(names: &[&str], default: Option<&str>) -> Program {
        Program {
            target: Target::Ios18,
            functions: names.iter().map(|name| ((*name).to_owned(), function(&[1, 2 + name.len() as u64]))).collect(),
            default_function: default.map(str::to_owned),
            attributes: BTreeMap::new(),
            doc: String::new(),
        }
    }

    #[test]
    fn the_interface_is_what_the_specification_describes() {
        for program in [program(&["main"], None), program(&["decode", "prefill"], Some("prefill"))] {
            let (texts, weights) = (ModelTexts::default(), WeightPlan::default());
            let source = BundleSource { program: &program, texts: &texts, weights: &weights, registry: ops::find };
            let specification = Specification::write(&source).unwrap();
            let described = describe_specification(specification.bytes.clone()).unwrap().interface;
            let bundle = MlPackage.write(&source).unwrap();
            assert_eq!(bundle.interface, described);
            assert_eq!(described.states.len(), 1);
            assert_eq!(described.inputs[0].shape, [1]);
        }
    }
}
