//! Components that are converted from a checkpoint.
//!
//! The network is read once and its weights are planned once per precision (and where it depends on the cache); per variant a program is built, verified, encoded, read back
//! and verified again, all before a weight is converted. Then the weight file is streamed once, and every variant names it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    panic::resume_unwind,
    path::{Path, PathBuf},
    slice,
    sync::Arc,
    thread,
};

use bytes::Bytes;
use rayon::prelude::*;
use serde_json::Value as Json;

use super::{
    BuildWarning, Made,
    compiled::{self, Compilation},
    error::BuildError,
    hashing::{FileDigest, Hashing},
    hub::{self, HubCheckpoint},
    shared::SharedTensors,
    shelf::Shelf,
};
use crate::{
    arch::{self, ArchError, Architecture, Config, Documents, Feature, Form, FunctionPlan, LoadOptions, Network, Quantization, STAND_IN},
    base::{Blake3, Digest, RelativePath, Target},
    checkpoint::{Checkpoint, CheckpointError, Weights},
    contract::{
        CacheForm, Interface,
        features::MAIN_FUNCTION,
        notes::{self, IgnoredConfig},
    },
    emit::coreml::{
        BlobPiece, FeatureNote, FunctionNotes, ModelMetadata, PackageSource, WEIGHT_FILE_LIMIT, WeightFile, WeightPlan, decode,
        describe_specification, encode, package_files,
    },
    manifest::{
        self, Axes, Component, Compression, Content, Format, PackageHeader, Precision, VariantPlan,
        release::{Other, Source, TensorLabel},
    },
    mil::{self, Constant, DataType},
    ops,
    recipe::{ConvertError, Evaluator},
    store::{Cut, Segmentation, StoreError, StoredBlob},
    workflow::{
        Amount, Context, Error,
        inspect::{DraftWarning, draft_warnings},
    },
};

/// A checkpoint and how it is read; nothing of it was converted.
pub(super) struct Conversion<'a> {
    component: &'a str,
    settings: &'a manifest::Conversion,
    path: PathBuf,
    architecture: &'static dyn Architecture,
    checkpoint: Checkpoint,
    /// Where it comes from, when that is the Hub.
    hub: Option<HubCheckpoint>,
    documents: Documents,
    files: Vec<String>,
    digests: BTreeMap<String, FileDigest>,
}

/// Variants that one network makes.
struct Group<'p> {
    options: LoadOptions,
    precision: Precision,
    plans: Vec<(&'p VariantPlan, &'p Axes)>,
}

/// A group's network and where its constants lie.
struct Converter {
    network: Network,
    weights: Arc<dyn Weights>,
    plan: WeightPlan,
}

/// A variant whose program is checked; its weight files are not there yet.
struct Draft<'a> {
    plan: &'a VariantPlan,
    interface: Interface,
    /// Those of its package.
    files: Vec<(RelativePath, PackageSource)>,
    /// How it is compiled, where it is.
    compilation: Option<Compilation>,
    warnings: Vec<DraftWarning>,
}

