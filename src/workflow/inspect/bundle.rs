//! Core ML bundles: packages, compiled models, bare specifications.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use serde::Serialize;

use super::{
    Counts, InspectError, NoProgram,
    memory::{FunctionMemory, memory},
    needs::{Needs, features, needs},
    rules::{Subject, Warning, warnings},
};
use crate::{
    base::{RelativePath, Target, limits, read_at_most},
    contract::Interface,
    emit::coreml::{
        BlobError, BlobRecord, CoreMlError, Files, ModelDescription, ModelMetadata, PackageManifest, PartSource, blob,
        decode, describe_compiled, describe_specification, parts, resolve_weight_file, spec::WeightRecords,
    },
    manifest::release::BundleKind,
    mil::{self, Program, Recipe},
    ops,
    passes::{IntegerTables, replace_constants},
    recipe::{ConstantSource, SourceError},
};

/// How a model's type is called that has a program.
const ML_PROGRAM: &str = "mlProgram";
/// The file that names the specification of a package.
const MANIFEST: &str = "Manifest.json";
/// The folder of weight files, in packages and compiled models alike.
const WEIGHTS: &str = "weights";

/// What a bundle says about itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BundleReport {
    /// Where it is.
    pub path: PathBuf,
    /// What kind of tree it is.
    pub kind: BundleKind,
    /// `mlProgram`, `neuralNetwork`, ...
    pub model_type: String,
    /// Core ML's format version, where it is stated.
    pub specification_version: Option<i32>,
    /// Lowest OS that may load it, where the version is a known one.
    pub target: Option<Target>,
    /// Inputs, outputs, states, functions.
    pub interface: Interface,
    /// What its makers wrote.
    pub texts: Texts,
    /// How often each operator stands in each function, constants left out; empty where there is no readable program.
    pub operations: Vec<OperationCount>,
    /// Its weight files, by path.
    pub weights: Vec<WeightFile>,
    /// What each function takes in memory, estimated without fusing; empty where there is no readable program.
    pub memory: Vec<FunctionMemory>,
    /// What the program needs; `None` where there is no readable one.
    pub needs: Option<Needs>,
    /// What is worth knowing before a device sees it.
    pub warnings: Vec<Warning>,
    /// Number of files.
    pub files: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// What could not be read, as sentences.
    pub problems: Vec<String>,
    /// The parts of a pipeline, in the order in which they run; empty of anything else.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<PartReport>,
    /// The program as text, where it was asked for; of a pipeline, all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
}

/// A part of a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartReport {
    /// Its place, from 1.
    pub number: usize,
    /// Its name; empty where the pipeline does not say it.
    pub name: String,
    /// `mlProgram`, `neuralNetwork`, ...
    pub model_type: String,
    /// Core ML's format version.
    pub specification_version: Option<i32>,
    /// Lowest OS that may load it, where the version is a known one.
    pub target: Option<Target>,
    /// Inputs, outputs, states, functions.
    pub interface: Interface,
    /// How often each operator stands in each function, constants left out; empty where there is no readable program.
    pub operations: Vec<OperationCount>,
    /// The weight files that its program uses.
    pub weights: Vec<RelativePath>,
    /// What each function takes in memory; empty where there is no readable program.
    pub memory: Vec<FunctionMemory>,
    /// What the program needs; `None` where there is no readable one.
    pub needs: Option<Needs>,
    /// What is worth knowing before a device sees it.
    pub warnings: Vec<Warning>,
    /// What could not be read, as sentences.
    pub problems: Vec<String>,
    /// The parts of a pipeline in the pipeline.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Self>,
}

/// What a model's makers wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Texts {
    /// Who made it.
    pub author: String,
    /// Its licence.
    pub license: String,
    /// Its version.
    pub version: String,
    /// One sentence about it.
    pub description: String,
    /// Anything else.
    pub user_defined: BTreeMap<String, String>,
}

/// The operators of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OperationCount {
    /// The function.
    pub function: String,
    /// How often each operator stands there.
    pub operators: Counts,
}

