//! The app manifest, `mlreg.toml`: which packages, from where, which part of them, and how they are placed.
//!
//! ```toml
//! [defaults]                 # every key but `version` and `rename` of a package may stand here, too
//! target = "iOS17"
//! out = "Models"
//! [packages]
//! tae = { version = "1", from = ["https://models.acme.dev/registry", "../mirror"], tag = "preview" }
//! [xcode]                    # where `mlreg xcode` has put the files of a build phase, which it writes here
//! out = "Scripts"
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use crate::{
    base::{OsFloor, PackageName, Tag},
    fetch::{Layout, Wanted},
    manifest::{
        ManifestError, Problem, Requirement, VariantGlob,
        reader::{self, Item, Table},
        release::Delivery,
    },
    remote::RemoteUrl,
};

/// The name of an app manifest.
pub const MANIFEST_NAME: &str = "mlreg.toml";

const DEFAULTS: &[&str] = &["from", "variant", "component", "tag", "delivery", "target", "out", "layout"];
const PACKAGE: &[&str] =
    &["version", "from", "variant", "component", "tag", "delivery", "rename", "target", "out", "layout"];
const PHASE: &[&str] = &["out", "srcroot", "target"];
const FLOOR: &str = "an OS version such as \"iOS17\" or \"macOS14.2\"";
const LAYOUTS: &[Layout] = &[Layout::Linked, Layout::Shared, Layout::Copied];
const DELIVERIES: &[Delivery] = &[Delivery::Initial, Delivery::Prefetch, Delivery::OnDemand];

/// A parsed `mlreg.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppManifest {
    /// Every package, by name.
    pub packages: BTreeMap<PackageName, AppPackage>,
    /// The build phase of Xcode, where there is one.
    pub phase: Option<BuildPhase>,
}

/// Where the files of a build phase are, and what they were made for. Paths start at the manifest's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildPhase {
    /// The folder of the script and its lists.
    pub out: PathBuf,
    /// The folder of the Xcode project; none: the manifest's.
    pub project: Option<PathBuf>,
    /// The lowest OS; none: what the packages say.
    pub target: Option<OsFloor>,
}

/// What an app wants of a package; defaults are filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppPackage {
    /// Which versions will do.
    pub requirement: Requirement,
    /// Where it comes from: mirrors, in order; at least one.
    pub sources: Vec<Source>,
    /// Which part of it.
    pub wanted: Wanted,
    /// The lowest OS of the app; none: the build says it.
    pub target: Option<OsFloor>,
    /// Bundles are placed in `out/<package>`; relative to the manifest's folder.
    pub out: PathBuf,
    /// How bundles are placed.
    pub layout: Layout,
    /// Line of the package's key, from 1.
    pub line: usize,
    /// Column of the package's key in characters, from 1.
    pub column: usize,
}

/// A remote as the manifest names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What a lock says of it: the text of a folder as it was written, anything else without credentials.
    pub name: String,
    /// Where it is.
    pub url: RemoteUrl,
}

/// What a table says; `None` where it is silent.
#[derive(Debug, Clone, Default)]
struct Settings {
    sources: Option<Vec<Source>>,
    variants: Option<BTreeSet<String>>,
    components: Option<BTreeSet<String>>,
    tags: Option<BTreeSet<Tag>>,
    deliveries: Option<BTreeSet<Delivery>>,
    target: Option<OsFloor>,
    out: Option<PathBuf>,
    layout: Option<Layout>,
}

impl AppManifest {
    /// Reads an app manifest. `file` is its name in messages, `root` the folder where relative sources start.
    ///
    /// # Errors
    /// The first mistake, with line and column.
    pub fn parse(text: &str, file: &str, root: &Path) -> Result<Self, ManifestError> {
        let mut document = reader::parse(text, file, &["defaults", "packages", "xcode"])?;
        let defaults = match document.take("defaults") {
            Some(item) => Settings::read(&mut item.table("`[defaults]`".to_owned(), DEFAULTS)?, root)?,
            None => Settings::default(),
        };
        let packages = document.take("packages").map(|item| item.names("`[packages]`".to_owned())).transpose()?;
        let mut found = BTreeMap::new();
        for item in packages.map(Table::rest).unwrap_or_default() {
            let expected = "a package name of a-z, 0-9, `-`, `_` and `.`";
            let name: PackageName = item.key.parse().map_err(|_| {
                let found = format!("\"{}\"", item.key);
                item.key_error(Problem::Value {
                    key: "packages".to_owned(),
                    found,
                    expected: expected.to_owned(),
                    nearest: None,
                })
            })?;
            found.insert(name, package(item, &defaults, root)?);
        }
        let phase = document.take("xcode").map(|item| phase(item)).transpose()?;
        Ok(Self { packages: found, phase })
    }
}

