//! The front end of checkpoints: an architecture reads the tensors and documents of a checkpoint, on this machine or on
//! the Hub.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    slice,
    sync::Arc,
};

use serde_json::Value as Json;

use super::{
    ComponentSource, FrontEnd, Model,
    model::{CheckpointModel, data_type},
};
use crate::{
    arch::{self, ArchError, Architecture, Config, Documents, LoadOptions, Network, Quantization, STAND_IN},
    base::{Digest, Target},
    checkpoint::{Checkpoint, CheckpointError, Weights},
    contract::notes::{self, IgnoredConfig},
    manifest::{
        self, Axes, Axis,
        release::{Other, Source},
    },
    store::StoreError,
    workflow::{
        Error,
        build::{
            BuildWarning,
            error::BuildError,
            hashing::{FileDigest, Hashing},
            hub::{self, HubCheckpoint},
        },
    },
};

/// A checkpoint and the architecture that reads it.
pub(super) struct CheckpointFrontEnd<'a> {
    component: &'a str,
    settings: &'a manifest::Conversion,
    path: PathBuf,
    architecture: &'static dyn Architecture,
    checkpoint: Checkpoint,
    /// The repository of the checkpoint, where it lies on the Hub.
    hub: Option<HubCheckpoint>,
    documents: Documents,
    files: Vec<String>,
    digests: BTreeMap<String, FileDigest>,
}

impl<'a> CheckpointFrontEnd<'a> {
    /// Finds the checkpoint, architecture and weight files of a component.
    pub(super) fn open(source: ComponentSource<'_, 'a>) -> Result<Self, Error> {
        let ComponentSource { context, hashing, folder, component: declared, settings } = source;
        let component = declared.name.as_str();
        let hub = hub::address(&settings.checkpoint)
            .transpose()?
            .map(|url| HubCheckpoint::open(context, &url))
            .transpose()?;
        let path = hub.as_ref().map_or_else(|| folder.join(&settings.checkpoint), |hub| hub.path().to_owned());
        let in_checkpoint = |source| BuildError::Checkpoint { component: component.to_owned(), source };
        let in_architecture =
            |source| BuildError::Architecture { component: component.to_owned(), checkpoint: path.clone(), source };
        let checkpoint = Checkpoint::open(&path).map_err(in_checkpoint)?;
        let architecture = architecture(settings, &checkpoint).map_err(in_architecture)?;
        let ignored: BTreeSet<String> = settings.ignore_config.iter().cloned().collect();
        account(&checkpoint, architecture, &ignored).map_err(in_architecture)?;
        let part = part(component, settings, architecture, checkpoint.config());
        // A part that the architecture does not have is refused where it is read.
        if let Some(part) = part.as_deref().filter(|part| architecture.parts().contains(part)) {
            let honoured = architecture.component_keys(Some(part));
            declared.refuse_all_but(honoured, architecture.name(), part).map_err(BuildError::from)?;
        }
        if let (Some(hub), None) = (&hub, architecture.weight_files(checkpoint.weight_files(), part.as_deref()))
            && let Err(CheckpointError::Ambiguous { candidates, .. }) = checkpoint.default_files()
        {
            hub.peek(&candidates)?;
        }
        let mut files = weight_files(&checkpoint, architecture, part.as_deref()).map_err(in_checkpoint)?;
        let documents = Documents { ignored, ..documents(&checkpoint, hub.as_ref(), architecture, &in_checkpoint)? };
        for places in architecture.module_files(&documents, part.as_deref()) {
            files.extend(module_file(&checkpoint, hub.as_ref(), places)?);
        }
        let used = checkpoint.used_files(&files).map_err(in_checkpoint)?;
        let mut digests = weight_digests(&checkpoint, hub.as_ref(), hashing, &used)?;
        for name in documents.others.keys() {
            digests.insert(name.clone(), hashing.digest(&checkpoint.path(name))?);
        }
        Ok(Self { component, settings, path, architecture, checkpoint, hub, documents, files, digests })
    }

    /// The checkpoint's statement that its weights are not trained ones, where it makes one.
    fn stand_in(&self) -> Option<String> {
        self.documents.config.as_ref()?.get(STAND_IN)?.as_str().map(str::to_owned)
    }

    /// A warning where the component asks for longer texts than the model was trained for.
    fn length_warning(&self) -> Option<BuildWarning> {
        let config = Config::of(&self.documents, self.architecture).ok()?;
        let trained = self.architecture.trained_positions(config).ok()??;
        let longest = |axis: Axis| Some((axis.name(), self.settings.axes.longest(axis)?));
        let (key, longest) = longest(Axis::Context).or_else(|| longest(Axis::Sequence))?;
        if u64::from(longest) <= trained {
            return None;
        }
        Some(BuildWarning {
            component: self.component.to_owned(),
            rule: "beyond-training",
            variants: Vec::new(),
            text: format!(
                "{key} = {longest} is longer than the {trained} positions that the model was trained for: numbers \
                 beyond are a guess"
            ),
            advice: None,
        })
    }

