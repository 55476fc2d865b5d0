//! Fetch, publish and verify from end to end: releases made by hand, a registry behind a server on loopback, homes and
//! folders of their own. What moves is counted at the server.

mod claims;
#[cfg(unix)]
mod damage;
mod faults;
#[path = "../support/http_server.rs"]
mod http_server;
mod kills;
mod layouts;
mod lies;
#[cfg(unix)]
mod links;
mod publish;
mod random;
mod resolution;
mod satisfied;
mod transfers;
mod updates;
mod verify;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use http_server::HttpServer;
use mlreg::{
    base::{ByteRange, Digest, Target},
    fetch::Layout,
    manifest::release::{BundleKind, Delivery, FileEntry, Release, TensorLabel, Variant},
    remote::{RemoteOptions, RemoteUrl},
    store::{Cut, Origin, Segmentation, Store},
    workflow::{
        Context, Error, ErrorKind,
        fetch::{FetchOptions, FetchReport, FetchedPackage, fetch},
        publish::{PublishOptions, PublishReport, PublishSubject, publish},
        verify::{VerifyOptions, VerifyReport, VerifySubject, verify},
    },
};

/// What catalogue, index and manifest of these tests may cost.
const METADATA: u64 = 64 << 10;
const WEIGHTS: &str = "Data/com.apple.CoreML/weights/weight.bin";
const SPECIFICATION: &str = "Data/com.apple.CoreML/model.mlmodel";

/// Bytes that look random and are always the same.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A file with the form of a weight file: a header, and for each tensor (seed, length) a record that says where it
/// lies, and its data.
fn weights(tensors: &[(u64, usize)]) -> Content {
    let mut bytes = vec![1; 64];
    let mut cuts = Vec::new();
    for (seed, length) in tensors {
        let offset = bytes.len() + 64;
        bytes.extend([offset as u64, *length as u64].iter().flat_map(|word| word.to_le_bytes()));
        bytes.resize(offset, 0);
        bytes.extend(noise(*seed, *length));
        let label =
            TensorLabel { name: format!("tensor{seed}"), dtype: "float16".to_owned(), shape: vec![*length as u64 / 2] };
        cuts.push(Cut { range: ByteRange::new(offset as u64, *length as u64).unwrap(), label: Some(label) });
        bytes.resize(bytes.len().next_multiple_of(64), 0);
    }
    Content { bytes, segmentation: Segmentation::Cuts(cuts) }
}

/// A file's bytes and how they are cut.
#[derive(Debug, Clone)]
struct Content {
    bytes: Vec<u8>,
    segmentation: Segmentation,
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, segmentation: Segmentation::Whole }
    }
}

/// A variant with its files.
#[derive(Debug, Clone)]
struct Bundle {
    variant: Variant,
    contents: Vec<Content>,
}

impl Bundle {
    /// An empty bundle `<name>-<target>`.
    fn new(name: &str, target: Target) -> Self {
        let variant = Variant {
            id: format!("{name}-{}", target.id()),
            name: name.to_owned(),
            component: name.split('-').next().unwrap().to_owned(),
            target: Some(target),
            kind: BundleKind::MlPackage,
            axes: [("precision".to_owned(), "float16".to_owned())].into(),
            tags: BTreeSet::new(),
            delivery: Delivery::default(),
            interface: None,
            compiled: None,
            files: Vec::new(),
            folders: Vec::new(),
            other: Default::default(),
        };
        Self { variant, contents: Vec::new() }
    }

    /// A decoder of that size whose specification is its own.
    fn decoder(size: u32, target: Target, weights: &Content) -> Self {
        let specification = format!("decoder of {size} for {target}").into_bytes();
        let bundle = Self::new(&format!("decoder-{size}-float16"), target);
        bundle.file("Manifest.json", b"{}".to_vec()).file(SPECIFICATION, specification).file(WEIGHTS, weights.clone())
    }

    fn file(mut self, path: &str, content: impl Into<Content>) -> Self {
        let content = content.into();
        let (sha256, size) = (Digest::of(&content.bytes), content.bytes.len() as u64);
        self.variant.files.push(FileEntry { path: path.parse().unwrap(), sha256, size, executable: false });
        self.contents.push(content);
        self
    }

    fn executable(mut self) -> Self {
        self.variant.files.last_mut().unwrap().executable = true;
        self
    }

    fn folder(mut self, path: &str) -> Self {
        self.variant.folders.push(path.parse().unwrap());
        self
    }

    fn tag(mut self, tag: &str) -> Self {
        self.variant.tags.insert(tag.parse().unwrap());
        self
    }

