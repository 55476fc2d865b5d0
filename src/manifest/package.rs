//! Package manifests, `manifests/*.toml`. Parsing checks all that the file alone decides; whether the checkpoint has
//! the part, or Core ML can express the model, is checked by builds.

use std::collections::{BTreeMap, HashSet};

use super::{
    assign::{Assignment, Assignments},
    check::is_version_name,
    component::{self, Component},
    error::{ManifestError, Problem},
    plan::VariantPlan,
    reader::{self, Item, Place, Table},
};
use crate::base::PackageName;

/// A parsed package manifest.
#[derive(Debug, Clone)]
pub struct PackageManifest {
    /// The table `[package]`.
    pub package: PackageHeader,
    /// Every `[[component]]`, in the order of the file; names are unique. One with `chunks = n` is n components:
    /// `chunk-1`, `chunk-2` and so on, or `<component>-chunk-1` where several of the package are split.
    pub components: Vec<Component>,
    assignments: Assignments,
    file: String,
}

/// The table `[package]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageHeader {
    /// The package.
    pub name: PackageName,
    /// Its version.
    pub version: semver::Version,
    /// SPDX expression of the weights' licence.
    pub license: Option<String>,
    /// One sentence about the package.
    pub description: Option<String>,
    /// Who made the model, as Xcode shows it.
    pub author: Option<String>,
}

impl PackageManifest {
    /// Reads a package manifest; `file` is its name in messages.
    ///
    /// # Errors
    /// The first mistake, with line and column.
    pub fn parse(text: &str, file: &str) -> Result<Self, ManifestError> {
        let mut document = reader::parse(text, file, &["package", "component", "delivery", "tags"])?;
        let package = header(
            document
                .need("package")?
                .table("`[package]`".to_owned(), &["name", "version", "license", "description", "author"])?,
        )?;
        let components = match document.take("component") {
            Some(item) => components(&item, file)?,
            None => return Err(document.error(Problem::NoComponents)),
        };
        let assignments = Assignments::parse(document.take("delivery"), document.take("tags"))?;
        Ok(Self { package, components, assignments, file: file.to_owned() })
    }

    /// The variants of conversions and plain files, in the
    /// order of the file. Variants of imports depend on files: see [`Import::variants`](super::Import::variants).
    ///
    /// # Errors
    /// As [`Component::variants`].
    pub fn variants(&self) -> Result<Vec<VariantPlan>, ManifestError> {
        let plans: Result<Vec<_>, _> = self.components.iter().map(Component::variants).collect();
        Ok(plans?.into_iter().flatten().collect())
    }
}

impl PackageManifest {
    /// Delivery and tags of every variant, in the order of `plans`. `plans` has to contain all variants of the package,
    /// also those of imports.
    ///
    /// # Errors
    /// When two variants have one id, or a glob matches no variant.
    pub fn assign(&self, plans: &[VariantPlan]) -> Result<Vec<Assignment>, ManifestError> {
        self.check_ids(plans)?;
        self.assignments.of(plans, &self.file)
    }

    fn check_ids(&self, plans: &[VariantPlan]) -> Result<(), ManifestError> {
        let mut seen: BTreeMap<&str, &VariantPlan> = BTreeMap::new();
        for plan in plans {
            if let Some(first) = seen.insert(&plan.id, plan) {
                let problem = Problem::SameId { id: plan.id.clone(), first: first.describe(), second: plan.describe() };
                let component = self.components.iter().find(|component| component.name == plan.component);
                let top = Place { line: 1, column: 1 };
                return Err(match component {
                    Some(component) => component.error(problem),
                    None => top.error(&self.file, problem),
                });
            }
        }
        Ok(())
    }
}

fn version(text: &str) -> Result<semver::Version, String> {
    let version = semver::Version::parse(text).map_err(|error| error.to_string())?;
    if is_version_name(&version) { Ok(version) } else { Err("too long".to_owned()) }
}

