//! Faults at every request of a fetch and of a publication: nothing wrong is ever placed or published, and it ends
//! well, at the latest the next time.

use std::time::{Duration, Instant};

use mlreg::remote::RemoteOptions;

use crate::{REPOSITORY, Scene, TOKEN, User, decoder, http_server::Fault, put_release, tensors};

fn faults() -> Vec<Fault> {
    vec![
        Fault::Hangup,
        Fault::LoseAnswer,
        Fault::status(429).with("ratelimit", "\"resolvers\";r=0;t=0"),
        Fault::status(503).with("retry-after", "0"),
        Fault::status(500),
        Fault::status(403),
        Fault::status(404),
        Fault::CloseAfter(10),
        Fault::CloseAfter(70_000),
        Fault::HtmlPage,
        Fault::Corrupt,
        Fault::IgnoreRange,
        Fault::etag("another"),
        Fault::Header("content-range", "bytes 0-9/10".to_owned()),
        Fault::Header("x-linked-etag", format!("\"{}\"", "0".repeat(64))),
        Fault::ExtraBytes(10),
        Fault::WithoutHeader("content-length"),
    ]
}

/// What may happen to a request of a publication.
pub fn faults_of_uploads() -> [Fault; 7] {
    [
        Fault::Hangup,
        Fault::LoseAnswer,
        Fault::status(503),
        Fault::status(429),
        Fault::status(403),
        Fault::HtmlPage,
        Fault::CloseAfter(5),
    ]
}

fn run_to_the_end<T>(what: &str, mut attempt: impl FnMut() -> Result<T, mlreg::workflow::Error>) -> T {
    for _ in 0..3 {
        if let Ok(done) = attempt() {
            return done;
        }
    }
    attempt().unwrap_or_else(|error| panic!("{what}: {error}"))
}

#[test]
fn a_fetch_ends_well_whatever_happens_once() {
    let scene = Scene::new();
    let weights = tensors(&[(1, 200_000), (2, 100_000)]);
    let bundle = decoder(768, &weights);
    scene.publisher().release("1.0.0", std::slice::from_ref(&bundle));
    let expected = bundle.tree("decoder-768-float16-ios18.mlpackage");
    for (number, fault) in faults().into_iter().enumerate() {
        for (place, part) in
            ["/revision/", "/refs", "index.json", "1.0.0.json", "weight.bin", "model.mlmodel", "Manifest.json", "blob/"]
                .iter()
                .enumerate()
        {
            let what = format!("{fault:?} at {part}");
            let reader = scene.user(&format!("reader-{number}-{place}"), Some(TOKEN));
            scene.server.fault(part, 0..1, fault.clone());
            run_to_the_end(&what, || reader.fetch("tae"));
            assert!(reader.placed() == expected, "{what}");
            scene.server.hub.clear_faults();
            scene.server.cdn.clear_faults();
        }
    }
}

#[test]
fn a_publication_ends_well_whatever_happens_once() {
    let weights = tensors(&[(1, 200_000), (2, 100_000)]);
    let bundle = decoder(768, &weights);
    let parts = [
        "/revision/",
        "/refs",
        "/tree/",
        "/preupload/",
        "objects/batch",
        "part/",
        "complete/",
        "upload/",
        "lfs/verify",
        "/commit/",
        "/tag/",
        "repos/create",
    ];
    for fault in faults_of_uploads() {
        for part in parts {
            let what = format!("{fault:?} at {part}");
            let scene = Scene::new();
            scene.server.state().part_length = Some(150_000);
            let publisher = scene.publisher();
            put_release(publisher.context().store(), "1.0.0", std::slice::from_ref(&bundle));
            scene.server.fault(part, 0..1, fault.clone());
            run_to_the_end(&what, || publisher.publish("1.0.0"));
            let files = scene.below("tae/");
            assert!(files == bundle.tree("tae/decoder-768-float16-ios18.mlpackage"), "{what}");
            let state = scene.server.state();
            let repository = &state.repositories[REPOSITORY];
            let tagged = repository.resolve(&repository.tags["tae-v1.0.0"]).unwrap();
            assert!(tagged.tree.contains_key("mlreg/tae/1.0.0.json"), "{what}");
        }
    }
}

#[test]
fn cut_connections_cost_little() {
    let scene = Scene::new();
    let weights = tensors(&[(1, 2_000_000), (2, 1_000_000)]);
    scene.publisher().release("1.0.0", &[decoder(768, &weights)]);
    scene.server.cdn.reset_counts();
    scene.server.cdn.fault("blob/", 2..20, Fault::CloseAfter(30_000));
    let reader = scene.user("reader", Some(TOKEN));
    run_to_the_end("cut connections", || reader.fetch("tae"));
    let moved = scene.server.cdn.bytes("blob/");
    assert!(moved < 3_003_000 + 20 * 64 * 1024, "{moved}");
    assert_eq!(reader.placed().len(), 3);
}

#[test]
fn limits_are_obeyed() {
    for (name, value) in [("retry-after", "1"), ("ratelimit", "\"resolvers\";r=0;t=1")] {
        let scene = Scene::new();
        scene.publisher().release("1.0.0", &[decoder(768, &tensors(&[(1, 1000)]))]);
        let mut reader = scene.user("reader", Some(TOKEN));
        reader.options = RemoteOptions { longest_wait: Duration::from_secs(10), ..reader.options };
        scene.server.hub.fault("index.json", 0..1, Fault::status(429).with(name, value));
        let start = Instant::now();
        reader.fetch("tae").unwrap();
        assert!(start.elapsed() >= Duration::from_secs(1), "{name}");
        assert_eq!(
            scene
                .server
                .hub
                .log()
                .iter()
                .filter(|request| request.path.contains("resolve/") && request.path.ends_with("index.json"))
                .count(),
            2
        );
    }
}

#[test]
fn corrupt_bytes_are_never_placed() {
    let scene = Scene::new();
    let weights = tensors(&[(1, 200_000)]);
    scene.publisher().release("1.0.0", &[decoder(768, &weights)]);
    scene.server.cdn.fault("blob/", .., Fault::Corrupt);
    let reader: User = scene.user("reader", Some(TOKEN));
    let error = reader.fetch("tae").unwrap_err();
    assert_eq!(error.kind(), mlreg::workflow::ErrorKind::Verification, "{error}");
    assert!(reader.placed().is_empty());
}