fn phase(item: Item<'_>) -> Result<BuildPhase, ManifestError> {
    let mut table = item.table("`[xcode]`".to_owned(), PHASE)?;
    let mut folder = |key: &str| table.take(key).map(|item| item.text("a folder").map(PathBuf::from)).transpose();
    let (out, project) = (folder("out")?.unwrap_or_else(|| PathBuf::from("Scripts")), folder("srcroot")?);
    let target = table.take("target").map(|item| item.parsed(FLOOR, str::parse)).transpose()?;
    Ok(BuildPhase { out, project, target })
}

fn package(item: Item<'_>, defaults: &Settings, root: &Path) -> Result<AppPackage, ManifestError> {
    let (line, column) = item.key_place();
    let missing = item.error(Problem::MissingKey { table: format!("package `{}`", item.key), key: "from" });
    let mut requirement = Requirement::ANY;
    let (mut own, mut rename) = (Settings::default(), BTreeMap::new());
    if item.is_text() {
        requirement = version(&item)?;
    } else {
        let mut table = item.clone().table(format!("package `{}`", item.key), PACKAGE)?;
        own = Settings::read(&mut table, root)?;
        requirement = table.take("version").map_or(Ok(requirement), |item| version(&item))?;
        rename = table.take("rename").map_or_else(|| Ok(BTreeMap::new()), renames)?;
    }
    let Settings { sources, variants, components, tags, deliveries, target, out, layout } = own.or(defaults.clone());
    let wanted = Wanted {
        variants: variants.unwrap_or_default(),
        components: components.unwrap_or_default(),
        tags: tags.unwrap_or_default(),
        deliveries: deliveries.unwrap_or_default(),
        rename,
    };
    let (out, layout) = (out.unwrap_or_default(), layout.unwrap_or_default());
    Ok(AppPackage { requirement, sources: sources.ok_or(missing)?, wanted, target, out, layout, line, column })
}

fn version(item: &Item<'_>) -> Result<Requirement, ManifestError> {
    item.parsed("a version requirement such as \"1\", \"1.2.3\" or \">=1, <3\"", str::parse)
}

fn renames(item: Item<'_>) -> Result<BTreeMap<String, String>, ManifestError> {
    let names = item.names("`rename`".to_owned())?;
    names.rest().into_iter().map(|item| Ok((item.key.clone(), glob(&item)?))).collect()
}

/// A glob, as it was written.
fn glob(item: &Item<'_>) -> Result<String, ManifestError> {
    let text = item.text("a glob over variant ids such as \"decoder-768-*\"")?;
    match text.parse::<VariantGlob>() {
        Ok(_) => Ok(text.to_owned()),
        Err(glob) => Err(item.error(Problem::Glob { key: item.key.clone(), glob })),
    }
}

impl Settings {
    fn read(table: &mut Table<'_>, root: &Path) -> Result<Self, ManifestError> {
        Ok(Self {
            sources: table.take("from").map(|item| item.one_or_list(|item| source(item, root))).transpose()?,
            variants: set(table, "variant", glob)?,
            components: set(table, "component", |item| item.text("the name of a component").map(str::to_owned))?,
            tags: set(table, "tag", |item| item.parsed("a tag of a-z, 0-9, `-`, `_` and `.`", str::parse))?,
            deliveries: set(table, "delivery", |item| item.word(DELIVERIES, delivery_name))?,
            target: table.take("target").map(|item| item.parsed(FLOOR, str::parse)).transpose()?,
            out: table.take("out").map(|item| item.text("a folder").map(PathBuf::from)).transpose()?,
            layout: table.take("layout").map(|item| item.word(LAYOUTS, layout_name)).transpose()?,
        })
    }

    /// What `defaults` say where this is silent.
    fn or(self, defaults: Self) -> Self {
        Self {
            sources: self.sources.or(defaults.sources),
            variants: self.variants.or(defaults.variants),
            components: self.components.or(defaults.components),
            tags: self.tags.or(defaults.tags),
            deliveries: self.deliveries.or(defaults.deliveries),
            target: self.target.or(defaults.target),
            out: self.out.or(defaults.out),
            layout: self.layout.or(defaults.layout),
        }
    }
}

fn set<T: Ord>(
    table: &mut Table<'_>,
    key: &str,
    read: impl Fn(&Item<'_>) -> Result<T, ManifestError>,
) -> Result<Option<BTreeSet<T>>, ManifestError> {
    let read = |item: Item<'_>| Ok(item.one_or_list(&read)?.into_iter().collect());
    table.take(key).map(read).transpose()
}

fn source(item: &Item<'_>, root: &Path) -> Result<Source, ManifestError> {
    let expected = "the address of a remote: a folder, file:// or https://";
    let text = item.text(expected)?;
    let url = item.parsed(expected, |text| RemoteUrl::parse(text, root))?;
    let name = if url.as_folder().is_some() { text.to_owned() } else { url.to_string() };
    Ok(Source { name, url })
}

/// The word for a layout.
pub(super) fn layout_name(layout: Layout) -> &'static str {
    match layout {
        Layout::Linked => "linked",
        Layout::Shared => "shared",
        Layout::Copied => "copied",
    }
}

