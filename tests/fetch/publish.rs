//! Publishing: only what the remote lacks, never over what is there, never half.

use std::fs;

use mlreg::{
    base::{Digest, Target::Ios18},
    remote::RemoteUrl,
    store::Origin,
    workflow::{
        ErrorKind,
        publish::{PublishStatus, publish},
    },
};

use crate::{Bundle, Scene, change_secretly, message, noise, put_release, tree, weights};

fn bundles() -> [Bundle; 2] {
    let shared = weights(&[(1, 200_000)]);
    [Bundle::decoder(768, Ios18, &shared), Bundle::decoder(1024, Ios18, &shared)]
}

fn origin(scene: &Scene, version: &str) -> Origin {
    scene.publisher.store().release_origin(&"tae".parse().unwrap(), &version.parse().unwrap()).unwrap().unwrap()
}

#[test]
fn blobs_that_are_there_are_not_sent_again() {
    let scene = Scene::new();
    let [one, two] = bundles();
    put_release(scene.publisher.store(), "1.0.0", std::slice::from_ref(&one));
    let first = scene.publish("1.0.0").unwrap();
    assert_eq!((first.status, first.blobs, first.uploaded_blobs), (PublishStatus::New, 3, 3));
    put_release(scene.publisher.store(), "1.1.0", &[one, two.clone()]);
    let second = scene.publish("1.1.0").unwrap();
    let specification = two.contents[1].bytes.len() as u64;
    assert_eq!((second.blobs, second.uploaded_blobs, second.uploaded_bytes), (4, 1, specification));
}

#[test]
fn the_same_again_is_already_there() {
    let scene = Scene::with(&bundles());
    let before = tree(&scene.registry());
    let again = scene.publish("1.0.0").unwrap();
    assert_eq!((again.status, again.uploaded_blobs, again.uploaded_bytes), (PublishStatus::AlreadyThere, 0, 0));
    assert_eq!(tree(&scene.registry()), before);
    let remotes = [scene.registry().display().to_string()].into();
    assert_eq!(origin(&scene, "1.0.0"), Origin::Built { published_to: remotes });
}

#[test]
fn documents_that_a_publication_left_behind_are_written_by_the_next_one() {
    let scene = Scene::with(&bundles());
    scene.release("1.1.0", &bundles());
    let whole = tree(&scene.registry());
    for document in ["mlreg.json", "packages/tae/index.json"] {
        fs::remove_file(scene.registry().join(document)).unwrap();
        assert_eq!(scene.publish("1.0.0").unwrap().status, PublishStatus::AlreadyThere);
        assert_eq!(tree(&scene.registry()), whole, "without {document}");
    }
    let catalogue = scene.registry().join("mlreg.json");
    let text = fs::read_to_string(&catalogue).unwrap();
    let older = text.replace("1.1.0", "1.0.0");
    assert_ne!(older, text);
    fs::write(&catalogue, older).unwrap();
    scene.publish("1.1.0").unwrap();
    assert_eq!(tree(&scene.registry()), whole, "with a catalogue of before");
}

#[test]
fn a_version_with_other_content_is_refused_before_anything_is_sent() {
    let scene = Scene::with(&bundles());
    let before = tree(&scene.registry());
    let other = scene.client("another publisher");
    put_release(other.store(), "1.0.0", &[Bundle::decoder(512, Ios18, &weights(&[(2, 1000)]))]);
    let error = publish(&other.context, &scene.publish_options("1.0.0")).unwrap_err();
    assert!(error.to_string().starts_with("`tae@1.0.0` exists with other content: sha256:"), "{error}");
    assert_eq!(
        (error.kind(), error.hints()),
        (ErrorKind::Input, vec!["versions never change: raise the version of the package".to_owned()])
    );
    assert_eq!(tree(&scene.registry()), before);
}

#[test]
fn damage_in_the_store_never_becomes_visible() {
    let scene = Scene::new();
    let bundles = bundles();
    put_release(scene.publisher.store(), "1.0.0", &bundles);
    change_secretly(&scene.publisher.store().blob_path(&Digest::of(&bundles[0].contents[2].bytes)), |bytes| {
        bytes[77] ^= 1
    });
    let error = scene.publish("1.0.0").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Verification);
    assert!(
        error.to_string().contains("has a damaged blob in the store")
            && error.to_string().ends_with("; the release was not published"),
        "{error}"
    );
    let files: Vec<String> = tree(&scene.registry()).into_keys().collect();
    assert!(files.iter().all(|path| path.starts_with("blobs")), "nothing is visible: {files:?}");
    assert!(
        !files.iter().any(|path| path.ends_with(&Digest::of(&bundles[0].contents[2].bytes).to_string())),
        "{files:?}"
    );
}

