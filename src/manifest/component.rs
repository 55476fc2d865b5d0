//! One `[[component]]` of a package manifest: a conversion with its axes, an import, or plain files.

use std::collections::BTreeMap;

use super::{
    axes::{Axis, Format, LENGTH_LIMIT, Precision, SIZE_LIMIT, Size},
    compression::Compression,
    error::{ManifestError, Problem},
    import::{Import, ImportPattern},
    reader::{Item, Place, Table},
};
use crate::{
    base::{HubUrl, PackageName, RelativePath, Target, TargetError, escaped_name, name_key},
    contract::{AttentionForm, CacheForm, Chunk, ChunkName, ImageLayout, LinearForm, LogitsForm, PictureRange},
};

/// Every key that some kind of component has.
pub(super) const KEYS: &[&str] = &[
    "name",
    "checkpoint",
    "import",
    "files",
    "part",
    "architecture",
    "ignore-config",
    "size",
    "sequence",
    "encoder-sequence",
    "context",
    "cache",
    "chunks",
    "linear",
    "logits",
    "attention",
    "range",
    "clamp",
    "window-cache",
    "batch",
    "shared",
    "multifunction",
    "layout",
    "precision",
    "io-precision",
    "target",
    "compress",
    "format",
    "exclude",
];

/// The keys whose meaning depends on the architecture.
const FAMILY_KEYS: &[&str] = &[
    "size",
    "sequence",
    "encoder-sequence",
    "context",
    "cache",
    "chunks",
    "linear",
    "logits",
    "attention",
    "range",
    "clamp",
    "window-cache",
    "layout",
];

/// What an imported bundle may be, or become.
const IMPORTED: &[Format] = &[Format::MlPackage, Format::MlModelC];

/// A part of a package that is loaded by itself.
#[derive(Debug, Clone)]
pub struct Component {
    /// Its name, unique in the package, with which the ids of its variants start.
    pub name: String,
    /// What it is made from.
    pub kind: ComponentKind,
    file: String,
    place: Place,
    /// Where the value of `checkpoint`, `import` or `files` stands.
    source: Place,
}

/// What a component is made from.
#[derive(Debug, Clone)]
pub enum ComponentKind {
    /// `checkpoint`: weights that are converted.
    Checkpoint(Box<Conversion>),
    /// `import`: bundles made elsewhere.
    Import(Box<Import>),
    /// `files`: plain files, by path relative to the manifest, or by address on the Hub, perhaps with a glob; the names of those without differ.
    Files(Vec<String>),
}

/// How a checkpoint becomes bundles. Lists are axes: never empty (unless said otherwise), without duplicates, in the manifest's order.
#[derive(Debug, Clone)]
pub struct Conversion {
    /// Folder, file or `hf://` address, as written; relative to the manifest.
    pub checkpoint: String,
    /// Which part of the architecture.
    pub part: Option<String>,
    /// The architecture, where no config.json names it.
    pub architecture: Option<String>,
    /// Keys of config.json that are left out of account.
    pub ignore_config: Vec<String>,
    /// Picture sizes; empty for models without.
    pub sizes: Vec<Size>,
    /// Input lengths; empty for models without.
    pub sequences: Vec<u32>,
    /// Lengths of the encoder side; empty: as `sequences`.
    pub encoder_sequences: Vec<u32>,
    /// Cache lengths; empty for models without.
    pub contexts: Vec<u32>,
    /// Orders of picture dimensions.
    pub layouts: Vec<ImageLayout>,
    /// Forms of matrix products.
    pub linears: Vec<LinearForm>,
    /// Places of the cache.
    pub caches: Vec<CacheForm>,
    /// Rows of logits.
    pub logits: Vec<LogitsForm>,
    /// Dtypes of inputs and outputs; empty: the default of each target.
    pub io_precisions: Vec<Precision>,
    /// Dtypes of weights and arithmetic.
    pub precisions: Vec<Precision>,
    /// Compressions of weights.
    pub compressions: Vec<Compression>,
    /// Deployment targets; empty only where every format is without target.
    pub targets: Vec<Target>,
    /// Bundle formats.
    pub formats: Vec<Format>,
    /// Number of bundles that the layers are split into.
    pub chunks: Option<u32>,
    /// Which of those bundles the component is, where the layers are split.
    pub chunk: Option<Chunk>,
    /// Batch size, 1 where nothing is said.
    pub batch: u32,
    /// How attention is written.
    pub attention: AttentionForm,
    /// Range of pictures.
    pub range: PictureRange,
    /// Whether pictures are cut off at the ends of their range.
    pub clamp: bool,
    /// Whether layers with a sliding window keep only the window in their cache.
    pub window_cache: bool,
    /// Whether tensors that several components use go into a weight file of their own.
    pub shared: bool,
    /// Whether the shapes of one target are functions of one bundle.
    pub multifunction: bool,
    /// Combinations that are left out.
    pub exclude: Vec<Exclusion>,
    pub(super) places: BTreeMap<&'static str, Place>,
}

