//! `import`: bundles made elsewhere, found by a pattern. This file says which paths match and what they become; the walk over the file
//! system is the caller's.
//!
//! A pattern either has `{axis}` placeholders (beside `*` and `?`), and its bundles get ids as conversions do, or it is a glob
//! (`*`, `?`, `**`, `[abc]`, `{a,b}`), and ids come from the file names. Neither `*` nor a placeholder crosses a `/`.

use std::collections::{BTreeMap, BTreeSet};

use globset::{GlobBuilder, GlobMatcher};

use super::{
    axes::{Axes, Axis, Format, LENGTH_LIMIT, Precision, Size},
    compression::Compression,
    error::{ManifestError, Problem},
    reader::Place,
    release::BundleKind,
    variants::{Content, VariantPlan},
};
use crate::{
    base::{Target, meant},
    contract::{CacheForm, ImageLayout, LinearForm, LogitsForm},
};

/// A component made from bundles that exist.
#[derive(Debug, Clone)]
pub struct Import {
    /// Where they are.
    pub pattern: ImportPattern,
    /// Their deployment target, where the manifest says it.
    pub target: Option<Target>,
    /// What they become: packages can be compiled. Empty: they stay what they are.
    pub formats: Vec<Format>,
    /// Axes that the manifest says all of them have.
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
    /// The lowest target that loads it, as the bundle itself says, where it does.
    pub needs: Option<Target>,
}

impl FoundBundle {
    fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// What kind of bundle it is, by its name.
    pub fn kind(&self) -> BundleKind {
        BundleKind::of_file_name(self.file_name())
    }
}

/// Which paths an import means.
#[derive(Debug, Clone)]
pub struct ImportPattern {
    text: String,
    matcher: Matcher,
}

#[derive(Debug, Clone)]
enum Matcher {
    Glob(Box<GlobMatcher>),
    Placeholders(Vec<Token>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Literal(char),
    One,
    Many,
    Axis(Axis),
}

impl ImportPattern {
    /// Reads a pattern; the error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        // Comparing `./out/x` with `out/x` would miss.
        let text = text.trim_start_matches("./").trim_end_matches('/');
        if text.is_empty() || text.len() > 1024 || text.contains('\\') {
            return Err("expected 1 to 1024 bytes, with `/` between folders".to_owned());
        }
        let matcher = match placeholders(text)? {
            Some(tokens) => Matcher::Placeholders(tokens),
            None => {
                let glob = GlobBuilder::new(text).literal_separator(true).build().map_err(|e| e.kind().to_string())?;
                Matcher::Glob(Box::new(glob.compile_matcher()))
            }
        };
        Ok(Self { text: text.to_owned(), matcher })
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The axes that stand in the pattern.
    pub fn placeholders(&self) -> BTreeSet<Axis> {
        let axis = |token: &Token| if let Token::Axis(axis) = token { Some(*axis) } else { None };
        match &self.matcher {
            Matcher::Glob(_) => BTreeSet::new(),
            Matcher::Placeholders(tokens) => tokens.iter().filter_map(axis).collect(),
        }
    }

    /// The folder to walk: the components before the first one that is not plain text. Empty for the manifest's own folder; a pattern of
    /// plain text has its parent.
    pub fn root(&self) -> &str {
        let special = self.text.find(['*', '?', '[', '{']).unwrap_or(self.text.len());
        match self.text[..special].rfind('/') {
            None => "",
            Some(0) => "/",
            Some(slash) => &self.text[..slash],
        }
    }

