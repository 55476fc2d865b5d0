//! What every remote that can be written has to do. A new kind of remote is a word in `kinds`.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use mlreg::{
    base::Digest,
    remote::{
        Commit, DocumentKey, DocumentKind, FolderRemote, HubOptions, HubToken, IndexEntry, Publication, RegistryRemote,
        ReleaseId, Remote, RemoteError, RemoteOptions, RemoteUrl, SCHEMES,
    },
};

use crate::{
    Fixture,
    hub_server::{HubServer, TOKEN},
    index,
    memory::MemoryStorage,
    noise, open, quick,
};

/// A new, empty remote whose bytes live in a folder, and a way to open the same place for reading.
struct Subject {
    writer: Arc<dyn Remote>,
    reader: Arc<dyn Remote>,
    /// Whether it has the layout of a registry; else that of a repository of the Hub.
    is_registry: bool,
    _servers: (Option<crate::http_server::HttpServer>, Option<HubServer>),
}

impl Subject {
    fn registry(remote: Arc<dyn Remote>) -> Self {
        Self { writer: remote.clone(), reader: remote, is_registry: true, _servers: (None, None) }
    }

    fn hub() -> Self {
        let server = HubServer::start();
        let hub = HubOptions { endpoint: server.endpoint(), token: HubToken::new(TOKEN), ..HubOptions::default() };
        let options = RemoteOptions { hub, ..quick() };
        let url = RemoteUrl::parse("hf://acme/models", Path::new("/")).unwrap();
        let writer = mlreg::remote::open_to_publish(&url, &options).unwrap();
        Self {
            writer,
            reader: mlreg::remote::open(&url, &options).unwrap(),
            is_registry: false,
            _servers: (None, Some(server)),
        }
    }
}

