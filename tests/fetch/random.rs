//! Random releases, random states of the machine: after a fetch the folder is exactly what the release says, and no
//! more moved than was missing.

use std::{collections::BTreeSet, fs};

use mlreg::{base::Target::Ios18, fetch::Layout};
use proptest::prelude::*;

use crate::{Bundle, Client, METADATA, Node, Scene, WEIGHTS, change_in_place, noise, tree, weights};

/// Which contents a variant has: tensors of its weight file, and whether there is a table.
type Recipe = (u8, Vec<(u64, usize)>, bool);

/// Something that happens between two fetches.
#[derive(Debug, Clone)]
enum Event {
    Nothing,
    /// The first byte of a file in the folder changes; which one is chosen modulo their number.
    Change(usize),
    Remove(usize),
    Add(usize),
    /// A blob of the store goes.
    LoseBlob(usize),
    LoseIndex,
    LoseHome,
    LoseFolder,
}

fn tensors() -> impl Strategy<Value = Vec<(u64, usize)>> {
    prop::collection::vec((0_u64..6, prop::sample::select(vec![100, 1000, 70_000])), 1..5)
}

fn release() -> impl Strategy<Value = Vec<Recipe>> {
    prop::collection::vec((0_u8..5, tensors(), any::<bool>()), 1..4)
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Nothing),
        (0_usize..100).prop_map(Event::Change),
        (0_usize..100).prop_map(Event::Remove),
        (0_usize..100).prop_map(Event::Add),
        (0_usize..100).prop_map(Event::LoseBlob),
        Just(Event::LoseIndex),
        Just(Event::LoseHome),
        Just(Event::LoseFolder),
    ]
}

/// The bundles of recipes, one for each id. Equal recipes of weights are equal files.
fn bundles(recipes: &[Recipe]) -> Vec<Bundle> {
    let mut ids = BTreeSet::new();
    let fresh = recipes.iter().filter(|(id, ..)| ids.insert(*id));
    let bundle = |(id, tensors, table): &Recipe| {
        let bundle = Bundle::decoder((*id).into(), Ios18, &weights(tensors));
        if *table { bundle.file("table.bin", noise(7, 30_000)).folder("empty") } else { bundle }
    };
    fresh.map(bundle).collect()
}

fn happen(client: &Client, event: &Event) {
    let nth = |tree: crate::Tree, number: usize| {
        let files: Vec<_> = tree
            .into_iter()
            .filter(|(_, node)| matches!(node, Node::File { bytes, .. } if !bytes.is_empty()))
            .collect();
        (!files.is_empty()).then(|| files[number % files.len()].0.clone())
    };
    let file = |number| nth(client.tree(), number).map(|path| client.file(&path));
    match event {
        Event::Nothing => {}
        Event::Change(number) => drop(file(*number).map(|path| change_in_place(&path, |bytes| bytes[0] ^= 1))),
        Event::Remove(number) => drop(file(*number).map(|path| fs::remove_file(path).unwrap())),
        Event::Add(number) => {
            // Beside a weight file or the like, so that it is inside a bundle.
            let inside = file(*number).filter(|path| path.parent() != Some(&client.folder()));
            inside.map(|path| fs::write(path.with_file_name("new"), b"new").unwrap()).unwrap_or_default();
        }
        Event::LoseBlob(number) => {
            let blobs = client.root.join("home/blobs");
            nth(tree(&blobs), *number).map(|path| fs::remove_file(blobs.join(path)).unwrap()).unwrap_or_default();
        }
        Event::LoseIndex => drop(fs::remove_file(client.root.join("home/index.sqlite"))),
        Event::LoseHome => drop(fs::remove_dir_all(client.root.join("home"))),
        Event::LoseFolder => drop(fs::remove_dir_all(client.folder())),
    }
}

/// What should lie in the folder: all bundles, in the layout `shared` with their weights beside them.
fn expected(client: &Client, bundles: &[Bundle], layout: Layout) -> crate::Tree {
    let name = |bundle: &Bundle| format!("{}.mlpackage", bundle.variant.id);
    let mut whole: crate::Tree = bundles.iter().flat_map(|bundle| bundle.tree(&name(bundle))).collect();
    if layout == Layout::Shared {
        let document: serde_json::Value =
            serde_json::from_slice(&fs::read(client.file("layout.json")).unwrap()).unwrap();
        for name in bundles.iter().map(name) {
            let beside = document["bundles"][&name][WEIGHTS].as_str().unwrap().to_owned();
            let lifted = whole.remove(&format!("{name}/{WEIGHTS}")).unwrap();
            whole.insert(beside, lifted);
        }
    }
    whole
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 60, ..ProptestConfig::default() })]
    #[test]
    fn the_folder_is_what_the_release_says(
        releases in prop::collection::vec((release(), event(), event()), 1..4),
        layout in prop::sample::select(vec![Layout::Linked, Layout::Shared, Layout::Copied]),
    ) {
        let scene = Scene::new();
        let client = scene.client("one");
        for (number, (recipes, before, after)) in releases.iter().enumerate() {
            let bundles = bundles(recipes);
            let release = scene.release(&format!("1.{number}.0"), &bundles);
            happen(&client, before);
            scene.server.reset_counts();
            let plan = client.fetch(|options| (options.layout, options.upgrade, options.dry_run) = (layout, true, true)).plan;
            let report = client.fetch(|options| (options.layout, options.upgrade) = (layout, true));
            let found = |client: &Client| {
                let mut found = client.tree();
                found.remove("layout.json");
                found
            };
            prop_assert_eq!(found(&client), expected(&client, &bundles, layout));
            let total: u64 = release.blobs.values().map(|blob| blob.size).sum();
            prop_assert!(scene.server.bytes("") <= total + 2 * METADATA);
            prop_assert_eq!(scene.server.bytes("blobs/"), report.downloaded_bytes);
            // A blob that turns out to be damaged costs more than a look could tell. A changed file may be a link to a blob that only a later
            // release reads again.
            let is_change = |event: &Event| matches!(event, Event::Change(_));
            let damaged = releases[..=number].iter().any(|(_, before, after)| is_change(before) || is_change(after));
            prop_assert!(damaged || report.downloaded_bytes == plan.download, "{} of {plan:?}", report.downloaded_bytes);
            prop_assert_eq!(client.problems(), Vec::<String>::new());
            happen(&client, after);
            client.fetch(|options| options.layout = layout);
            prop_assert_eq!(found(&client), expected(&client, &bundles, layout));
            scene.server.reset_counts();
            client.fetch(|options| options.layout = layout);
            prop_assert_eq!(scene.server.log(), Vec::new());
        }
    }
}