fn header(mut table: Table<'_>) -> Result<PackageHeader, ManifestError> {
    let optional = |item: Option<Item<'_>>| item.map(|item| item.text("a text").map(str::to_owned)).transpose();
    let name =
        "1 to 64 characters of a-z, 0-9, `-`, `_` or `.`, starting with a letter or digit, and no reserved device name";
    Ok(PackageHeader {
        name: table.need("name")?.parsed(name, str::parse::<PackageName>)?,
        version: table.need("version")?.parsed("a semantic version such as \"1.0.0\"", version)?,
        license: optional(table.take("license"))?,
        description: optional(table.take("description"))?,
        author: optional(table.take("author"))?,
    })
}

fn components(item: &Item<'_>, file: &str) -> Result<Vec<Component>, ManifestError> {
    let mut components: Vec<Component> = Vec::new();
    if item.is_table() {
        return Err(
            item.key_error(Problem::Brackets { found: "[component]".to_owned(), expected: "[[component]]".to_owned() })
        );
    }
    for item in item.list("`[[component]]` tables")? {
        let component = component::parse(item.table("`[[component]]`".to_owned(), &component::keys())?, file)?;
        components.push(component);
    }
    check_names(&components)?;
    let components = split(components);
    check_names(&components)?;
    if components.is_empty() { Err(item.error(Problem::NoComponents)) } else { Ok(components) }
}

/// Replaces each component with `chunks = n` by n components.
fn split(components: Vec<Component>) -> Vec<Component> {
    let several = components.iter().filter_map(Component::split_count).count() > 1;
    let parts = |component: Component| match component.split_count() {
        Some(count) => component.split(count, several).collect(),
        None => vec![component],
    };
    components.into_iter().flat_map(parts).collect()
}