impl<'a> Conversion<'a> {
    /// Finds checkpoint, architecture and weight files of a component; `folder` is the manifest's.
    pub(super) fn open(
        context: &Context,
        hashing: &Hashing,
        folder: &Path,
        declared: &'a Component,
        settings: &'a manifest::Conversion,
    ) -> Result<Self, Error> {
        let component = declared.name.as_str();
        if let Some(what) = unsupported(settings) {
            return Err(BuildError::Unsupported { component: component.to_owned(), what }.into());
        }
        let hub = hub::address(&settings.checkpoint).transpose()?.map(|url| HubCheckpoint::open(context, &url)).transpose()?;
        let path = hub.as_ref().map_or_else(|| folder.join(&settings.checkpoint), |hub| hub.path().to_owned());
        let in_checkpoint = |source| BuildError::Checkpoint { component: component.to_owned(), source };
        let checkpoint = Checkpoint::open(&path).map_err(in_checkpoint)?;
        let architecture = match &settings.architecture {
            Some(name) => arch::find(name),
            None => arch::detect(checkpoint.config()),
        };
        let architecture = architecture.map_err(|source| BuildError::Architecture {
            component: component.to_owned(),
            checkpoint: path.clone(),
            source,
        })?;
        let ignored: BTreeSet<String> = settings.ignore_config.iter().cloned().collect();
        account(&checkpoint, architecture, &ignored).map_err(|source| BuildError::Architecture {
            component: component.to_owned(),
            checkpoint: path.clone(),
            source,
        })?;
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
        let base = checkpoint.path("");
        let digest = |file: &PathBuf| {
            let name = file.strip_prefix(&base).unwrap_or(file).to_string_lossy().replace('\\', "/");
            // What is missing is reported, with its name, by whoever reads it.
            let digest = match hub.as_ref().and_then(|hub| hub.digest(&name)) {
                Some(known) => FileDigest::Known(known),
                None => hashing.digest(file)?,
            };
            Ok((name, digest))
        };
        let used = checkpoint.used_files(&files).map_err(in_checkpoint)?;
        let mut digests = used.iter().map(digest).collect::<Result<BTreeMap<_, _>, StoreError>>()?;
        for name in documents.others.keys() {
            digests.insert(name.clone(), hashing.digest(&checkpoint.path(name))?);
        }
        Ok(Self { component, settings, path, architecture, checkpoint, hub, documents, files, digests })
    }