/// An entry of `exclude`: leaves out the combinations that have one of the values on every axis named.
#[derive(Debug, Clone)]
pub struct Exclusion {
    /// Values by axis, spelled as [`Axes::value`](super::Axes::value) does.
    pub axes: BTreeMap<Axis, Vec<String>>,
    pub(super) place: Place,
}

impl Component {
    /// How many components its layers are split into; none where it stays whole.
    pub(super) fn split_count(&self) -> Option<u32> {
        match &self.kind {
            ComponentKind::Checkpoint(conversion) => conversion.chunks.filter(|count| *count > 1),
            ComponentKind::Import(_) | ComponentKind::Files(_) => None,
        }
    }

    /// A component for each run of its layers; `several` says that other components of the package are split, too.
    pub(super) fn split(&self, count: u32, several: bool) -> impl Iterator<Item = Self> {
        (1..=count).map(move |number| {
            let name = ChunkName::of(several.then_some(self.name.as_str()), number);
            let mut chunk = Self { name, ..self.clone() };
            if let ComponentKind::Checkpoint(conversion) = &mut chunk.kind {
                conversion.chunk = Some(Chunk { number, count });
            }
            chunk
        })
    }

    /// An error about the component as a whole.
    pub(super) fn error(&self, problem: Problem) -> ManifestError {
        self.place.error(&self.file, problem)
    }

    /// What keys ask of one another, whatever the combination.
    fn consistent(self) -> Result<Self, ManifestError> {
        let ComponentKind::Checkpoint(conversion) = &self.kind else { return Ok(self) };
        let has = |key: &str| conversion.places.contains_key(key);
        let place = |key: &str| conversion.places.get(key).copied();
        let needs = |key: &str, value: &str, needs: &'static str| {
            let problem = Problem::Needs { component: self.name.clone(), key: format!("{key}{value}"), needs };
            Err(self.error_at(place(key), problem))
        };
        if let (true, Some(second)) = (has("size"), ["sequence", "encoder-sequence", "context"].into_iter().find(|key| has(key))) {
            return Err(self.error_at(place(second), Problem::TwoShapes { component: self.name.clone(), first: "size", second }));
        }
        if has("encoder-sequence") && !has("sequence") {
            return needs("encoder-sequence", "", "sequence");
        }
        match conversion.caches.iter().find(|cache| **cache != CacheForm::None) {
            Some(cache) if !has("context") => return needs("cache", &format!(" = \"{cache}\""), "context"),
            None if conversion.window_cache => return needs("window-cache", "", "cache"),
            None if has("context") => return needs("context", "", "cache"),
            _ => {}
        }
        if conversion.targets.is_empty() && conversion.formats.iter().any(|format| *format != Format::Onnx) {
            return Err(self.error(Problem::MissingKey { table: format!("component `{}`", self.name), key: "target" }));
        }
        Ok(self)
    }

    /// Refuses keys that mean nothing for a part of an architecture; `honoured` are those that do.
    ///
    /// # Errors
    /// Names the first one, where it stands in the manifest.
    pub fn refuse_all_but(&self, honoured: &[&'static str], architecture: &'static str, part: &str) -> Result<(), ManifestError> {
        let ComponentKind::Checkpoint(conversion) = &self.kind else { return Ok(()) };
        let without_meaning = |(key, _): &(&&'static str, &Place)| FAMILY_KEYS.contains(key) && !honoured.contains(key);
        let first = conversion.places.iter().filter(without_meaning).min_by_key(|(_, place)| (place.line, place.column));
        let Some((&key, place)) = first else { return Ok(()) };
        let (component, part) = (self.name.clone(), part.to_owned());
        Err(place.error(&self.file, Problem::Unhonoured { component, key, architecture, part, known: honoured.to_vec() }))
    }

    /// Line and column, from 1, of a key's value; of the component's source where it has no such key, or none is asked for.
    pub fn place_of(&self, key: Option<&str>) -> (usize, usize) {
        let place = match &self.kind {
            ComponentKind::Checkpoint(conversion) => key.and_then(|key| conversion.places.get(key)),
            ComponentKind::Import(_) | ComponentKind::Files(_) => None,
        };
        let Place { line, column } = *place.unwrap_or(&self.source);
        (line, column)
    }

    /// An error at a place inside the component.
    pub(super) fn error_at(&self, place: Option<Place>, problem: Problem) -> ManifestError {
        place.unwrap_or(self.place).error(&self.file, problem)
    }
}

pub(super) fn parse(mut table: Table<'_>, file: &str) -> Result<Component, ManifestError> {
    let name = component_name(&table.need("name")?)?;
    table.relabel(format!("component `{name}`"));
    let place = table.place();
    let sources: Vec<Item<'_>> = ["checkpoint", "import", "files"].into_iter().filter_map(|key| table.take(key)).collect();
    let [source] = <[Item<'_>; 1]>::try_from(sources).map_err(|found| {
        let names = ["checkpoint", "import", "files"].into_iter().filter(|name| found.iter().any(|item| item.key == *name));
        let problem = Problem::Sources { component: name.clone(), found: names.collect() };
        found.last().map_or_else(|| table.error(problem.clone()), |item| item.key_error(problem.clone()))
    })?;
    let kind = match source.key.as_str() {
        "checkpoint" => ComponentKind::Checkpoint(Box::new(conversion(&name, &source, &mut table)?)),
        "import" => ComponentKind::Import(Box::new(import(&name, &source, &mut table, file)?)),
        _ => ComponentKind::Files(files(&source)?),
    };
    if let Some(item) = table.rest().first() {
        let source_key = ["checkpoint", "import", "files"].into_iter().find(|key| *key == source.key).unwrap_or("files");
        return Err(item.key_error(Problem::Unfit { component: name, key: item.key.clone(), source_key }));
    }
    Component { name, kind, file: file.to_owned(), place, source: source.place() }.consistent()
}

