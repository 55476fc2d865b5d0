//! Releases that contradict themselves: the sha256 of a blob is that of some bytes, its BLAKE3 that of others. Nobody
//! gets such a release, whichever of the two is served, and nobody's store or folder is worse for having asked.

use std::{fs, path::PathBuf};

use mlreg::{
    base::{Blake3, Digest, Target::Ios18},
    manifest::release::Release,
    remote::RemoteUrl,
    workflow::ErrorKind,
};

use crate::{Bundle, Client, Scene, WEIGHTS, noise, trees};

const ONE: &str = "decoder-768-float16-ios18.mlpackage";

/// A registry that tells the truth, and one whose release 1.0.0 lies about its weights.
struct Lie {
    scene: Scene,
    liar: Scene,
    bundle: Bundle,
    digest: Digest,
}

impl Lie {
    /// `serves_others`: the liar has the bytes of the BLAKE3.
    fn new(length: usize, serves_others: bool) -> Self {
        let (bytes, other) = (noise(1, length), noise(2, length));
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
        let replace = |path: PathBuf, bytes: &[u8]| {
            fs::remove_file(&path).unwrap();
            fs::write(path, bytes).unwrap();
        };
        replace(path, &after);
        let index = liar.registry().join("packages/tae/index.json");
        let text = fs::read_to_string(&index).unwrap();
        replace(index, text.replace(&Digest::of(&before).to_string(), &Digest::of(&after).to_string()).as_bytes());
        if serves_others {
            let hex = digest.to_string();
            replace(liar.registry().join("blobs/sha256").join(&hex[..2]).join(&hex), &other);
        }
        Self { scene, liar, bundle, digest }
    }

    fn client(&self, name: &str, registry: &Scene) -> Client {
        Client::new(&self.scene.path(name), RemoteUrl::folder(registry.registry()))
    }

    /// The client is refused, and has what it had.
    #[track_caller]
    fn is_refused(&self, client: &Client) {
        let before = if client.folder().exists() { Some(client.tree()) } else { None };
        let (kind, text) = client.refusal(|options| options.upgrade = true);
        assert_eq!(kind, ErrorKind::Verification, "{text}");
        assert!(text.contains(&self.digest.to_string()), "{text}");
        assert_eq!(if client.folder().exists() { Some(client.tree()) } else { None }, before);
        assert_eq!(client.store().verify(&|_, _| ()).unwrap().findings, []);
    }

    /// The client has the truth, in its folder and in its store.
    #[track_caller]
    fn is_over(&self, client: &Client) {
        assert_eq!(client.tree(), trees(&[(ONE, &self.bundle)]));
        assert_eq!(client.problems(), [""; 0]);
        assert_eq!(client.store().verify(&|_, _| ()).unwrap().findings, []);
        assert_eq!(Digest::of(&client.store().read_blob(&self.digest, u64::MAX).unwrap()), self.digest);
        assert_eq!(Digest::of(&fs::read(client.file(&format!("{ONE}/{WEIGHTS}"))).unwrap()), self.digest);
    }
}

#[test]
fn a_release_that_contradicts_itself_is_refused_whatever_is_served() {
    for length in [9 << 20, 50_000] {
        for serves_others in [true, false] {
            let lie = Lie::new(length, serves_others);
            let mut client = lie.client("client", &lie.liar);
            lie.is_refused(&client);
            assert!(client.store().packages().unwrap().is_empty(), "a release that cannot be had is not kept");
            client.url = RemoteUrl::folder(lie.scene.registry());
            client.fetch(|_| ());
            lie.is_over(&client);
        }
    }
}

#[test]
fn a_release_that_contradicts_what_is_here_is_refused() {
    for length in [9 << 20, 50_000] {
        let lie = Lie::new(length, true);
        let mut client = lie.client("client", &lie.scene);
        client.fetch(|_| ());
        client.url = RemoteUrl::folder(lie.liar.registry());
        lie.is_refused(&client);
        // Elsewhere on the same machine, too.
        let truth = client.root.clone();
        client.root = lie.scene.path("elsewhere");
        let (kind, text) =
            client.refusal(|options| (options.out, options.upgrade) = (lie.scene.path("elsewhere/Models"), true));
        assert_eq!(kind, ErrorKind::Verification, "{text}");
        assert!(!lie.scene.path("elsewhere/Models/tae").exists());
        client.root = truth;
        lie.is_over(&client);
    }
}
