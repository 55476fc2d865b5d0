//! Describes Core ML models of any type, from a specification or a compiled folder.

use bytes::Bytes;
use prost::Message;

use super::{CoreMlError, is_lfs_pointer, spec::interface_feature};
use crate::{
    base::Target,
    contract::{Feature, Interface},
    emit::interface::promote_default,
    proto::coreml::{self as proto, model::Type},
};

pub use super::compiled::describe_compiled;

/// Description of a model.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelDescription {
    /// Specification version, where the model has one.
    pub specification_version: Option<i32>,
    /// Lowest OS that loads the model, where the version is known.
    pub target: Option<Target>,
    /// `mlProgram`, `neuralNetwork`, `pipeline`, ...; `unknown` for a newer type.
    pub model_type: String,
    /// Inputs, outputs, states and functions.
    pub interface: Interface,
    /// Author, licence, version and texts, without notes on functions.
    pub metadata: super::ModelMetadata,
}

/// Describes a model from its specification: the `.mlmodel` in a package, or a bare one. The model's body is not
/// decoded.
///
/// # Errors
/// When the bytes are not a `Model` message, or are a Git LFS pointer.
pub fn describe_specification(bytes: Bytes) -> Result<ModelDescription, CoreMlError> {
    if is_lfs_pointer(&bytes) {
        return Err(CoreMlError::LfsPointer { what: "the specification" });
    }
    let message =
        proto::Model::decode(bytes).map_err(|source| CoreMlError::Protobuf { what: "the specification", source })?;
    let description = message.description.unwrap_or_default();
    Ok(ModelDescription {
        specification_version: Some(message.specification_version),
        target: Target::of_specification(message.specification_version),
        model_type: model_type(message.r#type.as_ref()).to_owned(),
        interface: interface(&description),
        metadata: metadata(description.metadata.unwrap_or_default()),
    })
}

/// The name of a model's type: that of its field in the `Model` message.
pub(super) fn model_type(ty: Option<&Type>) -> &'static str {
    match ty {
        None => "unknown",
        Some(Type::PipelineClassifier(_)) => "pipelineClassifier",
        Some(Type::PipelineRegressor(_)) => "pipelineRegressor",
        Some(Type::Pipeline(_)) => "pipeline",
        Some(Type::GlmRegressor(_)) => "glmRegressor",
        Some(Type::SupportVectorRegressor(_)) => "supportVectorRegressor",
        Some(Type::TreeEnsembleRegressor(_)) => "treeEnsembleRegressor",
        Some(Type::NeuralNetworkRegressor(_)) => "neuralNetworkRegressor",
        Some(Type::BayesianProbitRegressor(_)) => "bayesianProbitRegressor",
        Some(Type::GlmClassifier(_)) => "glmClassifier",
        Some(Type::SupportVectorClassifier(_)) => "supportVectorClassifier",
        Some(Type::TreeEnsembleClassifier(_)) => "treeEnsembleClassifier",
        Some(Type::NeuralNetworkClassifier(_)) => "neuralNetworkClassifier",
        Some(Type::KNearestNeighborsClassifier(_)) => "kNearestNeighborsClassifier",
        Some(Type::NeuralNetwork(_)) => "neuralNetwork",
        Some(Type::ItemSimilarityRecommender(_)) => "itemSimilarityRecommender",
        Some(Type::MlProgram(_)) => "mlProgram",
        Some(Type::CustomModel(_)) => "customModel",
        Some(Type::LinkedModel(_)) => "linkedModel",
        Some(Type::ClassConfidenceThresholding(_)) => "classConfidenceThresholding",
        Some(Type::OneHotEncoder(_)) => "oneHotEncoder",
        Some(Type::Imputer(_)) => "imputer",
        Some(Type::FeatureVectorizer(_)) => "featureVectorizer",
        Some(Type::DictVectorizer(_)) => "dictVectorizer",
        Some(Type::Scaler(_)) => "scaler",
        Some(Type::CategoricalMapping(_)) => "categoricalMapping",
        Some(Type::Normalizer(_)) => "normalizer",
        Some(Type::ArrayFeatureExtractor(_)) => "arrayFeatureExtractor",
        Some(Type::NonMaximumSuppression(_)) => "nonMaximumSuppression",
        Some(Type::Identity(_)) => "identity",
        Some(Type::TextClassifier(_)) => "textClassifier",
        Some(Type::WordTagger(_)) => "wordTagger",
        Some(Type::VisionFeaturePrint(_)) => "visionFeaturePrint",
        Some(Type::SoundAnalysisPreprocessing(_)) => "soundAnalysisPreprocessing",
        Some(Type::Gazetteer(_)) => "gazetteer",
        Some(Type::WordEmbedding(_)) => "wordEmbedding",
        Some(Type::AudioFeaturePrint(_)) => "audioFeaturePrint",
        Some(Type::SerializedModel(_)) => "serializedModel",
    }
}

