//! Publishers of one folder: at the same time, one after another's crash, and where they do not belong.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use mlreg::remote::{Catalogue, Commit, FolderRemote, Remote, RemoteError};

use crate::{Fixture, files, index};

const FOLDER: &str = "MLREG_TEST_FOLDER";
const NAME: &str = "MLREG_TEST_NAME";

/// 20 versions of a package that every publisher has, and 20 of its own.
async fn publish_twenty(folder: &Path, name: &str) {
    let remote = FolderRemote::in_folder(folder.to_owned());
    for number in 0..20 {
        let own = format!("{name} {number}");
        for (package, version) in [("shared", format!("1.{number}.0-{name}")), (name, format!("{number}.0.0"))] {
            let outcome = Fixture::new(package, &version, &[b"shared", own.as_bytes()]).publish(&remote).await.unwrap();
            assert_eq!(outcome, Commit::New, "{package}@{version}");
        }
    }
}

async fn check_nothing_lost(folder: &Path) {
    let remote = FolderRemote::in_folder(folder.to_owned());
    for (package, count) in [("shared", 40), ("left", 20), ("right", 20)] {
        let package = package.parse().unwrap();
        let index = index(&remote, &package).await.unwrap().unwrap();
        assert_eq!(index.len(), count, "{package}");
        for (version, entry) in &index {
            assert_eq!(remote.release(&package, version, &entry.release).await.unwrap().len() as u64, entry.size);
        }
    }
    let derived = documents(folder);
    rebuild_index(folder).await.unwrap();
    assert_eq!(documents(folder), derived, "step by step and at once give the same documents");
    assert!(!files(folder).iter().any(|name| name.ends_with(".tmp")), "{:?}", files(folder));
}

async fn rebuild_index(folder: &Path) -> Result<Catalogue, RemoteError> {
    FolderRemote::in_folder(folder.to_owned()).rebuild_index().await
}

/// The derived documents.
fn documents(folder: &Path) -> Vec<(String, String)> {
    let derived = files(folder).into_iter().filter(|name| name == "mlreg.json" || name.ends_with("/index.json"));
    derived.map(|name| (name.clone(), fs::read_to_string(folder.join(name)).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_threads_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = ["left", "right"].map(|name| {
        let path = folder.path().to_owned();
        tokio::spawn(async move { publish_twenty(&path, name).await })
    });
    for task in tasks {
        task.await.unwrap();
    }
    check_nothing_lost(folder.path()).await;
}

#[tokio::test]
async fn two_processes_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let children = ["left", "right"].map(|name| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "publishers::a_publisher", "--ignored"]).env(FOLDER, folder.path()).env(NAME, name);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    check_nothing_lost(folder.path()).await;
}

#[tokio::test]
#[ignore = "the process that `two_processes_lose_nothing` starts twice"]
#[expect(clippy::disallowed_methods, reason = "the parent process names folder and publisher")]
async fn a_publisher() {
    publish_twenty(Path::new(&std::env::var_os(FOLDER).unwrap()), &std::env::var(NAME).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_version_has_one_winner() {
    let folder = tempfile::tempdir().unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let path = folder.path().to_owned();
            tokio::spawn(async move {
                let own = format!("content {number}");
                Fixture::new("tae", "1.0.0", &[own.as_bytes()]).publish(&FolderRemote::in_folder(path)).await
            })
        })
        .collect();
    let mut winners = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(outcome) => winners += usize::from(outcome == Commit::New),
            Err(error) => assert!(matches!(error, RemoteError::VersionExists { .. }), "{error}"),
        }
    }
    assert_eq!(winners, 1);
}

