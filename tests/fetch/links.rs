//! Symbolic links inside of what mlreg manages: none is followed, and what one leads to stays as it is.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use mlreg::{
    base::Target::Ios18,
    fetch::Layout,
    workflow::{
        ErrorKind,
        fetch::FetchOptions,
        verify::{VerifyOptions, VerifySubject, verify},
    },
};

use crate::{Bundle, Client, Scene, WEIGHTS, message, tree, trees, weights};

const NAME: &str = "decoder-768-float16-ios18.mlpackage";

struct Placed {
    _scene: Scene,
    client: Client,
    bundle: Bundle,
}

impl Placed {
    /// A client that has fetched nothing yet, beside a folder `outside` with a precious file.
    fn before() -> Self {
        let bundle = Bundle::decoder(768, Ios18, &weights(&[(1, 100_000)]));
        let scene = Scene::with(std::slice::from_ref(&bundle));
        let client = scene.client("one");
        fs::create_dir_all(client.root.join("Models")).unwrap();
        fs::create_dir_all(client.root.join("outside/Data")).unwrap();
        fs::write(client.root.join("outside/precious"), "precious").unwrap();
        Self { _scene: scene, client, bundle }
    }

    fn after(layout: Layout) -> Self {
        let placed = Self::before();
        placed.client.fetch(|options| options.layout = layout);
        placed
    }

    /// Puts a link to something outside in the place of what is there.
    fn replace(&self, path: &str, to: &str) {
        let folder = self.client.folder();
        let path = if path.is_empty() { folder } else { folder.join(path) };
        let is_folder = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir());
        if is_folder {
            fs::remove_dir_all(&path).unwrap()
        } else {
            drop(fs::remove_file(&path))
        }
        symlink(self.client.root.join(to), path).unwrap();
    }

    #[track_caller]
    fn refused(&self, link: &str, change: impl FnOnce(&mut FetchOptions)) {
        let (kind, said) = self.client.refusal(change);
        assert!(kind == ErrorKind::Input && said.contains(&format!("{link}` is a symbolic link")), "{kind:?} {said}");
        self.is_untouched();
    }

    #[track_caller]
    fn is_untouched(&self) {
        let outside: Vec<String> = tree(&self.client.root.join("outside")).into_keys().collect();
        assert_eq!(outside, ["Data", "precious"]);
        assert_eq!(fs::read(self.client.root.join("outside/precious")).unwrap(), b"precious");
    }
}

#[test]
fn the_folder_of_a_package_is_no_link() {
    for to in ["outside", "nowhere"] {
        let placed = Placed::before();
        placed.replace("", to);
        placed.refused("Models/tae", |_| ());
        placed.refused("Models/tae", |options| options.dry_run = true);
        placed.refused("Models/tae", |options| options.layout = Layout::Shared);
        assert!(!placed.client.root.join("nowhere").exists());
    }
}

#[test]
fn a_placed_folder_that_was_moved_and_linked_is_refused() {
    let placed = Placed::after(Layout::Linked);
    let moved = placed.client.root.join("moved");
    fs::rename(placed.client.folder(), &moved).unwrap();
    placed.replace("", "moved");
    placed.refused("Models/tae", |_| ());
    assert_eq!(tree(&moved).len(), 1 + trees(&[(NAME, &placed.bundle)]).len());
    let subject = VerifySubject::Folder("Models".into());
    let error = verify(&placed.client.context, &VerifyOptions { subject }).unwrap_err();
    assert!(error.kind() == ErrorKind::Input && message(&error).contains("Models/tae` is a symbolic link"), "{error}");
}

#[test]
fn the_way_to_the_destination_may_have_links() {
    let placed = Placed::before();
    fs::remove_dir(placed.client.root.join("Models")).unwrap();
    fs::create_dir(placed.client.root.join("real")).unwrap();
    symlink("real", placed.client.root.join("Models")).unwrap();
    placed.client.fetch(|_| ());
    assert_eq!(placed.client.tree(), trees(&[(NAME, &placed.bundle)]));
    assert!(placed.client.root.join("real/tae").is_dir());
    assert_eq!(placed.client.problems(), [""; 0]);
}

#[test]
fn a_proof_that_is_a_link_is_refused() {
    let placed = Placed::after(Layout::Linked);
    placed.replace(".mlreg.json", "outside/precious");
    placed.refused("tae/.mlreg.json", |options| options.verify = true);
    placed.refused("tae/.mlreg.json", |options| options.dry_run = true);
    assert_eq!(placed.client.problems(), ["wrong-proof .mlreg.json"]);
}

#[test]
fn links_in_the_place_of_what_was_placed_are_replaced() {
    let inside = |path: &str| format!("{NAME}/{path}");
    let cases = [
        (Layout::Linked, NAME.to_owned(), "outside"),
        (Layout::Linked, NAME.to_owned(), "nowhere"),
        (Layout::Linked, inside("Data"), "outside/Data"),
        (Layout::Copied, inside(WEIGHTS), "outside/precious"),
        (Layout::Copied, inside(WEIGHTS), "nowhere"),
        (Layout::Shared, "weight.bin".to_owned(), "outside/precious"),
        (Layout::Shared, "layout.json".to_owned(), "outside/precious"),
    ];
    for (layout, path, to) in cases {
        let placed = Placed::after(layout);
        let before = tree(&placed.client.folder());
        placed.replace(&path, to);
        assert!(!placed.client.problems().is_empty(), "{path} to {to}");
        placed.client.fetch(|options| options.layout = layout);
        placed.is_untouched();
        assert_eq!(tree(&placed.client.folder()), before, "{path} to {to}");
        assert_eq!(placed.client.problems(), [""; 0]);
        assert!(!placed.client.root.join("nowhere").exists());
    }
}

#[test]
fn a_link_of_somebody_else_is_in_the_way() {
    let placed = Placed::before();
    fs::create_dir(placed.client.folder()).unwrap();
    placed.replace(NAME, "outside");
    let (kind, said) = placed.client.refusal(|_| ());
    assert!(kind == ErrorKind::Input && said.contains("is in the way"), "{said}");
    placed.is_untouched();
}

#[test]
fn names_that_are_one_on_a_mac_do_not_meet_in_a_folder() {
    let placed = Placed::before();
    let other: PathBuf = placed.client.file("Decoder-768-FLOAT16-ios18.mlpackage");
    fs::create_dir_all(&other).unwrap();
    if placed.client.file(NAME).exists() {
        return;
    }
    let (kind, said) = placed.client.refusal(|_| ());
    assert!(kind == ErrorKind::Input && said.ends_with("they differ in case alone"), "{said}");
    fs::remove_dir(other).unwrap();
    placed.client.fetch(|_| ());
}