pub(super) fn metadata(message: proto::Metadata) -> super::ModelMetadata {
    super::ModelMetadata {
        author: message.author,
        license: message.license,
        version: message.version_string,
        description: message.short_description,
        user_defined: message.user_defined,
        ..Default::default()
    }
}

fn features(messages: &[proto::FeatureDescription]) -> Vec<Feature> {
    messages.iter().map(interface_feature).collect()
}

/// The interface in a description. With several functions, the default one is also the top level.
pub(super) fn interface(description: &proto::ModelDescription) -> Interface {
    let mut top = Interface {
        inputs: features(&description.input),
        outputs: features(&description.output),
        states: features(&description.state),
        ..Default::default()
    };
    for function in &description.functions {
        let interface = Interface {
            inputs: features(&function.input),
            outputs: features(&function.output),
            states: features(&function.state),
            ..Default::default()
        };
        top.functions.insert(function.name.clone(), interface);
    }
    promote_default(&mut top, &description.default_function_name);
    top
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feature(name: &str) -> proto::FeatureDescription {
        let array = proto::ArrayFeatureType { shape: vec![1, 3], data_type: 65568, ..Default::default() };
        let ty = Some(proto::feature_type::Type::MultiArrayType(array));
        proto::FeatureDescription {
            name: name.to_owned(),
            r#type: Some(proto::FeatureType { r#type: ty, is_optional: true }),
            ..Default::default()
        }
    }

    #[test]
    fn models_of_any_type_are_described() {
        let model = proto::Model {
            specification_version: 4,
            description: Some(proto::ModelDescription {
                input: vec![feature("x")],
                metadata: Some(proto::Metadata { author: "someone".to_owned(), ..Default::default() }),
                ..Default::default()
            }),
            r#type: Some(Type::NeuralNetwork(Bytes::from_static(b"\xff not decoded"))),
            ..Default::default()
        };
        let description = describe_specification(model.encode_to_vec().into()).unwrap();
        assert_eq!((description.model_type.as_str(), description.target), ("neuralNetwork", Some(Target::Ios15)));
        let input = &description.interface.inputs[0];
        assert_eq!((input.name.as_str(), input.dtype.as_str(), input.optional), ("x", "float32", true));
        assert_eq!(description.metadata.author, "someone");
    }

    #[test]
    fn the_default_function_is_the_top_level() {
        let function = |name: &str| proto::FunctionDescription {
            name: name.to_owned(),
            input: vec![feature(name)],
            ..Default::default()
        };
        let description = proto::ModelDescription {
            functions: vec![function("decode"), function("prefill")],
            default_function_name: "prefill".to_owned(),
            ..Default::default()
        };
        let interface = interface(&description);
        assert_eq!(interface.inputs[0].name, "prefill");
        assert_eq!(interface.functions.keys().collect::<Vec<_>>(), ["decode", "prefill"]);
        assert_eq!(interface.default_function.as_deref(), Some("prefill"));
    }

    #[test]
    fn what_is_no_model_is_refused() {
        let pointer = Bytes::from_static(b"version https://git-lfs.github.com/spec/v1\n");
        assert!(matches!(describe_specification(pointer), Err(CoreMlError::LfsPointer { .. })));
        let error = describe_specification(Bytes::from_static(b"\x0f\xff\xff")).unwrap_err();
        assert!(matches!(error, CoreMlError::Protobuf { .. }), "{error}");
    }
}