    fn delivery(mut self, delivery: Delivery) -> Self {
        self.variant.delivery = delivery;
        self
    }

    fn kind(mut self, kind: BundleKind) -> Self {
        self.variant.kind = kind;
        self
    }

    /// What placing it as `name` should give, by path.
    fn tree(&self, name: &str) -> Tree {
        let mut tree = Tree::from([(name.to_owned(), Node::Folder)]);
        let mut add_parents = |path: &str| {
            for (at, _) in path.match_indices('/') {
                tree.insert(format!("{name}/{}", &path[..at]), Node::Folder);
            }
        };
        self.variant.files.iter().for_each(|file| add_parents(file.path.as_str()));
        self.variant.folders.iter().for_each(|folder| add_parents(&format!("{folder}/")));
        for (file, content) in self.variant.files.iter().zip(&self.contents) {
            tree.insert(
                format!("{name}/{}", file.path),
                Node::File { bytes: content.bytes.clone(), executable: file.executable },
            );
        }
        tree
    }
}

/// A release of `tae` in a store, as a build would leave it.
fn put_release(store: &Store, version: &str, bundles: &[Bundle]) -> Release {
    let mut release = Release {
        schema: mlreg::manifest::release::SCHEMA.to_owned(),
        package: "tae".parse().unwrap(),
        version: version.parse().unwrap(),
        description: None,
        license: None,
        sources: BTreeMap::new(),
        variants: Vec::new(),
        blobs: BTreeMap::new(),
        other: Default::default(),
    };
    for bundle in bundles {
        for content in &bundle.contents {
            let stored = store.put(&content.bytes, content.segmentation.clone()).unwrap();
            release.blobs.insert(stored.digest, stored.blob);
        }
        let mut variant = bundle.variant.clone();
        variant.files.sort_by(|left, right| left.path.cmp(&right.path));
        release.variants.push(variant);
    }
    release.variants.sort_by(|left, right| left.id.cmp(&right.id));
    release.check().unwrap();
    store.put_release(&release.to_canonical().unwrap(), Origin::Built { published_to: BTreeSet::new() }).unwrap();
    release
}

/// Options that wait next to nothing.
fn quick() -> RemoteOptions {
    RemoteOptions {
        backoff: Duration::from_millis(1),
        longest_wait: Duration::from_millis(20),
        system_proxy: false,
        ..RemoteOptions::default()
    }
}

/// A publisher's home, the registry that it publishes to, and a server in front of that.
struct Scene {
    root: tempfile::TempDir,
    publisher: Context,
    server: HttpServer,
}

impl Scene {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let publisher = Context::new(&root.path().join("publisher"), root.path().to_owned()).unwrap();
        fs::create_dir(root.path().join("registry")).unwrap();
        let server = HttpServer::start(&root.path().join("registry"));
        Self { root, publisher, server }
    }

    /// A scene with one release, 1.0.0.
    fn with(bundles: &[Bundle]) -> Self {
        let scene = Self::new();
        scene.release("1.0.0", bundles);
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn registry(&self) -> PathBuf {
        self.path("registry")
    }

    /// Makes and publishes a release.
    fn release(&self, version: &str, bundles: &[Bundle]) -> Release {
        let release = put_release(self.publisher.store(), version, bundles);
        self.publish(version).unwrap();
        release
    }

    fn publish(&self, version: &str) -> Result<PublishReport, Error> {
        publish(&self.publisher, &self.publish_options(version))
    }

    fn publish_options(&self, version: &str) -> PublishOptions {
        let subject = PublishSubject::Package(format!("tae@{version}").parse().unwrap());
        PublishOptions {
            subject,
            to: RemoteUrl::folder(self.registry()),
            allow_breaking: true,
            dry_run: false,
            message: None,
            public: false,
            layout: Layout::Linked,
            evaluations: Vec::new(),
        }
    }

    /// A machine with an empty home and an empty destination.
    fn client(&self, name: &str) -> Client {
        let url = RemoteUrl::parse(&self.server.url(), self.root.path()).unwrap();
        Client::new(&self.path(name), url)
    }
}

/// A home, a destination, and where releases come from.
struct Client {
    context: Context,
    root: PathBuf,
    url: RemoteUrl,
}

impl Client {
    fn new(root: &Path, url: RemoteUrl) -> Self {
        fs::create_dir_all(root).unwrap();
        let context = Context::new(&root.join("home"), root.to_owned()).unwrap().with_remote_options(quick());
        Self { context, root: root.to_owned(), url }
    }

