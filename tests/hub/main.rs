//! The Hub from end to end: releases are published into a stand-in of it and fetched from there, with faults, rivals
//! and strangers. What moves is counted at the server, and so is who got the token.

mod apps;
mod errors;
mod faults;
mod fetching;
#[path = "../support/http_server.rs"]
mod http_server;
#[path = "../support/hub_server.rs"]
mod hub_server;
mod modules;
mod publishing;
mod sources;
mod strangers;
#[cfg(feature = "xet")]
mod xet;
#[path = "../support/xet_server.rs"]
mod xet_server;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use hub_server::{HubServer, TOKEN};
use mlreg::{
    base::{ByteRange, Digest, Target},
    fetch::Layout,
    manifest::release::{BundleKind, Delivery, FileEntry, Release, Variant},
    remote::{HubOptions, HubToken, RemoteOptions, RemoteUrl},
    store::{Cut, Origin, Segmentation, Store},
    workflow::{
        Context, Error,
        fetch::{FetchOptions, FetchedPackage, fetch},
        publish::{PublishOptions, PublishReport, PublishSubject, publish},
    },
};

/// What the documents of a fetch may cost.
const METADATA: u64 = 32 << 10;
const WEIGHTS: &str = "Data/com.apple.CoreML/weights/weight.bin";
const SPECIFICATION: &str = "Data/com.apple.CoreML/model.mlmodel";
const REPOSITORY: &str = "acme/tae";

/// Bytes that look random and are always the same.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A weight file of tensors (seed, length) without anything between them.
fn tensors(tensors: &[(u64, usize)]) -> (Vec<u8>, Segmentation) {
    let (mut bytes, mut cuts) = (Vec::new(), Vec::new());
    for (seed, length) in tensors {
        cuts.push(Cut { range: ByteRange::new(bytes.len() as u64, *length as u64).unwrap(), label: None });
        bytes.extend(noise(*seed, *length));
    }
    (bytes, Segmentation::Cuts(cuts))
}

/// A package of `size` whose specification is its own.
fn decoder(size: u32, weights: &(Vec<u8>, Segmentation)) -> Bundle {
    let files = vec![
        (SPECIFICATION.to_owned(), noise(u64::from(size), 3000), Segmentation::Whole),
        (WEIGHTS.to_owned(), weights.0.clone(), weights.1.clone()),
        ("Manifest.json".to_owned(), b"{}".to_vec(), Segmentation::Whole),
    ];
    Bundle { name: format!("decoder-{size}-float16"), files }
}

/// A bundle for iOS18.
#[derive(Debug, Clone)]
struct Bundle {
    name: String,
    files: Vec<(String, Vec<u8>, Segmentation)>,
}

impl Bundle {
    fn id(&self) -> String {
        format!("{}-ios18", self.name)
    }

    /// Its files where a repository or a placed folder has them.
    fn tree(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        self.files.iter().map(|(path, bytes, _)| (format!("{folder}/{path}"), bytes.clone())).collect()
    }
}

/// Puts a release of `tae` into a store, as a build leaves it.
fn put_release(store: &Store, version: &str, bundles: &[Bundle]) -> Release {
    let release = serde_json::json!({
        "schema": "mlreg/release/1", "package": "tae", "version": version, "license": "MIT", "variants": [], "blobs": {},
    });
    let mut release: Release = serde_json::from_value(release).unwrap();
    for bundle in bundles {
        let mut files = Vec::new();
        for (path, bytes, segmentation) in &bundle.files {
            let stored = store.put(bytes, segmentation.clone()).unwrap();
            files.push(FileEntry {
                path: path.parse().unwrap(),
                sha256: stored.digest,
                size: stored.blob.size,
                executable: false,
            });
            release.blobs.insert(stored.digest, stored.blob);
        }
        files.sort_by(|left, right| left.path.cmp(&right.path));
        release.variants.push(Variant {
            id: bundle.id(),
            name: bundle.name.clone(),
            component: "decoder".to_owned(),
            target: Some("iOS18".parse::<Target>().unwrap()),
            kind: BundleKind::MlPackage,
            axes: BTreeMap::new(),
            tags: BTreeSet::new(),
            delivery: Delivery::default(),
            interface: None,
            compiled: None,
            files,
            folders: Vec::new(),
            other: Default::default(),
        });
    }
    release.variants.sort_by(|left, right| left.id.cmp(&right.id));
    release.check().unwrap();
    store.put_release(&release.to_canonical().unwrap(), Origin::Built { published_to: BTreeSet::new() }).unwrap();
    release
}