    fn options(&self, axes: &Axes) -> LoadOptions {
        let settings = self.settings;
        let lengths = [Axis::Sequence, Axis::EncoderSequence, Axis::Context].map(|axis| settings.axes.longest(axis));
        LoadOptions {
            part: self.part(),
            compute: data_type(axes.precision),
            range: settings.range,
            clamp: settings.clamp,
            positions: lengths.into_iter().flatten().max().unwrap_or(0).into(),
            longest: settings.axes.longest(Axis::Sequence).unwrap_or(0).into(),
            cache: axes.cache,
            window_cache: settings.window_cache,
            chunk: axes.chunk,
            several_functions: axes.target.is_some_and(|target| target >= Target::Ios18),
        }
    }

    fn network(&self, options: &LoadOptions) -> Result<(Network, Arc<dyn Weights>), Error> {
        let weights = match &self.hub {
            Some(hub) => hub.weights(&self.checkpoint, &self.files)?,
            None => self.checkpoint.weights(&self.files),
        };
        let weights =
            weights.map_err(|source| BuildError::Checkpoint { component: self.component.to_owned(), source })?;
        let mut network =
            self.architecture.load(&self.documents, &weights, options).map_err(|source| self.refused(source))?;
        if !self.documents.ignored.is_empty() {
            let keys = self.documents.ignored.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            network.notes.add(&IgnoredConfig(keys));
        }
        if let Some(quantization) =
            self.documents.config.as_ref().and_then(Quantization::of).filter(Quantization::is_read)
        {
            let note = format!(
                "the checkpoint is quantized ({}); weights here are the numbers that it stands for",
                quantization.describe()
            );
            network.notes.add(&notes::Quantization(note));
        }
        Ok((network, weights))
    }

    fn refused(&self, source: ArchError) -> BuildError {
        BuildError::Architecture { component: self.component.to_owned(), checkpoint: self.path.clone(), source }
    }

    fn part(&self) -> Option<String> {
        part(self.component, self.settings, self.architecture, self.documents.config.as_ref())
    }
}

impl FrontEnd for CheckpointFrontEnd<'_> {
    fn source(&self) -> Result<Source, StoreError> {
        Ok(Source {
            architecture: Some(self.architecture.name().to_owned()),
            files: self.digests()?,
            repository: self.hub.as_ref().map(|hub| hub.repository().to_owned()),
            revision: self.hub.as_ref().map(|hub| hub.commit().to_owned()),
            more: Vec::new(),
            stand_in: self.stand_in(),
            ignored_config: self.documents.ignored.clone(),
            other: Other::default(),
        })
    }

    fn warnings(&self) -> Vec<BuildWarning> {
        let other =
            self.architecture.other_part(&self.documents, self.part().as_deref()).map(|(text, advice)| BuildWarning {
                component: self.component.to_owned(),
                rule: "sentence-encoder",
                variants: Vec::new(),
                text: text.to_owned(),
                advice: Some(advice),
            });
        self.length_warning().into_iter().chain(other).collect()
    }

    fn digests(&self) -> Result<BTreeMap<String, Digest>, StoreError> {
        self.digests.iter().map(|(name, digest)| Ok((name.clone(), digest.get()?))).collect()
    }

    fn is_hashed(&self) -> bool {
        self.digests.values().all(FileDigest::is_known)
    }

    fn feed(&self, feed: &mut dyn FnMut(&[u8])) -> Result<(), StoreError> {
        if let Some(hub) = &self.hub {
            feed(hub.repository().as_bytes());
            feed(hub.commit().as_bytes());
        }
        for (name, digest) in self.digests()? {
            feed(name.as_bytes());
            feed(digest.as_bytes());
        }
        Ok(())
    }

    fn is_same_model(&self, one: &Axes, other: &Axes) -> bool {
        self.options(one) == self.options(other)
    }

    fn load(&self, axes: &Axes) -> Result<Box<dyn Model + '_>, Error> {
        let (network, weights) = self.network(&self.options(axes))?;
        let Self { component, settings, architecture, .. } = *self;
        Ok(Box::new(CheckpointModel { component, settings, architecture, network, weights }))
    }
}

/// The architecture that the manifest names, else the one that config.json describes.
fn architecture(
    settings: &manifest::Conversion,
    checkpoint: &Checkpoint,
) -> Result<&'static dyn Architecture, ArchError> {
    match &settings.architecture {
        Some(name) => arch::find(name),
        None => arch::detect(checkpoint.config()),
    }
}

/// Digests of the files of weights, by their names in the checkpoint: what the Hub lists, else computed.
fn weight_digests(
    checkpoint: &Checkpoint,
    hub: Option<&HubCheckpoint>,
    hashing: &Hashing,
    files: &[PathBuf],
) -> Result<BTreeMap<String, FileDigest>, StoreError> {
    let base = checkpoint.path("");
    let mut digests = BTreeMap::new();
    for file in files {
        let name = file.strip_prefix(&base).unwrap_or(file).to_string_lossy().replace('\\', "/");
        // A missing file is reported, with its name, where it is read.
        let digest = match hub.and_then(|hub| hub.digest(&name)) {
            Some(known) => FileDigest::Known(known),
            None => hashing.digest(file)?,
        };
        digests.insert(name, digest);
    }
    Ok(digests)
}

