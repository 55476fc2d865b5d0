//! What becomes of a placed folder in other hands: `verify` finds it, the next `fetch` mends what is broken and nothing
//! else.

use std::{fs, os::unix::fs::PermissionsExt, time::SystemTime};

use mlreg::{base::Target::Ios18, fetch::Layout, workflow::fetch::FetchStatus};

use crate::{Bundle, Client, SPECIFICATION, Scene, WEIGHTS, change_in_place, change_secretly, trees, weights};

const ONE: &str = "decoder-768-float16-ios18.mlpackage";
const TWO: &str = "decoder-1024-float16-ios18.mlpackage";

struct Placed {
    scene: Scene,
    client: Client,
    bundles: [Bundle; 2],
    layout: Layout,
}

impl Placed {
    fn new(layout: Layout) -> Self {
        let weights = [weights(&[(1, 100_000)]), weights(&[(2, 100_000)])];
        let bundles = [Bundle::decoder(768, Ios18, &weights[0]), Bundle::decoder(1024, Ios18, &weights[1])];
        let scene = Scene::with(&bundles);
        let client = scene.client("one");
        client.fetch(|options| options.layout = layout);
        scene.server.reset_counts();
        Self { scene, client, bundles, layout }
    }

    fn specification(&self) -> std::path::PathBuf {
        self.client.file(&format!("{ONE}/{SPECIFICATION}"))
    }

    fn weights(&self) -> std::path::PathBuf {
        self.client.file(&format!("{ONE}/{WEIGHTS}"))
    }

    /// Fetches again, and checks that the folder is whole and the other bundle was left alone.
    #[track_caller]
    fn mend(&self) {
        let untouched = || fs::metadata(self.client.file(&format!("{TWO}/Data"))).unwrap().modified().unwrap();
        let before: SystemTime = untouched();
        let report = self.client.fetch(|options| options.layout = self.layout);
        assert_eq!(
            (report.status, report.changes.placed, report.changes.kept),
            (FetchStatus::Fetched, vec![ONE.to_owned()], vec![TWO.to_owned()])
        );
        assert_eq!(self.client.tree(), trees(&[(ONE, &self.bundles[0]), (TWO, &self.bundles[1])]));
        assert_eq!(self.client.problems(), [""; 0]);
        assert_eq!(untouched(), before);
    }
}

#[test]
fn every_kind_of_damage_is_found_and_mended() {
    type Damage = fn(&Placed);
    let cases: [(&str, &str, Damage); 8] = [
        ("a changed file", "wrong-content", |it| change_in_place(&it.specification(), |bytes| bytes[3] ^= 1)),
        ("a changed weight file", "wrong-content", |it| change_in_place(&it.weights(), |bytes| bytes[70_000] ^= 1)),
        ("a truncated file", "wrong-size", |it| change_in_place(&it.weights(), |bytes| bytes.truncate(99))),
        ("a removed file", "missing", |it| fs::remove_file(it.specification()).unwrap()),
        ("a removed folder", "missing", |it| fs::remove_dir_all(it.client.file(&format!("{ONE}/Data"))).unwrap()),
        ("an added file", "extra", |it| fs::write(it.client.file(&format!("{ONE}/Data/new")), b"?").unwrap()),
        ("an added folder", "extra", |it| fs::create_dir(it.client.file(&format!("{ONE}/new"))).unwrap()),
        ("a changed mode", "wrong-mode", |it| {
            fs::set_permissions(it.weights(), fs::Permissions::from_mode(0o755)).unwrap()
        }),
    ];
    for layout in [Layout::Linked, Layout::Copied] {
        for (name, problem, damage) in &cases {
            let placed = Placed::new(layout);
            damage(&placed);
            let problems = placed.client.problems();
            assert!(
                !problems.is_empty() && problems.iter().all(|found| found.starts_with(&format!("{problem} {ONE}"))),
                "{name}: {problems:?}"
            );
            placed.mend();
        }
    }
}

/// Other systems refuse such names.
#[cfg(target_os = "linux")]
#[test]
fn names_that_are_no_text_are_extra() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let placed = Placed::new(Layout::Linked);
    let folder = placed.client.file(&format!("{ONE}/Data")).join(OsStr::from_bytes(b"\xff"));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("file"), b"?").unwrap();
    let problems = placed.client.problems();
    assert!(
        !problems.is_empty() && problems.iter().all(|found| found.starts_with(&format!("extra {ONE}/Data/"))),
        "{problems:?}"
    );
    placed.mend();
}

#[test]
fn times_that_lie_are_no_help() {
    for layout in [Layout::Linked, Layout::Copied] {
        let placed = Placed::new(layout);
        change_secretly(&placed.weights(), |bytes| bytes[70_000] ^= 1);
        let report = placed.client.fetch(|options| options.layout = layout);
        assert_eq!(report.status, FetchStatus::UpToDate, "nothing shows without hashing");
        assert_eq!(placed.client.problems(), [format!("wrong-content {ONE}/{WEIGHTS}")]);
        placed.mend();
    }
}

