//! One `[[component]]` of a package manifest: a conversion with its axes, an import, or plain files.

mod keys;
mod read;

use std::collections::BTreeMap;

use super::{
    axes::{Axis, AxisLists, Format},
    error::{ManifestError, Problem},
    import::Import,
    reader::Place,
};
use crate::contract::{AttentionForm, CacheForm, Chunk, ChunkName, PictureRange};

pub(super) use keys::all as keys;
pub(super) use read::parse;

/// A part of a package that apps load by itself.
#[derive(Debug, Clone)]
pub struct Component {
    /// Its name, unique in the package, with which the ids of its variants start.
    pub name: String,
    /// Its source.
    pub kind: ComponentKind,
    file: String,
    place: Place,
    /// Where the value of `checkpoint`, `import` or `files` stands.
    source: Place,
}

/// Source of a component.
#[derive(Debug, Clone)]
pub enum ComponentKind {
    /// `checkpoint`: weights that are converted.
    Checkpoint(Box<Conversion>),
    /// `import`: bundles made elsewhere.
    Import(Box<Import>),
    /// `files`: plain files, by path relative to the manifest or by address on the Hub, which may be a glob. Plain
    /// names are unique.
    Files(Vec<String>),
}

/// How a checkpoint becomes bundles.
#[derive(Debug, Clone)]
pub struct Conversion {
    /// Folder, file or `hf://` address, as written; relative to the manifest.
    pub checkpoint: String,
    /// Which part of the architecture.
    pub part: Option<String>,
    /// The architecture, where no config.json names it.
    pub architecture: Option<String>,
    /// Keys of config.json to ignore.
    pub ignore_config: Vec<String>,
    /// Values of the axes.
    pub axes: AxisLists,
    /// Number of components that the layers are split into.
    pub chunks: Option<u32>,
    /// Which run of layers the component holds, if they are split.
    pub chunk: Option<Chunk>,
    /// Batch size; 1 by default.
    pub batch: u32,
    /// Operators of attention.
    pub attention: AttentionForm,
    /// Range of pictures.
    pub range: PictureRange,
    /// Whether pictures are clamped to their range.
    pub clamp: bool,
    /// Whether layers with a sliding window keep only the window in their cache.
    pub window_cache: bool,
    /// Whether tensors that several components use are stored in one separate weight file.
    pub shared: bool,
    /// Whether the shapes of one target are functions of one bundle.
    pub multifunction: bool,
    /// Excluded combinations.
    pub exclude: Vec<Exclusion>,
    pub(super) places: BTreeMap<&'static str, Place>,
}

/// An entry of `exclude`: excludes the combinations that have a listed value on every listed axis.
#[derive(Debug, Clone)]
pub struct Exclusion {
    /// Values by axis, spelled as [`Axes::value`](super::Axes::value) does.
    pub axes: BTreeMap<Axis, Vec<String>>,
    pub(super) place: Place,
}

impl Component {
    /// Number of components that its layers are split into; `None` if it stays whole.
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

    /// Checks keys that need or exclude each other in every combination.
    fn consistent(self) -> Result<Self, ManifestError> {
        let ComponentKind::Checkpoint(conversion) = &self.kind else { return Ok(self) };
        let has = |key: &str| conversion.places.contains_key(key);
        let place = |key: &str| conversion.places.get(key).copied();
        let needs = |key: &str, value: &str, needs: &'static str| {
            let problem = Problem::Needs { component: self.name.clone(), key: format!("{key}{value}"), needs };
            Err(self.error_at(place(key), problem))
        };
        if let (true, Some(second)) =
            (has("size"), ["sequence", "encoder-sequence", "context"].into_iter().find(|key| has(key)))
        {
            return Err(self
                .error_at(place(second), Problem::TwoShapes { component: self.name.clone(), first: "size", second }));
        }
        if has("encoder-sequence") && !has("sequence") {
            return needs("encoder-sequence", "", "sequence");
        }
        match conversion.axes.cache.iter().find(|cache| **cache != CacheForm::None) {
            Some(cache) if !has("context") => return needs("cache", &format!(" = \"{cache}\""), "context"),
            None if conversion.window_cache => return needs("window-cache", "", "cache"),
            None if has("context") => return needs("context", "", "cache"),
            _ => {}
        }
        if !has("target") && conversion.axes.format.iter().any(|format| *format != Format::Onnx) {
            return Err(self.error(Problem::MissingKey { table: format!("component `{}`", self.name), key: "target" }));
        }
        Ok(self)
    }

    /// Refuses keys that have no meaning for a part of an architecture; `honoured` lists those that have one.
    ///
    /// # Errors
    /// Names the first such key and its place in the manifest.
    pub fn refuse_all_but(
        &self,
        honoured: &[&'static str],
        architecture: &'static str,
        part: &str,
    ) -> Result<(), ManifestError> {
        let ComponentKind::Checkpoint(conversion) = &self.kind else { return Ok(()) };
        let without_meaning =
            |(key, _): &(&&'static str, &Place)| keys::is_for_architectures(key) && !honoured.contains(key);
        let first =
            conversion.places.iter().filter(without_meaning).min_by_key(|(_, place)| (place.line, place.column));
        let Some((&key, place)) = first else { return Ok(()) };
        let (component, part) = (self.name.clone(), part.to_owned());
        Err(place
            .error(&self.file, Problem::Unhonoured { component, key, architecture, part, known: honoured.to_vec() }))
    }

    /// Line and column, from 1, of a key's value; of the component's source if `key` is `None` or not in the manifest.
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