#[test]
fn a_release_in_part_cannot_be_published_elsewhere() {
    let scene = Scene::with(&bundles());
    let client = scene.client("one");
    client.fetch_variants(&["decoder-768-*"]);
    let elsewhere = mlreg::workflow::publish::PublishOptions {
        to: RemoteUrl::folder(scene.path("elsewhere")),
        ..scene.publish_options("1.0.0")
    };
    let error = publish(&client.context, &elsewhere).unwrap_err();
    assert!(error.to_string().contains("neither in the store nor at the remote"), "{error}");
    assert!(!scene.path("elsewhere").exists());
    client.fetch(|_| ());
    assert_eq!(publish(&client.context, &elsewhere).unwrap().status, PublishStatus::New);
}

#[test]
fn a_dry_run_sends_nothing() {
    let scene = Scene::new();
    put_release(scene.publisher.store(), "1.0.0", &bundles());
    let options = mlreg::workflow::publish::PublishOptions { dry_run: true, ..scene.publish_options("1.0.0") };
    let report = publish(&scene.publisher, &options).unwrap();
    assert_eq!((report.status, report.uploaded_blobs), (PublishStatus::DryRun, 4));
    assert_eq!(tree(&scene.registry()), Default::default());
}

#[test]
fn a_server_can_only_be_read() {
    let scene = Scene::with(&bundles());
    put_release(scene.publisher.store(), "1.1.0", &bundles());
    let to = RemoteUrl::parse(&scene.server.url(), &scene.path("")).unwrap();
    let error =
        publish(&scene.publisher, &mlreg::workflow::publish::PublishOptions { to, ..scene.publish_options("1.1.0") })
            .unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string()),
        (ErrorKind::Input, format!("`{}` can only be read", scene.server.url()))
    );
}

#[test]
fn what_is_not_there_is_named() {
    let scene = Scene::new();
    let error = scene.publish("1.0.0").unwrap_err();
    assert_eq!(message(&error), "the store has no release of `tae` that matches `=1.0.0`");
    assert_eq!(error.hints(), ["`mlreg build` makes one; `mlreg list` shows what is there"]);
}

/// A publisher that was killed leaves blobs without a version, perhaps a temporary file; the next one goes on from
/// there.
#[test]
fn a_publication_that_broke_off_goes_on() {
    let scene = Scene::new();
    let bundles = bundles();
    let release = put_release(scene.publisher.store(), "1.0.0", &bundles);
    let digest = Digest::of(&bundles[0].contents[2].bytes).to_string();
    let blob = scene.registry().join(format!("blobs/sha256/{}/{digest}", &digest[..2]));
    fs::create_dir_all(blob.parent().unwrap()).unwrap();
    fs::write(&blob, &bundles[0].contents[2].bytes).unwrap();
    fs::write(blob.with_file_name(".mlreg-half.tmp"), noise(1, 1000)).unwrap();
    let client = scene.client("one");
    let (_, text) = client.refusal(|_| ());
    assert!(text.contains("has no package `tae`"), "half a publication is not visible: {text}");
    let report = scene.publish("1.0.0").unwrap();
    assert_eq!((report.status, report.uploaded_blobs), (PublishStatus::New, release.blobs.len() as u64 - 1));
    client.fetch(|_| ());
    assert_eq!(client.problems(), [""; 0]);
}

#[cfg(unix)]
#[test]
fn killed_publishers_leave_nothing_visible_and_go_on() {
    use std::{
        process::{Command, Stdio},
        time::Duration,
    };
    let scene = Scene::new();
    let bundles: Vec<_> =
        (0..24).map(|index| Bundle::decoder(100 + index, Ios18, &weights(&[(index.into(), 1 << 20)]))).collect();
    let release = put_release(scene.publisher.store(), "1.0.0", &bundles);
    for wait in [5, 20, 40, 60, 100, 150, 250] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mlreg"));
        command.args(["publish", "tae", "--to"]).arg(scene.registry()).arg("--home").arg(scene.path("publisher"));
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
        for (digest, blob) in &release.blobs {
            let hex = digest.to_string();
            let path = scene.registry().join(format!("blobs/sha256/{}/{hex}", &hex[..2]));
            assert!(!path.exists() || fs::metadata(&path).unwrap().len() == blob.size, "{hex} is there in part");
        }
    }
    let report = scene.publish("1.0.0").unwrap();
    assert_eq!(report.blobs, release.blobs.len() as u64);
    let client = scene.client("one");
    assert_eq!(
        client.verify(mlreg::workflow::verify::VerifySubject::Remote(RemoteUrl::folder(scene.registry()))).findings,
        []
    );
}
