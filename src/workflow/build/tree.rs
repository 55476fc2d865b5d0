//! Imported bundles and plain files: walks the files, describes the model, stores the bytes unchanged or compiled.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use rayon::prelude::*;

use super::{
    compiled::{AppleCompiler, Compilation},
    error::BuildError,
    shelf::Shelf,
    variant::BuiltVariant,
    weights::StoredWeights,
};
use crate::{
    base::{Digest, PathTree, RelativePath, limits},
    emit::coreml::{
        COMPILER, CoreMlError, ModelDescription, PackageManifest, Unchecked, blob, compiled_files, decode,
        describe_compiled, describe_specification, is_lfs_pointer, parts, resolve_weight_file, weight_reference,
    },
    manifest::{
        Content, VariantPlan,
        release::{BundleKind, FileEntry, TensorLabel},
    },
    mil::{Binding, Program, Value},
    store::{Cut, Segmentation, Store, StoreError},
    workflow::Error,
};

/// A bundle or a group of files on this machine.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) root: PathBuf,
    pub(super) files: Vec<TreeFile>,
    /// Empty folders.
    pub(super) folders: Vec<RelativePath>,
}

#[derive(Debug)]
pub(super) struct TreeFile {
    /// Path in the tree.
    pub(super) path: RelativePath,
    /// Path of the file on this machine.
    pub(super) source: PathBuf,
    pub(super) executable: bool,
    /// Set by [`hashed`](Tree::hashed).
    digest: Option<Digest>,
}

impl Tree {
    /// Walks a bundle: a folder, or a single file. Symbolic links inside the bundle are resolved; links out of it and
    /// Git LFS pointers are refused.
    pub(super) fn of_bundle(root: &Path) -> Result<Self, BuildError> {
        let mut tree = Self { root: root.to_owned(), ..Self::default() };
        if fs::metadata(root).map_err(BuildError::read(root))?.is_dir() {
            let real = fs::canonicalize(root).map_err(BuildError::read(root))?;
            tree.walk(root, None, &mut vec![real])?;
        } else {
            let path = relative(root, None)?;
            tree.add_file(path, root.to_owned())?;
        }
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        tree.folders.sort();
        if tree.files.is_empty() {
            return Err(BuildError::Empty { path: root.to_owned() });
        }
        tree.check_names()?;
        Ok(tree)
    }

    /// Refuses names that are equal on some file system.
    fn check_names(&self) -> Result<(), BuildError> {
        let mut names = PathTree::default();
        let folders = self.folders.iter().map(|folder| (folder.as_str(), false));
        let mut all = self.files.iter().map(|file| (file.path.as_str(), true)).chain(folders);
        let clash = |clash| BuildError::Clash { path: self.root.clone(), clash };
        all.try_for_each(|(path, is_file)| names.add(path, is_file)).map_err(clash)
    }

    /// A tree of plain files, each at its file name.
    pub(super) fn of_files(folder: &Path, files: impl IntoIterator<Item = PathBuf>) -> Result<Self, BuildError> {
        let mut tree = Self { root: folder.to_owned(), ..Self::default() };
        for source in files {
            let path = relative(&source, None)?;
            tree.add_file(path, source)?;
        }
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        tree.check_names()?;
        Ok(tree)
    }

    /// Walks a folder. The last path of `open` is the folder's real path; the others are those of the folders that
    /// contain it.
    fn walk(&mut self, folder: &Path, base: Option<&RelativePath>, open: &mut Vec<PathBuf>) -> Result<(), BuildError> {
        let mut empty = true;
        for entry in fs::read_dir(folder).map_err(BuildError::read(folder))? {
            let source = entry.map_err(BuildError::read(folder))?.path();
            empty = false;
            let path = relative(&source, base)?;
            let link = fs::symlink_metadata(&source).map_err(BuildError::read(&source))?.is_symlink();
            let metadata = fs::metadata(&source).map_err(BuildError::read(&source))?;
            if link || metadata.is_dir() {
                let to = fs::canonicalize(&source).map_err(BuildError::read(&source))?;
                if !to.starts_with(&open[0]) {
                    return Err(BuildError::Link { path: source, to });
                }
                if metadata.is_dir() && open.contains(&to) {
                    return Err(BuildError::LinkCircle { path: source, to });
                }
                if metadata.is_dir() {
                    open.push(to);
                    self.walk(&source, Some(&path), open)?;
                    open.pop();
                    continue;
                }
            }
            self.add_file(path, source)?;
        }
        self.folders.extend(base.filter(|_| empty).cloned());
        self.check_count()
    }