/// A weight file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WeightFile {
    /// Its path in the bundle.
    pub path: RelativePath,
    /// Its length.
    pub bytes: u64,
    /// What it holds by element type; `None` where it is not laid out as Core ML's tools do it.
    pub dtypes: Option<BTreeMap<String, WeightTotal>>,
}

/// Tensors of one element type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct WeightTotal {
    /// Number of tensors.
    pub tensors: u64,
    /// Number of their elements.
    pub elements: u64,
    /// Their bytes, without records and padding.
    pub bytes: u64,
}

/// The files of a bundle by their paths in it; the root of a bare specification is its folder.
#[derive(Debug, Default)]
pub(super) struct Tree {
    root: PathBuf,
    files: BTreeMap<RelativePath, TreeFile>,
}

/// Where a file lies, and how long it is.
#[derive(Debug)]
struct TreeFile {
    path: PathBuf,
    bytes: u64,
}

/// Inspects what is at `path`; `None` where that is no Core ML bundle.
pub(super) fn inspect(path: &Path, wants_program: bool) -> Result<Option<BundleReport>, InspectError> {
    let metadata = fs::metadata(path).map_err(InspectError::read(path))?;
    let has = |name: &str| path.join(name).is_file();
    if metadata.is_file() && path.extension().is_some_and(|extension| extension == "mlmodel") {
        return inspect_specification(path, wants_program).map(Some);
    }
    if metadata.is_dir() && has(MANIFEST) {
        return inspect_package(path, wants_program).map(Some);
    }
    let compiled = path.extension().is_some_and(|extension| extension == "mlmodelc") && has("metadata.json");
    if metadata.is_dir() && (compiled || has("coremldata.bin")) {
        return inspect_compiled(path, wants_program).map(Some);
    }
    Ok(None)
}

fn inspect_specification(path: &Path, wants_program: bool) -> Result<BundleReport, InspectError> {
    let bytes = Bytes::from(fs::read(path).map_err(InspectError::read(path))?);
    let name = path.file_name().and_then(|name| name.to_str()?.parse().ok());
    let name: RelativePath = name.ok_or_else(|| InspectError::Unknown { path: path.to_owned() })?;
    let root = path.parent().unwrap_or(Path::new("")).to_owned();
    let file = TreeFile { path: path.to_owned(), bytes: bytes.len() as u64 };
    let tree = Tree { root, files: BTreeMap::from([(name.clone(), file)]) };
    inspect_model(path, BundleKind::MlPackage, &tree, &name, bytes, wants_program)
}

fn inspect_package(path: &Path, wants_program: bool) -> Result<BundleReport, InspectError> {
    inspect_tree(path, &Tree::walk(path)?, wants_program)
}

/// Inspects a package whose files lie anywhere; `path` is its name in the report.
pub(super) fn inspect_files(path: &Path, files: &Files, wants_program: bool) -> Result<BundleReport, InspectError> {
    let file = |(path, file): (&RelativePath, &PathBuf)| {
        let bytes = fs::metadata(file).map_err(InspectError::read(file))?.len();
        Ok((path.clone(), TreeFile { path: file.clone(), bytes }))
    };
    let files = files.iter().map(file).collect::<Result<_, InspectError>>()?;
    inspect_tree(path, &Tree { root: path.to_owned(), files }, wants_program)
}

fn inspect_tree(path: &Path, tree: &Tree, wants_program: bool) -> Result<BundleReport, InspectError> {
    let manifest: RelativePath = MANIFEST.parse().expect("a plain name");
    let manifest_path = manifest.below(path);
    let bytes = tree.read(&manifest)?;
    let manifest = PackageManifest::parse(&bytes).map_err(InspectError::model(&manifest_path))?;
    let root_item = || CoreMlError::RootItem { identifier: manifest.root.clone() };
    let specification = manifest.specification().ok_or_else(root_item).map_err(InspectError::model(&manifest_path))?;
    let bytes = tree.read(&specification)?;
    inspect_model(path, BundleKind::MlPackage, tree, &specification, bytes.into(), wants_program)
}