/// Components have the rules of packages, because ids start with them and become file names.
fn component_name(item: &Item<'_>) -> Result<String, ManifestError> {
    let expected = "1 to 64 characters of a-z, 0-9, `-`, `_` or `.`, starting with a letter or digit, and no reserved device name";
    let text = item.text(expected)?;
    let valid = text.parse::<PackageName>().is_ok() && text.parse::<RelativePath>().is_ok();
    if valid { Ok(text.to_owned()) } else { Err(item.unexpected(expected)) }
}

fn files(source: &Item<'_>) -> Result<Vec<String>, ManifestError> {
    let files = source.one_or_list(|item| {
        let text = item.text("a path, or a list of paths")?;
        if text.starts_with("hf://") && !is_file_of_the_hub(text) {
            return Err(
                item.unexpected("a path on this machine, or `hf://ORG/REPO[@REVISION]/PATH`, where `*` stands for any part of a name")
            );
        }
        Ok(text.to_owned())
    })?;
    let name = |file: &str| file.rsplit('/').next().unwrap_or(file).to_owned();
    let key = |file: &str| name_key(&name(file));
    // What globs of the Hub match is known when they are looked up.
    let plain = |file: &&String| !(file.starts_with("hf://") && file.contains(['*', '?', '[', '{']));
    let names: Vec<&String> = files.iter().filter(plain).collect();
    let clash = names.iter().enumerate().find(|(index, file)| names[..*index].iter().any(|other| key(other) == key(file)));
    match clash {
        Some((_, file)) => {
            Err(source
                .error(Problem::Duplicate { key: "files".to_owned(), value: format!("the file name `{}`", escaped_name(&name(file))) }))
        }
        None => Ok(files),
    }
}

/// Whether an address names files in a repository.
fn is_file_of_the_hub(text: &str) -> bool {
    HubUrl::parse(text).is_ok_and(|url| url.path().is_some_and(|path| globset::Glob::new(path).is_ok()))
}

