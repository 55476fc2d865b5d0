//! What every remote that can be written has to do. A new kind of remote is a word in `kinds`.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use mlreg::{
    base::{Digest, RemoteUrl},
    remote::{Commit, FolderRemote, IndexEntry, Remote, RemoteError, SCHEMES},
};

use crate::{Fixture, noise, open, quick};

/// A new, empty remote whose bytes live in a folder, and a way to open the same place for reading.
struct Subject {
    writer: Arc<dyn Remote>,
    reader: Arc<dyn Remote>,
    _server: Option<crate::http_server::HttpServer>,
}

type Kind = (&'static str, fn(&Path) -> Subject);

fn kinds() -> Vec<Kind> {
    vec![
        ("folder without layers", |path| {
            let remote = Arc::new(FolderRemote::new(path.to_owned()));
            Subject { writer: remote.clone(), reader: remote, _server: None }
        }),
        ("folder with layers", |path| {
            let remote = open(path.to_str().unwrap(), &quick());
            Subject { writer: remote.clone(), reader: remote, _server: None }
        }),
        ("folder behind a web server", |path| {
            let server = crate::http_server::HttpServer::start(path);
            let reader = open(&server.url(), &quick());
            Subject { writer: Arc::new(FolderRemote::new(path.to_owned())), reader, _server: Some(server) }
        }),
    ]
}

/// Runs a behaviour over every kind.
macro_rules! behaviours {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            #[tokio::test]
            async fn holds_everywhere() {
                for (kind, make) in super::kinds() {
                    println!("{kind}");
                    let folder = tempfile::tempdir().unwrap();
                    super::$name(&make(&folder.path().join("registry"))).await;
                }
            }
        })+
    };
}

behaviours! {
    what_is_published_can_be_read,
    only_what_is_missing_is_put,
    versions_never_change,
    a_release_needs_its_blobs,
    wrong_bytes_are_refused,
    unknown_things_have_names,
    ranges_are_exact,
    versions_are_sorted_and_counted,
}

async fn what_is_published_can_be_read(subject: &Subject) {
    let large = noise(3 << 20);
    let fixture = Fixture::new("tae", "1.0.0-rc.1+build.7", &[b"", b"small", &large]);
    assert_eq!(fixture.publish(&*subject.writer).await.unwrap(), Commit::New);
    let reader = &*subject.reader;
    assert_eq!(reader.packages().await.unwrap(), std::slice::from_ref(&fixture.release.package));
    let index = reader.index(&fixture.release.package).await.unwrap().unwrap();
    let entry = IndexEntry { release: fixture.digest(), size: fixture.bytes.len() as u64 };
    assert_eq!(index.versions.into_iter().collect::<Vec<_>>(), [(fixture.release.version.clone(), entry)]);
    let bytes = reader.release(&fixture.release.package, &fixture.release.version, &fixture.digest()).await.unwrap();
    assert_eq!(bytes, fixture.bytes);
    assert_eq!(fixture.read(reader, &Digest::of(&large), (0, large.len() as u64)).await, large);
    assert_eq!(fixture.read(reader, &Digest::of(b"small"), (0, 5)).await, b"small");
}

async fn only_what_is_missing_is_put(subject: &Subject) {
    let writer = &*subject.writer;
    let one = Fixture::new("tae", "1.0.0", &[b"shared", b"one"]);
    assert_eq!(one.put_missing(writer).await.unwrap(), 2);
    assert_eq!(one.put_missing(writer).await.unwrap(), 0);
    let two = Fixture::new("tae", "1.1.0", &[b"shared", b"two"]);
    assert_eq!(writer.missing(&two.release).await.unwrap(), [Digest::of(b"two")]);
    for _ in 0..2 {
        let sent = AtomicU64::new(0);
        let add = |count| {
            sent.fetch_add(count, Ordering::Relaxed);
        };
        writer.put(&two.release, &Digest::of(b"two"), &two.file(&Digest::of(b"two")), &add).await.unwrap();
        assert_eq!(sent.into_inner(), 3);
    }
    // What is there needs no source any more.
    writer.put(&one.release, &Digest::of(b"one"), Path::new("/nowhere"), &|_| ()).await.unwrap();
}

async fn versions_never_change(subject: &Subject) {
    let writer = &*subject.writer;
    let first = Fixture::new("tae", "1.0.0", &[b"first"]);
    let second = Fixture::new("tae", "1.0.0", &[b"second"]);
    assert_eq!(first.publish(writer).await.unwrap(), Commit::New);
    assert_eq!(first.publish(writer).await.unwrap(), Commit::AlreadyThere);
    let error = second.publish(writer).await.unwrap_err();
    assert!(
        matches!(&error, RemoteError::VersionExists { release, existing, offered }
            if release == "tae@1.0.0" && *existing == first.digest() && *offered == second.digest()),
        "{error}"
    );
    assert!(error.hint().is_some());
    let index = subject.reader.index(&first.release.package).await.unwrap().unwrap();
    assert_eq!(index.versions[&first.release.version].release, first.digest());
}

async fn a_release_needs_its_blobs(subject: &Subject) {
    let fixture = Fixture::new("tae", "1.0.0", &[b"a", b"b"]);
    let error = subject.writer.commit(&fixture.bytes).await.unwrap_err();
    assert!(matches!(error, RemoteError::MissingBlobs { count: 2, .. }), "{error}");
    assert_eq!(subject.reader.index(&fixture.release.package).await.unwrap(), None);
    let error = subject.writer.commit(b"{\"schema\":\"mlreg/release/2\"}").await.unwrap_err();
    assert!(matches!(error, RemoteError::InvalidRelease { .. }), "{error}");
}

