//! `publish` into a repository: what it then holds, in which commits, what is sent twice (nothing), and who may be
//! faster.

use std::time::{Duration, Instant};

use mlreg::{fetch::Layout, remote::RemoteError, workflow::Error, workflow::publish::PublishStatus};
use serde_json::Value;

use crate::{
    REPOSITORY, Scene, decoder, digest,
    http_server::Fault,
    hub_server::{ATTRIBUTES, Stored},
    message, noise, put_release, tensors,
};

/// What the system takes of a body is sent long before the server has it, so that this is a long one.
#[test]
fn a_slow_line_is_no_stalled_one() {
    let scene = Scene::new();
    let mut publisher = scene.publisher();
    publisher.options.stall_timeout = Duration::from_millis(500);
    let bundle = decoder(768, &tensors(&[(1, 24_000_000)]));
    put_release(publisher.context().store(), "1.0.0", std::slice::from_ref(&bundle));
    scene.server.cdn.throttle(Some(16 << 20));
    let start = Instant::now();
    assert_eq!(publisher.publish("1.0.0").unwrap().status, PublishStatus::New);
    assert!(start.elapsed() > 2 * publisher.options.stall_timeout, "it was as slow as it should be");
    scene.server.cdn.throttle(None);
    assert_eq!(scene.below("tae/"), bundle.tree("tae/decoder-768-float16-ios18.mlpackage"));
}

#[test]
fn a_repository_has_complete_bundles_and_says_what_they_are() {
    let scene = Scene::new();
    let publisher = scene.publisher();
    let weights = tensors(&[(1, 200_000), (2, 100_000)]);
    let bundles = [decoder(768, &weights), decoder(1024, &weights)];
    let report = publisher.release("1.0.0", &bundles);
    assert_eq!(report.status, PublishStatus::New);
    for bundle in &bundles {
        let folder = format!("tae/{}.mlpackage", bundle.id());
        assert_eq!(scene.below(&format!("{folder}/")), bundle.tree(&folder));
    }
    let files = scene.server.files(REPOSITORY, "main");
    let manifest = &files["mlreg/tae/1.0.0.json"];
    assert_eq!(digest(manifest), report.release.to_string());
    let index: Value = serde_json::from_slice(&files["mlreg/tae/index.json"]).unwrap();
    assert_eq!(index["versions"]["1.0.0"]["release"], report.release.to_string());
    assert_eq!(files[".gitattributes"], ATTRIBUTES.as_bytes());
    let card = String::from_utf8(files["README.md"].clone()).unwrap();
    assert!(
        card.contains("library_name: coreml\nlicense: mit\n") && card.contains("decoder-768-float16-ios18.mlpackage"),
        "{card}"
    );
    let state = scene.server.state();
    let repository = &state.repositories[REPOSITORY];
    assert!(repository.private, "private unless said otherwise");
    assert_eq!(repository.tags["tae-v1.0.0"], repository.branches["main"]);
    assert!(matches!(
        &repository.resolve("main").unwrap().tree[&format!("tae/{}.mlpackage/{}", bundles[0].id(), crate::WEIGHTS)],
        Stored::Lfs { .. }
    ));
    drop(state);
    assert_eq!(scene.server.uploaded(), 300_000 + 2 * 3000, "equal files are sent once");
    assert!(scene.server.leaks().is_empty(), "the token went to the Hub alone");
    let agents: Vec<_> = scene.server.hub.log().iter().map(|request| request.headers["user-agent"].clone()).collect();
    assert!(agents.iter().all(|agent| agent.starts_with("mlreg/")), "{agents:?}");
}

#[test]
fn the_same_again_sends_nothing_and_another_content_is_refused() {
    let scene = Scene::new();
    let publisher = scene.publisher();
    publisher.release("1.0.0", &[decoder(768, &tensors(&[(1, 50_000)]))]);
    let commits = scene.server.history(REPOSITORY).len();
    assert_eq!(publisher.publish("1.0.0").unwrap().status, PublishStatus::AlreadyThere);
    assert_eq!(scene.server.history(REPOSITORY).len(), commits);
    let other = scene.user("other", Some(crate::TOKEN));
    put_release(other.context().store(), "1.0.0", &[decoder(1024, &tensors(&[(1, 50_000)]))]);
    let error = other.publish("1.0.0").unwrap_err();
    assert!(matches!(error, Error::Remote(RemoteError::VersionExists { .. })), "{error}");
}

#[test]
fn a_new_version_sends_what_is_new_and_drops_what_is_gone() {
    let scene = Scene::new();
    let publisher = scene.publisher();
    let weights = tensors(&[(1, 100_000)]);
    publisher.release("1.0.0", &[decoder(768, &weights), decoder(1024, &weights)]);
    scene.server.hub.reset_counts();
    scene.server.cdn.reset_counts();
    publisher.release("1.1.0", &[decoder(1024, &weights), decoder(512, &weights)]);
    assert_eq!(scene.server.uploaded(), 3000, "the specification of the new size");
    assert!(scene.below("tae/decoder-768").is_empty());
    assert_eq!(scene.below("tae/").len(), 6);
    let tagged = scene.server.files(REPOSITORY, "tae-v1.0.0");
    assert!(tagged.contains_key("tae/decoder-768-float16-ios18.mlpackage/Manifest.json"), "the tag keeps them");
    // What was there once is never sent again, whichever revision had it.
    scene.server.cdn.reset_counts();
    publisher.release("1.2.0", &[decoder(768, &weights)]);
    assert_eq!(scene.server.uploaded(), 0);
}