fn import(component: &str, source: &Item<'_>, table: &mut Table<'_>, file: &str) -> Result<Import, ManifestError> {
    let text = source.text("a path with `{axis}` placeholders, or a glob")?;
    let pattern = ImportPattern::parse(text).map_err(|why| source.error(Problem::Pattern { pattern: text.to_owned(), why }))?;
    let target = table.take("target").map(|item| the_one(&item, target)).transpose()?;
    let formats = table.take("format").map(|item| item.one_or_list(|item| item.word(IMPORTED, Format::name))).transpose()?;
    let mut stated = BTreeMap::new();
    let described = Axis::ALL.iter().filter(|axis| !matches!(axis, Axis::Target | Axis::Format));
    for (axis, item) in described.filter_map(|axis| Some((*axis, table.take(axis.name())?))) {
        if pattern.placeholders().contains(&axis) {
            return Err(
                item.key_error(Problem::Pattern { pattern: text.to_owned(), why: format!("`{axis}` stands in the pattern and beside it") })
            );
        }
        stated.insert(axis, the_one(&item, |item| axis_value(axis, item))?);
    }
    if let (Some(_), true) = (target, pattern.placeholders().contains(&Axis::Target)) {
        return Err(
            source.error(Problem::Pattern { pattern: text.to_owned(), why: "`target` stands in the pattern and beside it".to_owned() })
        );
    }
    let formats = formats.unwrap_or_default();
    Ok(Import { component: component.to_owned(), pattern, target, formats, stated, file: file.to_owned(), place: source.place() })
}

/// The value that all bundles of an import have.
fn the_one<'t, T: PartialEq>(item: &Item<'t>, read: impl Fn(&Item<'t>) -> Result<T, ManifestError>) -> Result<T, ManifestError> {
    let values: [T; 1] =
        item.one_or_list(read)?.try_into().map_err(|_| item.unexpected("the one value that all bundles of an import have"))?;
    let [value] = values;
    Ok(value)
}

fn size(item: &Item<'_>) -> Result<Size, ManifestError> {
    let (width, height) = match item.pair(SIZE_LIMIT) {
        Some(pair) => pair?,
        None => item.number(SIZE_LIMIT).map(|side| (side, side))?,
    };
    Size::new(width, height).ok_or_else(|| item.unexpected(format!("a whole number from 1 to {SIZE_LIMIT}")))
}

fn length(item: &Item<'_>) -> Result<u32, ManifestError> {
    item.number(LENGTH_LIMIT)
}

fn target(item: &Item<'_>) -> Result<Target, ManifestError> {
    let names: Vec<String> = Target::all().map(|target| format!("`{target}`")).collect();
    let expected = format!("{}, or the same in another platform's versions, such as `macOS15`", names.join(", "));
    let text = item.text(&expected)?;
    let problem = |_| Problem::Value {
        key: item.key.clone(),
        found: format!("\"{text}\""),
        expected: expected.clone(),
        nearest: Target::meant(text),
    };
    text.parse().map_err(|error: TargetError| item.error(problem(error)))
}

fn compression(item: &Item<'_>) -> Result<Compression, ManifestError> {
    let expected = "`none`, `linear:int8`, `linear:int4:block=32`, `palettize:4`, `palettize:4:group=16`, `prune:0.5` or the like";
    item.parsed(expected, str::parse::<Compression>)
}

/// One value of `axis`, spelled as `Axes::value` spells it.
fn axis_value(axis: Axis, item: &Item<'_>) -> Result<String, ManifestError> {
    Ok(match axis {
        Axis::Size => size(item)?.to_string(),
        Axis::Sequence | Axis::EncoderSequence | Axis::Context => length(item)?.to_string(),
        Axis::Layout => item.word(ImageLayout::ALL, ImageLayout::name)?.to_string(),
        Axis::Linear => item.word(LinearForm::ALL, LinearForm::name)?.to_string(),
        Axis::Cache => item.word(CacheForm::ALL, CacheForm::name)?.to_string(),
        Axis::Logits => item.word(LogitsForm::ALL, LogitsForm::name)?.to_string(),
        Axis::IoPrecision | Axis::Precision => item.word(Precision::ALL, Precision::name)?.to_string(),
        Axis::Compress => compression(item)?.to_string(),
        Axis::Target => target(item)?.to_string(),
        Axis::Format => item.word(Format::ALL, Format::name)?.to_string(),
    })
}

