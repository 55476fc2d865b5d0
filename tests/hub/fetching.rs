//! `fetch`, `list`, `show` and `verify` from a repository: which bytes move, and from which revision.

use mlreg::workflow::{
    list::{ListOptions, list},
    show::{ShowOptions, show},
    verify::{VerifyOptions, VerifySubject, verify},
};

use crate::{METADATA, REPOSITORY, Scene, TOKEN, decoder, hub_url, put_release, tensors};

/// A public repository with a release.
fn published(version: &str, weights: &(Vec<u8>, mlreg::store::Segmentation)) -> Scene {
    let scene = Scene::new();
    let publisher = scene.publisher();
    put_release(publisher.context().store(), version, &[decoder(768, weights), decoder(1024, weights)]);
    publisher.publish_with(version, |options| options.public = true).unwrap();
    scene.server.hub.reset_counts();
    scene.server.cdn.reset_counts();
    scene
}

#[test]
fn a_variant_costs_its_own_bytes() {
    let weights = tensors(&[(1, 500_000), (2, 300_000)]);
    let scene = published("1.0.0", &weights);
    let reader = scene.user("reader", None);
    let fetched = reader.fetch_with("tae", |options| options.variants = vec!["decoder-768-*".to_owned()]).unwrap();
    assert_eq!(reader.placed(), decoder(768, &weights).tree("decoder-768-float16-ios18.mlpackage"));
    assert_eq!(fetched.downloaded_bytes, 803_002);
    assert_eq!(scene.server.cdn.bytes(""), 803_000);
    assert!(scene.server.hub.bytes("") < METADATA, "{}", scene.server.hub.bytes(""));
    assert_eq!(scene.server.hub.requests("/revision/"), 1, "resolved once");
    let all = scene.server.hub.log();
    assert!(all.iter().all(|request| !request.headers.contains_key("authorization")));
}

#[test]
fn an_update_moves_the_segments_that_changed() {
    let old = tensors(&[(1, 400_000), (2, 300_000), (3, 300_000)]);
    let scene = published("1.0.0", &old);
    let reader = scene.user("reader", None);
    reader.fetch("tae").unwrap();
    let new = tensors(&[(1, 400_000), (9, 300_000), (3, 300_000)]);
    scene.publisher().release("1.1.0", &[decoder(768, &new), decoder(1024, &new)]);
    scene.server.hub.reset_counts();
    scene.server.cdn.reset_counts();
    let fetched = reader.fetch("tae").unwrap();
    assert_eq!(fetched.version.to_string(), "1.1.0");
    assert_eq!(scene.server.cdn.bytes("blob/"), 300_000);
    assert!(scene.server.hub.bytes("") < METADATA);
    assert_eq!(reader.placed()[&format!("decoder-768-float16-ios18.mlpackage/{}", crate::WEIGHTS)], new.0);
}

#[test]
fn older_versions_come_from_their_tags() {
    let weights = tensors(&[(1, 10_000)]);
    let scene = published("1.0.0", &weights);
    scene.publisher().release("2.0.0", &[decoder(512, &weights)]);
    let reader = scene.user("reader", None);
    assert_eq!(reader.fetch("tae@1").unwrap().variants.len(), 2);
    assert_eq!(reader.placed().len(), 6);
    let other = scene.user("other", None);
    let tagged = other.fetch_with("tae", |options| options.from = Some(hub_url("acme/tae@tae-v1.0.0"))).unwrap();
    assert_eq!(tagged.version.to_string(), "1.0.0");
    let commit = scene.server.state().repositories[REPOSITORY].tags["tae-v1.0.0"].clone();
    let third = scene.user("third", None);
    let pinned =
        third.fetch_with("tae", |options| options.from = Some(hub_url(&format!("acme/tae@{commit}")))).unwrap();
    assert_eq!(pinned.version.to_string(), "1.0.0");
}

