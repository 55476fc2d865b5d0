//! `publish` where the Hub has Xet: what goes up, which way, who gets which token, and what comes of faults of the
//! storage.

use std::{
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use mlreg::{
    base::Digest,
    remote::{self, Publication, Remote, RemoteOptions},
    workflow::{
        Amount, ErrorKind, Progress, ProgressTask,
        publish::{PublishStatus, publish},
    },
};
use tokio::runtime::Builder;

use crate::{
    REPOSITORY, SPECIFICATION, Scene, TOKEN, User, WEIGHTS, decoder,
    faults::faults_of_uploads,
    http_server::Fault,
    hub_server::{ATTRIBUTES, Stored},
    hub_url, message, publish_options, put_release, read_folder, tensors,
    xet_server::{TOKEN_PREFIX, XetStorage},
};

impl Scene {
    /// A Hub with Xet.
    fn with_xet() -> Self {
        let scene = Self::new();
        scene.server.state().xet = Some(XetStorage::default());
        scene
    }

    fn change_storage(&self, change: impl FnOnce(&mut XetStorage)) {
        change(self.server.state().xet.as_mut().expect("a Hub with Xet"));
    }

    /// Requests that Git LFS alone makes.
    fn requests_of_lfs(&self) -> usize {
        ["upload/", "part/", "complete/"].iter().map(|part| self.server.cdn.requests(part)).sum::<usize>()
            + self.server.hub.requests("lfs/verify")
    }
}

#[test]
fn what_goes_up_by_xet_is_what_comes_back() {
    let scene = Scene::with_xet();
    let publisher = scene.publisher();
    let weights = tensors(&[(1, 2_000_000), (2, 1_000_000)]);
    let bundles = [decoder(768, &weights), decoder(1024, &weights)];
    assert_eq!(publisher.release("1.0.0", &bundles).status, PublishStatus::New);
    for bundle in &bundles {
        let folder = format!("tae/{}.mlpackage", bundle.id());
        assert_eq!(scene.below(&format!("{folder}/")), bundle.tree(&folder));
    }
    assert_eq!(scene.requests_of_lfs(), 0);
    let uploaded = scene.server.uploaded_by_xet();
    assert!((3_006_000..3_020_000).contains(&uploaded), "equal files are sent once: {uploaded}");
    let reader = scene.user("reader", Some(TOKEN));
    assert_eq!(reader.fetch("tae").unwrap().variants.len(), 2);
    assert_eq!(reader.placed().len(), 6);
    assert!(scene.server.leaks().is_empty(), "{:?}", scene.server.leaks());
    let requests = scene.server.storage.log();
    assert!(requests.iter().all(|request| request.headers["user-agent"].starts_with("mlreg/")), "{requests:?}");
    assert!(requests.iter().all(|request| !request.path.contains("telemetry")), "nobody is told about it");
}

#[test]
fn what_the_hub_has_costs_nothing() {
    let scene = Scene::with_xet();
    let publisher = scene.publisher();
    let weights = tensors(&[(1, 500_000)]);
    publisher.release("1.0.0", &[decoder(768, &weights)]);
    scene.server.storage.reset_counts();
    assert_eq!(publisher.publish("1.0.0").unwrap().status, PublishStatus::AlreadyThere);
    assert!(scene.server.storage.log().is_empty());
    scene.server.cdn.reset_counts();
    publisher.release("1.1.0", &[decoder(1024, &weights)]);
    assert!(
        scene.server.uploaded_by_xet() < 4000,
        "the specification of the new size: {}",
        scene.server.uploaded_by_xet()
    );
}

#[test]
fn of_a_changed_file_the_change_goes_up() {
    let scene = Scene::with_xet();
    let seeds =
        |changed: u64| (0..10).map(|seed| (if seed == 6 { changed } else { seed }, 800_000)).collect::<Vec<_>>();
    scene.publisher().release("1.0.0", &[decoder(768, &tensors(&seeds(6)))]);
    scene.server.cdn.reset_counts();
    let weights = tensors(&seeds(100));
    // Another machine, which knows nothing of the first release.
    let other = scene.user("other", Some(TOKEN));
    other.release("1.1.0", &[decoder(768, &weights)]);
    let uploaded = scene.server.uploaded_by_xet();
    assert!((800_000..1_400_000).contains(&uploaded), "{uploaded} of 8 MB");
    assert_eq!(scene.below("tae/")[&format!("tae/decoder-768-float16-ios18.mlpackage/{WEIGHTS}")], weights.0);
}

#[test]
fn small_files_that_a_repository_keeps_as_large_ones_go_the_same_way() {
    let scene = Scene::with_xet();
    let attributes = format!("{ATTRIBUTES}*.json filter=lfs diff=lfs merge=lfs -text\n");
    scene.server.with_files(REPOSITORY, &[(".gitattributes", attributes.as_bytes())]);
    let report = scene.publisher().release("1.0.0", &[decoder(768, &tensors(&[(1, 1000)]))]);
    {
        let state = scene.server.state();
        let tree = &state.repositories[REPOSITORY].resolve("main").unwrap().tree;
        assert!(matches!(&tree["mlreg/tae/1.0.0.json"], Stored::Lfs { oid, .. } if *oid == report.release.to_string()));
    }
    assert_eq!(scene.requests_of_lfs(), 0);
    scene.user("reader", Some(TOKEN)).fetch("tae").unwrap();
}

#[test]
fn a_hub_without_tokens_gets_everything_by_lfs() {
    let scene = Scene::with_xet();
    scene.server.hub.fault("xet-write-token", .., Fault::status(404));
    let weights = tensors(&[(1, 300_000)]);
    scene.publisher().release("1.0.0", &[decoder(768, &weights), decoder(1024, &weights)]);
    assert!(scene.requests_of_lfs() > 0 && scene.server.storage.log().is_empty());
    assert!(scene.server.hub.requests("xet-write-token") <= 1, "it is asked once");
    assert_eq!(scene.user("reader", Some(TOKEN)).fetch("tae").unwrap().variants.len(), 2);
}

#[test]
fn whoever_switches_xet_off_gets_lfs() {
    let scene = Scene::with_xet();
    let mut publisher = scene.publisher();
    publisher.options.hub.xet = false;
    publisher.release("1.0.0", &[decoder(768, &tensors(&[(1, 300_000)]))]);
    assert!(scene.requests_of_lfs() > 0 && scene.server.storage.log().is_empty());
    let asked =
        scene.server.hub.log().into_iter().any(|request| String::from_utf8_lossy(&request.body).contains("xet"));
    assert!(!asked, "it is not even offered");
}

#[test]
fn an_older_storage_will_do() {
    let scene = Scene::with_xet();
    scene.change_storage(|storage| (storage.has_grants, storage.has_steps) = (false, false));
    let weights = tensors(&[(1, 300_000)]);
    let bundle = decoder(768, &weights);
    scene.publisher().release("1.0.0", std::slice::from_ref(&bundle));
    assert_eq!(scene.below("tae/"), bundle.tree("tae/decoder-768-float16-ios18.mlpackage"));
    assert!(scene.server.storage.requests("v1/xorbs/") > 0 && scene.server.storage.requests("v1/shards") > 0);
}

#[test]
fn tokens_are_renewed_by_the_hub_alone() {
    let scene = Scene::with_xet();
    scene.change_storage(|storage| storage.expiry = 1);
    scene.publisher().release("1.0.0", &[decoder(768, &tensors(&[(1, 300_000)]))]);
    assert!(scene.server.hub.requests("xet-write-token") > 2, "each of them had expired");
    assert!(scene.server.leaks().is_empty(), "{:?}", scene.server.leaks());
    // Whoever the Hub may name instead does not get its token.
    let scene = Scene::with_xet();
    scene.change_storage(|storage| storage.expiry = 1);
    let elsewhere = format!("http://localhost:{}/token", scene.server.cdn.address().port());
    scene.server.hub.fault("xet-write-token", 1.., Fault::redirect(elsewhere));
    put_release(scene.publisher().context().store(), "1.0.0", &[decoder(768, &tensors(&[(1, 1000)]))]);
    let error = scene.publisher().publish("1.0.0").unwrap_err();
    assert!(scene.server.cdn.requests("token") > 0, "{}", message(&error));
    assert!(scene.server.leaks().is_empty(), "{:?}", scene.server.leaks());
    assert!(!message(&error).contains(TOKEN) && !message(&error).contains(TOKEN_PREFIX), "{}", message(&error));
}

#[test]
fn a_storage_elsewhere_than_on_the_web_is_refused() {
    for (storage, expected) in [("ftp://storage/", "is not followed"), ("storage", "a `casUrl` that is no address")] {
        let scene = Scene::with_xet();
        scene.server.state().storage = storage.to_owned();
        put_release(scene.publisher().context().store(), "1.0.0", &[decoder(768, &tensors(&[(1, 1000)]))]);
        let error = scene.publisher().publish("1.0.0").unwrap_err();
        assert!(message(&error).contains(expected), "{}", message(&error));
    }
}

#[test]
fn a_storage_without_a_certificate_is_not_spoken_to() {
    let scene = Scene::with_xet();
    let mut publisher = scene.publisher();
    let short = Duration::from_millis(750);
    publisher.options = RemoteOptions { connect_timeout: short, stall_timeout: short, ..publisher.options };
    let address = format!("https://localhost:{}", scene.server.storage.address().port());
    scene.server.state().storage = address.clone();
    put_release(publisher.context().store(), "1.0.0", &[decoder(768, &tensors(&[(1, 1000)]))]);
    let error = publisher.publish("1.0.0").unwrap_err();
    assert!(message(&error).contains(&format!("to `{address}/` by Xet: ")), "{}", message(&error));
    assert!(scene.server.leaks().is_empty(), "{:?}", scene.server.leaks());
}

#[test]
fn a_publication_by_xet_ends_well_whatever_happens_once() {
    let bundle = decoder(768, &tensors(&[(1, 200_000), (2, 100_000)]));
    let parts = [
        "xet-write-token",
        "v1/chunks",
        "xorb-grants",
        "pack/",
        "xorb-commits",
        "v2/shards",
        "v1/xorbs",
        "v1/shards",
        "/commit/",
    ];
    for part in parts {
        for fault in &faults_of_uploads() {
            let what = format!("{fault:?} at {part}");
            let scene = Scene::with_xet();
            let is_old = matches!(part, "v1/xorbs" | "v1/shards");
            scene.change_storage(|storage| (storage.has_grants, storage.has_steps) = (!is_old, !is_old));
            let publisher = scene.publisher();
            put_release(publisher.context().store(), "1.0.0", std::slice::from_ref(&bundle));
            scene.server.fault(part, 0..1, fault.clone());
            let done = (0..3).any(|_| publisher.publish("1.0.0").is_ok());
            assert!(done, "{what}");
            assert!(scene.below("tae/") == bundle.tree("tae/decoder-768-float16-ios18.mlpackage"), "{what}");
            assert!(scene.server.leaks().is_empty(), "{what}");
        }
    }
}

#[test]
fn a_storage_that_never_gives_in_ends_a_publication() {
    let refusals = [
        ("xorb-grants", Fault::status(503)),
        ("v2/shards", Fault::status(500)),
        ("v2/shards", Fault::Hangup),
        ("", Fault::Silence),
    ];
    for (part, fault) in refusals {
        let scene = Scene::with_xet();
        let mut publisher = scene.publisher();
        publisher.options =
            RemoteOptions { retries: 2, stall_timeout: Duration::from_millis(750), ..publisher.options };
        let weights = tensors(&[(1, 100_000)]);
        put_release(publisher.context().store(), "1.0.0", &[decoder(768, &weights)]);
        scene.server.storage.fault(part, .., fault.clone());
        let start = Instant::now();
        let error = publisher.publish("1.0.0").unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(20), "{fault:?}: {:?}", start.elapsed());
        let text = message(&error);
        assert!(text.contains("cannot upload sha256:") && text.contains("by Xet: "), "{text}");
        assert!(text.contains(&format!("http://localhost:{}/", scene.server.storage.address().port())), "{text}");
        assert!(!text.contains(TOKEN) && !text.contains(TOKEN_PREFIX), "{text}");
        assert_eq!(error.kind(), ErrorKind::Remote);
        assert!(error.hints()[0].contains("HF_HUB_DISABLE_XET"), "{:?}", error.hints());
        assert!(scene.below("tae/").is_empty(), "nothing is visible");
    }
}