fn inspect_model(
    path: &Path,
    kind: BundleKind,
    tree: &Tree,
    specification: &RelativePath,
    bytes: Bytes,
    wants_program: bool,
) -> Result<BundleReport, InspectError> {
    let wrong = || InspectError::model(&specification.below(&tree.root));
    let description = describe_specification(bytes.clone()).map_err(wrong())?;
    let model_type = description.model_type.clone();
    let mut report = report(path, kind, tree, description);
    let data = BundleWeights { tree, specification };
    if let Some(sources) = parts(bytes.clone()).map_err(wrong())? {
        let mut text = String::new();
        report.parts = sources.iter().map(|source| part(source, data, &report.weights, 1, &mut text)).collect();
        report.program = wants_program.then_some(text);
        return Ok(report);
    }
    if model_type != ML_PROGRAM {
        let why = NoProgram::Type(model_type);
        return if wants_program { Err(InspectError::NoProgram { path: path.to_owned(), why }) } else { Ok(report) };
    }
    match decode(bytes, &data) {
        Ok((program, _)) if wants_program => report.program = Some(mil::print(&program)),
        Ok((program, metadata)) => {
            let found = analyze(program, &metadata, &report.interface, &report.weights, data);
            (report.operations, report.memory) = (found.operations, found.memory);
            (report.needs, report.warnings) = (Some(found.needs), found.warnings);
        }
        Err(source) if wants_program => return Err(wrong()(source)),
        Err(error) => report.problems.push(format!("the program cannot be read: {error}")),
    }
    Ok(report)
}

/// How deep pipelines may be nested.
const MOST_LEVELS: usize = 8;

/// Looks at a part of a pipeline, and adds its program to `text`.
fn part(
    source: &PartSource,
    data: BundleWeights<'_>,
    weights: &[WeightFile],
    level: usize,
    text: &mut String,
) -> PartReport {
    let PartSource { label, specification } = source;
    let mut report = PartReport {
        number: label.index + 1,
        name: label.name.clone(),
        model_type: "unknown".to_owned(),
        specification_version: None,
        target: None,
        interface: Interface::default(),
        operations: Vec::new(),
        weights: Vec::new(),
        memory: Vec::new(),
        needs: None,
        warnings: Vec::new(),
        problems: Vec::new(),
        parts: Vec::new(),
    };
    let description = match describe_specification(specification.clone()) {
        Ok(description) => description,
        Err(error) => {
            report.problems.push(format!("{label} cannot be read: {error}"));
            return report;
        }
    };
    (report.model_type, report.interface) = (description.model_type, description.interface);
    (report.specification_version, report.target) = (description.specification_version, description.target);
    *text += &format!("// {label}: {}\n", report.model_type);
    match parts(specification.clone()) {
        Ok(Some(sources)) if level < MOST_LEVELS => {
            report.parts = sources.iter().map(|source| part(source, data, weights, level + 1, text)).collect();
        }
        Ok(Some(_)) => report.problems.push(format!("{label} is nested more than {MOST_LEVELS} deep")),
        Ok(None) if report.model_type == ML_PROGRAM => match decode(specification.clone(), &data) {
            Ok((program, metadata)) => {
                *text += &mil::print(&program);
                report.weights = weight_files(&program, data.specification);
                let found = analyze(program, &metadata, &report.interface, weights, data);
                (report.operations, report.memory) = (found.operations, found.memory);
                (report.needs, report.warnings) = (Some(found.needs), found.warnings);
            }
            Err(error) => report.problems.push(format!("the program of {label} cannot be read: {error}")),
        },
        Ok(None) => {
            report.problems.push(format!("{label}, is of the type {}: only ML Programs can be run", report.model_type))
        }
        Err(error) => report.problems.push(format!("{label} cannot be read: {error}")),
    }
    report
}

/// The weight files that a program uses, by their paths in the bundle.
fn weight_files(program: &Program, specification: &RelativePath) -> Vec<RelativePath> {
    let constants = program.functions.values().flat_map(mil::Function::operations).flat_map(mil::Operation::constants);
    let file = |value: &mil::Value| {
        let (file, _) = value.tensor()?.as_blob()?;
        resolve_weight_file(specification, file).ok()
    };
    let files: BTreeSet<RelativePath> = constants.filter_map(file).collect();
    files.into_iter().collect()
}

