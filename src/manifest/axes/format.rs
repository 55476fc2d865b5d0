//! Words of axes that no program is asked for: precisions and bundle formats.

use crate::{contract::words, manifest::release::BundleKind};

words!(
    /// Float type of weights and arithmetic, or of inputs and outputs.
    Precision {
        /// 16 bit.
        #[default]
        Float16 = "float16",
        /// 32 bit.
        Float32 = "float32",
    }
);
words!(
    /// What a build writes.
    Format {
        /// A Core ML package.
        #[default]
        MlPackage = "mlpackage",
        /// A compiled Core ML model, ready for an app bundle.
        MlModelC = "mlmodelc",
        /// An ONNX model, which has no deployment target.
        Onnx = "onnx",
    }
);

impl Format {
    /// The kind of the bundles that it writes.
    pub fn kind(self) -> BundleKind {
        match self {
            Self::MlPackage => BundleKind::MlPackage,
            Self::MlModelC => BundleKind::MlModelC,
            Self::Onnx => BundleKind::Onnx,
        }
    }
}