fn check_names(components: &[Component]) -> Result<(), ManifestError> {
    let mut names = HashSet::new();
    match components.iter().find(|component| !names.insert(&component.name)) {
        Some(component) => Err(component.error(Problem::DuplicateComponent { name: component.name.clone() })),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::manifest::{ComponentKind, Compression, Size};

    const HEAD: &str = "[package]\nname = \"tae\"\nversion = \"1.0.0\"\n\n[[component]]\nname = \"decoder\"\n";

    /// The error's text, and its hint behind a bar.
    fn error(text: &str) -> String {
        let error = PackageManifest::parse(text, "tae.toml")
            .map(|manifest| manifest.variants().map(|_| ()))
            .and_then(|result| result)
            .unwrap_err();
        error.hint().map_or_else(|| error.to_string(), |hint| format!("{error} | {hint}"))
    }

    #[test]
    fn a_complete_manifest() {
        let manifest =
            PackageManifest::parse(include_str!("../../manifests/flux_1_tae.toml"), "flux_1_tae.toml").unwrap();
        assert_eq!(manifest.package.name.as_str(), "flux-1-tae");
        assert_eq!(manifest.package.license.as_deref(), Some("MIT"));
        let ComponentKind::Checkpoint(conversion) = &manifest.components[0].kind else { panic!("a conversion") };
        assert_eq!(conversion.checkpoint, "../fixtures/taef1");
        assert_eq!(conversion.axes.size.len(), 6);
        assert_eq!(conversion.batch, 1);
        assert_eq!(manifest.variants().unwrap().len(), 12);
    }

    #[test]
    fn every_manifest_of_the_project_is_consistent() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests");
        let files = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "toml"));
        let mut count = 0;
        for path in files {
            let manifest =
                PackageManifest::parse(&fs::read_to_string(&path).unwrap(), &path.to_string_lossy()).unwrap();
            let plans = manifest.variants().unwrap();
            manifest.assign(&plans).unwrap();
            count += 1;
        }
        assert!(count >= 3, "found {count} manifests");
    }

    #[test]
    fn split_layers_are_components() {
        let names = |components: &str| {
            let text = HEAD.replace("[[component]]\nname = \"decoder\"\n", components);
            let manifest = PackageManifest::parse(&text, "tae.toml")?;
            Ok::<_, ManifestError>(manifest.components.into_iter().map(|component| component.name).collect::<Vec<_>>())
        };
        let lm = |name: &str, chunks: u32| {
            format!(
                "[[component]]\nname = \"{name}\"\ncheckpoint = \"x\"\nsequence = 8\ntarget = \"iOS18\"\nchunks = \
                 {chunks}\n"
            )
        };
        let files = "[[component]]\nname = \"chunk-2\"\nfiles = \"x\"\n";
        assert_eq!(names(&lm("lm", 3)).unwrap(), ["chunk-1", "chunk-2", "chunk-3"]);
        assert_eq!(names(&lm("lm", 1)).unwrap(), ["lm"]);
        assert_eq!(names(&(lm("lm", 2) + &lm("draft", 1))).unwrap(), ["chunk-1", "chunk-2", "draft"]);
        let both = ["lm-chunk-1", "lm-chunk-2", "draft-chunk-1", "draft-chunk-2"];
        assert_eq!(names(&(lm("lm", 2) + &lm("draft", 2))).unwrap(), both);
        assert_eq!(
            names(&(lm("lm", 2) + files)).unwrap_err().to_string(),
            "tae.toml:11:1: two components are called `chunk-2`"
        );
        let manifest =
            PackageManifest::parse(&(HEAD.to_owned() + "checkpoint = \"x\"\ntarget = \"iOS18\"\nchunks = 2"), "x")
                .unwrap();
        let plan = manifest.variants().unwrap().remove(1);
        assert_eq!((plan.id.as_str(), plan.component.as_str()), ("chunk-2-float16-ios18", "chunk-2"));
        assert_eq!((plan.axes_map()["chunk"].as_str(), plan.axes_map()["chunks"].as_str()), ("2", "2"));
    }

    #[test]
    fn every_key_is_read() {
        let text = HEAD.to_owned()
            + r#"
checkpoint = "hf://acme/model@main"
part = "decoder"
architecture = "t5"
sequence = [64, 128]
encoder-sequence = 128
context = 2048
cache = "state"
chunks = 4
linear = "conv"
logits = "last"
attention = "explicit"
range = "signed"
clamp = true
window-cache = true
batch = 2
shared = true
multifunction = true
layout = "nhwc"
precision = ["float16", "float32"]
io-precision = "float32"
target = "iOS18"
compress = ["none", "palettize:4:group=16"]
format = ["mlpackage", "mlmodelc"]
exclude = [{ precision = "float32", compress = "palettize:4:group=16" }]
"#;
        let manifest = PackageManifest::parse(&text, "tae.toml").unwrap();
        let ComponentKind::Checkpoint(conversion) = &manifest.components[0].kind else { panic!("a conversion") };
        assert_eq!(
            (conversion.chunks, conversion.batch, conversion.clamp, conversion.shared),
            (Some(4), 2, true, true)
        );
        assert_eq!(conversion.axes.compression, [Compression::None, "palettize:4:group=16".parse().unwrap()]);
        let ids: Vec<String> = manifest.variants().unwrap().into_iter().map(|plan| plan.id).collect();
        let start = "chunk-4-s64-e128-c2048+s128-c2048-nhwc-conv-state-last";
        let expected = [
            "iofloat32-float16-ios18",
            "iofloat32-float16-ios18-mlmodelc",
            "iofloat32-float16-palettize4-group16-ios18",
        ];
        for end in expected {
            assert!(ids.contains(&format!("{start}-{end}")), "{end} in {ids:?}");
        }
        assert_eq!(ids.len(), 4 * 6);
    }

    #[test]
    fn sizes_are_numbers_or_pairs() {
        let text = HEAD.to_owned() + "checkpoint = \"x\"\ntarget = \"iOS18\"\nsize = [768, [768, 1024]]\n";
        let manifest = PackageManifest::parse(&text, "tae.toml").unwrap();
        let ComponentKind::Checkpoint(conversion) = &manifest.components[0].kind else { panic!("a conversion") };
        assert_eq!(conversion.axes.size, [Size::new(768, 768), Size::new(768, 1024)]);
    }

    #[test]
    fn mistakes_of_the_file_say_place_key_and_expectation() {
        for (text, expected) in [
            ("[package", "tae.toml:1:9: not valid TOML: unclosed table, expected `]`"),
            ("", "tae.toml:1:1: the manifest has no `package`"),
            (
                "[package]\nname = \"tae\"\nversion = \"1.0.0\"\n[component]\nname = \"a\"",
                "tae.toml:4:2: `[component]` is a single table, expected `[[component]]` | a package has any number of \
                 components: \
                 write `[[component]]` above each of them",
            ),
            (
                "[package]\n[component]\nname = \"a\"\n\n[component]\nname = \"b\"",
                "tae.toml:5:2: `[component]` is a single table, expected `[[component]]` | a package has any number of \
                 components: \
                 write `[[component]]` above each of them",
            ),
            (
                "[[package]]\nname = \"tae\"",
                "tae.toml:1:3: `[[package]]` is a list of tables, expected `[package]` | there is one such table: \
                 write `[package]`",
            ),
            ("[package]\nname = \"a\"\nname = \"b\"", "tae.toml:3:1: not valid TOML: duplicate key"),
            ("[package]\nname = \"tae\"\n", "tae.toml:1:1: `[package]` has no `version`"),
            ("[package]\nname = \"tae\"\nversion = \"1.0.0\"", "tae.toml:1:1: the manifest has no `[[component]]`"),
            (
                "[package]\nname = \"Tae\"\nversion = \"1\"",
                "tae.toml:2:8: `name` is \"Tae\", expected 1 to 64 characters of a-z, 0-9, `-`, `_` or `.`, starting \
                 with a letter or digit, \
                 and no reserved device name",
            ),
            (
                "[package]\nname = \"tae\"\nversion = \"1\"",
                "tae.toml:3:11: `version` is \"1\", expected a semantic version such as \"1.0.0\"",
            ),
            (
                "[package]\nname = 7\nlicence = \"MIT\"",
                "tae.toml:3:1: unknown key `licence` in `[package]` | did you mean `license`?",
            ),
            (
                "[package]\nhomepage = \"x\"",
                "tae.toml:2:1: unknown key `homepage` in `[package]` | expected one of `name`, `version`, `license`, \
                 `description`, `author`",
            ),
        ] {
            assert_eq!(error(text), expected, "{text}");
        }
    }

    #[test]
    fn mistakes_of_a_component_say_place_key_and_expectation() {
        let cache = "cache = \"state\"\nsequence = 1\ncheckpoint = \"x\"\ntarget = \"iOS18\"";
        for (text, expected) in [
            (
                "files = \"x\"\nchekpoint = \"x\"",
                "tae.toml:8:1: unknown key `chekpoint` in `[[component]]` | did you mean `checkpoint`?",
            ),
            (
                "",
                "tae.toml:5:1: component `decoder` has no source: expected exactly one of `checkpoint`, `import` and \
                 `files`",
            ),
            (
                "checkpoint = \"x\"\nfiles = \"y\"",
                "tae.toml:8:1: component `decoder` has `checkpoint` and `files`: expected exactly one of `checkpoint`, \
                 `import` and `files`",
            ),
            (
                "files = \"x\"\nsize = 7",
                "tae.toml:8:1: `size` has no meaning for component `decoder`, which is made from `files`",
            ),
            (
                "import = \"x\"\nchunks = 4",
                "tae.toml:8:1: `chunks` has no meaning for component `decoder`, which is made from `import`",
            ),
            ("files = [\"a/x\", \"b/X\"]", "tae.toml:7:9: `files` has the file name `X` twice"),
            ("checkpoint = \"x\"", "tae.toml:5:1: component `decoder` has no `target`"),
            ("checkpoint = \"x\"\nlayout = \"nhcw\"", "tae.toml:8:10: `layout` is \"nhcw\", expected `nchw` or `nhwc`"),
            (
                "checkpoint = \"x\"\nprecision = [\"flaot16\"]",
                "tae.toml:8:14: `precision` is \"flaot16\", expected `float16` or `float32` | did you mean `float16`?",
            ),
            (
                "checkpoint = \"x\"\ntarget = [\"iOS15\", \"iOS19\"]",
                "tae.toml:8:20: `target` is \"iOS19\", expected `iOS15`, `iOS16`, `iOS17`, `iOS18`, `iOS26`, `iOS27`, \
                 or the same in another \
                 platform's versions, such as `macOS15` | did you mean `iOS18`?",
            ),
            ("checkpoint = \"x\"\nsize = 0", "tae.toml:8:8: `size` is 0, expected a whole number from 1 to 65536"),
            (
                "checkpoint = \"x\"\nsize = [[7, 8, 9]]",
                "tae.toml:8:9: `size` is a list, expected two whole numbers from 1 to 65536",
            ),
            ("checkpoint = \"x\"\nsize = []", "tae.toml:8:8: `size` is an empty list: expected at least one value"),
            ("checkpoint = \"x\"\nsize = [7, 8, 7]", "tae.toml:8:15: `size` has 7 twice"),
            (
                "checkpoint = \"x\"\ncompress = \"linear:int2\"",
                "tae.toml:8:12: `compress` is \"linear:int2\", expected `none`, `linear:int8`, `linear:int4:block=32`, \
                 `palettize:4`, \
                 `palettize:4:group=16`, `prune:0.5` or the like",
            ),
            ("checkpoint = \"x\"\nclamp = 1", "tae.toml:8:9: `clamp` is 1, expected `true` or `false`"),
            (cache, "tae.toml:7:9: component `decoder`: `cache = \"state\"` needs `context` beside it"),
            (
                "checkpoint = \"x\"\nsequence = 7\ncontext = 7\ntarget = \"iOS18\"",
                "tae.toml:9:11: component `decoder`: `context` needs `cache` beside it | add cache = \"state\" or \
                 cache = \"inputs\", or leave \
                 it out: without a cache every call sees `sequence` tokens",
            ),
            (
                "checkpoint = \"x\"\nsize = 7\ncontext = 7\ntarget = \"iOS18\"",
                "tae.toml:9:11: component `decoder` has `size`, an axis of image models, and `context`, an axis of \
                 text models",
            ),
            (
                "checkpoint = \"x\"\ntarget = \"iOS18\"\nexclude = [{ targt = \"iOS18\" }]",
                "tae.toml:9:14: unknown key `targt` in `exclude` of component `decoder` | did you mean `target`?",
            ),
            (
                "files = \"x\"\n[[component]]\nname = \"decoder\"\nfiles = \"y\"",
                "tae.toml:8:1: two components are called `decoder`",
            ),
        ] {
            assert_eq!(error(&format!("{HEAD}{text}")), expected, "{text}");
        }
    }

    #[test]
    fn columns_count_characters() {
        let text = "[package]\ndescription = \"größer\"\nname = \"tae\"\nversion = \"1.0.0\"\n[tags]\n\"ü\" = \
             []\n[[component]]\nname = \"é\"";
        assert!(error(text).starts_with("tae.toml:8:8: `name` is \"é\", expected"), "{}", error(text));
        let inline = "package = { description = \"größer\", name = 7, version = \"1.0.0\" }";
        assert!(error(inline).starts_with("tae.toml:1:44: `name` is 7"), "{}", error(inline));
    }

    #[test]
    fn the_book_lists_every_key_of_a_component() {
        let page = include_str!("../../docs/src/reference/manifest.md");
        let keys = component::keys();
        let missing: Vec<_> = keys.iter().filter(|key| !page.contains(&format!("`{key}`"))).collect();
        assert!(missing.is_empty(), "docs/src/reference/manifest.md lacks {missing:?}");
    }
}