#[test]
fn what_is_right_is_not_fetched_to_mend_what_is_wrong() {
    for layout in [Layout::Linked, Layout::Copied] {
        let placed = Placed::new(layout);
        change_in_place(&placed.specification(), |bytes| bytes[0] ^= 1);
        // Nothing is left but the folder, as on a machine whose store was thrown away.
        fs::remove_dir_all(placed.client.root.join("home")).unwrap();
        placed.mend();
        assert_eq!(placed.scene.server.bytes("blobs/"), 24, "the specification alone");
    }
}

#[test]
fn a_damaged_proof_is_found_and_mended() {
    let placed = Placed::new(Layout::Linked);
    let proof = placed.client.file(".mlreg.json");
    for change in [|bytes: &mut Vec<u8>| bytes[40] ^= 1, |bytes: &mut Vec<u8>| bytes.truncate(100)] {
        change_in_place(&proof, change);
        assert_eq!(placed.client.problems(), ["wrong-proof .mlreg.json"]);
        let report = placed.client.fetch(|_| ());
        assert_eq!(report.changes.kept, [TWO, ONE]);
        assert_eq!(placed.client.problems(), [""; 0]);
    }
}

#[test]
fn a_proof_that_is_gone_is_written_again() {
    let placed = Placed::new(Layout::Linked);
    fs::remove_file(placed.client.file(".mlreg.json")).unwrap();
    placed.client.fetch(|_| ());
    assert_eq!(placed.client.problems(), [""; 0]);
}

#[test]
fn foreign_files_stay_and_what_is_in_the_way_is_named() {
    let weights = weights(&[(1, 1000)]);
    let bundle = Bundle::decoder(768, Ios18, &weights);
    let scene = Scene::with(std::slice::from_ref(&bundle));
    let client = scene.client("one");
    fs::create_dir_all(client.folder()).unwrap();
    fs::write(client.file("notes.txt"), b"mine").unwrap();
    fs::write(client.file(ONE), b"mine").unwrap();
    let (_, text) = client.refusal(|_| ());
    assert_eq!(
        text,
        format!(
            "`{}` is in the way: it was not placed by mlreg and is not what would be placed there",
            client.file(ONE).display()
        )
    );
    assert_eq!(fs::read(client.file(ONE)).unwrap(), b"mine");
    assert_eq!(scene.server.requests("blobs/"), 0, "and nothing was fetched in vain");
    fs::remove_file(client.file(ONE)).unwrap();
    client.fetch(|_| ());
    assert_eq!(fs::read(client.file("notes.txt")).unwrap(), b"mine");
    assert_eq!(client.problems(), [""; 0], "a foreign file beside the bundles is no damage");
    scene.release("1.1.0", &[Bundle::decoder(1024, Ios18, &weights)]);
    client.fetch(|options| options.upgrade = true);
    assert_eq!(fs::read(client.file("notes.txt")).unwrap(), b"mine");
}

#[test]
fn a_bundle_of_somebody_else_that_is_the_same_is_taken() {
    let bundle = Bundle::decoder(768, Ios18, &weights(&[(1, 1000)]));
    let scene = Scene::with(std::slice::from_ref(&bundle));
    let client = scene.client("one");
    for (file, content) in bundle.variant.files.iter().zip(&bundle.contents) {
        let path = client.file(&format!("{ONE}/{}", file.path));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &content.bytes).unwrap();
    }
    let report = client.fetch(|_| ());
    assert_eq!((report.changes.kept, scene.server.requests("blobs/")), (vec![ONE.to_owned()], 0));
}

#[test]
fn a_damaged_blob_is_not_placed_again() {
    let placed = Placed::new(Layout::Copied);
    let digest = mlreg::base::Digest::of(&placed.bundles[0].contents[2].bytes);
    change_in_place(&placed.client.store().blob_path(&digest), |bytes| bytes[5] ^= 1);
    let other = placed.client.fetch(|options| options.out = "Other".into());
    let mut found = crate::tree(&other.folder);
    found.retain(|path, _| !path.starts_with('.'));
    assert_eq!(found, trees(&[(ONE, &placed.bundles[0]), (TWO, &placed.bundles[1])]));
    assert_eq!(placed.scene.server.bytes(&digest.to_string()), 100_000);
}

#[test]
fn links_inside_a_bundle_are_damage() {
    let placed = Placed::new(Layout::Linked);
    let path = placed.specification();
    let elsewhere = placed.client.root.join("elsewhere");
    fs::copy(&path, &elsewhere).unwrap();
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    assert!(!placed.client.problems().is_empty());
    placed.mend();
    assert!(elsewhere.exists());
}
