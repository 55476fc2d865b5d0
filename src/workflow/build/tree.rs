//! File trees that come from elsewhere: walked, described, stored as they are.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use rayon::prelude::*;

use super::{Made, compiled, error::BuildError, shelf::Shelf};
use crate::{
    base::{Digest, RelativePath},
    emit::coreml::{
        CoreMlError, ModelDescription, PackageManifest, Unchecked, blob, decode, describe_compiled, describe_specification, is_lfs_pointer,
        resolve_weight_file, weight_reference,
    },
    manifest::{
        Content, VariantPlan,
        release::{BundleKind, FileEntry, TensorLabel},
    },
    mil::{Binding, Program, RecipeKind, Value},
    store::{Cut, Segmentation, Store, StoreError},
    workflow::Error,
};

/// A bundle or a group of files on this machine.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) root: PathBuf,
    pub(super) files: Vec<TreeFile>,
    /// Folders without anything in them.
    pub(super) folders: Vec<RelativePath>,
}

#[derive(Debug)]
pub(super) struct TreeFile {
    /// Its path in the tree.
    pub(super) path: RelativePath,
    /// Where its bytes are.
    pub(super) source: PathBuf,
    pub(super) executable: bool,
    /// Of its bytes, as far as they were [`hashed`](Tree::hashed).
    digest: Option<Digest>,
}

impl Tree {
    /// Walks a bundle: a folder, or a single file. Links inside it are resolved, links out of it are refused, and so are Git LFS pointers.
    pub(super) fn of_bundle(root: &Path) -> Result<Self, BuildError> {
        let mut tree = Self { root: root.to_owned(), ..Self::default() };
        if fs::metadata(root).map_err(BuildError::read(root))?.is_dir() {
            let real = fs::canonicalize(root).map_err(BuildError::read(root))?;
            tree.walk(root, None, &real, 0)?;
        } else {
            let path = relative(root, None)?;
            tree.add_file(path, root.to_owned())?;
        }
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        tree.folders.sort();
        if tree.files.is_empty() { Err(BuildError::Empty { path: root.to_owned() }) } else { Ok(tree) }
    }

    /// Plain files, under their own names.
    pub(super) fn of_files(folder: &Path, files: &[String]) -> Result<Self, BuildError> {
        let mut tree = Self { root: folder.to_owned(), ..Self::default() };
        for file in files {
            let source = folder.join(file);
            let path = relative(&source, None)?;
            tree.add_file(path, source)?;
        }
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(tree)
    }

    fn walk(&mut self, folder: &Path, base: Option<&RelativePath>, real: &Path, depth: usize) -> Result<(), BuildError> {
        // Links may lead to folders above them.
        const DEEPEST: usize = 64;
        let mut empty = true;
        for entry in fs::read_dir(folder).map_err(BuildError::read(folder))? {
            let source = entry.map_err(BuildError::read(folder))?.path();
            empty = false;
            let path = relative(&source, base)?;
            let link = fs::symlink_metadata(&source).map_err(BuildError::read(&source))?.is_symlink();
            if link {
                let to = fs::canonicalize(&source).map_err(BuildError::read(&source))?;
                if !to.starts_with(real) || depth >= DEEPEST {
                    return Err(BuildError::Link { path: source, to });
                }
            }
            let metadata = fs::metadata(&source).map_err(BuildError::read(&source))?;
            if metadata.is_dir() {
                self.walk(&source, Some(&path), real, depth + 1)?;
            } else {
                self.add_file(path, source)?;
            }
        }
        self.folders.extend(base.filter(|_| empty).cloned());
        Ok(())
    }

    fn add_file(&mut self, path: RelativePath, source: PathBuf) -> Result<(), BuildError> {
        let metadata = fs::metadata(&source).map_err(BuildError::read(&source))?;
        if !metadata.is_file() {
            return Err(BuildError::Special { path: source });
        }
        let mut start = Vec::new();
        let file = File::open(&source).map_err(BuildError::read(&source))?;
        file.take(64).read_to_end(&mut start).map_err(BuildError::read(&source))?;
        if is_lfs_pointer(&start) {
            return Err(BuildError::LfsPointer { path: source });
        }
        self.files.push(TreeFile { path, source, executable: is_executable(&metadata), digest: None });
        Ok(())
    }