    /// What a release says about where the component is from.
    pub(super) fn source(&self) -> Result<Source, StoreError> {
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

    /// What the checkpoint says that its weights are instead of trained ones.
    fn stand_in(&self) -> Option<String> {
        self.documents.config.as_ref()?.get(STAND_IN)?.as_str().map(str::to_owned)
    }

    /// What is worth knowing about the component.
    pub(super) fn warnings(&self) -> Vec<BuildWarning> {
        let part = part(self.component, self.settings, self.architecture, self.documents.config.as_ref());
        let other = self.architecture.other_part(&self.documents, part.as_deref()).map(|(text, advice)| BuildWarning {
            component: self.component.to_owned(),
            rule: "sentence-encoder",
            variants: Vec::new(),
            text: text.to_owned(),
            advice: Some(advice),
        });
        self.length_warning().into_iter().chain(other).collect()
    }

    /// What is worth knowing about the lengths that the component asks for.
    fn length_warning(&self) -> Option<BuildWarning> {
        let config = Config::of(&self.documents, self.architecture).ok()?;
        let trained = self.architecture.trained_positions(config).ok()??;
        let (key, lengths) = match self.settings.contexts.as_slice() {
            [] => ("sequence", &self.settings.sequences),
            _ => ("context", &self.settings.contexts),
        };
        let longest = lengths.iter().copied().max().filter(|longest| u64::from(*longest) > trained)?;
        Some(BuildWarning {
            component: self.component.to_owned(),
            rule: "beyond-training",
            variants: Vec::new(),
            text: format!(
                "{key} = {longest} is longer than the {trained} positions that the model was trained for: numbers beyond are a guess"
            ),
            advice: None,
        })
    }

    /// Gives everything that identifies the checkpoint.
    pub(super) fn feed(&self, feed: &mut impl FnMut(&[u8])) -> Result<(), StoreError> {
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

    /// Whether tensors that other components have, too, go into a weight file of their own.
    pub(super) fn is_shared(&self) -> bool {
        self.settings.shared
    }

    /// The component's name.
    pub(super) fn component(&self) -> &'a str {
        self.component
    }

    /// What identifies the checkpoint, waited for.
    pub(super) fn digests(&self) -> Result<BTreeMap<String, Digest>, StoreError> {
        self.digests.iter().map(|(name, digest)| Ok((name.clone(), digest.get()?))).collect()
    }

    /// Whether nobody has to wait for what identifies the checkpoint.
    pub(super) fn is_hashed(&self) -> bool {
        self.digests.values().all(FileDigest::is_known)
    }

    /// The constants of every network that the variants have, with its precision.
    pub(super) fn constants(&self, plans: &[&VariantPlan]) -> Result<Vec<(Precision, Vec<Constant>)>, Error> {
        let groups = self.groups(plans).into_iter();
        groups.map(|group| Ok((group.precision, self.network(&group.options)?.0.constants()))).collect()
    }

    /// Makes the variants of the component.
    pub(super) fn convert(
        &self,
        context: &Context,
        shelf: &Shelf<'_>,
        header: &PackageHeader,
        plans: &[&'a VariantPlan],
        shared: &SharedTensors,
    ) -> Result<Vec<Made>, Error> {
        let mut made = Vec::new();
        for Group { options, precision, plans } in self.groups(plans) {
            let converter = self.converter(&options, shared.of(self, precision)?)?;
            let drafts: Result<Vec<_>, BuildError> =
                plans.into_par_iter().map(|(plan, axes)| self.draft(&converter, header, plan, axes)).collect();
            let drafts = drafts?;
            let files = self.weight_files(context, shelf, &converter, precision)?;
            let bundles: Result<Vec<_>, Error> = drafts.into_par_iter().map(|draft| bundle(shelf, draft, &files)).collect();
            made.extend(bundles?);
        }
        Ok(made)
    }

    /// Variants with equal options have one network and one plan of weights.
    fn groups<'p>(&self, plans: &[&'p VariantPlan]) -> Vec<Group<'p>> {
        let mut groups: Vec<Group<'p>> = Vec::new();
        for plan in plans {
            let Content::Converted(axes) = &plan.content else { continue };
            let options = self.options(axes);
            match groups.iter_mut().find(|group| group.options == options) {
                Some(group) => group.plans.push((plan, axes)),
                None => groups.push(Group { options, precision: axes.precision, plans: vec![(plan, axes)] }),
            }
        }
        groups
    }

    fn options(&self, axes: &Axes) -> LoadOptions {
        let settings = self.settings;
        let lengths = settings.sequences.iter().chain(&settings.encoder_sequences).chain(&settings.contexts);
        LoadOptions {
            part: part(self.component, settings, self.architecture, self.documents.config.as_ref()),
            compute: data_type(axes.precision),
            range: settings.range,
            clamp: settings.clamp,
            positions: lengths.copied().max().unwrap_or(0).into(),
            longest: settings.sequences.iter().copied().max().unwrap_or(0).into(),
            cache: axes.cache,
            window_cache: settings.window_cache,
            chunk: axes.chunk,
            several_functions: axes.target.is_some_and(|target| target >= Target::Ios18),
        }
    }

    fn network(&self, options: &LoadOptions) -> Result<(Network, Arc<dyn Weights>), Error> {
        let component = || self.component.to_owned();
        let weights = match &self.hub {
            Some(hub) => hub.weights(&self.checkpoint, &self.files)?,
            None => self.checkpoint.weights(&self.files),
        };
        let weights = weights.map_err(|source| BuildError::Checkpoint { component: component(), source })?;
        let network = self.architecture.load(&self.documents, &weights, options);
        let mut network =
            network.map_err(|source| BuildError::Architecture { component: component(), checkpoint: self.path.clone(), source })?;
        if !self.documents.ignored.is_empty() {
            let keys = self.documents.ignored.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            network.notes.add(&IgnoredConfig(keys));
        }
        if let Some(quantization) = self.documents.config.as_ref().and_then(Quantization::of).filter(Quantization::is_read) {
            let note =
                format!("the checkpoint is quantized ({}); weights here are the numbers that it stands for", quantization.describe());
            network.notes.add(&notes::Quantization(note));
        }
        Ok((network, weights))
    }

    fn converter(&self, options: &LoadOptions, shared: &[Constant]) -> Result<Converter, Error> {
        let component = || self.component.to_owned();
        let (network, weights) = self.network(options)?;
        let plan = WeightPlan::new(&network.constants(), shared, WEIGHT_FILE_LIMIT);
        let mut plan = plan.map_err(|source| BuildError::Weights { component: component(), source })?;
        let evaluator = Evaluator::new(weights.as_ref());
        for constant in plan.inline().to_vec() {
            let values = evaluator.bytes(&constant);
            plan.set_values(&constant, values.map_err(|source| BuildError::Convert { component: component(), source })?);
        }
        Ok(Converter { network, weights, plan })
    }

    /// The program of a variant as Core ML reads it. It is read back, so that what is checked is what is written.
    fn draft<'p>(
        &self,
        converter: &Converter,
        header: &PackageHeader,
        plan: &'p VariantPlan,
        axes: &Axes,
    ) -> Result<Draft<'p>, BuildError> {
        let id = || plan.id.clone();
        let unsound = |source| BuildError::Unsound { id: id(), source: Box::new(source) };
        let emit = |source| BuildError::Emit { id: id(), source };
        let forms = self.forms(axes)?;
        let refused = |source| BuildError::Program { id: id(), source };
        forms.iter().try_for_each(|(_, form)| fits_its_cache(form)).map_err(refused)?;
        let functions = arch::functions(&converter.network, &forms).map_err(refused)?;
        let program = arch::program(&converter.network, forms[0].1.target, &functions, ops::find).map_err(refused)?;
        mil::verify(&program, ops::find).map_err(unsound)?;
        let metadata = metadata(header, &converter.network, &functions);
        let bytes = encode(&program, &metadata, &converter.plan).map_err(emit)?;
        let shared = Bytes::from(bytes);
        let (read, _) = decode(shared.clone(), &converter.plan).map_err(emit)?;
        mil::verify(&read, ops::find).map_err(unsound)?;
        let interface = describe_specification(shared.clone()).map_err(emit)?.interface;
        let weights: Vec<&str> = converter.plan.files().iter().map(|file| file.name.as_str()).collect();
        let compilation = match axes.format {
            Format::MlModelC => Some(compiled::compile(plan, &shared, &read, &weights)?),
            Format::MlPackage | Format::Onnx => None,
        };
        let files = package_files(shared.into(), &weights).map_err(emit)?;
        let length = |name: &str| converter.plan.files().iter().find(|file| file.name == name).map(|file| file.layout.file_length());
        let lengths: Vec<(RelativePath, u64)> = files
            .iter()
            .filter_map(|(path, source)| match source {
                PackageSource::WeightFile(name) => Some((path.clone(), length(name)?)),
                PackageSource::Bytes(_) => None,
            })
            .collect();
        let warnings = draft_warnings(&read, &metadata, &interface, &lengths, axes.precision == Precision::Float16);
        Ok(Draft { plan, interface, files, compilation, warnings })
    }

    /// The forms of a variant's functions, with their names: one for each shape.
    fn forms(&self, axes: &Axes) -> Result<Vec<(String, Form)>, BuildError> {
        let component = || self.component.to_owned();
        let target = axes.target;
        let target =
            target.ok_or_else(|| BuildError::Unsupported { component: component(), what: format!("format = \"{}\"", axes.format) })?;
        let named = |shape: &manifest::Shape| {
            let name = shape.function_name().filter(|_| self.settings.multifunction);
            Ok((name.unwrap_or_else(|| MAIN_FUNCTION.to_owned()), self.form(axes, target, shape)?))
        };
        axes.shapes.iter().map(named).collect()
    }

    fn form(&self, axes: &Axes, target: Target, shape: &manifest::Shape) -> Result<Form, BuildError> {
        Ok(Form {
            target,
            shape: self.shape(shape)?,
            layout: axes.layout,
            io: data_type(axes.io_precision),
            linear: axes.linear,
            cache: axes.cache,
            logits: axes.logits,
            attention: self.settings.attention,
        })
    }

    fn shape(&self, shape: &manifest::Shape) -> Result<arch::Shape, BuildError> {
        let key = self.architecture.shape_key();
        let missing = || BuildError::Shape { component: self.component.to_owned(), architecture: self.architecture.name(), key };
        match shape {
            manifest::Shape::Image(size) if key == "size" => {
                Ok(arch::Shape::Image { width: size.width.into(), height: size.height.into() })
            }
            manifest::Shape::Text(text) if key == "sequence" => {
                let sequence = text.sequence.ok_or_else(missing)?.into();
                let encoder_sequence = text.encoder_sequence.map_or(sequence, u64::from);
                Ok(arch::Shape::Text(arch::TextShape { sequence, encoder_sequence, context: text.context.map_or(0, u64::from) }))
            }
            _ => Err(missing()),
        }
    }

    /// The weight files by name, two at a time, since each is bound by its sha256: one thread's work.
    fn weight_files<'c>(
        &self,
        context: &Context,
        shelf: &Shelf<'_>,
        converter: &'c Converter,
        precision: Precision,
    ) -> Result<BTreeMap<&'c str, StoredBlob>, Error> {
        let mut files = BTreeMap::new();
        for two in converter.plan.files().chunks(2) {
            let write = |file: &'c WeightFile| Ok((file.name.as_str(), self.weight_file(context, shelf, converter, file, precision)?));
            let written: Vec<Result<_, Error>> = thread::scope(|scope| {
                let threads: Vec<_> = two.iter().map(|file| scope.spawn(move || write(file))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
            });
            files.extend(written.into_iter().collect::<Result<Vec<_>, _>>()?);
        }
        Ok(files)
    }

    /// Writes a weight file, unless an earlier build did.
    fn weight_file(
        &self,
        context: &Context,
        shelf: &Shelf<'_>,
        converter: &Converter,
        file: &WeightFile,
        precision: Precision,
    ) -> Result<StoredBlob, Error> {
        let key = || {
            let mut key = blake3::Hasher::new();
            key.update(file.key().as_bytes());
            self.digests()?.values().for_each(|digest| _ = key.update(digest.as_bytes()));
            Ok::<_, StoreError>(Blake3::from_bytes(*key.finalize().as_bytes()))
        };
        // A checkpoint that is still being hashed was not seen before.
        let early = self.is_hashed().then(key).transpose()?;
        let records = file.layout.records();
        let cuts = file.constants.iter().zip(records).map(|(constant, record)| Cut { range: record.data, label: Some(label(constant)) });
        let segmentation = Segmentation::Cuts(cuts.collect());
        let total = records.iter().map(|record| record.data.length()).sum();
        let evaluator = Evaluator::new(converter.weights.as_ref());
        let stored = shelf.weights(early, segmentation, |write| {
            let task = context.progress().begin(&format!("converting {} {precision}", self.component), Amount::Bytes(total));
            for piece in file.layout.pieces() {
                match piece {
                    BlobPiece::Bytes(bytes) => write(&bytes).map_err(|source| self.cannot_write(source))?,
                    BlobPiece::Data(index) => {
                        let mut advance = |bytes: &[u8]| {
                            task.advance(bytes.len() as u64);
                            write(bytes)
                        };
                        let done = evaluator.write(&file.constants[index], &mut advance);
                        done.map_err(|source| BuildError::Convert { component: self.component.to_owned(), source })?;
                    }
                }
            }
            task.finish(&format!("converted {} tensors of {} to {precision}", records.len(), self.component));
            Ok::<_, Error>(())
        })?;
        if early.is_none() {
            shelf.remember_weights(&key()?, &stored);
        }
        Ok(stored)
    }

    fn cannot_write(&self, source: io::Error) -> Error {
        BuildError::Convert { component: self.component.to_owned(), source: ConvertError::Write(source) }.into()
    }
}