/// The word for a category.
pub(super) fn delivery_name(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::Initial => "initial",
        Delivery::Prefetch => "prefetch",
        Delivery::OnDemand => "on-demand",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<AppManifest, ManifestError> {
        AppManifest::parse(text, "mlreg.toml", Path::new("/app"))
    }

    fn error(text: &str) -> String {
        let error = parse(text).unwrap_err();
        let hint = error.hint().map(|hint| format!(" | {hint}")).unwrap_or_default();
        format!("{error}{hint}")
    }

    #[test]
    fn packages_take_what_they_do_not_say_from_the_defaults() {
        let text = "[defaults]\ntarget = \"iOS17.2\"\nout = \"Models\"\nlayout = \"shared\"\nfrom = \"../registry\"\n\
            [packages]\nminilm = \"0.3\"\ntae = { version = \"1\", from = [\"https://me:secret@host/r\", \"m\"], tag = \"preview\", out = \"M\", \
            rename = { Decoder = \"decoder-768-*\" } }\n";
        let manifest = parse(text).unwrap();
        let [minilm, tae] = manifest.packages.values().collect::<Vec<_>>().try_into().unwrap();
        assert_eq!((minilm.requirement.to_string().as_str(), minilm.sources[0].name.as_str()), ("^0.3", "../registry"));
        assert_eq!(minilm.sources[0].url, RemoteUrl::folder("/app/../registry"));
        assert_eq!((minilm.out.as_path(), minilm.layout, minilm.line), (Path::new("Models"), Layout::Shared, 7));
        let names: Vec<_> = tae.sources.iter().map(|source| source.name.as_str()).collect();
        assert_eq!((names, tae.out.as_path()), (vec!["https://host/r/", "m"], Path::new("M")));
        assert_eq!((tae.target.unwrap().to_string(), tae.wanted.tags.len()), ("iOS17.2".to_owned(), 1));
        assert_eq!(tae.wanted.rename["Decoder"], "decoder-768-*");
        assert!(parse("").unwrap().packages.is_empty());
    }

    #[test]
    fn a_build_phase_is_remembered() {
        let phase = |text: &str| parse(text).unwrap().phase;
        assert_eq!(phase(""), None);
        assert_eq!(phase("[xcode]\n"), Some(BuildPhase { out: "Scripts".into(), project: None, target: None }));
        let whole = phase("[xcode]\nout = \"S\"\nsrcroot = \"../App\"\ntarget = \"iOS17\"\n").unwrap();
        assert_eq!((whole.out.as_path(), whole.project.as_deref()), (Path::new("S"), Some(Path::new("../App"))));
        assert_eq!(whole.target.unwrap().to_string(), "iOS17");
        assert_eq!(
            error("[xcode]\nuot = \"S\""),
            "mlreg.toml:2:1: unknown key `uot` in `[xcode]` | did you mean `out`?"
        );
    }

    #[test]
    fn mistakes_have_their_place() {
        for (text, expected) in [
            ("[packages]\ntae = 1", "mlreg.toml:2:7: `tae` is 1, expected a table"),
            ("[packages]\ntae = \"1\"", "mlreg.toml:2:7: package `tae` has no `from`"),
            (
                "[packages]\nTae = \"1\"",
                "mlreg.toml:2:1: `packages` is \"Tae\", expected a package name of a-z, 0-9, `-`, `_` and `.`",
            ),
            (
                "[packages]\ntae = { from = \"r\", version = \"one\" }",
                "mlreg.toml:2:31: `version` is \"one\", expected a version requirement such as \"1\", \"1.2.3\" or \
                 \">=1, <3\"",
            ),
            ("[package]\n", "mlreg.toml:1:2: unknown key `package` in the manifest | did you mean `packages`?"),
            (
                "[packages.tae]\nfrom = \"r\"\nlayuot = \"linked\"",
                "mlreg.toml:3:1: unknown key `layuot` in package `tae` | did you mean `layout`?",
            ),
            (
                "[defaults]\ntarget = \"iOS\"",
                "mlreg.toml:2:10: `target` is \"iOS\", expected an OS version such as \"iOS17\" or \"macOS14.2\"",
            ),
            (
                "[defaults]\ndelivery = [\"inital\"]",
                "mlreg.toml:2:13: `delivery` is \"inital\", expected `initial`, `prefetch` or `on-demand` | did you \
                 mean `initial`?",
            ),
            (
                "[packages.tae]\nfrom = \"r\"\nvariant = \"a[\"",
                "mlreg.toml:3:11: `variant`: `a[` is not a glob: unclosed character class; missing ']'",
            ),
            ("[packages.tae]\nfrom = []", "mlreg.toml:2:8: `from` is an empty list: expected at least one value"),
        ] {
            assert_eq!(error(text), expected, "{text}");
        }
    }
}