/// What a program tells.
struct Analysis {
    operations: Vec<OperationCount>,
    memory: Vec<FunctionMemory>,
    needs: Needs,
    warnings: Vec<Warning>,
}

fn analyze(
    mut program: Program,
    metadata: &ModelMetadata,
    interface: &Interface,
    weights: &[WeightFile],
    data: BundleWeights<'_>,
) -> Analysis {
    let registry = ops::find;
    let features = features(&program, metadata);
    replace_constants(&IntegerTables::new(&data), &mut program);
    let program = &program;
    let needs = needs(program, features, registry);
    let subject = Subject { program, interface, needs: &needs, weights, data: Some(data), registry };
    let warnings = warnings(&subject);
    Analysis { operations: operations(program), memory: memory(program, interface, ops::OPERATORS), needs, warnings }
}

/// What the rules find in a program whose weight files, of these lengths, are not written.
pub(super) fn draft_warnings(
    program: &Program,
    interface: &Interface,
    weights: &[(RelativePath, u64)],
) -> Vec<Warning> {
    let registry = ops::find;
    let needs = needs(program, features(program, &ModelMetadata::default()), registry);
    let weights: Vec<WeightFile> =
        weights.iter().map(|(path, bytes)| WeightFile { path: path.clone(), bytes: *bytes, dtypes: None }).collect();
    warnings(&Subject { program, interface, needs: &needs, weights: &weights, data: None, registry })
}

fn inspect_compiled(path: &Path, wants_program: bool) -> Result<BundleReport, InspectError> {
    if wants_program {
        return Err(InspectError::NoProgram { path: path.to_owned(), why: NoProgram::Compiled });
    }
    let [metadata, data] = ["metadata.json", "coremldata.bin"].map(|name| read_optional(&path.join(name)));
    let description = describe_compiled(metadata?.as_deref(), data?.as_deref()).map_err(InspectError::model(path))?;
    Ok(report(path, BundleKind::MlModelC, &Tree::walk(path)?, description))
}

fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, InspectError> {
    match read_at_most(path, limits::SMALL_DOCUMENT_BYTES) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(InspectError::read(path)(error)),
    }
}

fn report(path: &Path, kind: BundleKind, tree: &Tree, description: ModelDescription) -> BundleReport {
    let ModelDescription { specification_version, target, model_type, interface, metadata } = description;
    let ModelMetadata { author, license, version, description, user_defined, .. } = metadata;
    BundleReport {
        path: path.to_owned(),
        kind,
        model_type,
        specification_version,
        target,
        interface,
        texts: Texts { author, license, version, description, user_defined },
        operations: Vec::new(),
        weights: tree.weights(),
        memory: Vec::new(),
        needs: None,
        warnings: Vec::new(),
        files: tree.files.len() as u64,
        bytes: tree.files.values().fold(0, |sum, file| sum.saturating_add(file.bytes)),
        problems: Vec::new(),
        parts: Vec::new(),
        program: None,
    }
}

fn operations(program: &Program) -> Vec<OperationCount> {
    let count = |(name, function): (&String, &mil::Function)| {
        let mut operators = Counts::new();
        for operation in function.operations().filter(|operation| operation.kind != "const") {
            *operators.entry(operation.kind.clone()).or_default() += 1;
        }
        OperationCount { function: name.clone(), operators }
    };
    program.functions.iter().map(count).collect()
}