    fn options(&self) -> FetchOptions {
        FetchOptions {
            requests: vec!["tae".parse().unwrap()],
            from: Some(self.url.clone()),
            floor: None,
            variants: Vec::new(),
            components: Vec::new(),
            tags: Vec::new(),
            deliveries: Vec::new(),
            out: "Models".into(),
            layout: Layout::Linked,
            offline: false,
            upgrade: false,
            verify: false,
            staging: Default::default(),
            dry_run: false,
        }
    }

    fn try_fetch(&self, change: impl FnOnce(&mut FetchOptions)) -> Result<FetchedPackage, Error> {
        let mut options = self.options();
        change(&mut options);
        let FetchReport { mut packages } = fetch(&self.context, &options)?;
        Ok(packages.remove(0))
    }

    #[track_caller]
    fn fetch(&self, change: impl FnOnce(&mut FetchOptions)) -> FetchedPackage {
        self.try_fetch(change).unwrap_or_else(|error| panic!("{}", message(&error)))
    }

    /// Fetches what the globs say.
    #[track_caller]
    fn fetch_variants(&self, globs: &[&str]) -> FetchedPackage {
        self.fetch(|options| options.variants = texts(globs))
    }

    /// The message and kind of a fetch that fails.
    #[track_caller]
    fn refusal(&self, change: impl FnOnce(&mut FetchOptions)) -> (ErrorKind, String) {
        let error = self.try_fetch(change).expect_err("the fetch should fail");
        (error.kind(), message(&error))
    }

    fn folder(&self) -> PathBuf {
        self.root.join("Models/tae")
    }

    fn file(&self, path: &str) -> PathBuf {
        self.folder().join(path)
    }

    fn store(&self) -> &Store {
        self.context.store()
    }

    fn verify(&self, subject: VerifySubject) -> VerifyReport {
        verify(&self.context, &VerifyOptions { subject }).unwrap_or_else(|error| panic!("{}", message(&error)))
    }

    /// `problem path` of everything that is wrong in the placed folder, with paths from there.
    fn problems(&self) -> Vec<String> {
        let prefix = format!("{}/", self.folder().display());
        let report = self.verify(VerifySubject::Folder(self.folder()));
        report
            .findings
            .iter()
            .map(|it| format!("{} {}", it.problem, it.path.strip_prefix(&prefix).unwrap_or(&it.path)))
            .collect()
    }

    /// The bundles and files in the placed folder, without what is mlreg's own.
    fn tree(&self) -> Tree {
        let mut tree = tree(&self.folder());
        tree.retain(|path, _| !path.starts_with(".mlreg.json"));
        tree
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn message(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Something in a folder.
#[derive(Clone, PartialEq, Eq)]
enum Node {
    Folder,
    File { bytes: Vec<u8>, executable: bool },
}

/// Bytes are too many to be shown.
impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder => f.write_str("folder"),
            Self::File { bytes, executable } => {
                write!(
                    f,
                    "{} bytes {}{}",
                    bytes.len(),
                    Digest::of(bytes).short(),
                    if *executable { ", executable" } else { "" }
                )
            }
        }
    }
}

type Tree = BTreeMap<String, Node>;

/// Everything below a folder, by `/`-separated path.
fn tree(folder: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut rest = vec![(folder.to_owned(), String::new())];
    while let Some((place, prefix)) = rest.pop() {
        for entry in fs::read_dir(&place).into_iter().flatten().map(Result::unwrap) {
            let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type().unwrap().is_dir() {
                rest.push((entry.path(), format!("{path}/")));
                tree.insert(path, Node::Folder);
            } else {
                let executable = is_executable(&entry.path());
                tree.insert(path, Node::File { bytes: fs::read(entry.path()).unwrap(), executable });
            }
        }
    }
    tree
}

/// The trees of several bundles together.
fn trees(bundles: &[(&str, &Bundle)]) -> Tree {
    bundles.iter().flat_map(|(name, bundle)| bundle.tree(name)).collect()
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions()) & 0o111 != 0
}

#[cfg(not(unix))]
fn is_executable(_: &Path) -> bool {
    false
}

/// Changes a file that may be read-only in its place, so that every link to it changes.
fn change_in_place(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    let before = fs::metadata(path).unwrap().permissions();
    make_writable(path);
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, before).unwrap();
}

/// As [`change_in_place`], with the times from before.
fn change_secretly(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    change_in_place(path, change);
    let before = fs::metadata(path).unwrap().permissions();
    make_writable(path);
    fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
    fs::set_permissions(path, before).unwrap();
}

fn make_writable(path: &Path) {
    let mut permissions = fs::metadata(path).unwrap().permissions();
    #[cfg(unix)]
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
    #[cfg(not(unix))]
    permissions.set_readonly(false);
    fs::set_permissions(path, permissions).unwrap();
}