async fn wrong_bytes_are_refused(subject: &Subject) {
    let writer = &*subject.writer;
    let mut fixture = Fixture::new("tae", "1.0.0", &[b"right"]);
    let blob = Digest::of(b"right");
    fs::write(fixture.file(&blob), b"wrong").unwrap();
    let error = writer.put(&fixture.release, &blob, &fixture.file(&blob), &|_| ()).await.unwrap_err();
    assert!(
        matches!(&error, RemoteError::WrongContent { expected, found, .. } if *expected == blob && *found == Digest::of(b"wrong")),
        "{error}"
    );
    assert_eq!(writer.missing(&fixture.release).await.unwrap(), [blob]);
    fs::write(fixture.file(&blob), b"right").unwrap();
    fixture.release.blobs.get_mut(&blob).unwrap().size = 6;
    let error = writer.put(&fixture.release, &blob, &fixture.file(&blob), &|_| ()).await.unwrap_err();
    assert!(matches!(error, RemoteError::WrongManifest { .. }), "{error}");
}

async fn unknown_things_have_names(subject: &Subject) {
    let fixture = Fixture::new("tae", "1.0.0", &[b"blob"]);
    fixture.publish(&*subject.writer).await.unwrap();
    let reader = &*subject.reader;
    assert_eq!(reader.index(&"other".parse().unwrap()).await.unwrap(), None);
    let package = &fixture.release.package;
    let error = reader.release(package, &"9.9.9".parse().unwrap(), &fixture.digest()).await.unwrap_err();
    assert!(matches!(&error, RemoteError::NotFound { url } if url.ends_with("packages/tae/9.9.9.json")), "{error}");
    let error = reader.release(package, &fixture.release.version, &Digest::of(b"?")).await.unwrap_err();
    assert!(matches!(error, RemoteError::WrongDigest { .. }), "{error}");
    let (_, result) = fixture.try_read(reader, &Digest::of(b"?"), (0, 1)).await;
    assert!(matches!(result, Err(RemoteError::UnknownBlob { .. })), "{result:?}");
    let unpublished = Fixture::new("tae", "2.0.0", &[b"unpublished"]);
    let (_, result) = unpublished.try_read(reader, &Digest::of(b"unpublished"), (0, 1)).await;
    assert!(matches!(result, Err(RemoteError::NotFound { .. })), "{result:?}");
}

async fn ranges_are_exact(subject: &Subject) {
    let bytes = noise(2_500_000);
    let fixture = Fixture::new("tae", "1.0.0", &[&bytes]);
    fixture.publish(&*subject.writer).await.unwrap();
    let blob = Digest::of(&bytes);
    for (offset, length) in [(0, 1), (0, 64), (1, 1 << 20), (1 << 20, 1 << 20), (2_499_999, 1), (7, 2_499_993), (0, 2_500_000)] {
        let part = fixture.read(&*subject.reader, &blob, (offset, length)).await;
        assert!(part == bytes[offset as usize..(offset + length) as usize], "{length} bytes from {offset}");
    }
    let (delivered, result) = fixture.try_read(&*subject.reader, &blob, (2_499_999, 2)).await;
    assert!(matches!(result, Err(RemoteError::OutsideBlob { size: 2_500_000, .. })), "{result:?}");
    assert!(delivered.is_empty());
    let mut full = |_: &[u8]| Err(std::io::Error::other("the disk is full"));
    let range = mlreg::base::ByteRange::new(0, 10).unwrap();
    let error = subject.reader.read(&fixture.release, &blob, range, &mut full).await.unwrap_err();
    assert!(matches!(error, RemoteError::Sink { .. }), "{error}");
}

async fn versions_are_sorted_and_counted(subject: &Subject) {
    for version in ["1.10.0", "1.9.0", "2.0.0-rc.1"] {
        Fixture::new("tae", version, &[b"blob"]).publish(&*subject.writer).await.unwrap();
    }
    Fixture::new("alpha", "0.1.0", &[]).publish(&*subject.writer).await.unwrap();
    let names = subject.reader.packages().await.unwrap();
    assert_eq!(names.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["alpha", "tae"]);
    let index = subject.reader.index(&names[1]).await.unwrap().unwrap();
    assert_eq!(index.versions.keys().map(ToString::to_string).collect::<Vec<_>>(), ["1.9.0", "1.10.0", "2.0.0-rc.1"]);
    assert_eq!(index.latest().unwrap().to_string(), "1.10.0");
}

#[tokio::test]
async fn servers_are_read_only() {
    let folder = tempfile::tempdir().unwrap();
    let server = crate::http_server::HttpServer::start(folder.path());
    let remote = open(&server.url(), &quick());
    let fixture = Fixture::new("tae", "1.0.0", &[b"a"]);
    for error in [
        remote.missing(&fixture.release).await.unwrap_err(),
        remote.put(&fixture.release, &Digest::of(b"a"), &fixture.file(&Digest::of(b"a")), &|_| ()).await.unwrap_err(),
        remote.commit(&fixture.bytes).await.unwrap_err(),
    ] {
        assert!(matches!(error, RemoteError::ReadOnly { .. }), "{error}");
    }
    assert!(server.log().is_empty());
}

#[test]
fn every_scheme_opens_its_addresses() {
    for scheme in SCHEMES {
        for name in scheme.names {
            let url =
                RemoteUrl::parse(&format!("{name}://{}", if *name == "file" { "/registry" } else { "host/registry" }), Path::new("/"));
            let opened = SCHEMES.iter().filter_map(|scheme| (scheme.open)(url.as_ref().unwrap(), &quick())).count();
            assert_eq!(opened, 1, "{name}");
        }
    }
}