impl Tree {
    /// Every file below a folder; links to folders are not followed, names that no release could have are left out.
    pub(super) fn walk(root: &Path) -> Result<Self, InspectError> {
        let mut files = BTreeMap::new();
        let mut folders = vec![(root.to_owned(), String::new())];
        while let Some((folder, prefix)) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(InspectError::read(&folder))? {
                let entry = entry.map_err(InspectError::read(&folder))?;
                let kind = entry.file_type().map_err(InspectError::read(&entry.path()))?;
                let Some(name) = entry.file_name().to_str().map(|name| format!("{prefix}{name}")) else { continue };
                if kind.is_dir() {
                    folders.push((entry.path(), name + "/"));
                } else if let (Ok(path), Ok(metadata)) = (name.parse(), fs::metadata(entry.path()))
                    && metadata.is_file()
                {
                    files.insert(path, TreeFile { path: entry.path(), bytes: metadata.len() });
                }
            }
        }
        Ok(Self { root: root.to_owned(), files })
    }

    fn weights(&self) -> Vec<WeightFile> {
        let in_weights = |path: &RelativePath| path.parent().is_some_and(|folder| folder.file_name() == WEIGHTS);
        let files = self.files.iter().filter(|(path, _)| in_weights(path));
        files
            .map(|(path, file)| WeightFile { path: path.clone(), bytes: file.bytes, dtypes: totals(&file.path) })
            .collect()
    }

    fn read(&self, path: &RelativePath) -> Result<Vec<u8>, InspectError> {
        let shown = path.below(&self.root);
        let file = self.files.get(path).ok_or_else(|| InspectError::read(&shown)(io::ErrorKind::NotFound.into()))?;
        // A specification is one message of protobuf, the other documents are small.
        let limit = if path.as_str().ends_with(".json") { limits::SMALL_DOCUMENT_BYTES } else { 2 << 30 };
        read_at_most(&file.path, limit).map_err(InspectError::read(&shown))
    }

    fn open(&self, path: &RelativePath) -> io::Result<File> {
        File::open(&self.files.get(path).ok_or(io::ErrorKind::NotFound)?.path)
    }
}

fn totals(path: &Path) -> Option<BTreeMap<String, WeightTotal>> {
    let records = blob::records(io::BufReader::new(File::open(path).ok()?)).ok()?;
    let mut totals: BTreeMap<String, WeightTotal> = BTreeMap::new();
    for record in records {
        let total = totals.entry(record.dtype.long_name()).or_default();
        total.tensors += 1;
        total.elements = total.elements.saturating_add(record.elements());
        total.bytes = total.bytes.saturating_add(record.data.length());
    }
    Some(totals)
}

/// The weight files of a bundle on disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct BundleWeights<'a> {
    pub(super) tree: &'a Tree,
    pub(super) specification: &'a RelativePath,
}

impl BundleWeights<'_> {
    /// The data of the record at `offset`; `None` where it cannot be read.
    pub(super) fn data(&self, file: &str, offset: u64) -> Option<impl Read> {
        let path = resolve_weight_file(self.specification, file).ok()?;
        let mut file = self.tree.open(&path).ok()?;
        let data = blob::record_at(&file, offset).ok()?.data;
        file.seek(SeekFrom::Start(data.offset())).ok()?;
        Some(file.take(data.length()))
    }
}

/// A weight that is not where the program says.
#[derive(Debug, thiserror::Error)]
#[error("the weight file does not hold it")]
struct NotThere;

impl ConstantSource for BundleWeights<'_> {
    fn bytes(&self, recipe: &Recipe) -> Result<Cow<'_, [u8]>, SourceError> {
        let (file, offset) = recipe.as_blob().ok_or(NotThere)?;
        let mut bytes = Vec::new();
        self.data(file, offset).ok_or(NotThere)?.read_to_end(&mut bytes)?;
        Ok(bytes.into())
    }
}

impl WeightRecords for BundleWeights<'_> {
    fn record(&self, file: &str, offset: u64) -> Result<Option<BlobRecord>, BlobError> {
        let missing = || BlobError::NoFile { file: file.to_owned() };
        let path = resolve_weight_file(self.specification, file).map_err(|_| missing())?;
        match self.tree.open(&path) {
            Ok(file) => blob::record_at(file, offset).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing()),
            Err(error) => Err(error.into()),
        }
    }
}

impl InspectError {
    fn model(path: &Path) -> impl FnOnce(CoreMlError) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Model { path, source }
    }
}