#[test]
fn an_interrupted_publication_by_xet_goes_on() {
    let scene = Scene::with_xet();
    let publisher = scene.publisher();
    // One large object: the failure of one would cancel others, which might not have arrived.
    let mut bundle = decoder(768, &tensors(&[(1, 500_000)]));
    bundle.files.retain(|(path, ..)| path != SPECIFICATION);
    put_release(publisher.context().store(), "1.0.0", &[bundle]);
    scene.server.storage.fault("v2/shards", .., Fault::status(403));
    publisher.publish("1.0.0").unwrap_err();
    assert!(scene.server.uploaded_by_xet() > 500_000);
    scene.server.storage.clear_faults();
    scene.server.cdn.reset_counts();
    publisher.publish("1.0.0").unwrap();
    assert_eq!(scene.server.uploaded_by_xet(), 0, "what arrived is not sent again");
    assert_eq!(scene.user("reader", Some(TOKEN)).fetch("tae").unwrap().variants.len(), 1);
}

/// Adds up what a publication says that it sent.
#[derive(Debug, Default, Clone)]
struct Sum(Arc<AtomicU64>);

impl Progress for Sum {
    fn begin(&self, name: &str, _: Amount) -> Box<dyn ProgressTask> {
        Box::new(if name.starts_with("publishing") { self.clone() } else { Self::default() })
    }
}