#[test]
fn files_of_others_stay() {
    let scene = Scene::new();
    scene.server.with_files(
        REPOSITORY,
        &[("README.md", b"---\ntags: [vae]\n---\n# Ours\n"), ("tae/notes.txt", b"mine"), ("x.bin", b"x")],
    );
    let publisher = scene.publisher();
    publisher.release("1.0.0", &[decoder(768, &tensors(&[(1, 1000)]))]);
    publisher.release("2.0.0", &[decoder(1024, &tensors(&[(1, 1000)]))]);
    let files = scene.server.files(REPOSITORY, "main");
    assert_eq!((files["tae/notes.txt"].as_slice(), files["x.bin"].as_slice()), (&b"mine"[..], &b"x"[..]));
    let card = String::from_utf8(files["README.md"].clone()).unwrap();
    assert!(card.starts_with("---\ntags: [vae, coreml, mlreg]\n") && card.contains("\n# Ours\n"), "{card}");
    assert!(card.contains("## tae 2.0.0") && !card.contains("1.0.0"), "{card}");
}

#[test]
fn commits_are_bounded_and_only_the_last_one_shows_anything() {
    let scene = Scene::new();
    let publisher = scene.publisher();
    let mut bundle = decoder(768, &tensors(&[(1, 1000)]));
    for number in 0..300 {
        bundle.files.push((format!("notes/{number}.txt"), noise(number, 10), mlreg::store::Segmentation::Whole));
    }
    publisher.release("1.0.0", &[bundle]);
    let history = scene.server.history(REPOSITORY);
    assert!(history.len() >= 5, "{}", history.len());
    assert!(history.iter().all(|commit| commit.operations < 100));
    let (last, before) = history.split_last().unwrap();
    assert!(before.iter().all(|commit| !commit.tree.keys().any(|path| path.starts_with("mlreg/"))));
    assert!(last.tree.contains_key("mlreg/tae/1.0.0.json") && last.tree.contains_key("mlreg/tae/index.json"));
    assert_eq!(last.tree.keys().filter(|path| path.starts_with("tae/")).count(), 303);
}

#[test]
fn an_interrupted_publication_goes_on() {
    for part in ["/commit/", "/tag/", "part/", "complete/", "upload/"] {
        let scene = Scene::new();
        scene.server.state().part_length = Some(100_000);
        let publisher = scene.publisher();
        let weights = tensors(&[(1, 150_000), (2, 100_000)]);
        put_release(publisher.context().store(), "1.0.0", &[decoder(768, &weights), decoder(1024, &weights)]);
        scene.server.fault(part, 0..1, Fault::status(403));
        scene.server.fault(part, 1..2, Fault::status(403));
        let error = publisher.publish("1.0.0").unwrap_err();
        assert!(message(&error).contains("403"), "{part}: {error}");
        let reader = scene.user(&format!("reader{}", part.len()), Some(crate::TOKEN));
        assert!(reader.fetch("tae").is_err(), "{part}: nothing is visible yet");
        scene.server.hub.clear_faults();
        scene.server.cdn.clear_faults();
        let arrived = scene.server.state().objects.values().map(|bytes| bytes.len() as u64).sum::<u64>();
        scene.server.cdn.reset_counts();
        assert_eq!(publisher.publish("1.0.0").unwrap().status, PublishStatus::New, "{part}");
        assert!(scene.server.uploaded() <= 256_000 - arrived, "{part}: what arrived is not sent again");
        let fetched = reader.fetch("tae").unwrap();
        assert_eq!(fetched.variants.len(), 2, "{part}");
    }
}

#[test]
fn whoever_is_faster_does_no_harm() {
    let scene = Scene::new();
    let publisher = scene.publisher();
    publisher.release("1.0.0", &[decoder(768, &tensors(&[(1, 1000)]))]);
    scene.server.state().rivals = 3;
    publisher.release("1.1.0", &[decoder(1024, &tensors(&[(1, 1000)]))]);
    let files = scene.server.files(REPOSITORY, "main");
    assert_eq!(files["rival.txt"], b"0", "all three came in between and stay");
    assert!(files.contains_key("mlreg/tae/1.1.0.json"));
    scene.server.state().rivals = 1000;
    put_release(publisher.context().store(), "1.2.0", &[decoder(512, &tensors(&[(1, 1000)]))]);
    let error = publisher.publish("1.2.0").unwrap_err();
    assert!(message(&error).contains("moved while it was published to"), "{error}");
}