#[test]
fn what_a_repository_has_is_listed_shown_and_verified() {
    let weights = tensors(&[(1, 10_000)]);
    let scene = published("1.0.0", &weights);
    scene.publisher().release("1.1.0", &[decoder(512, &weights)]);
    let context = scene.user("reader", Some(crate::hub_server::READ_TOKEN)).context();
    let report = list(&context, &ListOptions { from: Some(hub_url(REPOSITORY)), ..ListOptions::default() }).unwrap();
    let versions: Vec<_> = report.packages[0].versions.iter().map(|it| it.version.to_string()).collect();
    assert_eq!((report.packages[0].package.as_str(), versions), ("tae", vec!["1.1.0".to_owned(), "1.0.0".to_owned()]));
    let shown = show(&context, &ShowOptions { request: "tae@1.0.0".parse().unwrap(), from: Some(hub_url(REPOSITORY)) })
        .unwrap();
    assert_eq!((shown.variants.len(), shown.variants[0].bytes), (2, 13_002));
    let subject = || VerifyOptions { subject: VerifySubject::Remote(hub_url(REPOSITORY)) };
    let report = verify(&context, &subject()).unwrap();
    assert_eq!((report.findings.len(), report.files), (0, 5));
    let oid = crate::digest(&weights.0);
    scene.server.state().objects.get_mut(&oid).unwrap()[77] ^= 1;
    let report = verify(&context, &subject()).unwrap();
    assert_eq!(report.findings.len(), 1, "{report:?}");
    assert_eq!(report.findings[0].problem, "wrong-content");
}

#[test]
fn signed_addresses_are_renewed_midway() {
    let weights = tensors(&[(1, 3_000_000), (2, 3_000_000)]);
    let scene = published("1.0.0", &weights);
    scene.server.state().uses = Some(2);
    let reader = scene.user("reader", None);
    reader.fetch("tae").unwrap();
    assert_eq!(reader.placed().len(), 6);
    assert_eq!(reader.placed()[&format!("decoder-1024-float16-ios18.mlpackage/{}", crate::WEIGHTS)], weights.0);
    let renewed = scene.server.hub.log().iter().filter(|request| request.path.ends_with("weight.bin")).count();
    assert!(renewed > 5, "{renewed}");
    assert!(scene.server.cdn.bytes("blob/") < 6_100_000, "{}", scene.server.cdn.bytes("blob/"));
}

#[test]
fn the_token_is_for_private_repositories_and_for_the_hub_alone() {
    let weights = tensors(&[(1, 10_000)]);
    let scene = Scene::new();
    scene.publisher().release("1.0.0", &[decoder(768, &weights)]);
    let reader = scene.user("reader", Some(TOKEN));
    reader.fetch("tae").unwrap();
    assert!(scene.server.leaks().is_empty());
    assert!(scene.server.hub.log().iter().all(|request| request.headers["authorization"] == format!("Bearer {TOKEN}")));
    let mut shy = scene.user("shy", Some(TOKEN));
    shy.options.hub.token_for_reading = false;
    scene.server.hub.reset_counts();
    assert!(shy.fetch("tae").is_err());
    assert!(scene.server.hub.log().iter().all(|request| !request.headers.contains_key("authorization")));
}

#[test]
fn a_hub_that_is_switched_off_is_not_asked() {
    let weights = tensors(&[(1, 10_000)]);
    let scene = published("1.0.0", &weights);
    let mut reader = scene.user("reader", None);
    reader.fetch("tae").unwrap();
    reader.options.hub.offline = true;
    scene.server.hub.reset_counts();
    assert_eq!(reader.fetch("tae").unwrap().variants.len(), 2, "the store has it");
    let mut other = scene.user("other", None);
    other.options.hub.offline = true;
    assert!(other.fetch("tae").is_err());
    assert!(scene.server.hub.log().is_empty());
    let error =
        list(&other.context(), &ListOptions { from: Some(hub_url(REPOSITORY)), ..ListOptions::default() }).unwrap_err();
    assert!(error.to_string().contains("HF_HUB_OFFLINE"), "{error}");
}

#[test]
fn listings_have_pages() {
    let weights = tensors(&[(1, 10_000)]);
    let scene = published("1.0.0", &weights);
    scene.server.state().page = Some(2);
    scene.publisher().release("1.1.0", &[decoder(768, &weights), decoder(512, &weights)]);
    assert!(scene.below("tae/decoder-1024").is_empty());
    assert_eq!(scene.user("reader", None).fetch("tae").unwrap().variants.len(), 2);
}
