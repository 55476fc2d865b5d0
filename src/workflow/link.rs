//! `link`: makes the bundles of a folder in the layout `shared` complete, by hard links to the weight files beside
//! them.
//!
//! Frameworks load complete bundles alone. Where the file system has no hard links, a file is copied. Folders come from
//! strangers, too, so no symbolic link below the folder is followed, and nothing changes before everything was looked
//! at.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{Context, Error};
use crate::{
    base::{Digest, Folder, FolderError, PathTree, RelativePath, limits},
    fetch::{LAYOUT_NAME, LAYOUT_SCHEMA, LayoutDocument, PlacedFile},
};

/// What a file is called until it takes its place; no bundle has such a file.
const UNFINISHED: &str = ".mlreg-link.tmp";

/// What was linked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct LinkReport {
    /// Folders with a `layout.json`.
    pub folders: Vec<PathBuf>,
    /// Number of bundles that are complete now.
    pub bundles: u64,
    /// Number of files that were linked.
    pub linked: u64,
    /// Number of files that were copied because they cannot be linked.
    pub copied: u64,
    /// Number of files that were there already.
    pub present: u64,
}

/// Why bundles cannot be made complete.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nothing in the layout `shared`.
    #[error("neither `{}` nor a folder in it has a `{LAYOUT_NAME}`", folder.display())]
    NoLayout {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// A `layout.json` that is none.
    #[error("`{}` is not a `{LAYOUT_NAME}` of mlreg: {why}", path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A bundle that the document names and the folder does not have.
    #[error("`{}` is not there, although `{LAYOUT_NAME}` names it: expected a bundle that lacks its weight files", path.display())]
    NoBundle {
        /// The bundle.
        path: PathBuf,
    },
    /// A weight file with other bytes than it should have.
    #[error("`{}` is damaged: expected sha256:{expected}, found sha256:{found}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What `layout.json` says.
        expected: Digest,
        /// What it has.
        found: Digest,
    },
    /// A weight file of another length than it should have.
    #[error("`{}` is damaged: expected {expected} bytes, found {found}", path.display())]
    WrongSize {
        /// The file.
        path: PathBuf,
        /// What `layout.json` says.
        expected: u64,
        /// What it has.
        found: u64,
    },
    /// Something in the folder that is no plain file or folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The file system refused.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl LinkError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoLayout { .. } => Some("other layouts than `shared` have complete bundles".to_owned()),
            Self::NoBundle { .. } | Self::Damaged { .. } | Self::WrongSize { .. } => {
                Some("`mlreg fetch --verify` repairs what was fetched".to_owned())
            }
            Self::Folder(error) => error.hint(),
            Self::Document { .. } | Self::Io { .. } => None,
        }
    }
}

/// Makes the bundles in `folder`, or in the folders in it, complete. What is there already stays.
///
/// # Errors
/// What [`LinkError`] lists, before anything is changed; every weight file is hashed before it is linked.
pub fn link(context: &Context, folder: &Path) -> Result<LinkReport, Error> {
    let folders = layouts(&context.directory().join(folder))?;
    let plans: Vec<LinkPlan> =
        folders.iter().map(|folder| LinkPlan::look(context, folder)).collect::<Result<_, Error>>()?;
    let mut report = LinkReport { folders, ..LinkReport::default() };
    for plan in &plans {
        plan.carry_out(&mut report)?;
    }
    Ok(report)
}

