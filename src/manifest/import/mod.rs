//! `import`: bundles made elsewhere, found by a pattern. This room decides which paths match and which variants they
//! become; the caller lists the files.
//!
//! A pattern either has `{axis}` placeholders (with `*` and `?`), and its bundles get ids like conversions, or it is a
//! glob (`*`, `?`, `**`, `[abc]`, `{a,b}`), and ids come from the file names. Neither `*` nor a placeholder crosses a
//! `/`.

mod pattern;

use std::collections::BTreeMap;

pub use pattern::ImportPattern;

use super::{
    axes::{Axis, Format, id_parts},
    error::{ManifestError, Problem},
    plan::{Content, VariantPlan},
    reader::Place,
    release::BundleKind,
};
use crate::base::Target;

/// A component made from bundles that exist.
#[derive(Debug, Clone)]
pub struct Import {
    /// Pattern of their paths.
    pub pattern: ImportPattern,
    /// Their deployment target, if the manifest names one.
    pub target: Option<Target>,
    /// Formats to produce: a package can be compiled. Empty: bundles keep their format.
    pub formats: Vec<Format>,
    /// Axes that the manifest gives for all of them.
    pub stated: BTreeMap<Axis, String>,
    pub(super) component: String,
    pub(super) file: String,
    pub(super) place: Place,
}

/// A bundle that matches an import's pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundBundle {
    /// Its path in the form of the pattern: relative to the manifest, or absolute; `/` between components.
    pub path: String,
    /// The lowest target that loads it, if the bundle itself declares one.
    pub needs: Option<Target>,
}

impl FoundBundle {
    fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// Kind of the bundle, by its file name.
    pub fn kind(&self) -> BundleKind {
        BundleKind::of_file_name(self.file_name())
    }
}

impl Import {
    /// The variants of the bundles, in the order of `found`; bundles that do not match the pattern are skipped. The
    /// target comes from the manifest or the path, else from the bundle itself.
    ///
    /// # Errors
    /// When nothing matches, a bundle needs a later OS than the manifest names, or two bundles get one id.
    pub fn variants(&self, found: &[FoundBundle]) -> Result<Vec<VariantPlan>, ManifestError> {
        let mut plans: Vec<VariantPlan> = Vec::new();
        for bundle in found {
            let Some(captured) = self.pattern.matches(&bundle.path) else { continue };
            for kind in self.kinds(bundle)? {
                let plan = self.variant(bundle, captured.clone(), kind)?;
                if let Some(other) = plans.iter().find(|other| other.id == plan.id) {
                    let problem =
                        Problem::SameId { id: plan.id.clone(), first: other.describe(), second: plan.describe() };
                    return Err(self.error(problem));
                }
                plans.push(plan);
            }
        }
        if plans.is_empty() {
            let problem = Problem::ImportsNothing {
                component: self.component.clone(),
                pattern: self.pattern.as_str().to_owned(),
            };
            return Err(self.error(problem));
        }
        Ok(plans)
    }

    fn error(&self, problem: Problem) -> ManifestError {
        self.place.error(&self.file, problem)
    }

    /// The kinds of bundle to produce.
    fn kinds(&self, bundle: &FoundBundle) -> Result<Vec<BundleKind>, ManifestError> {
        let own = bundle.kind();
        if self.formats.is_empty() {
            return Ok(vec![own]);
        }
        let becomes = |format: &Format| match format.kind() {
            kind if kind == own || (own, kind) == (BundleKind::MlPackage, BundleKind::MlModelC) => Ok(kind),
            _ => Err(self.error(Problem::ImportFormat {
                component: self.component.clone(),
                path: bundle.path.clone(),
                format: format.name(),
            })),
        };
        self.formats.iter().map(becomes).collect()
    }

    fn variant(
        &self,
        bundle: &FoundBundle,
        captured: BTreeMap<Axis, String>,
        kind: BundleKind,
    ) -> Result<VariantPlan, ManifestError> {
        let target = self.target_of(bundle, &captured)?;
        let parts = match captured.is_empty() {
            true => vec![undoubled(&self.stem(bundle.file_name(), bundle.kind()), target, kind).to_owned()],
            false => self.parts(&captured, target),
        };
        let axes = captured.into_iter().chain(self.stated.clone()).collect();
        let plan = VariantPlan::named(
            &self.component,
            parts,
            target,
            kind,
            Content::Imported { path: bundle.path.clone(), axes },
        );
        let problem = || Problem::Id { component: self.component.clone(), id: plan.id.chars().take(300).collect() };
        if plan.is_file_name() { Ok(plan) } else { Err(self.error(problem())) }
    }

    fn target_of(
        &self,
        bundle: &FoundBundle,
        captured: &BTreeMap<Axis, String>,
    ) -> Result<Option<Target>, ManifestError> {
        let stated = self.target.or_else(|| captured.get(&Axis::Target)?.parse().ok());
        match (stated, bundle.needs) {
            (Some(stated), Some(needs)) if stated < needs => Err(self.error(Problem::ImportTarget {
                component: self.component.clone(),
                path: bundle.path.clone(),
                stated,
                needs,
            })),
            (stated, needs) => Ok(stated.or(needs)),
        }
    }