    /// The values of the placeholders where `path` matches; a path whose text at a placeholder is no value of that axis does not.
    pub fn matches(&self, path: &str) -> Option<BTreeMap<Axis, String>> {
        match &self.matcher {
            Matcher::Glob(glob) => glob.is_match(path).then(BTreeMap::new),
            Matcher::Placeholders(tokens) => {
                let path: Vec<char> = path.chars().collect();
                let mut captured = BTreeMap::new();
                walk(tokens, &path, &mut captured).then_some(captured)
            }
        }
    }
}

/// The tokens of a pattern with placeholders; `None` where it has none.
fn placeholders(text: &str) -> Result<Option<Vec<Token>>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        tokens.push(match first {
            '{' => match rest.split_once('}') {
                Some((name, after)) if !name.contains(',') => {
                    rest = after;
                    Token::Axis(placeholder(name)?)
                }
                _ => Token::Literal('{'),
            },
            '*' => Token::Many,
            '?' => Token::One,
            literal => Token::Literal(literal),
        });
    }
    if !tokens.iter().any(|token| matches!(token, Token::Axis(_))) {
        return Ok(None);
    }
    let crossing = tokens.windows(2).any(|pair| pair == [Token::Many, Token::Many]);
    if crossing || tokens.iter().any(|token| matches!(token, Token::Literal('[' | ']' | '{' | '}'))) {
        return Err("`**`, `[...]` and `{a,b}` cannot stand beside placeholders".to_owned());
    }
    Ok(Some(tokens))
}

fn placeholder(name: &str) -> Result<Axis, String> {
    let allowed = || Axis::ALL.iter().filter(|axis| **axis != Axis::Format).map(|axis| axis.name());
    Axis::from_name(name).filter(|axis| *axis != Axis::Format).ok_or_else(|| match meant(name, allowed()) {
        Some(near) => format!("`{{{name}}}` is no axis: did you mean `{{{near}}}`?"),
        None => format!(
            "`{{{name}}}` is no axis: expected one of {}",
            allowed().map(|name| format!("`{{{name}}}`")).collect::<Vec<_>>().join(", ")
        ),
    })
}

/// Matches all of `path`, with every placeholder's shortest value first. Patterns are short and the user's own.
fn walk(tokens: &[Token], path: &[char], captured: &mut BTreeMap<Axis, String>) -> bool {
    let Some((token, tokens)) = tokens.split_first() else { return path.is_empty() };
    let reach = path.iter().position(|c| *c == '/').unwrap_or(path.len());
    match token {
        Token::Literal(literal) => path.first() == Some(literal) && walk(tokens, &path[1..], captured),
        Token::One => reach > 0 && walk(tokens, &path[1..], captured),
        Token::Many => (0..=reach).any(|end| walk(tokens, &path[end..], captured)),
        Token::Axis(axis) => (1..=reach).any(|end| {
            let Some(value) = captured_value(*axis, &path[..end].iter().collect::<String>()) else { return false };
            let before = captured.get(axis).cloned();
            if before.as_ref().is_some_and(|before| *before != value) {
                return false;
            }
            captured.insert(*axis, value);
            let matched = walk(tokens, &path[end..], captured);
            if !matched && before.is_none() {
                captured.remove(axis);
            }
            matched
        }),
    }
}

/// What stands in a path, as manifests spell it.
fn captured_value(axis: Axis, text: &str) -> Option<String> {
    let word = |known: Option<&'static str>| known.map(str::to_owned);
    match axis {
        Axis::Size => {
            let (width, height) = text.split_once('x').unwrap_or((text, text));
            Size::new(number(width)?, number(height)?).map(|size| size.to_string())
        }
        Axis::Sequence | Axis::EncoderSequence | Axis::Context => {
            number(text).filter(|n| (1..=LENGTH_LIMIT).contains(n)).map(|n| n.to_string())
        }
        Axis::Layout => word(ImageLayout::from_name(text).map(ImageLayout::name)),
        Axis::Linear => word(LinearForm::from_name(text).map(LinearForm::name)),
        Axis::Cache => word(CacheForm::from_name(text).map(CacheForm::name)),
        Axis::Logits => word(LogitsForm::from_name(text).map(LogitsForm::name)),
        Axis::IoPrecision | Axis::Precision => word(Precision::from_name(text).map(Precision::name)),
        Axis::Compress => text.parse().ok().or_else(|| Compression::from_id(text)).map(|compression: Compression| compression.to_string()),
        Axis::Target => text.parse::<Target>().ok().map(|target| target.to_string()),
        Axis::Format => None,
    }
}