/// The folder itself, or those in it that have a layout.
fn layouts(path: &Path) -> Result<Vec<PathBuf>, LinkError> {
    let root = Folder::open(path)?;
    if has_layout(&root)? {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(LinkError::io("list", path))? {
        let entry = entry.map_err(LinkError::io("list", path))?;
        let (place, kind) = (entry.path(), entry.file_type().map_err(LinkError::io("look at", &entry.path()))?);
        // What is not text was not placed by mlreg.
        let Ok(name) = entry.file_name().into_string() else { continue };
        if kind.is_symlink() && place.join(LAYOUT_NAME).symlink_metadata().is_ok() {
            return Err(FolderError::Link { path: place }.into());
        }
        if kind.is_dir() && has_layout(&root.folder(&name)?)? {
            found.push(place);
        }
    }
    found.sort();
    if found.is_empty() { Err(LinkError::NoLayout { folder: path.to_owned() }) } else { Ok(found) }
}

fn has_layout(folder: &Folder) -> Result<bool, FolderError> {
    match folder.kind(LAYOUT_NAME)? {
        None => Ok(false),
        // Says what is wrong with anything but a file.
        Some(_) => folder.file(LAYOUT_NAME).map(|_| true),
    }
}

/// What is to be done in one folder, after everything in it was found plain and right.
struct LinkPlan {
    folder: Folder,
    bundles: Vec<(Folder, Vec<Missing>)>,
}

/// A file that a bundle lacks, or may lack.
struct Missing {
    path: RelativePath,
    /// Its name beside the bundles.
    source: String,
}

impl LinkPlan {
    fn look(context: &Context, path: &Path) -> Result<Self, Error> {
        let folder = Folder::open(path).map_err(LinkError::from)?;
        let document = read(&folder)?;
        for (name, file) in &document.files {
            check(context, &folder, name, file)?;
        }
        let mut bundles = Vec::new();
        for (name, wanted) in document.bundles {
            let bundle = match folder.folder(&name) {
                Err(error) if error.is_missing() => return Err(LinkError::NoBundle { path: path.join(name) }.into()),
                other => other.map_err(LinkError::from)?,
            };
            for target in wanted.keys() {
                if let Some(parent) = bundle.parent_of(target).map_err(LinkError::from)? {
                    file_in(&parent, target.file_name()).map_err(LinkError::from)?;
                }
            }
            bundles.push((bundle, wanted.into_iter().map(|(path, source)| Missing { path, source }).collect()));
        }
        Ok(Self { folder, bundles })
    }

    fn carry_out(&self, report: &mut LinkReport) -> Result<(), LinkError> {
        for (bundle, wanted) in &self.bundles {
            report.bundles += 1;
            wanted.iter().try_for_each(|missing| self.complete(bundle, missing, report))?;
        }
        Ok(())
    }

    fn complete(&self, bundle: &Folder, missing: &Missing, report: &mut LinkReport) -> Result<(), LinkError> {
        let parent = bundle.make_parent_of(&missing.path)?;
        let (name, mut source) = (missing.path.file_name(), self.folder.file(&missing.source)?);
        if file_in(&parent, name)?.is_some_and(|file| is_same_file(&file, &source)) {
            report.present += 1;
            return Ok(());
        }
        parent.remove_file(UNFINISHED)?;
        let is_linked = self.folder.hard_link(&missing.source, &parent, UNFINISHED);
        if !is_linked {
            let mut copy = parent.create_file(UNFINISHED)?;
            io::copy(&mut source, &mut copy).map_err(LinkError::io("write", &parent.path().join(name)))?;
        }
        parent.rename(UNFINISHED, name)?;
        *(if is_linked { &mut report.linked } else { &mut report.copied }) += 1;
        Ok(())
    }
}

/// The file of that name; `None` where there is nothing. Anything else is an error.
fn file_in(folder: &Folder, name: &str) -> Result<Option<File>, FolderError> {
    match folder.file(name) {
        Err(error) if error.is_missing() => Ok(None),
        other => other.map(Some),
    }
}

/// Names that lead out of the folder, or that would be one file on some file system, are refused.
fn read(folder: &Folder) -> Result<LayoutDocument, LinkError> {
    let wrong = |why: String| LinkError::Document { path: folder.path().join(LAYOUT_NAME), why };
    let bytes = folder.read(LAYOUT_NAME, limits::SMALL_DOCUMENT_BYTES)?;
    let document: LayoutDocument = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    if document.schema != LAYOUT_SCHEMA {
        return Err(wrong(format!("its schema is `{}`, expected `{LAYOUT_SCHEMA}`", document.schema)));
    }
    let is_name = |name: &str| name.parse::<RelativePath>().is_ok_and(|path| path.components().count() == 1);
    let mut names = document.bundles.keys().chain(document.files.keys());
    if let Some(name) = names.find(|name| !is_name(name)) {
        return Err(wrong(format!("`{name}` is not the name of a file")));
    }
    let (mut tree, bundles) = (PathTree::default(), document.bundles.keys().map(|name| (name, false)));
    let all = bundles.chain(document.files.keys().map(|name| (name, true)));
    all.into_iter()
        .try_for_each(|(name, is_file)| tree.add(name, is_file))
        .map_err(|clash| wrong(clash.to_string()))?;
    for wanted in document.bundles.values() {
        let mut tree = PathTree::default();
        wanted.keys().try_for_each(|path| tree.add(path.as_str(), true)).map_err(|clash| wrong(clash.to_string()))?;
    }
    let unlisted =
        document.bundles.values().flat_map(|wanted| wanted.values()).find(|name| !document.files.contains_key(*name));
    match unlisted {
        Some(name) => Err(wrong(format!("it does not describe `{name}`"))),
        None => Ok(document),
    }
}

fn check(context: &Context, folder: &Folder, name: &str, file: &PlacedFile) -> Result<(), Error> {
    let path = folder.path().join(name);
    let metadata = folder.file(name).map_err(LinkError::from)?.metadata().map_err(LinkError::io("look at", &path))?;
    if metadata.len() != file.size {
        return Err(LinkError::WrongSize { path, expected: file.size, found: metadata.len() }.into());
    }
    let (found, _) = context.store().file_digest(&path)?;
    if found == file.sha256 { Ok(()) } else { Err(LinkError::Damaged { path, expected: file.sha256, found }.into()) }
}

#[cfg(unix)]
fn is_same_file(left: &File, right: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |file: &File| file.metadata().map(|metadata| (metadata.dev(), metadata.ino())).ok();
    identity(left).is_some_and(|left| identity(right) == Some(left))
}

#[cfg(not(unix))]
fn is_same_file(_: &File, _: &File) -> bool {
    false
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use serde_json::{Value, json};

    use super::*;
    use crate::workflow::ErrorKind;

    /// A folder `models` with a bundle that lacks `weights/weight.bin`, and a folder `outside` with a precious file.
    struct Scene {
        folder: tempfile::TempDir,
        context: Context,
    }

    impl Scene {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let context = Context::new(&folder.path().join("home"), folder.path().to_owned()).unwrap();
            let scene = Self { folder, context };
            fs::create_dir_all(scene.path("models/x.mlmodelc/weights")).unwrap();
            fs::create_dir_all(scene.path("outside/weights")).unwrap();
            fs::write(scene.path("outside/weights/weight.bin"), "precious").unwrap();
            fs::write(scene.path("models/weight.bin"), "new bytes").unwrap();
            scene.layout(&scene.document("x.mlmodelc", "weights/weight.bin"));
            scene
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn document(&self, bundle: &str, path: &str) -> Value {
            let file = json!({ "sha256": Digest::of(b"new bytes"), "size": 9 });
            json!({
                "schema": LAYOUT_SCHEMA, "package": "p", "version": "1.0.0",
                "bundles": { bundle: { path: "weight.bin" } }, "files": { "weight.bin": file },
            })
        }

        fn layout(&self, document: &Value) {
            fs::write(self.path("models/layout.json"), document.to_string()).unwrap();
        }

        fn link(&self, folder: &str) -> Result<LinkReport, Error> {
            link(&self.context, Path::new(folder))
        }

        /// The error of linking; nothing outside or inside may have changed.
        #[track_caller]
        fn refusal(&self) -> String {
            let error = self.link("models").unwrap_err();
            let is_damage = matches!(error, Error::Link(LinkError::Damaged { .. } | LinkError::WrongSize { .. }));
            assert_eq!(error.kind(), if is_damage { ErrorKind::Verification } else { ErrorKind::Input });
            assert_eq!(fs::read(self.path("outside/weights/weight.bin")).unwrap(), b"precious");
            assert_eq!(fs::read_dir(self.path("outside")).unwrap().count(), 1);
            error.to_string()
        }

        /// Puts a link in the place of what is there.
        fn replace(&self, name: &str, to: &str) {
            let path = self.path(name);
            if path.is_dir() {
                fs::remove_dir_all(&path).unwrap()
            } else {
                drop(fs::remove_file(&path))
            }
            symlink(to, path).unwrap();
        }
    }

    #[test]
    fn bundles_are_completed_once() {
        let scene = Scene::new();
        let bundle = "models/x.mlmodelc/weights/weight.bin";
        symlink("models", scene.path("alias")).unwrap();
        let report = scene.link("alias").unwrap();
        assert_eq!((report.bundles, report.linked, report.copied, report.present), (1, 1, 0, 0));
        let inode = |name: &str| fs::metadata(scene.path(name)).unwrap().ino();
        assert_eq!(inode(bundle), inode("models/weight.bin"));
        fs::remove_file(scene.path("alias")).unwrap();
        assert_eq!(scene.link(".").unwrap().present, 1, "a folder that has such a folder");
        // A file with other bytes is replaced; what has a second name keeps its bytes.
        fs::remove_file(scene.path(bundle)).unwrap();
        fs::hard_link(scene.path("outside/weights/weight.bin"), scene.path(bundle)).unwrap();
        assert_eq!(scene.link("models").unwrap().linked, 1);
        assert_eq!(fs::read(scene.path(bundle)).unwrap(), b"new bytes");
        assert_eq!(fs::read(scene.path("outside/weights/weight.bin")).unwrap(), b"precious");
        assert_eq!(
            fs::read_dir(scene.path("models/x.mlmodelc/weights")).unwrap().count(),
            1,
            "no unfinished file stays"
        );
        // Archives leave out folders without files.
        fs::remove_dir_all(scene.path("models/x.mlmodelc/weights")).unwrap();
        assert_eq!(scene.link("models").unwrap().linked, 1);
    }

    #[test]
    fn no_link_is_followed_at_any_depth() {
        for (name, to) in [
            ("models/x.mlmodelc", "../outside"),
            ("models/x.mlmodelc/weights", "../../outside/weights"),
            ("models/x.mlmodelc/weights/weight.bin", "../../../outside/weights/weight.bin"),
            ("models/x.mlmodelc/weights/weight.bin", "nowhere"),
            ("models/x.mlmodelc", "nowhere"),
            ("models/weight.bin", "../outside/weights/weight.bin"),
            ("models/layout.json", "../outside/weights/weight.bin"),
            ("models/layout.json", "nowhere"),
        ] {
            let scene = Scene::new();
            scene.replace(name, to);
            let said = scene.refusal();
            assert!(said.contains(name) && said.contains("is a symbolic link"), "{name} to {to}: {said}");
            assert!(fs::symlink_metadata(scene.path(name)).unwrap().is_symlink(), "{name} stays");
        }
    }

    #[test]
    fn one_link_keeps_every_folder_as_it_was() {
        let scene = Scene::new();
        fs::create_dir_all(scene.path("all")).unwrap();
        fs::rename(scene.path("models"), scene.path("all/a")).unwrap();
        fs::create_dir_all(scene.path("elsewhere")).unwrap();
        fs::copy(scene.path("all/a/layout.json"), scene.path("elsewhere/layout.json")).unwrap();
        symlink("../elsewhere", scene.path("all/b")).unwrap();
        let said = scene.link("all").unwrap_err().to_string();
        assert!(said.contains("all/b"), "{said}");
        assert!(!scene.path("all/a/x.mlmodelc/weights/weight.bin").exists());
    }

    #[test]
    fn what_is_missing_or_of_another_kind_is_named() {
        let scene = Scene::new();
        scene.layout(&scene.document("y.mlmodelc", "weights/weight.bin"));
        assert!(scene.refusal().contains("y.mlmodelc` is not there"));
        assert!(!scene.path("models/y.mlmodelc").exists());
        scene.layout(&scene.document("x.mlmodelc", "weights"));
        assert!(scene.refusal().ends_with("x.mlmodelc/weights` is a folder, expected a file"));
        for (bundle, path) in
            [("../outside", "weights/weight.bin"), ("x.mlmodelc", "../outside/weights/weight.bin"), ("weight.bin", "x")]
        {
            scene.layout(&scene.document(bundle, path));
            assert!(scene.refusal().contains("layout.json` is not a `layout.json` of mlreg"), "{bundle} {path}");
        }
        scene.layout(&scene.document("x.mlmodelc", "weights/weight.bin"));
        fs::write(scene.path("models/weight.bin"), "old bytes").unwrap();
        assert!(scene.refusal().contains("is damaged: expected sha256:"));
        fs::write(scene.path("models/weight.bin"), "more").unwrap();
        assert!(scene.refusal().ends_with("is damaged: expected 9 bytes, found 4"));
    }

    #[test]
    fn a_document_that_no_folder_needs_is_not_read() {
        let scene = Scene::new();
        let file = File::create(scene.path("models/layout.json")).unwrap();
        file.set_len(1 << 40).unwrap();
        assert!(scene.refusal().contains("more than such a file has"));
    }
}