    /// The file's stem as an id: lower case, every other character `-`.
    fn stem(&self, file_name: &str, kind: BundleKind) -> String {
        let stem = file_name.strip_suffix(kind.extension()).unwrap_or(file_name).to_lowercase();
        let stem: String =
            stem.chars().map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' }).collect();
        let stem = stem.trim_matches('-');
        if stem.is_empty() { self.component.clone() } else { stem.to_owned() }
    }

    /// The parts of an id that pattern and manifest give, in the order of all ids.
    fn parts(&self, captured: &BTreeMap<Axis, String>, target: Option<Target>) -> Vec<String> {
        let stated = |axis: Axis| captured.get(&axis).or_else(|| self.stated.get(&axis));
        let told = |axis: Axis| {
            stated(axis).filter(|length| axis != Axis::EncoderSequence || Some(*length) != stated(Axis::Sequence))
        };
        std::iter::once(self.component.clone()).chain(id_parts(|axis| told(axis).cloned(), target)).collect()
    }
}

/// A stem without a trailing target and format, which the id repeats at its end.
fn undoubled(mut stem: &str, target: Option<Target>, kind: BundleKind) -> &str {
    while let Some((rest, last)) = stem.rsplit_once('-').filter(|(rest, _)| !rest.is_empty()) {
        let is_target = target.is_some() && last.parse().ok() == target;
        if !is_target && kind.extension().strip_prefix('.') != Some(last) {
            break;
        }
        stem = rest.trim_end_matches('-');
    }
    stem
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{ComponentKind, PackageManifest};

    fn import(keys: &str) -> Result<Import, ManifestError> {
        let text = format!("[package]\nname = \"x\"\nversion = \"1.0.0\"\n[[component]]\nname = \"vendor\"\n{keys}");
        match PackageManifest::parse(&text, "x.toml")?.components.remove(0).kind {
            ComponentKind::Import(import) => Ok(*import),
            other => panic!("not an import: {other:?}"),
        }
    }

    fn found(paths: &[&str]) -> Vec<FoundBundle> {
        paths.iter().map(|path| FoundBundle { path: (*path).to_owned(), needs: None }).collect()
    }

    fn ids(keys: &str, paths: &[&str]) -> Vec<String> {
        import(keys).unwrap().variants(&found(paths)).unwrap().into_iter().map(|plan| plan.id).collect()
    }

    #[test]
    fn placeholders_become_axes() {
        let keys = "import = \"out/ios18_{size}/decoder.mlmodelc\"\ntarget = \"iOS18\"";
        let paths = [
            "out/ios18_768/decoder.mlmodelc",
            "out/ios18_768x1024/decoder.mlmodelc",
            "out/ios18_old/decoder.mlmodelc",
            "out/x",
        ];
        assert_eq!(ids(keys, &paths), ["vendor-768-ios18-mlmodelc", "vendor-768x1024-ios18-mlmodelc"]);
        let plan = import(keys).unwrap().variants(&found(&paths)).unwrap().remove(1);
        assert_eq!(
            (plan.name.as_str(), plan.kind, plan.target),
            ("vendor-768x1024-mlmodelc", BundleKind::MlModelC, Some(Target::Ios18))
        );
        assert_eq!(plan.axes_map(), BTreeMap::from([("size".to_owned(), "768x1024".to_owned())]));
    }

    #[test]
    fn placeholders_and_stated_axes_have_the_order_of_all_ids() {
        let keys = "import = \"{target}/s{sequence}-{compress}-{io-precision}.mlpackage\"\nlinear = \
             \"conv\"\nprecision = \"float16\"";
        let paths = ["ios18/s64-palettize4-group16-float16.mlpackage", "ios16/s64-linear-int8-float32.mlpackage"];
        assert_eq!(
            ids(keys, &paths),
            ["vendor-s64-conv-float16-palettize4-group16-ios18", "vendor-s64-conv-iofloat32-float16-linear-int8-ios16"]
        );
    }

    #[test]
    fn globs_take_ids_from_file_names() {
        let paths =
            ["out/Decoder_768 v2.mlpackage", "out/deep/x.mlpackage", "out/LM.aimodel", "out/words.v1", "out/m.onnx"];
        assert_eq!(ids("import = \"out/*\"", &paths), ["decoder-768-v2", "lm-aimodel", "words-v1", "m-onnx"]);
        assert_eq!(
            ids("import = \"out/**/*.mlpackage\"\ntarget = \"iOS26\"", &paths),
            ["decoder-768-v2-ios26", "x-ios26"]
        );
        assert_eq!(ids("import = \"./out/{LM,m}.*\"", &paths), ["lm-aimodel", "m-onnx"]);
    }

    #[test]
    fn what_an_id_says_anyway_is_not_doubled() {
        let keys = "import = \"*\"\ntarget = \"macOS15\"";
        let paths = [
            "a_ios18.mlpackage",
            "b-mlmodelc.mlmodelc",
            "c-ios18-mlmodelc.mlmodelc",
            "d-mlmodelc-ios18.mlmodelc",
            "e_ios17.mlpackage",
        ];
        let expected = ["a-ios18", "b-ios18-mlmodelc", "c-ios18-mlmodelc", "d-ios18-mlmodelc", "e-ios17-ios18"];
        assert_eq!(ids(keys, &paths), expected);
        assert_eq!(
            ids(keys, &["f-macOS15.mlpackage", "g-mlpackage.mlpackage", "ios18.mlpackage", "h-ios18-ios18.mlpackage"]),
            ["f-ios18", "g-ios18", "ios18-ios18", "h-ios18"]
        );
        let plans = import(keys).unwrap().variants(&found(&["c-ios18-mlmodelc.mlmodelc"])).unwrap();
        assert_eq!(
            (plans[0].name.as_str(), plans[0].kind.file_name(&plans[0].id)),
            ("c-mlmodelc", "c-ios18.mlmodelc".to_owned())
        );
        assert_eq!(ids("import = \"*\"", &["a-ios18.onnx", "b-onnx.onnx"]), ["a-ios18-onnx", "b-onnx"]);
        let error = import(keys).unwrap().variants(&found(&["a.mlpackage", "a-ios18.mlpackage"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "x.toml:6:10: `a.mlpackage` of component `vendor` and `a-ios18.mlpackage` of component `vendor` both get \
             the id `a-ios18`"
        );
    }

    #[test]
    fn targets_come_from_the_bundle_where_nothing_else_is_said() {
        let bundle = [FoundBundle { path: "a.mlpackage".to_owned(), needs: Some(Target::Ios17) }];
        let plan = import("import = \"a.mlpackage\"").unwrap().variants(&bundle).unwrap().remove(0);
        assert_eq!((plan.id.as_str(), plan.target), ("a-ios17", Some(Target::Ios17)));
        let error = import("import = \"a.mlpackage\"\ntarget = \"iOS16\"").unwrap().variants(&bundle).unwrap_err();
        assert_eq!(
            error.to_string(),
            "x.toml:6:10: component `vendor`: `a.mlpackage` needs iOS17, but the manifest says iOS16"
        );
    }

    #[test]
    fn packages_can_be_compiled_and_nothing_else_can() {
        let both = "import = \"out/*\"\ntarget = \"iOS17\"\nformat = [\"mlpackage\", \"mlmodelc\"]";
        assert_eq!(ids(both, &["out/a.mlpackage"]), ["a-ios17", "a-ios17-mlmodelc"]);
        assert_eq!(
            ids("import = \"out/*\"\nformat = \"mlmodelc\"", &["out/a.mlpackage", "out/b.mlmodelc"]),
            ["a-mlmodelc", "b-mlmodelc"]
        );
        let error = import(both).unwrap().variants(&found(&["out/a.mlmodelc"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "x.toml:6:10: component `vendor`: `out/a.mlmodelc` cannot become a `mlpackage`: only a .mlpackage can \
             become anything else, a .mlmodelc"
        );
        let error = import("import = \"x\"\nformat = \"onnx\"").unwrap_err();
        assert_eq!(error.to_string(), "x.toml:7:10: `format` is \"onnx\", expected `mlpackage` or `mlmodelc`");
    }

    #[test]
    fn what_cannot_be_imported_says_why() {
        let error = import("import = \"*/a.onnx\"").unwrap().variants(&found(&["x/a.onnx", "y/a.onnx"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "x.toml:6:10: `x/a.onnx` of component `vendor` and `y/a.onnx` of component `vendor` both get the id \
             `a-onnx`"
        );
        let error = import("import = \"out/{size}.onnx\"").unwrap().variants(&found(&["out/x.onnx"])).unwrap_err();
        assert_eq!(error.to_string(), "x.toml:6:10: component `vendor`: nothing matches `out/{size}.onnx`");
        for (keys, expected) in [
            (
                "import = \"{sise}/x\"",
                "x.toml:6:10: `import` is `{sise}/x`: `{sise}` is no axis: did you mean `{size}`?",
            ),
            (
                "import = \"{size}/**\"",
                "x.toml:6:10: `import` is `{size}/**`: `**`, `[...]` and `{a,b}` cannot stand beside placeholders",
            ),
            (
                "import = \"{size}/x\"\nsize = 7",
                "x.toml:7:1: `import` is `{size}/x`: `size` stands in the pattern and beside it",
            ),
            (
                "import = \"x/*\"\nsize = [768, 1024]",
                "x.toml:7:8: `size` is a list, expected the one value that all bundles of an import have",
            ),
            ("import = \"[\"", "x.toml:6:10: `import` is `[`: unclosed character class; missing ']'"),
        ] {
            assert_eq!(import(keys).unwrap_err().to_string(), expected);
        }
    }
}