#[tokio::test]
async fn missing_and_damaged_documents_heal() {
    let folder = tempfile::tempdir().unwrap();
    let remote = FolderRemote::in_folder(folder.path().to_owned());
    for version in ["1.0.0", "1.1.0"] {
        Fixture::new("tae", version, &[]).publish(&remote).await.unwrap();
    }
    Fixture::new("other", "1.0.0", &[]).publish(&remote).await.unwrap();
    let whole = documents(folder.path());
    let (catalogue, index) = (folder.path().join("mlreg.json"), folder.path().join("packages/tae/index.json"));
    let again = Fixture::new("tae", "1.1.0", &[]);
    for damage in ["removed", "cut", "behind", "ahead"] {
        match damage {
            "removed" => [&catalogue, &index].map(|path| fs::remove_file(path).unwrap()),
            "cut" => [&catalogue, &index].map(|path| fs::write(path, &fs::read(path).unwrap()[..30]).unwrap()),
            "behind" => [
                fs::write(&catalogue, r#"{"packages":{},"schema":"mlreg/catalogue/1"}"#).unwrap(),
                fs::write(&index, r#"{"package":"tae","schema":"mlreg/index/1","versions":{}}"#).unwrap(),
            ],
            _ => [&catalogue, &index].map(|path| {
                let text = fs::read_to_string(path)
                    .unwrap()
                    .replace(r#""1.0.0":"#, r#""0.9.0":"#)
                    .replace(r#""other":"#, r#""gone":"#);
                fs::write(path, text).unwrap();
            }),
        };
        if !matches!(damage, "behind" | "ahead") {
            let found = remote.versions(&again.release.package).await.unwrap().unwrap();
            assert_eq!(found.len(), 2, "{damage}");
            assert_eq!(remote.packages().await.unwrap().len(), 2, "{damage}");
        }
        assert_eq!(again.publish(&remote).await.unwrap(), Commit::AlreadyThere, "{damage}");
        assert_eq!(documents(folder.path()), whole, "{damage}");
    }
    fs::write(folder.path().join("packages/tae/1.2.0.json"), "{").unwrap();
    let error = rebuild_index(folder.path()).await.unwrap_err();
    assert!(matches!(&error, RemoteError::Damaged { url, .. } if url.ends_with("1.2.0.json")), "{error}");
}

#[tokio::test]
async fn publishing_reads_no_version_that_the_index_knows() {
    let folder = tempfile::tempdir().unwrap();
    let remote = FolderRemote::in_folder(folder.path().to_owned());
    Fixture::new("tae", "1.0.0", &[]).publish(&remote).await.unwrap();
    fs::write(folder.path().join("packages/tae/1.0.0.json"), "unreadable").unwrap();
    assert_eq!(Fixture::new("tae", "1.1.0", &[]).publish(&remote).await.unwrap(), Commit::New);
    assert!(matches!(rebuild_index(folder.path()).await, Err(RemoteError::Damaged { .. })));
}

#[tokio::test]
async fn nothing_is_put_beside_an_index_of_a_newer_kind() {
    let folder = tempfile::tempdir().unwrap();
    let remote = FolderRemote::in_folder(folder.path().to_owned());
    Fixture::new("tae", "1.0.0", &[]).publish(&remote).await.unwrap();
    fs::write(folder.path().join("packages/tae/index.json"), r#"{"schema":"mlreg/index/2"}"#).unwrap();
    let error = Fixture::new("tae", "1.1.0", &[]).publish(&remote).await.unwrap_err();
    assert!(matches!(error, RemoteError::Newer { .. }), "{error}");
    assert!(!folder.path().join("packages/tae/1.1.0.json").exists());
}

#[tokio::test]
async fn blobs_that_were_cut_off_are_put_again() {
    let folder = tempfile::tempdir().unwrap();
    let remote = FolderRemote::in_folder(folder.path().to_owned());
    let fixture = Fixture::new("tae", "1.0.0", &[b"a blob"]);
    fixture.put_missing(&remote).await.unwrap();
    let name = files(folder.path()).into_iter().find(|name| name.starts_with("blobs/sha256/")).unwrap();
    fs::write(folder.path().join(&name), b"a bl").unwrap();
    assert!(matches!(remote.commit(&fixture.publication()).await, Err(RemoteError::MissingBlobs { count: 1, .. })));
    assert_eq!(fixture.publish(&remote).await.unwrap(), Commit::New);
    assert_eq!(fs::read(folder.path().join(&name)).unwrap(), b"a blob");
}

#[tokio::test]
async fn other_folders_are_left_alone() {
    let hidden = tempfile::tempdir().unwrap();
    fs::create_dir(hidden.path().join(".git")).unwrap();
    Fixture::new("tae", "1.0.0", &[b"a"]).publish(&FolderRemote::in_folder(hidden.path().to_owned())).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.tex"), "...").unwrap();
    let error = Fixture::new("tae", "1.0.0", &[b"a"])
        .publish(&FolderRemote::in_folder(folder.path().to_owned()))
        .await
        .unwrap_err();
    assert!(matches!(&error, RemoteError::ForeignFolder { entry, .. } if entry == "thesis.tex"), "{error}");
    assert!(matches!(rebuild_index(folder.path()).await, Err(RemoteError::ForeignFolder { .. })));
    assert_eq!(files(folder.path()), ["thesis.tex"]);
    let error = FolderRemote::in_folder(folder.path().to_owned()).packages().await.unwrap_err();
    assert!(matches!(error, RemoteError::NotARegistry { .. }), "{error}");

    fs::write(folder.path().join("mlreg.json"), r#"{"packages":{},"schema":"mlreg/catalogue/2"}"#).unwrap();
    let error = Fixture::new("tae", "1.0.0", &[b"a"])
        .publish(&FolderRemote::in_folder(folder.path().to_owned()))
        .await
        .unwrap_err();
    assert!(matches!(error, RemoteError::Newer { .. }), "{error}");
}

#[tokio::test]
async fn a_dropped_put_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let remote = FolderRemote::in_folder(folder.path().join("registry"));
    let large = vec![7; 32 << 20];
    let fixture = Fixture::new("tae", "1.0.0", &[&large]);
    let blob = *fixture.release.blobs.keys().next().unwrap();
    let publication = fixture.publication();
    let (first, began) = tokio::sync::oneshot::channel();
    let first = std::sync::Mutex::new(Some(first));
    let note = |_| {
        if let Some(first) = first.lock().unwrap().take() {
            first.send(()).unwrap();
        }
    };
    tokio::select! {
        biased;
        _ = began => {}
        result = remote.put(&publication, &blob, &note) => panic!("32 MiB were put before the first step was seen: \
             {result:?}"),
    }
    let deadline = Instant::now() + std::time::Duration::from_secs(10);
    while files(folder.path()).iter().any(|name| name.ends_with(".tmp")) {
        assert!(Instant::now() < deadline, "{:?}", files(folder.path()));
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(remote.missing(&publication).await.unwrap(), [blob]);
}