fn exclusion(item: Item<'_>, component: &str) -> Result<Exclusion, ManifestError> {
    let known: Vec<&'static str> = Axis::ALL.iter().map(|axis| axis.name()).collect();
    let place = item.place();
    let mut table = item.clone().table(format!("`exclude` of component `{component}`"), &known)?;
    let mut axes = BTreeMap::new();
    for axis in Axis::ALL {
        if let Some(values) = table.take(axis.name()) {
            axes.insert(*axis, values.one_or_list(|value| axis_value(*axis, value))?);
        }
    }
    if axes.is_empty() { Err(item.unexpected("a table with at least one axis")) } else { Ok(Exclusion { axes, place }) }
}

/// Takes keys from a component's table and remembers where they stand.
struct Keys<'a, 't> {
    table: &'a mut Table<'t>,
    places: BTreeMap<&'static str, Place>,
}

impl<'t> Keys<'_, 't> {
    fn take(&mut self, key: &'static str) -> Option<Item<'t>> {
        let item = self.table.take(key)?;
        self.places.insert(key, item.place());
        Some(item)
    }

    fn list<T: PartialEq>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Item<'t>) -> Result<T, ManifestError>,
    ) -> Result<Vec<T>, ManifestError> {
        self.take(key).map_or(Ok(Vec::new()), |item| item.one_or_list(read))
    }

    fn words<T: Copy + PartialEq + Default>(
        &mut self,
        key: &'static str,
        words: &[T],
        name: impl Fn(T) -> &'static str,
    ) -> Result<Vec<T>, ManifestError> {
        let values = self.list(key, |item| item.word(words, &name))?;
        Ok(if values.is_empty() { vec![T::default()] } else { values })
    }

    fn one<T: Default>(&mut self, key: &'static str, read: impl Fn(&Item<'t>) -> Result<T, ManifestError>) -> Result<T, ManifestError> {
        self.take(key).map_or(Ok(T::default()), |item| read(&item))
    }

    fn text(&mut self, key: &'static str) -> Result<Option<String>, ManifestError> {
        self.one(key, |item| Ok(Some(item.text("a text")?.to_owned())))
    }
}

fn conversion(component: &str, source: &Item<'_>, table: &mut Table<'_>) -> Result<Conversion, ManifestError> {
    let checkpoint = source.text("a folder, a file or an `hf://` address")?.to_owned();
    let keys = &mut Keys { table, places: BTreeMap::new() };
    let mut compressions = keys.list("compress", compression)?;
    if compressions.is_empty() {
        compressions.push(Compression::None);
    }
    let exclude = keys.take("exclude").map_or(Ok(Vec::new()), |item| item.list("a list of tables such as `[{ target = \"iOS15\" }]`"))?;
    let mut conversion = Conversion {
        checkpoint,
        part: keys.text("part")?,
        architecture: keys.text("architecture")?,
        ignore_config: keys.list("ignore-config", |item| Ok(item.text("the name of a key of config.json")?.to_owned()))?,
        sizes: keys.list("size", size)?,
        sequences: keys.list("sequence", length)?,
        encoder_sequences: keys.list("encoder-sequence", length)?,
        contexts: keys.list("context", length)?,
        layouts: keys.words("layout", ImageLayout::ALL, ImageLayout::name)?,
        linears: keys.words("linear", LinearForm::ALL, LinearForm::name)?,
        caches: keys.words("cache", CacheForm::ALL, CacheForm::name)?,
        logits: keys.words("logits", LogitsForm::ALL, LogitsForm::name)?,
        io_precisions: keys.list("io-precision", |item| item.word(Precision::ALL, Precision::name))?,
        precisions: keys.words("precision", Precision::ALL, Precision::name)?,
        compressions,
        targets: keys.list("target", target)?,
        formats: keys.words("format", Format::ALL, Format::name)?,
        chunks: keys.one("chunks", |item| item.number(1024).map(Some))?,
        chunk: None,
        batch: keys.one("batch", |item| item.number(SIZE_LIMIT).map(Some))?.unwrap_or(1),
        attention: keys.one("attention", |item| item.word(AttentionForm::ALL, AttentionForm::name))?,
        range: keys.one("range", |item| item.word(PictureRange::ALL, PictureRange::name))?,
        clamp: keys.one("clamp", Item::boolean)?,
        window_cache: keys.one("window-cache", Item::boolean)?,
        shared: keys.one("shared", Item::boolean)?,
        multifunction: keys.one("multifunction", Item::boolean)?,
        exclude: exclude.into_iter().map(|item| exclusion(item, component)).collect::<Result<_, _>>()?,
        places: BTreeMap::new(),
    };
    conversion.places = std::mem::take(&mut keys.places);
    Ok(conversion)
}
