//! Names of bundles as files: extensions, and how ids become file names.

use super::release::BundleKind;
use crate::base::{RelativePath, name_key};

impl BundleKind {
    /// The extension of a placed bundle, with its dot; empty for plain files.
    pub fn extension(self) -> &'static str {
        match self {
            Self::MlPackage => ".mlpackage",
            Self::MlModelC => ".mlmodelc",
            Self::AiModel => ".aimodel",
            Self::Onnx => ".onnx",
            Self::Files => "",
        }
    }

    /// File name for an id or name. The extension replaces the format in it,
    /// e.g. `decoder-768-ios18.mlmodelc` for `decoder-768-ios18-mlmodelc`.
    pub fn file_name(self, name: &str) -> String {
        let stem = self
            .id_suffix()
            .and_then(|suffix| name.strip_suffix(suffix)?.strip_suffix('-'))
            .filter(|stem| !stem.is_empty());
        format!("{}{}", stem.unwrap_or(name), self.extension())
    }

    /// Whether an id or name makes a safe file name that does not start with a dot, as names of mlreg's own files do.
    pub(super) fn is_file_name(self, name: &str) -> bool {
        let is_safe = |file: &str| {
            !file.contains('/') && file.parse::<RelativePath>().is_ok() && !name_key(file).starts_with('.')
        };
        !name.is_empty() && is_safe(&self.file_name(name)) && is_safe(&format!("{name}{}", self.extension()))
    }

    /// The kind of a bundle by the extension of its file name; plain files for other extensions.
    pub fn of_file_name(file_name: &str) -> Self {
        let extended = [Self::MlPackage, Self::MlModelC, Self::AiModel, Self::Onnx];
        extended
            .into_iter()
            .find(|kind| file_name.len() > kind.extension().len() && file_name.ends_with(kind.extension()))
            .unwrap_or(Self::Files)
    }

    /// The suffix of ids for this kind.
    pub(super) fn id_suffix(self) -> Option<&'static str> {
        match self {
            Self::MlPackage | Self::Files => None,
            other => Some(&other.extension()[1..]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_come_from_file_names() {
        for (name, kind) in [
            ("a.mlpackage", BundleKind::MlPackage),
            ("a.mlmodelc", BundleKind::MlModelC),
            ("a.aimodel", BundleKind::AiModel),
            ("a.onnx", BundleKind::Onnx),
            (".onnx", BundleKind::Files),
            ("vocab", BundleKind::Files),
        ] {
            assert_eq!(BundleKind::of_file_name(name), kind, "{name}");
        }
    }
}
