//! Pipelines: a model of several models, which run in sequence. Each part is a specification; their weight files lie in
//! one package.

use std::fmt;

use bytes::Bytes;
use prost::Message;

use crate::{
    emit::coreml::{CoreMlError, is_lfs_pointer},
    proto::coreml::{self as proto, model::Type},
};

/// Maximum number of parts.
const MOST_PARTS: usize = 1024;

/// A part of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartSource {
    /// Index and name.
    pub label: PartLabel,
    /// Its specification.
    pub specification: Bytes,
}

/// Names a part: `part 2, "decoder"`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartLabel {
    /// Index, from 0.
    pub index: usize,
    /// Its name; pipelines need not name their parts.
    pub name: String,
}

impl fmt::Display for PartLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "part {}", self.index + 1)?;
        if self.name.is_empty() { Ok(()) } else { write!(f, ", \"{}\"", self.name) }
    }
}

impl PartLabel {
    /// The same as the subject of a sentence, with the comma behind the name.
    pub(in crate::emit::coreml) fn subject(&self) -> String {
        format!("{self}{}", if self.name.is_empty() { "" } else { "," })
    }
}

/// The parts of a pipeline, pipeline classifier or pipeline regressor; `None` for other models.
///
/// # Errors
/// When the specification is damaged, or the pipeline has no parts or too many.
pub fn parts(specification: Bytes) -> Result<Option<Vec<PartSource>>, CoreMlError> {
    let damaged = |source| CoreMlError::Protobuf { what: "the pipeline", source };
    if is_lfs_pointer(&specification) {
        return Err(CoreMlError::LfsPointer { what: "the specification" });
    }
    let message = proto::Model::decode(specification)
        .map_err(|source| CoreMlError::Protobuf { what: "the specification", source })?;
    let pipeline = match message.r#type {
        Some(Type::Pipeline(bytes)) => Some(proto::Pipeline::decode(bytes).map_err(damaged)?),
        Some(Type::PipelineClassifier(bytes)) => proto::PipelineClassifier::decode(bytes).map_err(damaged)?.pipeline,
        Some(Type::PipelineRegressor(bytes)) => proto::PipelineRegressor::decode(bytes).map_err(damaged)?.pipeline,
        _ => return Ok(None),
    };
    let proto::Pipeline { models, names } = pipeline.unwrap_or_default();
    if models.is_empty() || models.len() > MOST_PARTS {
        return Err(CoreMlError::Parts { found: models.len(), limit: MOST_PARTS });
    }
    let mut names = names.into_iter();
    let part = |(index, specification)| PartSource {
        label: PartLabel { index, name: names.next().unwrap_or_default() },
        specification,
    };
    Ok(Some(models.into_iter().enumerate().map(part).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(ty: Type) -> Bytes {
        proto::Model { specification_version: 7, r#type: Some(ty), ..Default::default() }.encode_to_vec().into()
    }

    fn pipeline(names: &[&str]) -> proto::Pipeline {
        let models = vec![model(Type::NonMaximumSuppression(Bytes::new())), model(Type::MlProgram(Bytes::new()))];
        proto::Pipeline { models, names: names.iter().map(|name| (*name).to_owned()).collect() }
    }

    #[test]
    fn every_kind_of_pipeline_has_parts() {
        let bytes = |pipeline: &proto::Pipeline| Bytes::from(pipeline.encode_to_vec());
        let one = pipeline(&["nms", "net"]);
        let classifier = proto::PipelineClassifier { pipeline: Some(one.clone()) }.encode_to_vec();
        let regressor = proto::PipelineRegressor { pipeline: Some(one.clone()) }.encode_to_vec();
        for ty in [
            Type::Pipeline(bytes(&one)),
            Type::PipelineClassifier(classifier.into()),
            Type::PipelineRegressor(regressor.into()),
        ] {
            let parts = parts(model(ty)).unwrap().unwrap();
            assert_eq!(
                parts.iter().map(|part| part.label.to_string()).collect::<Vec<_>>(),
                ["part 1, \"nms\"", "part 2, \"net\""]
            );
            assert_eq!(parts[0].specification, one.models[0]);
        }
        let unnamed = parts(model(Type::Pipeline(bytes(&pipeline(&["nms"]))))).unwrap().unwrap();
        assert_eq!(
            (unnamed[1].label.to_string(), unnamed[1].label.subject()),
            ("part 2".to_owned(), "part 2".to_owned())
        );
        assert_eq!(unnamed[0].label.subject(), "part 1, \"nms\",");
    }

    #[test]
    fn what_is_no_pipeline_is_told_from_what_is_damaged() {
        assert_eq!(parts(model(Type::MlProgram(Bytes::new()))).unwrap(), None);
        assert!(matches!(parts(model(Type::Pipeline(Bytes::new()))), Err(CoreMlError::Parts { found: 0, .. })));
        assert!(matches!(
            parts(model(Type::PipelineRegressor(Bytes::new()))),
            Err(CoreMlError::Parts { found: 0, .. })
        ));
        let many = proto::Pipeline { models: vec![Bytes::new(); MOST_PARTS + 1], names: Vec::new() };
        assert!(matches!(parts(model(Type::Pipeline(many.encode_to_vec().into()))), Err(CoreMlError::Parts { .. })));
        assert!(matches!(
            parts(model(Type::Pipeline(Bytes::from_static(b"\x0a\xff")))),
            Err(CoreMlError::Protobuf { .. })
        ));
        assert!(matches!(parts(Bytes::from_static(b"version https://git-lfs")), Err(CoreMlError::LfsPointer { .. })));
    }
}