    /// Limits the number of files, which links to folders can multiply.
    fn check_count(&self) -> Result<(), BuildError> {
        let limit = limits::RELEASE_FILES;
        let found = self.files.len() + self.folders.len();
        if found > limit { Err(BuildError::TooManyFiles { path: self.root.clone(), limit }) } else { Ok(()) }
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
        self.check_count()
    }

    /// Computes the sha256 of each file; the store remembers those of unchanged files.
    pub(super) fn hashed(mut self, store: &Store) -> Result<Self, StoreError> {
        self.files.par_iter_mut().try_for_each(|file| {
            file.digest = Some(store.file_digest(&file.source)?.0);
            Ok(())
        })?;
        Ok(self)
    }

    /// Feeds everything that identifies the tree.
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

    /// The digest of a file, by its path in the tree.
    pub(super) fn digest(&self, path: &str) -> Option<Digest> {
        self.file(path)?.digest
    }

    fn read(&self, path: &str) -> Result<Option<Bytes>, BuildError> {
        let Some(file) = self.file(path) else { return Ok(None) };
        fs::read(&file.source).map(|bytes| Some(bytes.into())).map_err(BuildError::read(&file.source))
    }

    /// Reads a small JSON document of the bundle.
    fn read_document(&self, path: &str) -> Result<Option<Bytes>, BuildError> {
        let limit = limits::SMALL_DOCUMENT_BYTES;
        let Some(file) = self.file(path) else { return Ok(None) };
        let found = fs::metadata(&file.source).map_err(BuildError::read(&file.source))?.len();
        if found > limit {
            return Err(BuildError::TooLong { path: file.source.clone(), found, limit });
        }
        self.read(path)
    }

    /// The specification of a Core ML package and its path in the bundle; `None` in trees that are no packages.
    fn specification(&self) -> Result<Option<(RelativePath, Bytes)>, BuildError> {
        let wrong = |source| BuildError::Model { path: self.root.clone(), source };
        let Some(manifest) = self.read_document("Manifest.json")? else { return Ok(None) };
        let Some(path) = PackageManifest::parse(&manifest).map_err(wrong)?.specification() else { return Ok(None) };
        Ok(self.read(path.as_str())?.map(|bytes| (path, bytes)))
    }

    /// The description in a Core ML bundle; `None` for other kinds.
    pub(super) fn describe(&self, kind: BundleKind) -> Result<Option<ModelDescription>, BuildError> {
        let wrong = |source| BuildError::Model { path: self.root.clone(), source };
        match kind {
            BundleKind::MlPackage => {
                let specification = self.specification()?;
                specification.map(|(_, bytes)| describe_specification(bytes).map_err(wrong)).transpose()
            }
            BundleKind::MlModelC => {
                let (metadata, data) = (self.read_document("metadata.json")?, self.read_document("coremldata.bin")?);
                if metadata.is_none() && data.is_none() {
                    return Ok(None);
                }
                describe_compiled(metadata.as_deref(), data.as_deref()).map(Some).map_err(wrong)
            }
            BundleKind::AiModel | BundleKind::Onnx | BundleKind::Files => Ok(None),
        }
    }

    /// Stores the tree as a variant: unchanged, or compiled where the variant is of another kind.
    pub(super) fn import(&self, shelf: &Shelf<'_>, plan: &VariantPlan) -> Result<BuiltVariant, Error> {
        let Content::Imported { path, .. } = &plan.content else { return self.store(shelf, plan) };
        if BundleKind::of_file_name(path) == plan.kind {
            self.store(shelf, plan)
        } else {
            self.store_compiled(shelf, plan)
        }
    }