impl ProgressTask for Sum {
    fn advance(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    fn finish(self: Box<Self>, _: &str) {}
}

#[test]
fn every_byte_is_counted_once() {
    let scene = Scene::with_xet();
    let publisher = scene.publisher();
    let weights = tensors(&[(1, 3_000_000)]);
    put_release(publisher.context().store(), "1.0.0", &[decoder(768, &weights), decoder(1024, &weights)]);
    scene.server.fault("pack/", 0..2, Fault::status(503));
    scene.server.fault("v2/shards", 0..1, Fault::status(503));
    let sum = Sum::default();
    let context = publisher.context().with_progress(Arc::new(sum.clone()));
    let report = publish(&context, &publish_options("1.0.0")).unwrap();
    assert_eq!(sum.0.load(Ordering::Relaxed), report.uploaded_bytes);
}

/// The repository to publish to without a context, a publication, and the largest of its blobs.
fn opened(publisher: &User) -> (Arc<dyn Remote>, Publication, Digest) {
    let context = publisher.context();
    let release = put_release(context.store(), "1.0.0", &[decoder(768, &tensors(&[(1, 3_000_000)]))]);
    let publication = Publication::new(release.to_canonical().unwrap(), Arc::new(context.store().clone())).unwrap();
    let largest = *release.blobs.iter().max_by_key(|(_, blob)| blob.size).unwrap().0;
    (remote::open_to_publish(&hub_url(REPOSITORY), &publisher.options).unwrap(), publication, largest)
}

#[test]
fn whoever_stops_waiting_is_not_held_up() {
    let scene = Scene::with_xet();
    let publisher = scene.publisher();
    let (remote, publication, blob) = opened(&publisher);
    scene.server.fault("pack/", 0..100, Fault::Silence);
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let limit = Duration::from_secs(2);
    let waited =
        runtime.block_on(async { tokio::time::timeout(limit, remote.put(&publication, &blob, &|_| ())).await });
    assert!(waited.is_err(), "the storage says nothing");
    let start = Instant::now();
    drop((remote, runtime));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn a_runtime_of_one_thread_will_do() {
    let scene = Scene::with_xet();
    let publisher = scene.publisher();
    let (remote, publication, blob) = opened(&publisher);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        remote.put(&publication, &blob, &|_| ()).await.unwrap();
        drop(remote);
    });
    assert_eq!(scene.server.state().objects[&blob.to_string()].len(), 3_000_000);
}

