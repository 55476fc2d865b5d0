//! Interrupted at any point and run again: what arrived is not asked for again, and nothing half-written is ever
//! visible.

use std::{
    fs,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use mlreg::{base::Target::Ios18, remote::RemoteOptions};

use crate::{Bundle, Client, Scene, http_server::Fault, noise, quick, tree, trees, weights};

const MIB: u64 = 1 << 20;

fn bundles() -> [Bundle; 2] {
    let shared = weights(&[(1, 900_000), (2, 5 * MIB as usize), (3, 70_000)]);
    let unsegmented = noise(9, 300_000);
    [Bundle::decoder(768, Ios18, &shared), Bundle::decoder(1024, Ios18, &shared).file("table.bin", unsegmented)]
}

const NAMES: [&str; 2] = ["decoder-768-float16-ios18.mlpackage", "decoder-1024-float16-ios18.mlpackage"];

/// What blobs have to move: all of them but the records between tensors.
fn payload(scene: &Scene) -> u64 {
    let client = scene.client("measure");
    client.fetch(|options| options.dry_run = true).plan.download
}

/// Every bundle that can be seen is complete; hidden folders are where bundles are put together.
fn check_visible(client: &Client, bundles: &[Bundle; 2]) {
    let whole = trees(&[(NAMES[0], &bundles[0]), (NAMES[1], &bundles[1])]);
    let mut seen = client.tree();
    seen.retain(|path, _| !path.starts_with('.'));
    for name in NAMES.iter().filter(|name| seen.contains_key(**name)) {
        let part = |tree: &crate::Tree| {
            tree.iter()
                .filter(|(path, _)| path.starts_with(name))
                .map(|(p, n)| (p.clone(), n.clone()))
                .collect::<crate::Tree>()
        };
        assert_eq!(part(&seen), part(&whole), "{name} is visible and not complete");
    }
}

fn check_done(client: &Client, bundles: &[Bundle; 2]) {
    assert_eq!(
        client.tree(),
        trees(&[(NAMES[0], &bundles[0]), (NAMES[1], &bundles[1])]),
        "and nothing else, no temporary folder"
    );
    assert_eq!(client.problems(), [""; 0]);
    // A journal without its file says nothing; `gc` removes it some day.
    let left: Vec<_> =
        tree(&client.root.join("home/partial")).into_keys().filter(|path| !path.ends_with(".ranges")).collect();
    assert_eq!(left, [""; 0], "downloads that are finished leave nothing");
}

#[test]
fn connections_cut_at_any_byte_cost_nothing_twice() {
    let bundles = bundles();
    let scene = Scene::with(&bundles);
    let payload = payload(&scene);
    for cut in [0, 1, 63, 4095, 16_384, 70_001, 899_999, 900_000, 1_000_001, 2_500_000, 5_900_000] {
        scene.server.reset_counts();
        scene.server.clear_faults();
        // Whatever is asked first breaks off there, and so does every second request after it.
        (0..40).step_by(2).for_each(|number| scene.server.fault("blobs/", number..=number, Fault::CloseAfter(cut)));
        let mut client = scene.client(&format!("cut {cut}"));
        client.context = client.context.with_remote_options(RemoteOptions { retries: 0, ..quick() });
        let mut runs = 1;
        while client.try_fetch(|_| ()).is_err() {
            check_visible(&client, &bundles);
            runs += 1;
            assert!(runs < 40, "cut after {cut} bytes, it never ends");
        }
        check_done(&client, &bundles);
        // A connection that ends takes along what was still on its way, and runs that fail drop what others were
        // receiving.
        let moved = scene.server.bytes("blobs/");
        assert!(moved - payload < runs * MIB / 2, "cut after {cut} bytes: {moved} bytes in {runs} runs for {payload}");
    }
}

#[test]
fn retries_in_one_run_cost_nothing_twice() {
    let bundles = bundles();
    let scene = Scene::with(&bundles);
    let payload = payload(&scene);
    scene.server.reset_counts();
    scene.server.fault("blobs/", ..20, Fault::CloseAfter(300_000));
    let client = scene.client("one");
    client.fetch(|_| ());
    check_done(&client, &bundles);
    assert_eq!(scene.server.bytes("blobs/"), payload);
}

/// Starts the binary as a fetch into the client's folders.
fn spawn(client: &Client) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mlreg"));
    command
        .args(["fetch", "tae", "--out", "Models", "--from", &client.url.to_string(), "--home"])
        .arg(client.root.join("home"));
    command.env_clear().current_dir(&client.root).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Runs the binary and kills it when the server has sent so many bytes of blobs in all. Whether it was killed.
fn run_until(scene: &Scene, client: &Client, limit: u64) -> bool {
    let child = Arc::new(Mutex::new(spawn(client)));
    let victim = child.clone();
    let before = scene.server.bytes("blobs/");
    let sent = AtomicU64::new(before);
    scene.server.on_bytes(move |path, _| {
        // Steps are of at most 16 KiB.
        if path.starts_with("blobs/") && sent.fetch_add(16 << 10, Ordering::Relaxed) >= limit {
            // It may have ended by itself.
            let _ = victim.lock().unwrap().kill();
        }
    });
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(status) = child.lock().unwrap().try_wait().unwrap() {
            return !status.success();
        }
        assert!(Instant::now() < deadline, "the process neither ended nor was killed");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn killed_processes_go_on_where_they_were() {
    let bundles = bundles();
    let scene = Scene::with(&bundles);
    let payload = payload(&scene);
    let mut worst = 0;
    for limit in [0, 100_000, 700_000, 1_500_000, 3_000_000, 4_500_000, 6_000_000] {
        scene.server.reset_counts();
        let client = scene.client(&format!("killed at {limit}"));
        let killed = run_until(&scene, &client, limit);
        check_visible(&client, &bundles);
        scene.server.on_bytes(|_, _| ());
        assert!(killed, "at {limit}");
        let again = spawn(&client).wait_with_output().unwrap();
        assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
        check_done(&client, &bundles);
        worst = worst.max(scene.server.bytes("blobs/") - payload);
    }
    assert!(worst < MIB, "{worst} bytes were sent twice");
}

#[test]
fn many_kills_in_a_row_still_converge() {
    let bundles = bundles();
    let scene = Scene::with(&bundles);
    let payload = payload(&scene);
    scene.server.reset_counts();
    scene.server.throttle(Some(20 << 20));
    let client = scene.client("one");
    let mut kills = 0;
    while run_until(&scene, &client, (kills + 1) * 500_000) {
        check_visible(&client, &bundles);
        kills += 1;
        assert!(kills < 100, "it never ends");
    }
    check_done(&client, &bundles);
    let twice = scene.server.bytes("blobs/") - payload;
    assert!(kills > 5 && twice / kills < MIB / 4, "{twice} bytes twice in {kills} kills");
}

/// A kill while bundles are put in place: emulated by what it leaves, a temporary folder and a part of the bundles.
#[test]
fn what_a_kill_while_placing_leaves_is_cleaned_up() {
    let bundles = bundles();
    let scene = Scene::with(&bundles);
    let client = scene.client("one");
    client.fetch_variants(&["decoder-768-*"]);
    let half = client.file(".mlreg-tmp-half/decoder-1024-float16-ios18.mlpackage");
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join("Manifest.json"), b"half").unwrap();
    fs::write(client.file(".mlreg-1234.tmp"), b"half a proof").unwrap();
    client.fetch(|_| ());
    check_done(&client, &bundles);
}