    /// Compiles the package and stores the result.
    fn store_compiled(&self, shelf: &Shelf<'_>, plan: &VariantPlan) -> Result<BuiltVariant, Error> {
        let wrong = |source| BuildError::Model { path: self.root.clone(), source };
        let (path, specification) =
            self.specification()?.ok_or_else(|| BuildError::NoSpecification { path: self.root.clone() })?;
        let model_type = describe_specification(specification.clone()).map_err(wrong)?.model_type;
        if model_type != "mlProgram" {
            let source = CoreMlError::NotCompiled { found: model_type };
            return Err(BuildError::Compile { id: plan.id.clone(), component: plan.component.clone(), source }.into());
        }
        let (program, _) = decode(specification.clone(), &Unchecked).map_err(wrong)?;
        let interface = describe_specification(specification.clone()).map_err(wrong)?.interface;
        let labels = self.labels()?;
        let mut weights = StoredWeights::new();
        for file in &self.files {
            let name = file.path.file_name();
            if resolve_weight_file(&path, &weight_reference(name)).is_ok_and(|weight| weight == file.path) {
                weights
                    .insert(name.to_owned(), shelf.file(&file.source, || segmentation(file, labels.get(&file.path)))?);
            }
        }
        let missing =
            |file: &&RelativePath| !weights.contains_key(file.file_name()) || self.file(file.as_str()).is_none();
        if let Some(file) = labels.keys().find(missing) {
            return Err(wrong(CoreMlError::WeightPath { file: file.to_string() }).into());
        }
        let mut built = self.compile(shelf, plan, &specification, &program, &weights)?;
        built.variant.interface = Some(interface);
        Ok(built)
    }

    /// Compiles `specification`, which decodes to `program`, and stores the result.
    fn compile(
        &self,
        shelf: &Shelf<'_>,
        plan: &VariantPlan,
        specification: &[u8],
        program: &Program,
        weights: &StoredWeights,
    ) -> Result<BuiltVariant, Error> {
        let names: Vec<&str> = weights.keys().map(String::as_str).collect();
        match compiled_files(specification, program, &names) {
            Ok(files) => Compilation::Done { compiler: COMPILER, files }.store(shelf, plan, weights),
            Err(refusal) => AppleCompiler::required(plan, refusal)?.store(shelf, plan, |_| Ok(self.root.clone())),
        }
    }

    /// Stores the tree unchanged.
    pub(super) fn store(&self, shelf: &Shelf<'_>, plan: &VariantPlan) -> Result<BuiltVariant, Error> {
        let description = self.describe(plan.kind)?;
        let mut built = BuiltVariant::new(plan, description.map(|description| description.interface));
        built.variant.folders.clone_from(&self.folders);
        let labels = if plan.kind == BundleKind::MlPackage { self.labels()? } else { Labels::new() };
        let stored: Result<Vec<_>, Error> = self
            .files
            .par_iter()
            .map(|file| Ok(shelf.file(&file.source, || segmentation(file, labels.get(&file.path)))?))
            .collect();
        for (file, stored) in self.files.iter().zip(stored?) {
            let TreeFile { path, executable, .. } = file;
            built.variant.files.push(FileEntry {
                path: path.clone(),
                sha256: stored.digest,
                size: stored.blob.size,
                executable: *executable,
            });
            built.blobs.insert(stored.digest, stored.blob);
        }
        Ok(built)
    }

