//! The bundle format `mlmodelc`: what a package compiles to. mlreg's own compiler comes first, on a Mac too, so that a
//! release does not depend on the machine that built it.

use super::{COMPILER, MlPackage, compiled_files, mlpackage::Specification};
use crate::{
    base::Target,
    emit::{BundleContents, BundleFormat, BundleSource, FormatError, WeightPlan, WriteError, WrittenBundle},
    manifest::Format,
    mil::{Constant, OperatorSet, Registry},
};

/// Compiled Core ML models. Operators and weight files are those of packages.
#[derive(Debug)]
pub struct MlModelC;

impl BundleFormat for MlModelC {
    fn format(&self) -> Format {
        Format::MlModelC
    }

    fn noun(&self) -> &'static str {
        MlPackage.noun()
    }

    fn operators(&self, target: Option<Target>, registry: Registry) -> Option<OperatorSet> {
        MlPackage.operators(target, registry)
    }

    fn plan_weights(&self, constants: &[Constant], shared: &[Constant]) -> Result<WeightPlan, FormatError> {
        MlPackage.plan_weights(constants, shared)
    }

    fn write(&self, source: &BundleSource<'_>) -> Result<WrittenBundle, WriteError> {
        let specification = Specification::write(source)?;
        let contents = match compiled_files(&specification.bytes, &specification.program, &specification.weights) {
            Ok(files) => BundleContents::Compiled { compiler: COMPILER, files },
            Err(refusal) => BundleContents::NeedsAppleCompiler { package: specification.package()?, refusal },
        };
        Ok(specification.bundle(contents))
    }
}
