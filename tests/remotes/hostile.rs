//! A server that misbehaves: every fault ends in the right bytes, each delivered once, or in the error that names it.

use std::{
    fs,
    time::{Duration, Instant},
};

use mlreg::{
    base::{ByteRange, Digest},
    remote::{FolderRemote, Remote, RemoteError, RemoteOptions},
};

use crate::{
    Fixture,
    http_server::{Fault, HttpServer},
    impatient, message, noise, open, quick,
};

const SIZE: u64 = 300_000;
const BLOBS: &str = "blobs/";
const INDEX: &str = "index.json";

/// A published release behind a server.
struct Scene {
    fixture: Fixture,
    server: HttpServer,
    registry: tempfile::TempDir,
    bytes: Vec<u8>,
    blob: Digest,
}

impl Scene {
    async fn new() -> Self {
        let bytes = noise(SIZE as usize);
        let fixture = Fixture::new("tae", "1.0.0+a", &[&bytes]);
        let registry = tempfile::tempdir().unwrap();
        fixture.publish(&FolderRemote::in_folder(registry.path().to_owned())).await.unwrap();
        Self { server: HttpServer::start(registry.path()), fixture, registry, blob: Digest::of(&bytes), bytes }
    }

    fn remote(&self) -> std::sync::Arc<dyn Remote> {
        open(&self.server.url(), &quick())
    }

    /// Reads a range with retries, and checks that what was delivered is right as far as it goes.
    async fn read(&self, remote: &dyn Remote, offset: u64, length: u64) -> Result<(), RemoteError> {
        let (delivered, result) = self.fixture.try_read(remote, &self.blob, (offset, length)).await;
        let expected = &self.bytes[offset as usize..(offset + length) as usize];
        assert!(expected.starts_with(&delivered), "{} bytes are wrong", delivered.len());
        if result.is_ok() {
            assert_eq!(delivered.len(), expected.len());
        }
        result
    }

    async fn index(&self, remote: &dyn Remote) -> Result<usize, RemoteError> {
        Ok(remote.versions(&self.fixture.release.package).await?.map_or(0, |versions| versions.len()))
    }
}

#[tokio::test]
async fn passing_faults_of_blobs_pass() {
    let faults = [
        Fault::Hangup,
        Fault::CloseAfter(0),
        Fault::CloseAfter(1),
        Fault::CloseAfter(77_777),
        Fault::status(408),
        Fault::status(429).with("retry-after", "0"),
        Fault::status(500),
        Fault::status(502),
        Fault::status(503).with("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"),
        Fault::status(504),
    ];
    for (offset, length) in [(0, SIZE), (1000, 200_000)] {
        for fault in &faults {
            let scene = Scene::new().await;
            scene.server.fault(BLOBS, ..2, fault.clone());
            let result = scene.read(&*scene.remote(), offset, length).await;
            assert!(result.is_ok(), "{fault:?}: {}", message(&result.unwrap_err()));
            assert_eq!(scene.server.requests(BLOBS), 3, "{fault:?}");
        }
    }
}