    /// Labels of the tensors in a package's weight files, from its program or the programs of its pipeline. A program
    /// that mlreg cannot read gives none.
    fn labels(&self) -> Result<Labels, BuildError> {
        let mut labels = Labels::new();
        let Some((path, bytes)) = self.specification()? else { return Ok(labels) };
        // Pipelines in pipelines come behind the others.
        let mut specifications = VecDeque::from([bytes]);
        while let Some(bytes) = specifications.pop_front() {
            if let Ok(Some(parts)) = parts(bytes.clone()) {
                specifications.extend(parts.into_iter().map(|part| part.specification));
                continue;
            }
            let Ok((program, _)) = decode(bytes, &Unchecked) else { continue };
            for_each_constant(&program, &mut |name, value| {
                let Value::Tensor(recipe) = value else { return };
                let Some((file, offset)) = recipe.as_blob() else { return };
                let Ok(file) = resolve_weight_file(&path, file) else { return };
                let label = TensorLabel {
                    name: name.to_owned(),
                    dtype: recipe.dtype().long_name(),
                    shape: recipe.shape().to_vec(),
                };
                labels.entry(file).or_default().entry(offset).or_insert(label);
            });
        }
        Ok(labels)
    }
}

/// Labels by file and by offset of the record.
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

/// Segments of a file: one per tensor in weight files, content-defined chunks elsewhere.
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
    let name = source
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| BuildError::Name { path: source.to_owned() })?;
    let name: RelativePath =
        name.parse().map_err(|error| BuildError::Path { path: source.to_owned(), source: error })?;
    let path = base.map_or(name.clone(), |base| base.join(&name));
    path.as_str().parse().map_err(|error| BuildError::Path { path: source.to_owned(), source: error })
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

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn bundle(files: &[&str], links: &[(&str, &str)]) -> (tempfile::TempDir, Result<Tree, BuildError>) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("x.mlmodelc");
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        for (link, to) in links {
            symlink(to, root.join(link)).unwrap();
        }
        let tree = Tree::of_bundle(&root);
        (folder, tree)
    }

    fn error(files: &[&str], links: &[(&str, &str)]) -> String {
        bundle(files, links).1.unwrap_err().to_string()
    }

    #[test]
    fn links_inside_become_what_they_lead_to() {
        let (_folder, tree) = bundle(&["a/b", "c"], &[("d", "a"), ("a/e", "../c")]);
        let paths: Vec<_> = tree.unwrap().files.iter().map(|file| file.path.to_string()).collect();
        assert_eq!(paths, ["a/b", "a/e", "c", "d/b", "d/e"]);
    }

    #[test]
    fn links_that_lead_out_or_in_a_circle_are_named() {
        let outside = error(&["a"], &[("b", "/")]);
        assert!(outside.contains("x.mlmodelc/b` is a link to `/`"), "{outside}");
        for links in [[("l", "."), ("m", ".")], [("a/l", "../d"), ("d/m", "../a")]] {
            let said = error(&["a/b", "d/e"], &links);
            assert!(said.ends_with("which it lies in"), "{said}");
        }
    }

    #[test]
    fn names_that_some_file_system_does_not_hold_are_named() {
        for (one, two) in
            [("model.mil", "Model.mil"), ("\u{e9}", "e\u{301}"), ("s/x", "\u{17f}/y"), ("\u{1e9e}", "\u{df}")]
        {
            let said = error(&[one, two], &[]);
            assert!(said.contains("x.mlmodelc` cannot be released: `"), "{said}");
        }
        for name in ["a.", "aux", "a*", "COM\u{b9}.bin", &"\u{390}".repeat(100)] {
            let said = error(&[name], &[]);
            assert!(said.ends_with("cannot be part of a bundle"), "{said}");
        }
        assert!(error(&[&["a"; 70].join("/")], &[]).ends_with("cannot be part of a bundle"));
    }

    #[test]
    fn a_manifest_that_no_package_has_is_not_read() {
        let (_folder, tree) = bundle(&["Manifest.json"], &[]);
        let tree = tree.unwrap();
        File::options().write(true).open(&tree.files[0].source).unwrap().set_len(1 << 40).unwrap();
        let said = tree.describe(BundleKind::MlPackage).unwrap_err().to_string();
        assert!(said.contains("Manifest.json` has 1099511627776 bytes"), "{said}");
    }
}
