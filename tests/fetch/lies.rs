//! Releases that say of a long blob what is not so: its BLAKE3 is that of its bytes, and its sha256 that of other bytes. Who fetches such a
//! release gets what its publisher means; it must not become what anybody else gets.

use std::fs;

use mlreg::{
    base::{Blake3, Digest, RemoteUrl, Target::Ios18},
    manifest::release::Release,
};

use crate::{Bundle, Client, Scene, WEIGHTS, noise, put_release, trees};

const ONE: &str = "decoder-768-float16-ios18.mlpackage";
const LENGTH: usize = 9 << 20;

/// A client that has fetched a lie, and a registry that tells the truth in the version after it.
struct Lie {
    scene: Scene,
    bundle: Bundle,
    digest: Digest,
    client: Client,
}

impl Lie {
    fn new() -> Self {
        let (bytes, other) = (noise(1, LENGTH), noise(2, LENGTH));
        let digest = Digest::of(&bytes);
        let bundle = Bundle::decoder(768, Ios18, &bytes.into());
        let bundles = [bundle.clone()];
        let scene = Scene::with(&bundles);
        let liar = Scene::with(&bundles);
        let path = liar.registry().join("packages/tae/1.0.0.json");
        let before = fs::read(&path).unwrap();
        let mut release = Release::parse(&before).unwrap();
        let blob = release.blobs.get_mut(&digest).unwrap();
        (blob.blake3, blob.segments) = (Some(Blake3::of(&other)), Vec::new());
        let after = release.to_canonical().unwrap();
        let replace = |path: std::path::PathBuf, bytes: &[u8]| {
            fs::remove_file(&path).unwrap();
            fs::write(path, bytes).unwrap();
        };
        replace(path, &after);
        let index = liar.registry().join("packages/tae/index.json");
        let text = fs::read_to_string(&index).unwrap();
        replace(index, text.replace(&Digest::of(&before).to_string(), &Digest::of(&after).to_string()).as_bytes());
        let hex = digest.to_string();
        replace(liar.registry().join("blobs/sha256").join(&hex[..2]).join(&hex), &other);

        let mut client = Client::new(&scene.path("client"), RemoteUrl::Folder(liar.registry()));
        client.fetch(|_| ());
        assert_eq!(fs::read(client.file(&format!("{ONE}/{WEIGHTS}"))).unwrap(), other, "what the publisher means");
        client.url = RemoteUrl::Folder(scene.registry());
        scene.release("1.1.0", &bundles);
        Self { scene, bundle, digest, client }
    }

    /// The client has the truth, in its folder and in its store.
    #[track_caller]
    fn is_over(&self) {
        assert_eq!(self.client.tree(), trees(&[(ONE, &self.bundle)]));
        assert_eq!(self.client.problems(), [""; 0]);
        assert_eq!(Digest::of(&self.client.store().read_blob(&self.digest, u64::MAX).unwrap()), self.digest);
    }
}

#[test]
fn another_release_in_the_same_folder_is_right() {
    let lie = Lie::new();
    lie.client.fetch(|options| options.upgrade = true);
    lie.is_over();
}

#[test]
fn another_release_is_right_after_the_store_was_emptied() {
    let lie = Lie::new();
    let store = lie.client.store();
    fs::remove_file(store.blob_path(&lie.digest)).unwrap();
    fs::remove_dir_all(store.home().join("vouched")).unwrap();
    lie.client.fetch(|options| options.upgrade = true);
    lie.is_over();
}

#[test]
fn another_folder_of_the_same_machine_is_right() {
    let mut lie = Lie::new();
    let first = lie.client.root.clone();
    lie.client.root = lie.scene.path("elsewhere");
    lie.client.fetch(|options| (options.out, options.upgrade) = (lie.scene.path("elsewhere/Models"), true));
    lie.is_over();
    lie.client.root = first;
    assert!(!lie.client.problems().is_empty(), "the folder of the lie is as it was, and `verify` says so");
}

#[test]
fn a_release_of_this_machine_in_the_same_folder_is_right() {
    let lie = Lie::new();
    let store = lie.client.store();
    let release = put_release(store, "1.1.0", std::slice::from_ref(&lie.bundle));
    assert!(release.blobs.contains_key(&lie.digest));
    lie.client.fetch(|options| (options.from, options.upgrade) = (None, true));
    lie.is_over();
}
