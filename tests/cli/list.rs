//! `list`, `show` and `gc`.

use super::Sandbox;

#[test]
fn rows_have_tabs_where_no_person_reads() {
    let sandbox = Sandbox::new().with_releases(&["1.0.0", "1.10.0", "1.2.0"]);
    let stdout = sandbox.run(&["list"]).stdout;
    let versions: Vec<&str> = stdout.lines().map(|line| line.split('\t').nth(1).unwrap()).collect();
    assert_eq!(versions, ["1.10.0", "1.2.0", "1.0.0"]);
    assert!(stdout.lines().all(|line| line.starts_with("tae\t") && line.ends_with("\tbuilt here")), "{stdout}");
    assert!(
        stdout.lines().all(|line| line.split('\t').nth(3) == Some("2.4 MB") && line.split('\t').count() == 6),
        "{stdout}"
    );
}

#[test]
fn looking_leaves_no_trace() {
    let sandbox = Sandbox::new();
    let run = sandbox.run(&["list"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), ""));
    assert!(!sandbox.home().exists());
}

#[test]
fn home_comes_from_the_command_line_before_the_environment() {
    let sandbox = Sandbox::new().with_releases(&["1.0.0"]);
    let other = sandbox.path("other").display().to_string();
    assert_eq!(sandbox.run(&["list", "--home", &other]).stdout, "");
    assert!(sandbox.run(&["list"]).stdout.starts_with("tae\t"));
    let (without, home) = (Sandbox::new().with("MLREG_HOME", ""), sandbox.path("person"));
    let run = without.with("HOME", home.display().to_string()).run(&["list"]);
    assert!(run.stderr.ends_with("/person/.mlreg`\n"), "{run:?}");
}

#[test]
fn a_store_and_a_registry_list_alike() {
    let sandbox = Sandbox::new().with_releases(&["1.0.0"]).with_registry("registry", "1.0.0");
    let store = sandbox.run(&["list", "--json"]).json("mlreg/cli/list/1");
    let remote = sandbox.run(&["list", "--json", "--from", "registry"]).json("mlreg/cli/list/1");
    for key in ["version", "release"] {
        assert_eq!(store["packages"][0]["versions"][0][key], remote["packages"][0]["versions"][0][key]);
    }
    let of_store = &store["packages"][0]["versions"][0];
    assert_eq!((of_store["bytes"].as_u64(), of_store["origin"]["kind"].as_str()), (Some(2_401_792), Some("built")));
    assert!(of_store["added"].as_str().unwrap().ends_with('Z'), "{of_store}");
    assert_eq!(
        remote["packages"][0]["versions"][0]["bytes"],
        serde_json::Value::Null,
        "that would be a request for every version"
    );
    let named = sandbox.run(&["list", "tae", "--json", "--from", "registry"]).json("mlreg/cli/list/1");
    assert_eq!(named["packages"][0]["versions"][0]["bytes"], 2_401_792);
    assert_eq!(remote["packages"][0]["versions"][0]["version"], "1.0.0");
    assert_eq!(remote["source"], "[DIR]/registry");
}

#[test]
fn a_folder_that_is_no_registry_says_what_one_is() {
    let run = Sandbox::new().run(&["list", "--from", "nothing"]);
    assert_eq!(run.code, Some(1));
    assert!(
        run.stderr.contains("\n\nhint: the address of a registry is the folder that has `mlreg.json` in it\n"),
        "{run:?}"
    );
}

#[test]
fn show_has_sizes_interface_and_tags() {
    let sandbox = Sandbox::new().with_releases(&["1.0.0"]).with_registry("registry", "2.0.0");
    let document = sandbox.run(&["show", "tae", "--json"]).json("mlreg/cli/show/1");
    assert_eq!((document["version"].as_str(), document["stored_bytes"].as_u64()), (Some("1.0.0"), Some(2_401_792)));
    let variant = &document["variants"][1];
    assert_eq!((variant["unique_bytes"].as_u64(), variant["shared_bytes"].as_u64()), (Some(768), Some(2_400_000)));
    let remote = sandbox.run(&["show", "tae@2", "--from", "registry"]);
    let ids: Vec<&str> = remote.stdout.lines().filter_map(|line| line.split_once('\t')).map(|(id, _)| id).collect();
    assert_eq!(ids[..2], ["decoder-768-float16-ios18", "decoder-1024-float16-ios18"], "sizes are numbers");
    let row = "decoder-768-float16-ios18\tdecoder\t768\tfloat16\tiOS18\tmlpackage\ton-demand\tpreview\t2.4 MB\t2.4 \
         MB\t768 B\n";
    let features = "decoder-768-float16-ios18\t-\tlatent float16[1,16,96,96]\timage float16[1,3,768,768]\t-\n";
    assert!(remote.stdout.contains(row) && remote.stdout.contains(features), "{}", remote.stdout);
    assert!(remote.stdout.starts_with("package  tae@2.0.0\n"), "{}", remote.stdout);
}

#[test]
fn a_version_that_is_not_there_says_which_are() {
    let run = Sandbox::new().with_releases(&["1.0.0", "1.1.0"]).run(&["show", "tae@2"]);
    assert_eq!(run.code, Some(1));
    assert_eq!(run.stderr, "error: no version of `tae` in `[DIR]/home` matches `^2`: there is 1.0.0, 1.1.0\n");
}

#[test]
fn a_dry_run_of_gc_removes_nothing() {
    let sandbox = Sandbox::new().with_releases(&["1.0.0"]);
    let blob = sandbox.home().join("blobs/sha256/e3/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    std::fs::create_dir_all(blob.parent().unwrap()).unwrap();
    std::fs::write(&blob, b"").unwrap();
    let dry = sandbox.run(&["gc", "--dry-run", "--json"]).json("mlreg/cli/gc/1");
    assert_eq!((dry["dry_run"].as_bool(), dry["blobs"].as_u64(), blob.exists()), (Some(true), Some(1), true));
    let run = sandbox.run(&["gc"]);
    assert_eq!(run.stderr, "removed 0 releases, 1 blob and 0 temporary files: 0 B freed, 0 B kept\n");
    assert!(!blob.exists());
    assert!(sandbox.run(&["list"]).stdout.starts_with("tae\t1.0.0\t"), "what was built here stays");
}