/// A Hub, and folders for whoever uses it.
struct Scene {
    server: HubServer,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        Self { server: HubServer::start(), folder: tempfile::tempdir().unwrap() }
    }

    /// Somebody with a home of that name.
    fn user(&self, name: &str, token: Option<&str>) -> User {
        let options = RemoteOptions {
            backoff: Duration::from_millis(1),
            longest_wait: Duration::from_millis(20),
            stall_timeout: Duration::from_secs(5),
            system_proxy: false,
            hub: HubOptions {
                endpoint: self.server.endpoint(),
                token: token.and_then(HubToken::new),
                ..HubOptions::default()
            },
            ..RemoteOptions::default()
        };
        User::new(self.folder.path().join(name), options)
    }

    fn publisher(&self) -> User {
        self.user("publisher", Some(TOKEN))
    }

    /// The files of `main` below a folder.
    fn below(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        let mut files = self.server.files(REPOSITORY, "main");
        files.retain(|path, _| path.starts_with(folder));
        files
    }
}

/// A version of `tae`, to the repository.
fn publish_options(version: &str) -> PublishOptions {
    PublishOptions {
        subject: PublishSubject::Package(format!("tae@={version}").parse().unwrap()),
        to: hub_url(REPOSITORY),
        allow_breaking: true,
        dry_run: false,
        message: None,
        public: false,
        layout: Layout::Linked,
        evaluations: Vec::new(),
    }
}

/// Somebody with a store and a folder.
struct User {
    home: PathBuf,
    options: RemoteOptions,
}

impl User {
    fn new(home: PathBuf, options: RemoteOptions) -> Self {
        Self { home, options }
    }

    fn context(&self) -> Context {
        Context::new(&self.home.join("store"), self.home.clone()).unwrap().with_remote_options(self.options.clone())
    }

    fn out(&self) -> PathBuf {
        self.home.join("Models")
    }

    fn publish_with(&self, version: &str, change: impl FnOnce(&mut PublishOptions)) -> Result<PublishReport, Error> {
        let mut options = publish_options(version);
        change(&mut options);
        publish(&self.context(), &options)
    }

    fn publish(&self, version: &str) -> Result<PublishReport, Error> {
        self.publish_with(version, |_| ())
    }

    /// Builds and publishes.
    fn release(&self, version: &str, bundles: &[Bundle]) -> PublishReport {
        put_release(self.context().store(), version, bundles);
        self.publish(version).unwrap()
    }

    fn fetch_with(&self, request: &str, change: impl FnOnce(&mut FetchOptions)) -> Result<FetchedPackage, Error> {
        let mut options = FetchOptions {
            requests: vec![request.parse().unwrap()],
            from: Some(hub_url(REPOSITORY)),
            floor: None,
            variants: Vec::new(),
            components: Vec::new(),
            tags: Vec::new(),
            deliveries: Vec::new(),
            out: self.out(),
            layout: Layout::Copied,
            offline: false,
            upgrade: true,
            verify: false,
            staging: Default::default(),
            dry_run: false,
        };
        change(&mut options);
        fetch(&self.context(), &options).map(|mut report| report.packages.remove(0))
    }

    fn fetch(&self, request: &str) -> Result<FetchedPackage, Error> {
        self.fetch_with(request, |_| ())
    }

    /// What was placed, by path below the package's folder.
    fn placed(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = read_folder(&self.out().join("tae"));
        files.remove(".mlreg.json");
        files
    }
}

fn hub_url(text: &str) -> RemoteUrl {
    RemoteUrl::parse(&format!("hf://{text}"), Path::new("/")).unwrap()
}

fn read_folder(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(
                    path.strip_prefix(folder).unwrap().to_string_lossy().replace('\\', "/"),
                    fs::read(&path).unwrap(),
                );
            }
        }
    }
    found
}

fn message(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn digest(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}

/// The Hub for other clients, e.g. the Python one: `MLREG_TEST_HUB=FILE cargo test --test hub a_hub_for -- --ignored`
/// writes its address into the file, with a public release in `acme/tae`, and ends when the file is gone.
/// `MLREG_TEST_HUB_MEGABYTES` is what its weights weigh, 3 where nothing is said; with `MLREG_TEST_HUB_XET` they went
/// up by Xet.
#[test]
#[ignore = "a server for other programs, which ends when its file is removed"]
#[expect(clippy::disallowed_methods, reason = "whoever starts it names the file")]
fn a_hub_for_other_clients() {
    let file = PathBuf::from(std::env::var_os("MLREG_TEST_HUB").expect("MLREG_TEST_HUB names a file"));
    let scene = Scene::new();
    scene.server.state().xet = std::env::var_os("MLREG_TEST_HUB_XET").map(|_| xet_server::XetStorage::default());
    let publisher = scene.publisher();
    let megabytes = std::env::var("MLREG_TEST_HUB_MEGABYTES").map_or(3, |text| text.parse().expect("a number"));
    let weights = tensors(&(0..megabytes).map(|seed| (seed, 1_000_000)).collect::<Vec<_>>());
    put_release(publisher.context().store(), "1.0.0", &[decoder(768, &weights), decoder(1024, &weights)]);
    publisher.publish_with("1.0.0", |options| options.public = true).unwrap();
    fs::write(&file, scene.server.endpoint()).unwrap();
    while file.exists() {
        std::thread::sleep(Duration::from_millis(100));
    }
}