/// The part of the architecture: what the manifest says, or the config, or the component's own name, or the usual one.
fn part(component: &str, settings: &manifest::Conversion, architecture: &dyn Architecture, config: Option<&Json>) -> Option<String> {
    let named = || architecture.parts().iter().copied().find(|part| *part == component);
    let part = || architecture.described_part(config).or_else(named).or_else(|| architecture.default_part());
    settings.part.clone().or_else(|| part().map(str::to_owned))
}

/// The weight file of a module: the first of its places where there is one.
fn module_file(checkpoint: &Checkpoint, hub: Option<&HubCheckpoint>, places: Vec<String>) -> Result<Option<String>, Error> {
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

/// The weight files: those that the architecture knows by name, or the usual ones, or the only one that holds the part's tensors.
fn weight_files(checkpoint: &Checkpoint, architecture: &dyn Architecture, part: Option<&str>) -> Result<Vec<String>, CheckpointError> {
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
fn account(checkpoint: &Checkpoint, architecture: &dyn Architecture, ignored: &BTreeSet<String>) -> Result<(), ArchError> {
    let documents = Documents { config: checkpoint.config().cloned(), ignored: ignored.clone(), ..Documents::default() };
    match (&documents.config, ignored.first()) {
        (Some(_), _) => Config::of(&documents, architecture).map(|_| ()),
        (None, Some(key)) => {
            let why = "the checkpoint has no config.json".into();
            Err(ArchError::CannotIgnore { key: key.clone(), why, near: Vec::new() })
        }
        (None, None) => Ok(()),
    }
}

/// The first thing that the manifest asks for and that is not built.
fn unsupported(settings: &manifest::Conversion) -> Option<String> {
    let compression = settings.compressions.iter().find(|it| **it != Compression::None).map(|it| format!("compress = \"{it}\""));
    let format = settings.formats.iter().find(|it| **it == Format::Onnx).map(|it| format!("format = \"{it}\""));
    let batch = (settings.batch != 1).then(|| format!("batch = {}", settings.batch));
    [compression, format, batch].into_iter().flatten().next()
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

fn data_type(precision: Precision) -> DataType {
    match precision {
        Precision::Float16 => DataType::Float16,
        Precision::Float32 => DataType::Float32,
    }
}

/// What a segment says about the constant that lies there.
fn label(constant: &Constant) -> TensorLabel {
    let sources: BTreeSet<&str> = constant.sources().into_iter().collect();
    let name = sources.into_iter().collect::<Vec<_>>().join("+");
    TensorLabel { name, dtype: constant.dtype().long_name(), shape: constant.shape().to_vec() }
}

/// The texts that Xcode shows.
fn metadata(header: &PackageHeader, network: &Network, functions: &[FunctionPlan]) -> ModelMetadata {
    let note =
        |feature: &Feature| (feature.name.clone(), FeatureNote { description: feature.description.clone(), ..FeatureNote::default() });
    let functions = functions.iter().map(|FunctionPlan { interface, .. }| {
        let features = interface.features().map(note).collect();
        (interface.name.clone(), FunctionNotes { features, ..FunctionNotes::default() })
    });
    ModelMetadata {
        author: header.author.clone().unwrap_or_default(),
        license: header.license.clone().unwrap_or_default(),
        version: header.version.to_string(),
        description: header.description.clone().unwrap_or_else(|| network.description.clone()),
        user_defined: network.notes.to_metadata(),
        functions: functions.collect(),
    }
}

/// Refuses calls of more tokens than the cache that they are written to has slots.
fn fits_its_cache(form: &Form) -> Result<(), ArchError> {
    match form.shape {
        arch::Shape::Text(text) if form.cache != CacheForm::None && text.sequence > text.context => {
            let why = format!("the tokens of a call are written to the cache, whose `context` is {}", text.context);
            Err(ArchError::Form { axis: "sequence", found: text.sequence.to_string(), why })
        }
        _ => Ok(()),
    }
}

/// Puts the files of a variant into the store.
fn bundle(shelf: &Shelf<'_>, draft: Draft<'_>, weights: &BTreeMap<&str, StoredBlob>) -> Result<Made, Error> {
    let Draft { plan, interface, files, compilation, warnings } = draft;
    let blob = |name: &str| shelf.store().blob_path(&weights[name].digest);
    let mut made = match compilation {
        None => Made::of_files(shelf, plan, files, weights)?,
        Some(compilation) => {
            compilation.store(shelf, plan, weights, |folder| compiled::write_package(&folder.join("model.mlpackage"), &files, blob))?
        }
    };
    made.variant.interface = Some(interface);
    made.warnings = warnings;
    Ok(made)
}