/// Digits alone: no sign, no leading zero, so that equal values have equal texts.
fn number(text: &str) -> Option<u32> {
    let plain = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

impl Import {
    /// The variants that the bundles become, in the order of `found`; bundles that do not match the pattern are passed over. The target
    /// is the manifest's or the path's, else what the bundle itself says.
    ///
    /// # Errors
    /// When nothing matches, when a bundle needs a later OS than the manifest says, and for two bundles of one id.
    pub fn variants(&self, found: &[FoundBundle]) -> Result<Vec<VariantPlan>, ManifestError> {
        let mut plans: Vec<VariantPlan> = Vec::new();
        for bundle in found {
            let Some(captured) = self.pattern.matches(&bundle.path) else { continue };
            for kind in self.kinds(bundle)? {
                let plan = self.variant(bundle, captured.clone(), kind)?;
                if let Some(other) = plans.iter().find(|other| other.id == plan.id) {
                    let problem = Problem::SameId { id: plan.id.clone(), first: other.describe(), second: plan.describe() };
                    return Err(self.error(problem));
                }
                plans.push(plan);
            }
        }
        if plans.is_empty() {
            let problem = Problem::ImportsNothing { component: self.component.clone(), pattern: self.pattern.text.clone() };
            return Err(self.error(problem));
        }
        Ok(plans)
    }

    fn error(&self, problem: Problem) -> ManifestError {
        self.place.error(&self.file, problem)
    }

    /// What a bundle becomes.
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

    fn variant(&self, bundle: &FoundBundle, captured: BTreeMap<Axis, String>, kind: BundleKind) -> Result<VariantPlan, ManifestError> {
        let target = self.target_of(bundle, &captured)?;
        let parts = match captured.is_empty() {
            true => vec![undoubled(&self.stem(bundle.file_name(), bundle.kind()), target, kind).to_owned()],
            false => self.parts(&captured, target),
        };
        let axes = captured.into_iter().chain(self.stated.clone()).collect();
        let plan = VariantPlan::named(&self.component, parts, target, kind, Content::Imported { path: bundle.path.clone(), axes });
        let problem = || Problem::Id { component: self.component.clone(), id: plan.id.chars().take(300).collect() };
        if plan.is_file_name() { Ok(plan) } else { Err(self.error(problem())) }
    }

    fn target_of(&self, bundle: &FoundBundle, captured: &BTreeMap<Axis, String>) -> Result<Option<Target>, ManifestError> {
        let stated = self.target.or_else(|| captured.get(&Axis::Target)?.parse().ok());
        match (stated, bundle.needs) {
            (Some(stated), Some(needs)) if stated < needs => {
                Err(self.error(Problem::ImportTarget { component: self.component.clone(), path: bundle.path.clone(), stated, needs }))
            }
            (stated, needs) => Ok(stated.or(needs)),
        }
    }

    /// The file's stem as an id: lower case, every other character `-`.
    fn stem(&self, file_name: &str, kind: BundleKind) -> String {
        let stem = file_name.strip_suffix(kind.extension()).unwrap_or(file_name).to_lowercase();
        let stem: String = stem.chars().map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' }).collect();
        let stem = stem.trim_matches('-');
        if stem.is_empty() { self.component.clone() } else { stem.to_owned() }
    }

    /// The parts of an id that pattern and manifest name, in the order of all ids.
    fn parts(&self, captured: &BTreeMap<Axis, String>, target: Option<Target>) -> Vec<String> {
        let value = |axis: Axis| captured.get(&axis).or_else(|| self.stated.get(&axis));
        let unless = |axis: Axis, default: &str| value(axis).filter(|value| *value != default).cloned();
        let encoder = value(Axis::EncoderSequence).filter(|length| Some(*length) != value(Axis::Sequence));
        let precision = value(Axis::Precision).and_then(|name| Precision::from_name(name));
        let usual = precision.map(|precision| Axes::default_io(precision, target)).map_or("", Precision::name);
        let parts = [
            Some(self.component.clone()),
            value(Axis::Size).cloned(),
            value(Axis::Sequence).map(|length| format!("s{length}")),
            encoder.map(|length| format!("e{length}")),
            value(Axis::Context).map(|length| format!("c{length}")),
            unless(Axis::Layout, ImageLayout::default().name()),
            unless(Axis::Linear, LinearForm::default().name()),
            unless(Axis::Cache, CacheForm::default().name()),
            unless(Axis::Logits, LogitsForm::default().name()),
            unless(Axis::IoPrecision, usual).map(|precision| format!("io{precision}")),
            value(Axis::Precision).cloned(),
            value(Axis::Compress).and_then(|text| text.parse::<Compression>().ok()?.id()),
        ];
        parts.into_iter().flatten().collect()
    }
}

/// A stem without the target and the format that an id says after it anyway.
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
        let paths = ["out/ios18_768/decoder.mlmodelc", "out/ios18_768x1024/decoder.mlmodelc", "out/ios18_old/decoder.mlmodelc", "out/x"];
        assert_eq!(ids(keys, &paths), ["vendor-768-ios18-mlmodelc", "vendor-768x1024-ios18-mlmodelc"]);
        let plan = import(keys).unwrap().variants(&found(&paths)).unwrap().remove(1);
        assert_eq!((plan.name.as_str(), plan.kind, plan.target), ("vendor-768x1024-mlmodelc", BundleKind::MlModelC, Some(Target::Ios18)));
        assert_eq!(plan.axes_map(), BTreeMap::from([("size".to_owned(), "768x1024".to_owned())]));
    }

    #[test]
    fn placeholders_and_stated_axes_have_the_order_of_all_ids() {
        let keys = "import = \"{target}/s{sequence}-{compress}-{io-precision}.mlpackage\"\nlinear = \"conv\"\nprecision = \"float16\"";
        let paths = ["ios18/s64-palettize4-group16-float16.mlpackage", "ios16/s64-linear-int8-float32.mlpackage"];
        assert_eq!(
            ids(keys, &paths),
            ["vendor-s64-conv-float16-palettize4-group16-ios18", "vendor-s64-conv-iofloat32-float16-linear-int8-ios16"]
        );
    }

    #[test]
    fn globs_take_ids_from_file_names() {
        let paths = ["out/Decoder_768 v2.mlpackage", "out/deep/x.mlpackage", "out/LM.aimodel", "out/words.v1", "out/m.onnx"];
        assert_eq!(ids("import = \"out/*\"", &paths), ["decoder-768-v2", "lm-aimodel", "words-v1", "m-onnx"]);
        assert_eq!(ids("import = \"out/**/*.mlpackage\"\ntarget = \"iOS26\"", &paths), ["decoder-768-v2-ios26", "x-ios26"]);
        assert_eq!(ids("import = \"./out/{LM,m}.*\"", &paths), ["lm-aimodel", "m-onnx"]);
    }

    #[test]
    fn what_an_id_says_anyway_is_not_doubled() {
        let keys = "import = \"*\"\ntarget = \"macOS15\"";
        let paths =
            ["a_ios18.mlpackage", "b-mlmodelc.mlmodelc", "c-ios18-mlmodelc.mlmodelc", "d-mlmodelc-ios18.mlmodelc", "e_ios17.mlpackage"];
        let expected = ["a-ios18", "b-ios18-mlmodelc", "c-ios18-mlmodelc", "d-ios18-mlmodelc", "e-ios17-ios18"];
        assert_eq!(ids(keys, &paths), expected);
        assert_eq!(
            ids(keys, &["f-macOS15.mlpackage", "g-mlpackage.mlpackage", "ios18.mlpackage", "h-ios18-ios18.mlpackage"]),
            ["f-ios18", "g-ios18", "ios18-ios18", "h-ios18"]
        );
        let plans = import(keys).unwrap().variants(&found(&["c-ios18-mlmodelc.mlmodelc"])).unwrap();
        assert_eq!((plans[0].name.as_str(), plans[0].kind.file_name(&plans[0].id)), ("c-mlmodelc", "c-ios18.mlmodelc".to_owned()));
        assert_eq!(ids("import = \"*\"", &["a-ios18.onnx", "b-onnx.onnx"]), ["a-ios18-onnx", "b-onnx"]);
        let error = import(keys).unwrap().variants(&found(&["a.mlpackage", "a-ios18.mlpackage"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "x.toml:6:10: `a.mlpackage` of component `vendor` and `a-ios18.mlpackage` of component `vendor` both get the id `a-ios18`"
        );
    }

    #[test]
    fn targets_come_from_the_bundle_where_nothing_else_is_said() {
        let bundle = [FoundBundle { path: "a.mlpackage".to_owned(), needs: Some(Target::Ios17) }];
        let plan = import("import = \"a.mlpackage\"").unwrap().variants(&bundle).unwrap().remove(0);
        assert_eq!((plan.id.as_str(), plan.target), ("a-ios17", Some(Target::Ios17)));
        let error = import("import = \"a.mlpackage\"\ntarget = \"iOS16\"").unwrap().variants(&bundle).unwrap_err();
        assert_eq!(error.to_string(), "x.toml:6:10: component `vendor`: `a.mlpackage` needs iOS17, but the manifest says iOS16");
    }

    #[test]
    fn packages_can_be_compiled_and_nothing_else_can() {
        let both = "import = \"out/*\"\ntarget = \"iOS17\"\nformat = [\"mlpackage\", \"mlmodelc\"]";
        assert_eq!(ids(both, &["out/a.mlpackage"]), ["a-ios17", "a-ios17-mlmodelc"]);
        assert_eq!(ids("import = \"out/*\"\nformat = \"mlmodelc\"", &["out/a.mlpackage", "out/b.mlmodelc"]), ["a-mlmodelc", "b-mlmodelc"]);
        let error = import(both).unwrap().variants(&found(&["out/a.mlmodelc"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "x.toml:6:10: component `vendor`: `out/a.mlmodelc` cannot become a `mlpackage`: only a .mlpackage can become anything else, a .mlmodelc"
        );
        let error = import("import = \"x\"\nformat = \"onnx\"").unwrap_err();
        assert_eq!(error.to_string(), "x.toml:7:10: `format` is \"onnx\", expected `mlpackage` or `mlmodelc`");
    }

    #[test]
    fn what_cannot_be_imported_says_why() {
        let error = import("import = \"*/a.onnx\"").unwrap().variants(&found(&["x/a.onnx", "y/a.onnx"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "x.toml:6:10: `x/a.onnx` of component `vendor` and `y/a.onnx` of component `vendor` both get the id `a-onnx`"
        );
        let error = import("import = \"out/{size}.onnx\"").unwrap().variants(&found(&["out/x.onnx"])).unwrap_err();
        assert_eq!(error.to_string(), "x.toml:6:10: component `vendor`: nothing matches `out/{size}.onnx`");
        for (keys, expected) in [
            ("import = \"{sise}/x\"", "x.toml:6:10: `import` is `{sise}/x`: `{sise}` is no axis: did you mean `{size}`?"),
            ("import = \"{size}/**\"", "x.toml:6:10: `import` is `{size}/**`: `**`, `[...]` and `{a,b}` cannot stand beside placeholders"),
            ("import = \"{size}/x\"\nsize = 7", "x.toml:7:1: `import` is `{size}/x`: `size` stands in the pattern and beside it"),
            (
                "import = \"x/*\"\nsize = [768, 1024]",
                "x.toml:7:8: `size` is a list, expected the one value that all bundles of an import have",
            ),
            ("import = \"[\"", "x.toml:6:10: `import` is `[`: unclosed character class; missing ']'"),
        ] {
            assert_eq!(import(keys).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn the_walk_starts_where_the_plain_text_ends() {
        for (pattern, root) in [
            ("out/ios18_{size}/x.mlmodelc", "out"),
            ("../out/a/*.onnx", "../out/a"),
            ("*.onnx", ""),
            ("x.onnx", ""),
            ("a/b.onnx", "a"),
            ("/abs/{size}/x", "/abs"),
            ("/*", "/"),
        ] {
            assert_eq!(ImportPattern::parse(pattern).unwrap().root(), root, "{pattern}");
        }
    }

    #[test]
    fn a_placeholder_that_stands_twice_has_one_value() {
        let pattern = ImportPattern::parse("{size}/m{size}*.onnx").unwrap();
        assert!(pattern.matches("76/m768.onnx").is_some());
        assert!(pattern.matches("768/m768.onnx").is_some());
        assert!(pattern.matches("768/m512.onnx").is_none());
    }
}