/// The part of the architecture: what the manifest says, or the config, or the component's own name, or the usual one.
fn part(
    component: &str,
    settings: &manifest::Conversion,
    architecture: &dyn Architecture,
    config: Option<&Json>,
) -> Option<String> {
    let named = || architecture.parts().iter().copied().find(|part| *part == component);
    let part = || architecture.described_part(config).or_else(named).or_else(|| architecture.default_part());
    settings.part.clone().or_else(|| part().map(str::to_owned))
}

/// The weight file of a module: the first of its places where there is one.
fn module_file(
    checkpoint: &Checkpoint,
    hub: Option<&HubCheckpoint>,
    places: Vec<String>,
) -> Result<Option<String>, Error> {
    for place in places {
        if let Some(hub) = hub {
            hub.bring_document(&place)?;
        }
        if checkpoint.has_file(&place) {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

/// The weight files: those that the architecture knows by name, or the usual ones, or the only one that holds the
/// part's tensors.
fn weight_files(
    checkpoint: &Checkpoint,
    architecture: &dyn Architecture,
    part: Option<&str>,
) -> Result<Vec<String>, CheckpointError> {
    if let Some(files) = architecture.weight_files(checkpoint.weight_files(), part) {
        return Ok(files);
    }
    let ambiguous = match checkpoint.default_files() {
        Err(error @ CheckpointError::Ambiguous { .. }) => error,
        other => return other,
    };
    let CheckpointError::Ambiguous { path, candidates } = ambiguous else { return Err(ambiguous) };
    let holds = |name: &&String| {
        let weights = checkpoint.weights(slice::from_ref(*name));
        weights.is_ok_and(|weights| architecture.holds(weights.as_ref(), part))
    };
    let fitting: Vec<String> = candidates.iter().filter(holds).cloned().collect();
    if fitting.len() == 1 { Ok(fitting) } else { Err(CheckpointError::Ambiguous { path, candidates }) }
}

/// Accounts for every key of config.json, before any tensor is looked for.
fn account(
    checkpoint: &Checkpoint,
    architecture: &dyn Architecture,
    ignored: &BTreeSet<String>,
) -> Result<(), ArchError> {
    let documents =
        Documents { config: checkpoint.config().cloned(), ignored: ignored.clone(), ..Documents::default() };
    match (&documents.config, ignored.first()) {
        (Some(_), _) => Config::of(&documents, architecture).map(|_| ()),
        (None, Some(key)) => {
            let why = "the checkpoint has no config.json".into();
            Err(ArchError::CannotIgnore { key: key.clone(), why, near: Vec::new() })
        }
        (None, None) => Ok(()),
    }
}

/// The documents beside the weights that count for the architecture. Those of the Hub come when they are asked for.
fn documents(
    checkpoint: &Checkpoint,
    hub: Option<&HubCheckpoint>,
    architecture: &dyn Architecture,
    in_checkpoint: &dyn Fn(CheckpointError) -> BuildError,
) -> Result<Documents, Error> {
    let bring = |path: &str| hub.map_or(Ok(()), |hub| hub.bring_document(path));
    // What cannot be had is missed below.
    let read = |path: &str| bring(path).ok().and_then(|()| checkpoint.document(path).ok().flatten());
    let mut documents = Documents { config: checkpoint.config().cloned(), ..Documents::default() };
    for path in architecture.documents(&read) {
        bring(&path)?;
        if let Some(document) = checkpoint.document(&path).map_err(in_checkpoint)? {
            documents.others.insert(path, document);
        }
    }
    Ok(documents)
}

/// Name and keys of a component that converts the checkpoint at `file`, for an example of a manifest.
pub(super) fn example(file: &Path) -> (&'static str, &'static str) {
    let checkpoint = Checkpoint::open(file).ok();
    let family = checkpoint.as_ref().and_then(|checkpoint| arch::detect(checkpoint.config()).ok());
    match family {
        Some(family) if family.component_keys(None).contains(&"chunks") => (
            "lm",
            "sequence = [1, 64]      # tokens of a call\ncontext = 512\ncache = \"state\"\nmultifunction = \
             true\ntarget = \"iOS18\"",
        ),
        Some(family) if family.shape_key() == "size" => {
            (family.parts().first().copied().unwrap_or("model"), "size = 512              # pixels\ntarget = \"iOS17\"")
        }
        Some(family) => {
            (family.parts().first().copied().unwrap_or("model"), "sequence = 128          # tokens\ntarget = \"iOS17\"")
        }
        None => (
            "model",
            "sequence = 128          # tokens; models of pictures have `size = 512` instead\ntarget = \"iOS17\"",
        ),
    }
}