#[tokio::test]
async fn silent_servers_are_given_up() {
    for fault in [Fault::Silence, Fault::StallAfter(0), Fault::StallAfter(50_000)] {
        let scene = Scene::new().await;
        scene.server.fault(BLOBS, ..1, fault.clone());
        let remote = open(&scene.server.url(), &impatient());
        scene.read(&*remote, 1000, 200_000).await.unwrap();
        scene.server.fault(BLOBS, .., fault);
        let remote = open(&scene.server.url(), &RemoteOptions { retries: 1, ..impatient() });
        let error = scene.read(&*remote, 1000, 200_000).await.unwrap_err();
        assert!(matches!(error, RemoteError::Stalled { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_range_goes_on_where_it_broke() {
    let scene = Scene::new().await;
    scene.server.fault(BLOBS, ..1, Fault::CloseAfter(100_000));
    scene.read(&*scene.remote(), 1000, 200_000).await.unwrap();
    let ranges: Vec<_> = scene.server.log().iter().map(|request| request.headers["range"].clone()).collect();
    assert_eq!(ranges, ["bytes=1000-200999", "bytes=101000-200999"]);
    assert_eq!(scene.server.bytes(BLOBS), 200_000);
    assert!(scene.server.log()[1].headers.contains_key("if-range"));
}

#[tokio::test]
async fn progress_earns_new_retries() {
    let bytes = noise(3 << 20);
    let fixture = Fixture::new("tae", "1.0.0", &[&bytes]);
    let registry = tempfile::tempdir().unwrap();
    fixture.publish(&FolderRemote::in_folder(registry.path().to_owned())).await.unwrap();
    let server = HttpServer::start(registry.path());
    server.fault(BLOBS, .., Fault::CloseAfter(300 << 10));
    let remote = open(&server.url(), &RemoteOptions { retries: 2, ..quick() });
    assert!(fixture.read(&*remote, &Digest::of(&bytes), (0, bytes.len() as u64)).await == bytes);
    assert_eq!(server.requests(BLOBS), 11);
}

#[tokio::test]
async fn lasting_faults_end_after_the_retries() {
    let scene = Scene::new().await;
    scene.server.fault(BLOBS, .., Fault::status(503));
    let remote = open(&scene.server.url(), &RemoteOptions { retries: 3, ..quick() });
    let error = scene.read(&*remote, 0, SIZE).await.unwrap_err();
    assert!(matches!(error, RemoteError::Status { status: 503, .. }), "{error}");
    assert_eq!(scene.server.requests(BLOBS), 4);
}

#[tokio::test]
async fn lasting_refusals_are_not_repeated() {
    for code in [400, 401, 403, 405, 451, 501] {
        let scene = Scene::new().await;
        scene.server.fault("", .., Fault::status(code));
        let remote = scene.remote();
        let error = scene.read(&*remote, 0, 10).await.unwrap_err();
        assert!(matches!(error, RemoteError::Status { status, .. } if status == code), "{error}");
        let error = scene.index(&*remote).await.unwrap_err();
        assert!(matches!(error, RemoteError::Status { status, .. } if status == code), "{error}");
        assert_eq!(scene.server.requests(""), 2);
    }
}

#[tokio::test]
async fn waits_are_obeyed_and_bounded() {
    let scene = Scene::new().await;
    scene.server.fault(INDEX, ..1, Fault::status(503).with("retry-after", "3600"));
    let remote = open(&scene.server.url(), &RemoteOptions { longest_wait: Duration::from_millis(300), ..quick() });
    let start = Instant::now();
    assert_eq!(scene.index(&*remote).await.unwrap(), 1);
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_whole_file_in_place_of_a_range_is_cut_to_it() {
    let scene = Scene::new().await;
    scene.server.fault(BLOBS, .., Fault::IgnoreRange);
    // So slow that the end of the file would take many seconds.
    scene.server.throttle(Some(50_000));
    let remote = scene.remote();
    assert!(remote.has_ranges());
    let start = Instant::now();
    scene.read(&*remote, 5000, 20_000).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert!(!remote.has_ranges());
    scene.server.clear_faults();
    scene.read(&*remote, 5000, 20_000).await.unwrap();
    assert!(remote.has_ranges());
}

#[tokio::test]
async fn a_whole_file_of_another_length_is_refused() {
    let scene = Scene::new().await;
    let path = scene.registry.path().join(format!("blobs/sha256/{}/{}", &scene.blob.to_string()[..2], scene.blob));
    fs::write(path, &scene.bytes[..1000]).unwrap();
    let remote = scene.remote();
    for (offset, fault) in [(0, Some(Fault::IgnoreRange)), (0, None), (2000, None)] {
        scene.server.clear_faults();
        if let Some(fault) = fault {
            scene.server.fault(BLOBS, .., fault);
        }
        let error = scene.read(&*remote, offset, 10).await.unwrap_err();
        assert!(matches!(error, RemoteError::WrongSize { expected: SIZE, found: Some(1000), .. }), "{error}");
    }
    let error = scene.read(&*remote, 0, SIZE).await.unwrap_err();
    assert!(matches!(error, RemoteError::WrongSize { expected: SIZE, found: Some(1000), .. }), "{error}");
}

#[tokio::test]
async fn wrong_answers_to_ranges_are_refused() {
    let faults = [
        Fault::Header("content-range", format!("bytes 0-99/{SIZE}")),
        Fault::Header("content-range", format!("bytes 1000-1100/{SIZE}")),
        Fault::Header("content-range", "items 1000-1099".to_owned()),
        Fault::WithoutHeader("content-range"),
    ];
    for fault in faults {
        let scene = Scene::new().await;
        scene.server.fault(BLOBS, .., fault.clone());
        let error = scene.read(&*scene.remote(), 1000, 100).await.unwrap_err();
        assert!(matches!(error, RemoteError::WrongRange { .. }), "{fault:?}: {error}");
        assert_eq!(scene.server.requests(BLOBS), 1);
    }
}

#[tokio::test]
async fn compressed_answers_are_refused() {
    let scene = Scene::new().await;
    scene.server.fault("", .., Fault::Header("content-encoding", "gzip".to_owned()));
    let remote = scene.remote();
    for error in [scene.read(&*remote, 10, 10).await.unwrap_err(), scene.index(&*remote).await.unwrap_err()] {
        assert!(matches!(&error, RemoteError::Encoded { encoding, .. } if encoding == "gzip"), "{error}");
    }
    assert!(scene.server.log().iter().all(|request| request.headers["accept-encoding"] == "identity"));
    scene.server.clear_faults();
    scene.server.fault("", .., Fault::Header("content-encoding", "identity".to_owned()));
    scene.read(&*remote, 10, 10).await.unwrap();
}

#[tokio::test]
async fn pages_are_refused_by_name() {
    let scene = Scene::new().await;
    scene.server.fault("", .., Fault::HtmlPage);
    let remote = scene.remote();
    let errors = [
        scene.read(&*remote, 10, 10).await.unwrap_err(),
        scene.read(&*remote, 0, SIZE).await.unwrap_err(),
        scene.index(&*remote).await.unwrap_err(),
        remote.packages().await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(&error, RemoteError::HtmlPage { url } if url.starts_with(&scene.server.url())), "{error}");
    }
    scene.server.fault("", .., Fault::Header("content-type", "application/json".to_owned()));
    let error = scene.index(&*remote).await.unwrap_err();
    assert!(matches!(error, RemoteError::HtmlPage { .. }), "by its first byte: {error}");
    // Some servers guess the type of a blob from its first bytes.
    scene.server.clear_faults();
    scene.server.fault(BLOBS, .., Fault::Header("content-type", "text/html".to_owned()));
    scene.read(&*remote, 0, SIZE).await.unwrap();
    scene.read(&*remote, 10, 10).await.unwrap();
}

#[tokio::test]
async fn a_file_that_changes_between_two_requests_is_named() {
    let scene = Scene::new().await;
    scene.server.fault(BLOBS, ..1, Fault::CloseAfter(1000));
    scene.server.fault(BLOBS, 1.., Fault::etag("another"));
    let remote = scene.remote();
    let (delivered, result) = scene.fixture.try_read(&*remote, &scene.blob, (0, SIZE)).await;
    assert!(matches!(result, Err(RemoteError::Changed { .. })), "{result:?}");
    assert_eq!(delivered, scene.bytes[..1000]);
    // The caller throws the bytes away and starts again.
    scene.read(&*remote, 0, SIZE).await.unwrap();
}

#[tokio::test]
async fn a_file_that_changed_is_named_also_without_if_range() {
    let scene = Scene::new().await;
    scene.server.fault(BLOBS, ..1, Fault::CloseAfter(1000));
    scene.server.fault(BLOBS, ..1, Fault::Header("etag", "W/\"one\"".to_owned()));
    // A failure without bytes in between forgets nothing.
    scene.server.fault(BLOBS, 1..2, Fault::status(503));
    scene.server.fault(BLOBS, 2.., Fault::Header("etag", "W/\"two\"".to_owned()));
    let result = scene.read(&*scene.remote(), 0, SIZE).await;
    assert!(matches!(result, Err(RemoteError::Changed { .. })), "{result:?}");
    assert!(scene.server.log().iter().all(|request| !request.headers.contains_key("if-range")));
}

#[tokio::test]
async fn bytes_beyond_the_end_are_never_delivered() {
    for (offset, length) in [(0, SIZE), (1000, 2000)] {
        let scene = Scene::new().await;
        scene.server.fault(BLOBS, .., Fault::ExtraBytes(5000));
        scene.server.fault(BLOBS, .., Fault::Chunked);
        scene.read(&*scene.remote(), offset, length).await.unwrap();
        scene.server.clear_faults();
        scene.server.fault(BLOBS, .., Fault::ExtraBytes(5000));
        scene.server.fault(BLOBS, .., Fault::Header("content-length", length.to_string()));
        scene.read(&*scene.remote(), offset, length).await.unwrap();
    }
}

#[tokio::test]
async fn answers_without_a_length_are_counted() {
    let scene = Scene::new().await;
    scene.server.fault("", .., Fault::WithoutHeader("content-length"));
    let remote = scene.remote();
    scene.read(&*remote, 0, SIZE).await.unwrap();
    scene.read(&*remote, 10, 1000).await.unwrap();
    assert_eq!(scene.index(&*remote).await.unwrap(), 1);
    scene.server.fault(BLOBS, .., Fault::CloseAfter(100));
    let error =
        scene.read(&*open(&scene.server.url(), &RemoteOptions { retries: 1, ..quick() }), 10, 1000).await.unwrap_err();
    assert!(matches!(error, RemoteError::Truncated { source: None, .. }), "{error:?}");
}

#[tokio::test]
async fn damaged_documents_get_one_more_try() {
    let scene = Scene::new().await;
    let package = &scene.fixture.release.package;
    let version = &scene.fixture.release.version;
    let remote = scene.remote();
    scene.server.fault("", ..1, Fault::Corrupt);
    assert_eq!(scene.index(&*remote).await.unwrap(), 1);
    scene.server.clear_faults();
    scene.server.fault("", ..1, Fault::Corrupt);
    assert_eq!(remote.release(package, version, &scene.fixture.digest()).await.unwrap(), scene.fixture.bytes);
    scene.server.clear_faults();
    scene.server.reset_counts();
    scene.server.fault("", .., Fault::Corrupt);
    assert!(matches!(scene.index(&*remote).await, Err(RemoteError::Damaged { .. })));
    let error = remote.release(package, version, &scene.fixture.digest()).await.unwrap_err();
    assert!(matches!(error, RemoteError::WrongDigest { .. }), "{error}");
    assert_eq!(scene.server.requests(""), 4);
    assert!(
        scene.server.log().iter().any(|request| request.target == "/packages/tae/1.0.0%2Ba.json"),
        "{:?}",
        scene.server.log()
    );
}

#[tokio::test]
async fn documents_that_break_off_are_read_again() {
    let scene = Scene::new().await;
    scene.server.fault(INDEX, ..1, Fault::CloseAfter(10));
    scene.server.fault(INDEX, 1..2, Fault::CloseAfter(10));
    scene.server.fault(INDEX, 1..2, Fault::Chunked);
    scene.server.fault(INDEX, 2..3, Fault::StallAfter(10));
    assert_eq!(scene.index(&*open(&scene.server.url(), &impatient())).await.unwrap(), 1);
    assert!(scene.server.requests(INDEX) >= 4);
}

#[tokio::test]
async fn newer_and_endless_documents_are_refused() {
    let scene = Scene::new().await;
    let remote = scene.remote();
    fs::write(scene.registry.path().join("packages/tae/index.json"), r#"{"schema":"mlreg/index/2"}"#).unwrap();
    let error = scene.index(&*remote).await.unwrap_err();
    assert_eq!(
        message(&error),
        format!(
            "`{}packages/tae/index.json` was written by a newer mlreg: its schema is `mlreg/index/2`, expected \
             `mlreg/index/1`",
            scene.server.url()
        )
    );
    scene.server.fault("mlreg.json", .., Fault::Header("content-length", (1_u64 << 40).to_string()));
    let error = remote.packages().await.unwrap_err();
    assert!(matches!(error, RemoteError::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn what_is_missing_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let server = HttpServer::start(folder.path());
    let remote = open(&server.url(), &quick());
    assert!(matches!(remote.packages().await, Err(RemoteError::NotARegistry { .. })));
    assert_eq!(remote.versions(&"tae".parse().unwrap()).await.unwrap(), None);
    drop(server);
    let error = remote.packages().await.unwrap_err();
    assert!(matches!(error, RemoteError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn redirects_are_followed_to_a_point() {
    let scene = Scene::new().await;
    let index = "/packages/tae/index.json";
    scene.server.fault(INDEX, ..10, Fault::redirect(index));
    assert_eq!(scene.index(&*scene.remote()).await.unwrap(), 1);
    scene.server.fault(INDEX, .., Fault::redirect(index));
    let error = scene.index(&*scene.remote()).await.unwrap_err();
    assert!(matches!(error, RemoteError::TooManyRedirects { limit: 10, .. }), "{error}");
    assert_eq!(scene.server.requests(INDEX), 11 + 11);
    scene.server.clear_faults();
    scene.server.fault(INDEX, .., Fault::redirect("gopher://host/x"));
    let error = scene.index(&*scene.remote()).await.unwrap_err();
    assert!(matches!(&error, RemoteError::UnsafeRedirect { target, .. } if target == "gopher://host/x"), "{error}");
}

#[tokio::test]
async fn credentials_stay_with_their_host() {
    let scene = Scene::new().await;
    let elsewhere = HttpServer::start(scene.registry.path());
    let target = format!("{}packages/tae/index.json", elsewhere.url());
    scene.server.fault(INDEX, .., Fault::redirect(target));
    let url = format!("http://me:secret@{}/?signature=secret", scene.server.address());
    let remote = open(&url, &quick());
    assert_eq!(scene.index(&*remote).await.unwrap(), 1);
    let asked = &scene.server.log()[0];
    assert_eq!(
        (asked.headers["authorization"].as_str(), asked.query.as_deref()),
        ("Basic bWU6c2VjcmV0", Some("signature=secret"))
    );
    let forwarded = &elsewhere.log()[0];
    assert!(
        !format!("{forwarded:?}").contains("secret") && !forwarded.headers.contains_key("authorization"),
        "{forwarded:?}"
    );
    // A blob's range goes along with the redirect.
    scene.server.fault(
        BLOBS,
        ..,
        Fault::redirect(format!(
            "{}blobs/sha256/{}/{}?token=secret",
            elsewhere.url(),
            &scene.blob.to_string()[..2],
            scene.blob
        )),
    );
    scene.read(&*remote, 1000, 2000).await.unwrap();
    assert_eq!(elsewhere.bytes(BLOBS), 2000);

    elsewhere.fault("", .., Fault::status(403));
    let mut errors = vec![scene.index(&*remote).await.unwrap_err(), scene.read(&*remote, 0, 10).await.unwrap_err()];
    scene.server.clear_faults();
    for fault in [Fault::status(500), Fault::Hangup, Fault::HtmlPage, Fault::CloseAfter(3), Fault::Silence] {
        scene.server.clear_faults();
        scene.server.fault("", .., fault);
        let remote = open(&url, &RemoteOptions { retries: 0, ..impatient() });
        errors.extend([scene.index(&*remote).await.unwrap_err(), scene.read(&*remote, 0, 10).await.unwrap_err()]);
        assert!(!format!("{remote:?}").contains("secret"), "{remote:?}");
    }
    for error in errors {
        assert!(!format!("{} {error:?}", message(&error)).contains("secret"), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_bounded() {
    let scene = Scene::new().await;
    scene.server.throttle(Some(1 << 20));
    let remote = open(&scene.server.url(), &RemoteOptions { jobs: 3, ..quick() });
    let reads = (0..12).map(|number| {
        let (remote, release, blob) = (remote.clone(), scene.fixture.release.clone(), scene.blob);
        tokio::spawn(async move {
            let mut count = 0;
            let mut sink = |bytes: &[u8]| {
                count += bytes.len();
                Ok(())
            };
            remote.read(&release, &blob, ByteRange::new(number * 20_000, 20_000).unwrap(), &mut sink).await.unwrap();
            count
        })
    });
    for read in reads.collect::<Vec<_>>() {
        assert_eq!(read.await.unwrap(), 20_000);
    }
    assert_eq!(scene.server.peak(), 3);
}

#[tokio::test]
async fn the_server_counts_and_tells() {
    let scene = Scene::new().await;
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = seen.clone();
    scene.server.on_bytes(move |path, total| log.lock().unwrap().push((path.to_owned(), total)));
    scene.read(&*scene.remote(), 0, SIZE).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.last().map(|(_, total)| *total), Some(SIZE));
    assert!(seen.iter().all(|(path, _)| path.starts_with(BLOBS)) && seen.len() > 10);
    assert_eq!(scene.server.bytes(BLOBS), SIZE);
}