    /// Adds the digests of its files; those of files that did not change are remembered.
    pub(super) fn hashed(mut self, store: &Store) -> Result<Self, StoreError> {
        self.files.par_iter_mut().try_for_each(|file| {
            file.digest = Some(store.file_digest(&file.source)?.0);
            Ok(())
        })?;
        Ok(self)
    }

    /// Gives everything that identifies the tree.
    pub(super) fn feed(&self, feed: &mut impl FnMut(&[u8])) {
        for file in &self.files {
            feed(file.path.as_str().as_bytes());
            feed(file.digest.as_ref().map_or(&[][..], |digest| digest.as_bytes()));
            feed(&[u8::from(file.executable)]);
        }
        self.folders.iter().for_each(|folder| feed(folder.as_str().as_bytes()));
    }

    fn file(&self, path: &str) -> Option<&TreeFile> {
        self.files.iter().find(|file| file.path.as_str() == path)
    }

    fn read(&self, path: &str) -> Result<Option<Bytes>, BuildError> {
        let Some(file) = self.file(path) else { return Ok(None) };
        fs::read(&file.source).map(|bytes| Some(bytes.into())).map_err(BuildError::read(&file.source))
    }

    /// The specification of a Core ML package, and its path in the bundle.
    fn specification(&self) -> Result<Option<(RelativePath, Bytes)>, BuildError> {
        let wrong = |source| BuildError::Model { path: self.root.clone(), source };
        let Some(manifest) = self.read("Manifest.json")? else { return Ok(None) };
        let Some(path) = PackageManifest::parse(&manifest).map_err(wrong)?.specification() else { return Ok(None) };
        Ok(self.read(path.as_str())?.map(|bytes| (path, bytes)))
    }

    /// What a bundle says about itself, where its kind is one that does.
    pub(super) fn describe(&self, kind: BundleKind) -> Result<Option<ModelDescription>, BuildError> {
        let wrong = |source| BuildError::Model { path: self.root.clone(), source };
        match kind {
            BundleKind::MlPackage => {
                let specification = self.specification()?;
                specification.map(|(_, bytes)| describe_specification(bytes).map_err(wrong)).transpose()
            }
            BundleKind::MlModelC => {
                let (metadata, data) = (self.read("metadata.json")?, self.read("coremldata.bin")?);
                if metadata.is_none() && data.is_none() {
                    return Ok(None);
                }
                describe_compiled(metadata.as_deref(), data.as_deref()).map(Some).map_err(wrong)
            }
            BundleKind::AiModel | BundleKind::Onnx | BundleKind::Files => Ok(None),
        }
    }

    /// Stores the tree as the variant that is asked for: as it is, or compiled.
    pub(super) fn import(&self, shelf: &Shelf<'_>, plan: &VariantPlan) -> Result<Made, Error> {
        let Content::Imported { path, .. } = &plan.content else { return self.store(shelf, plan) };
        if BundleKind::of_file_name(path) == plan.kind { self.store(shelf, plan) } else { self.store_compiled(shelf, plan) }
    }

    /// Stores what the package compiles to.
    fn store_compiled(&self, shelf: &Shelf<'_>, plan: &VariantPlan) -> Result<Made, Error> {
        let wrong = |source| BuildError::Model { path: self.root.clone(), source };
        let (path, specification) = self.specification()?.ok_or_else(|| BuildError::NoSpecification { path: self.root.clone() })?;
        let (program, _) = decode(specification.clone(), &Unchecked).map_err(wrong)?;
        let interface = describe_specification(specification.clone()).map_err(wrong)?.interface;
        let labels = self.labels()?;
        let mut weights = BTreeMap::new();
        for file in &self.files {
            let name = file.path.file_name();
            if resolve_weight_file(&path, &weight_reference(name)).is_ok_and(|weight| weight == file.path) {
                weights.insert(name, shelf.file(&file.source, || segmentation(file, labels.get(&file.path)))?);
            }
        }
        let missing = |file: &&RelativePath| !weights.contains_key(file.file_name()) || self.file(file.as_str()).is_none();
        if let Some(file) = labels.keys().find(missing) {
            return Err(wrong(CoreMlError::WeightPath { file: file.to_string() }).into());
        }
        let names: Vec<&str> = weights.keys().copied().collect();
        let compilation = compiled::compile(plan, &specification, &program, &names)?;
        let mut made = compilation.store(shelf, plan, &weights, |_| Ok(self.root.clone()))?;
        made.variant.interface = Some(interface);
        Ok(made)
    }

