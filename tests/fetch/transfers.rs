//! Which bytes move: those of the variant that is asked for, and none that are here already.

use mlreg::base::Target::Ios18;

use crate::{Bundle, METADATA, SPECIFICATION, Scene, trees, weights};

const MIB: usize = 1 << 20;

#[test]
fn one_variant_moves_its_own_bytes_alone() {
    let (shared, other) = (weights(&[(1, MIB), (2, MIB)]), weights(&[(3, 4 * MIB)]));
    let wanted = Bundle::decoder(768, Ios18, &shared);
    let scene = Scene::with(&[
        wanted.clone(),
        Bundle::decoder(1024, Ios18, &shared),
        Bundle::new("encoder", Ios18).file("w", other),
    ]);
    let client = scene.client("one");
    let report = client.fetch_variants(&["decoder-768-*"]);
    let bytes: u64 = wanted.contents.iter().map(|content| content.bytes.len() as u64).sum();
    assert_eq!(client.tree(), wanted.tree("decoder-768-float16-ios18.mlpackage"));
    assert!(scene.server.bytes("") <= bytes + METADATA, "{} bytes for a variant of {bytes}", scene.server.bytes(""));
    assert_eq!(report.downloaded_bytes, scene.server.bytes("blobs/"));
    // The records between tensors stand in the manifest.
    assert!(report.downloaded_bytes < bytes && report.plan.inline >= 3 * 64, "{report:?}");
}

#[test]
fn a_second_variant_moves_its_specification_alone() {
    let shared = weights(&[(1, MIB), (2, MIB)]);
    let (one, two) = (Bundle::decoder(768, Ios18, &shared), Bundle::decoder(1024, Ios18, &shared));
    let scene = Scene::with(&[one.clone(), two.clone()]);
    let client = scene.client("one");
    client.fetch_variants(&["decoder-768-*"]);
    scene.server.reset_counts();
    client.fetch_variants(&["decoder-1024-*"]);
    let specification = client.tree()[&format!("decoder-1024-float16-ios18.mlpackage/{SPECIFICATION}")].clone();
    let crate::Node::File { bytes, .. } = specification else { panic!("a file") };
    assert_eq!(scene.server.bytes("blobs/"), bytes.len() as u64);
    let both = [("decoder-768-float16-ios18.mlpackage", &one), ("decoder-1024-float16-ios18.mlpackage", &two)];
    assert_eq!(client.tree(), trees(&both));
}

#[test]
fn another_folder_of_this_machine_moves_nothing() {
    let scene = Scene::with(&[Bundle::decoder(768, Ios18, &weights(&[(1, MIB)]))]);
    let client = scene.client("one");
    let first = client.fetch(|_| ());
    scene.server.reset_counts();
    let second = client.fetch(|options| options.out = "Other".into());
    assert_eq!((scene.server.requests("blobs/"), second.downloaded_bytes), (0, 0));
    assert_eq!(
        crate::tree(&first.folder),
        crate::tree(&second.folder),
        "proofs are equal too: nothing in them is of this machine"
    );
}

#[test]
fn a_tensor_of_several_missing_files_moves_once() {
    let bundles: Vec<_> = (0..6)
        .map(|own| {
            Bundle::decoder(
                own,
                Ios18,
                &weights(&[(1, 200_000), (100 + u64::from(own), 1000), (2, 70_000), (1, 200_000)]),
            )
        })
        .collect();
    let scene = Scene::with(&bundles);
    let client = scene.client("one");
    client.fetch(|_| ());
    let names: Vec<_> = bundles.iter().map(|bundle| format!("{}.mlpackage", bundle.variant.id)).collect();
    let pairs: Vec<_> = names.iter().map(String::as_str).zip(&bundles).collect();
    assert_eq!(client.tree(), trees(&pairs));
    let weights = |digest: &str| scene.server.bytes(digest);
    let moved: u64 = bundles.iter().map(|bundle| weights(&bundle.variant.files[2].sha256.to_string())).sum();
    // The first file has its first tensor twice, and nothing yet that it could be taken from. Small gaps may be read
    // along.
    let wanted = 2 * 200_000 + 70_000 + 6 * 1000;
    assert!((wanted..=wanted + wanted / 100).contains(&moved), "{moved} bytes for {wanted}");
}

#[test]
fn a_changed_tensor_moves_alone_even_where_everything_else_moved() {
    let before = weights(&[(1, MIB), (2, 300_000), (3, MIB), (4, 2 * MIB)]);
    // The second tensor is another and longer one, so that all behind it lie elsewhere, and a new one came in between.
    let after = weights(&[(1, MIB), (20, 300_640), (3, MIB), (5, 1000), (4, 2 * MIB)]);
    let scene = Scene::with(&[Bundle::decoder(768, Ios18, &before)]);
    let client = scene.client("one");
    client.fetch(|_| ());
    let changed = Bundle::decoder(768, Ios18, &after);
    scene.release("1.1.0", std::slice::from_ref(&changed));
    scene.server.reset_counts();
    let report = client.fetch(|options| options.upgrade = true);
    assert_eq!(report.version.to_string(), "1.1.0");
    assert_eq!(scene.server.bytes("blobs/"), 300_640 + 1000, "the changed tensor and the new one");
    assert_eq!(report.reused_bytes, 4 * MIB as u64, "the others come from the blob that is here");
    assert_eq!(client.tree(), changed.tree("decoder-768-float16-ios18.mlpackage"));
}

#[test]
fn large_files_come_side_by_side() {
    let large = weights(&[(1, 12 * MIB), (2, 12 * MIB), (3, 12 * MIB)]);
    let scene = Scene::with(&[Bundle::decoder(768, Ios18, &large)]);
    scene.server.throttle(Some(200 << 20));
    scene.client("one").fetch(|_| ());
    assert!(scene.server.peak() >= 2, "{}", scene.server.peak());
}

#[test]
fn jobs_limit_the_requests_at_once() {
    let scene = Scene::with(&[Bundle::decoder(768, Ios18, &weights(&[(1, 12 * MIB), (2, 12 * MIB), (3, 12 * MIB)]))]);
    scene.server.throttle(Some(200 << 20));
    let mut client = scene.client("one");
    client.context = client.context.with_jobs(std::num::NonZeroUsize::MIN);
    client.fetch(|_| ());
    assert_eq!(scene.server.peak(), 1);
}