type Kind = (&'static str, fn(&Path) -> Subject);

fn kinds() -> Vec<Kind> {
    vec![
        ("folder without layers", |path| Subject::registry(Arc::new(FolderRemote::in_folder(path.to_owned())))),
        ("folder with layers", |path| Subject::registry(open(path.to_str().unwrap(), &quick()))),
        ("folder behind a web server", |path| {
            let server = crate::http_server::HttpServer::start(path);
            let reader = open(&server.url(), &quick());
            let writer = Arc::new(FolderRemote::in_folder(path.to_owned()));
            Subject { writer, reader, is_registry: true, _servers: (Some(server), None) }
        }),
        ("memory", |_| {
            Subject::registry(Arc::new(RegistryRemote::new(RemoteUrl::folder("memory"), MemoryStorage::default())))
        }),
        ("repository of the Hub", |_| Subject::hub()),
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
    side_documents_follow_their_rules,
}

async fn what_is_published_can_be_read(subject: &Subject) {
    let large = noise(3 << 20);
    let fixture = Fixture::new("tae", "1.0.0-rc.1+build.7", &[b"", b"small", &large]);
    assert_eq!(fixture.publish(&*subject.writer).await.unwrap(), Commit::New);
    let reader = &*subject.reader;
    assert_eq!(reader.packages().await.unwrap(), std::slice::from_ref(&fixture.release.package));
    let index = index(reader, &fixture.release.package).await.unwrap().unwrap();
    let entry = IndexEntry { release: fixture.digest(), size: fixture.bytes.len() as u64 };
    assert_eq!(index.into_iter().collect::<Vec<_>>(), [(fixture.release.version.clone(), entry)]);
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
    assert_eq!(writer.missing(&two.publication()).await.unwrap(), [Digest::of(b"two")]);
    for _ in 0..2 {
        let sent = AtomicU64::new(0);
        let add = |count| {
            sent.fetch_add(count, Ordering::Relaxed);
        };
        writer.put(&two.publication(), &Digest::of(b"two"), &add).await.unwrap();
        assert_eq!(sent.into_inner(), 3);
    }
    if subject.is_registry {
        // An existing blob needs no source any more.
        let elsewhere = Publication::new(one.bytes.clone(), Arc::new(PathBuf::from("/nowhere"))).unwrap();
        writer.put(&elsewhere, &Digest::of(b"one"), &|_| ()).await.unwrap();
    }
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
    let index = index(&*subject.reader, &first.release.package).await.unwrap().unwrap();
    assert_eq!(index[&first.release.version].release, first.digest());
}

async fn a_release_needs_its_blobs(subject: &Subject) {
    let fixture = Fixture::new("tae", "1.0.0", &[b"a", b"b"]);
    let error = subject.writer.commit(&fixture.publication()).await.unwrap_err();
    // The Hub itself refuses a commit that names an object which it does not have.
    let is_expected = if subject.is_registry {
        matches!(error, RemoteError::MissingBlobs { count: 2, .. })
    } else {
        matches!(error, RemoteError::Hub(_))
    };
    assert!(is_expected, "{error}");
    assert_eq!(subject.reader.versions(&fixture.release.package).await.unwrap(), None);
    let error = Publication::new(b"{\"schema\":\"mlreg/release/2\"}".to_vec(), Arc::new(PathBuf::new())).unwrap_err();
    assert!(matches!(error, RemoteError::InvalidRelease { .. }), "{error}");
}

async fn wrong_bytes_are_refused(subject: &Subject) {
    let writer = &*subject.writer;
    let mut fixture = Fixture::new("tae", "1.0.0", &[b"right"]);
    let blob = Digest::of(b"right");
    fs::write(fixture.file(&blob), b"wrong").unwrap();
    let error = writer.put(&fixture.publication(), &blob, &|_| ()).await.unwrap_err();
    assert!(
        matches!(&error, RemoteError::WrongContent { expected, found, .. } if *expected == blob && *found == Digest::of(b"wrong")),
        "{error}"
    );
    assert_eq!(writer.missing(&fixture.publication()).await.unwrap(), [blob]);
    fs::write(fixture.file(&blob), b"right").unwrap();
    fixture.release.blobs.get_mut(&blob).unwrap().size = 6;
    let error = writer.put(&fixture.publication(), &blob, &|_| ()).await.unwrap_err();
    assert!(matches!(error, RemoteError::WrongManifest { .. }), "{error}");
}

async fn unknown_things_have_names(subject: &Subject) {
    let fixture = Fixture::new("tae", "1.0.0", &[b"blob"]);
    fixture.publish(&*subject.writer).await.unwrap();
    let reader = &*subject.reader;
    assert_eq!(reader.versions(&"other".parse().unwrap()).await.unwrap(), None);
    let package = &fixture.release.package;
    let error = reader.release(package, &"9.9.9".parse().unwrap(), &fixture.digest()).await.unwrap_err();
    assert!(matches!(&error, RemoteError::NotFound { url } if url.ends_with("tae/9.9.9.json")), "{error}");
    let error = reader.release(package, &fixture.release.version, &Digest::of(b"?")).await.unwrap_err();
    assert!(matches!(error, RemoteError::WrongDigest { .. }), "{error}");
    let (_, result) = fixture.try_read(reader, &Digest::of(b"?"), (0, 1)).await;
    assert!(matches!(result, Err(RemoteError::UnknownBlob { .. })), "{result:?}");
    let unpublished = Fixture::new("tae", "2.0.0", &[b"unpublished"]);
    let (_, result) = unpublished.try_read(reader, &Digest::of(b"unpublished"), (0, 1)).await;
    // The Hub's default layout has another file at that path.
    let is_expected = if subject.is_registry {
        matches!(result, Err(RemoteError::NotFound { .. }))
    } else {
        matches!(result, Err(RemoteError::WrongDigest { .. }))
    };
    assert!(is_expected, "{result:?}");
}

async fn ranges_are_exact(subject: &Subject) {
    let bytes = noise(2_500_000);
    let fixture = Fixture::new("tae", "1.0.0", &[&bytes]);
    fixture.publish(&*subject.writer).await.unwrap();
    let blob = Digest::of(&bytes);
    for (offset, length) in
        [(0, 1), (0, 64), (1, 1 << 20), (1 << 20, 1 << 20), (2_499_999, 1), (7, 2_499_993), (0, 2_500_000)]
    {
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
    let versions = subject.reader.versions(&names[1]).await.unwrap().unwrap();
    assert_eq!(versions.iter().map(ToString::to_string).collect::<Vec<_>>(), ["1.9.0", "1.10.0", "2.0.0-rc.1"]);
    assert_eq!(subject.reader.resolve(&names[1], &"3.0.0".parse().unwrap()).await.unwrap(), None);
}

async fn side_documents_follow_their_rules(subject: &Subject) {
    let (writer, reader) = (&*subject.writer, &*subject.reader);
    let fixture = Fixture::new("tae", "1.0.0-rc.1", &[b"blob"]);
    fixture.publish(writer).await.unwrap();
    let release =
        ReleaseId { package: "tae".parse().unwrap(), version: "1.0.0-rc.1".parse().unwrap(), digest: fixture.digest() };
    let fixed = DocumentKey::new(release.clone(), DocumentKind::Locations);
    let quality = DocumentKey::named(release.clone(), DocumentKind::Quality, "ios18".parse().unwrap()).unwrap();
    assert_eq!(DocumentKey::named(release.clone(), DocumentKind::Quality, "a/b".parse().unwrap()), None);
    assert_eq!(writer.document(&fixed).await.unwrap(), None);
    writer.put_document(&fixed, b"here", None).await.unwrap();
    writer.put_document(&fixed, b"here", None).await.unwrap();
    assert!(matches!(writer.put_document(&fixed, b"there", None).await, Err(RemoteError::DocumentChanged { .. })));
    let version = writer.document(&fixed).await.unwrap().unwrap().version;
    assert!(matches!(
        writer.put_document(&fixed, b"there", Some(&version)).await,
        Err(RemoteError::ImmutableDocument { .. })
    ));
    assert!(matches!(
        writer.put_document(&quality, &vec![b' '; 5 << 20], None).await,
        Err(RemoteError::TooLarge { .. })
    ));
    writer.put_document(&quality, b"1", None).await.unwrap();
    let first = writer.document(&quality).await.unwrap().unwrap();
    writer.put_document(&quality, b"2", Some(&first.version)).await.unwrap();
    assert!(matches!(
        writer.put_document(&quality, b"3", Some(&first.version)).await,
        Err(RemoteError::DocumentChanged { .. })
    ));
    assert_eq!(reader.document(&quality).await.unwrap().unwrap().bytes, b"2");
    assert_eq!(reader.document(&fixed).await.unwrap().unwrap().bytes, b"here");
    let other = ReleaseId { digest: Digest::of(b"another release"), ..release };
    assert_eq!(reader.document(&DocumentKey::new(other, DocumentKind::Locations)).await.unwrap(), None);
    // Documents are no versions, although their names begin like those of manifests.
    assert_eq!(index(writer, &fixture.release.package).await.unwrap().unwrap().len(), 1);
}

/// A writer that is cut off between two steps leaves documents that do not fit each other; rivals of it must not lose a
/// version.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishers_of_a_storage_lose_nothing() {
    let storage = MemoryStorage::default();
    let publish = |number: u32| {
        let remote = RegistryRemote::new(RemoteUrl::folder("memory"), storage.clone());
        tokio::spawn(async move {
            Fixture::new("tae", &format!("{number}.0.0"), &[b"blob"]).publish(&remote).await.unwrap()
        })
    };
    for task in (0..16).map(publish).collect::<Vec<_>>() {
        assert_eq!(task.await.unwrap(), Commit::New);
    }
    let remote = RegistryRemote::new(RemoteUrl::folder("memory"), storage);
    let written = remote.written_catalogue().await.unwrap().unwrap();
    assert_eq!(written.packages[&"tae".parse().unwrap()].versions, 16);
    assert_eq!(remote.rebuild_index().await.unwrap(), written);
}

#[tokio::test]
async fn servers_are_read_only() {
    let folder = tempfile::tempdir().unwrap();
    let server = crate::http_server::HttpServer::start(folder.path());
    let remote = open(&server.url(), &quick());
    let fixture = Fixture::new("tae", "1.0.0", &[b"a"]);
    for error in [
        remote.missing(&fixture.publication()).await.unwrap_err(),
        remote.put(&fixture.publication(), &Digest::of(b"a"), &|_| ()).await.unwrap_err(),
        remote.commit(&fixture.publication()).await.unwrap_err(),
    ] {
        assert!(matches!(error, RemoteError::ReadOnly { .. }), "{error}");
    }
    assert!(server.log().is_empty());
}

#[test]
fn every_scheme_opens_its_addresses() {
    for scheme in SCHEMES {
        for name in scheme.names {
            let address = format!("{name}://{}", if *name == "file" { "/registry" } else { "host/registry" });
            assert_eq!(SCHEMES.iter().filter(|scheme| scheme.names.contains(name)).count(), 1, "{name}");
            assert_eq!(open(&address, &quick()).url(), &RemoteUrl::parse(&address, Path::new("/")).unwrap());
        }
    }
}