    /// Stores the tree as it is.
    pub(super) fn store(&self, shelf: &Shelf<'_>, plan: &VariantPlan) -> Result<Made, Error> {
        let description = self.describe(plan.kind)?;
        let mut made = Made::new(plan, description.map(|description| description.interface));
        made.variant.folders.clone_from(&self.folders);
        let labels = if plan.kind == BundleKind::MlPackage { self.labels()? } else { Labels::new() };
        let stored: Result<Vec<_>, Error> =
            self.files.par_iter().map(|file| Ok(shelf.file(&file.source, || segmentation(file, labels.get(&file.path)))?)).collect();
        for (file, stored) in self.files.iter().zip(stored?) {
            let TreeFile { path, executable, .. } = file;
            made.variant.files.push(FileEntry {
                path: path.clone(),
                sha256: stored.digest,
                size: stored.blob.size,
                executable: *executable,
            });
            made.blobs.insert(stored.digest, stored.blob);
        }
        Ok(made)
    }

    /// The tensors that a package's program finds in its weight files, by file and offset. A program that mlreg cannot read names none.
    fn labels(&self) -> Result<Labels, BuildError> {
        let mut labels = Labels::new();
        let Some((path, bytes)) = self.specification()? else { return Ok(labels) };
        let Ok((program, _)) = decode(bytes, &Unchecked) else { return Ok(labels) };
        for_each_constant(&program, &mut |name, value| {
            let Value::Tensor(recipe) = value else { return };
            let RecipeKind::Blob { file, offset } = recipe.kind() else { return };
            let Ok(file) = resolve_weight_file(&path, file) else { return };
            let label = TensorLabel { name: name.to_owned(), dtype: recipe.dtype().long_name(), shape: recipe.shape().to_vec() };
            labels.entry(file).or_default().entry(*offset).or_insert(label);
        });
        Ok(labels)
    }
}

/// Tensors by the offset of their record, by file.
type Labels = HashMap<RelativePath, BTreeMap<u64, TensorLabel>>;

fn for_each_constant(program: &Program, see: &mut impl FnMut(&str, &Value)) {
    for function in program.functions.values() {
        let mut blocks = vec![&function.block];
        while let Some(block) = blocks.pop() {
            for operation in &block.operations {
                for value in operation.attributes.values() {
                    see(&operation.name, value);
                }
                for binding in operation.inputs.values().flatten() {
                    if let Binding::Literal(value) = binding {
                        see(&operation.name, value);
                    }
                }
                blocks.extend(&operation.blocks);
            }
        }
    }
}

/// Weight files are cut where their tensors lie, everything else where its content says.
fn segmentation(file: &TreeFile, labels: Option<&BTreeMap<u64, TensorLabel>>) -> Segmentation {
    let in_weights = file.path.parent().is_some_and(|parent| parent.file_name() == "weights");
    let records = in_weights.then(|| File::open(&file.source).ok().and_then(|file| blob::records(file).ok())).flatten();
    let Some(records) = records else { return Segmentation::ContentDefined };
    let cut = |record: &blob::BlobRecord| {
        let unnamed = || TensorLabel { name: String::new(), dtype: record.dtype.long_name(), shape: Vec::new() };
        let label = labels.and_then(|labels| labels.get(&record.metadata_offset)).cloned().unwrap_or_else(unnamed);
        Cut { range: record.data, label: Some(label) }
    };
    Segmentation::Cuts(records.iter().map(cut).collect())
}

/// The path of `source` in its tree, below `base`.
fn relative(source: &Path, base: Option<&RelativePath>) -> Result<RelativePath, BuildError> {
    let name = source.file_name().and_then(|name| name.to_str()).ok_or_else(|| BuildError::Name { path: source.to_owned() })?;
    let name: RelativePath = name.parse().map_err(|error| BuildError::Path { path: source.to_owned(), source: error })?;
    Ok(base.map_or(name.clone(), |base| base.join(&name)))
}

#[cfg(unix)]
fn is_executable(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o100 != 0
}

#[cfg(not(unix))]
fn is_executable(_: &fs::Metadata) -> bool {
    false
}