#[test]
fn lost_answers_do_not_make_a_second_commit() {
    let scene = Scene::new();
    let publisher = scene.publisher();
    put_release(publisher.context().store(), "1.0.0", &[decoder(768, &tensors(&[(1, 1000)]))]);
    for part in ["/commit/", "/tag/", "repos/create", "complete/", "upload/", "lfs/verify"] {
        scene.server.fault(part, 0..1, Fault::LoseAnswer);
    }
    assert_eq!(publisher.publish("1.0.0").unwrap().status, PublishStatus::New);
    let published =
        scene.server.history(REPOSITORY).iter().filter(|commit| commit.title == "Publish tae 1.0.0").count();
    assert_eq!(published, 1);
    assert_eq!(scene.user("reader", Some(crate::TOKEN)).fetch("tae").unwrap().variants.len(), 1);
}

#[test]
fn large_objects_go_up_in_parts() {
    let scene = Scene::new();
    scene.server.state().part_length = Some(70_000);
    let publisher = scene.publisher();
    let weights = tensors(&[(1, 1_000_001)]);
    scene.server.fault("part/", 3..5, Fault::status(500));
    put_release(publisher.context().store(), "1.0.0", &[decoder(768, &weights)]);
    publisher.publish("1.0.0").unwrap();
    assert_eq!(scene.below("tae/")[&format!("tae/decoder-768-float16-ios18.mlpackage/{}", crate::WEIGHTS)], weights.0);
    assert_eq!(scene.server.cdn.requests("part/"), 15 + 2, "only the parts that failed were sent again");
}

#[test]
fn a_dry_run_says_what_would_be_sent_and_sends_nothing() {
    let scene = Scene::new();
    let publisher = scene.publisher();
    let weights = tensors(&[(1, 100_000)]);
    put_release(publisher.context().store(), "1.0.0", &[decoder(768, &weights)]);
    let dry = |version| publisher.publish_with(version, |options| options.dry_run = true).unwrap();
    let report = dry("1.0.0");
    assert_eq!((report.status, report.files.len(), report.uploaded_bytes), (PublishStatus::DryRun, 3, 103_002));
    assert!(scene.server.state().repositories.is_empty());
    publisher.publish("1.0.0").unwrap();
    put_release(publisher.context().store(), "1.1.0", &[decoder(768, &weights), decoder(1024, &weights)]);
    let before = scene.server.state().repositories.clone();
    let report = dry("1.1.0");
    assert_eq!(
        (report.files.len(), report.uploaded_bytes),
        (6, 3002),
        "a specification and a small file in the commit"
    );
    assert_eq!(scene.server.state().repositories[REPOSITORY].branches, before[REPOSITORY].branches);
}

#[test]
fn the_hand_off_layout_has_weights_once() {
    let scene = Scene::new();
    let publisher = scene.publisher();
    let weights = tensors(&[(1, 100_000)]);
    put_release(publisher.context().store(), "1.0.0", &[decoder(768, &weights), decoder(1024, &weights)]);
    publisher.publish_with("1.0.0", |options| (options.layout, options.public) = (Layout::Shared, true)).unwrap();
    assert!(!scene.server.state().repositories[REPOSITORY].private);
    let paths: Vec<String> = scene.below("tae/").into_keys().collect();
    assert_eq!(paths.len(), 6, "{paths:?}");
    assert!(paths.contains(&"tae/weight.bin".to_owned()) && paths.contains(&"tae/layout.json".to_owned()), "{paths:?}");
    let reader = scene.user("reader", None);
    let fetched = reader.fetch_with("tae", |options| options.variants = vec!["decoder-768-*".to_owned()]).unwrap();
    assert_eq!(fetched.variants.len(), 1);
    assert_eq!(reader.placed(), decoder(768, &weights).tree("decoder-768-float16-ios18.mlpackage"));
    publisher.release("1.1.0", &[decoder(768, &weights)]);
    let paths: Vec<String> = scene.below("tae/").into_keys().collect();
    assert_eq!(paths.len(), 3, "the other layout went: {paths:?}");
}

#[test]
fn a_branch_can_be_published_to_and_a_tag_cannot() {
    let scene = Scene::new();
    let publisher = scene.publisher();
    publisher.release("1.0.0", &[decoder(768, &tensors(&[(1, 1000)]))]);
    {
        let mut state = scene.server.state();
        let repository = state.repositories.get_mut(REPOSITORY).unwrap();
        let head = repository.branches["main"].clone();
        repository.branches.insert("next/big".to_owned(), head);
    }
    put_release(publisher.context().store(), "2.0.0", &[decoder(1024, &tensors(&[(1, 1000)]))]);
    publisher.publish_with("2.0.0", |options| options.to = crate::hub_url("acme/tae@next%2Fbig")).unwrap();
    assert!(scene.server.files(REPOSITORY, "next/big").contains_key("mlreg/tae/2.0.0.json"));
    assert!(!scene.server.files(REPOSITORY, "main").contains_key("mlreg/tae/2.0.0.json"));
    put_release(publisher.context().store(), "3.0.0", &[decoder(512, &tensors(&[(1, 1000)]))]);
    let error =
        publisher.publish_with("3.0.0", |options| options.to = crate::hub_url("acme/tae@tae-v1.0.0")).unwrap_err();
    assert_eq!(error.to_string(), "`tae-v1.0.0` of `hf://acme/tae` is no branch");
}