/// Runs `mlreg publish --hf` with a home and a folder for temporary files of its own, and gives what it left in them.
fn published_by_command(scene: &Scene, user: &User, variables: &[(&str, &str)]) -> Vec<String> {
    let folders = ["home", "temporary"].map(|name| scene.folder.path().join(name));
    folders.iter().for_each(|folder| std::fs::create_dir_all(folder).unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_mlreg"));
    command.args(["publish", "tae", "--hf", REPOSITORY]).env_clear().stdin(Stdio::null());
    command.env("HOME", &folders[0]).env("TMPDIR", &folders[1]).env("MLREG_HOME", user.home.join("store"));
    command
        .env("HF_ENDPOINT", scene.server.endpoint())
        .env("HF_TOKEN", TOKEN)
        .env("RUST_LOG", "trace")
        .envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(!text.contains(TOKEN) && !text.contains(TOKEN_PREFIX) && text.lines().count() < 5, "{text}");
    folders.iter().flat_map(|folder| read_folder(folder).into_keys()).collect()
}

#[test]
fn the_command_leaves_nothing_behind() {
    let scene = Scene::with_xet();
    let publisher = scene.publisher();
    put_release(publisher.context().store(), "1.0.0", &[decoder(768, &tensors(&[(1, 300_000)]))]);
    assert_eq!(published_by_command(&scene, &publisher, &[]), Vec::<String>::new());
    assert!(scene.server.uploaded_by_xet() > 300_000);
    assert_eq!(scene.requests_of_lfs(), 0);
    put_release(publisher.context().store(), "1.1.0", &[decoder(768, &tensors(&[(2, 300_000)]))]);
    scene.server.storage.reset_counts();
    assert_eq!(published_by_command(&scene, &publisher, &[("HF_HUB_DISABLE_XET", "1")]), Vec::<String>::new());
    assert!(scene.requests_of_lfs() > 0 && scene.server.storage.log().is_empty());
}
