//! Which variants a request means, through a whole fetch.

use mlreg::{
    base::Target::*,
    manifest::release::Delivery,
    workflow::{ErrorKind, fetch::FetchOptions},
};

use crate::{Bundle, Client, Scene, weights};

fn scene() -> Scene {
    let weights = weights(&[(1, 1000)]);
    let decoder = |size, target| Bundle::decoder(size, target, &weights);
    Scene::with(&[
        decoder(768, Ios15).tag("preview"),
        decoder(768, Ios18).tag("preview").delivery(Delivery::Initial),
        decoder(1024, Ios17).tag("large").delivery(Delivery::Prefetch),
        Bundle::new("tokenizer", Ios15).file("tokenizer.json", b"{}".to_vec()),
    ])
}

fn names(client: &Client, change: impl FnOnce(&mut FetchOptions)) -> Vec<String> {
    let out = format!("Models {:?}", std::time::Instant::now()).replace(|c: char| !c.is_ascii_alphanumeric(), "");
    let report = client.fetch(|options| {
        options.out = out.into();
        change(options);
    });
    report
        .variants
        .into_iter()
        .map(|variant| format!("{} = {}", variant.name.trim_end_matches(".mlpackage"), variant.id))
        .collect()
}

fn floor(options: &mut FetchOptions, text: &str) {
    options.floor = Some(text.parse().unwrap());
}

/// Changes what is asked for.
type Change = fn(&mut FetchOptions);

#[test]
fn the_floor_picks_the_highest_target_that_fits() {
    let scene = scene();
    let client = scene.client("one");
    let decoder = |text: &str| {
        names(&client, |options| {
            floor(options, text);
            options.variants = vec!["decoder-768-*".to_owned()];
        })
    };
    assert_eq!(decoder("iOS15"), ["decoder-768-float16 = decoder-768-float16-ios15"]);
    assert_eq!(decoder("iOS17.4"), ["decoder-768-float16 = decoder-768-float16-ios15"]);
    assert_eq!(decoder("iOS18"), ["decoder-768-float16 = decoder-768-float16-ios18"]);
    assert_eq!(decoder("macOS26"), ["decoder-768-float16 = decoder-768-float16-ios18"]);
}

#[test]
fn without_a_floor_there_are_all_targets_under_full_ids() {
    let scene = scene();
    let found = names(&scene.client("one"), |_| ());
    let ids =
        ["decoder-1024-float16-ios17", "decoder-768-float16-ios15", "decoder-768-float16-ios18", "tokenizer-ios15"];
    assert_eq!(found, ids.map(|id| format!("{id} = {id}")));
}

#[test]
fn kinds_of_selections_narrow_and_values_of_one_kind_add_up() {
    let scene = scene();
    let client = scene.client("one");
    let tags = |options: &mut FetchOptions| {
        floor(options, "iOS18");
        options.tags = vec!["preview".parse().unwrap(), "large".parse().unwrap()];
    };
    assert_eq!(
        names(&client, tags),
        ["decoder-1024-float16 = decoder-1024-float16-ios17", "decoder-768-float16 = decoder-768-float16-ios18"]
    );
    let delivery = |options: &mut FetchOptions| {
        tags(options);
        options.deliveries = vec![Delivery::Initial];
    };
    assert_eq!(names(&client, delivery), ["decoder-768-float16 = decoder-768-float16-ios18"]);
    let component = |options: &mut FetchOptions| options.components = vec!["tokenizer".to_owned()];
    assert_eq!(names(&client, component), ["tokenizer-ios15 = tokenizer-ios15"]);
}

#[test]
fn errors_list_what_there_is() {
    let scene = scene();
    let client = scene.client("one");
    let cases: [(&str, Change); 6] = [
        ("`decoder-9-*` matches no variant of the release: there are `decoder-1024-float16-ios17`, ", |it| {
            it.variants = vec!["decoder-9-*".to_owned()]
        }),
        ("the release has no component `encoder`: there are `decoder`, `tokenizer`", |it| {
            it.components = vec!["encoder".to_owned()]
        }),
        ("the release has no tag `small`: there are `large`, `preview`", |it| it.tags = vec!["small".parse().unwrap()]),
        ("a variant has no bundle for iOS15: `decoder-1024-float16` is there for iOS17", |it| floor(it, "iOS15")),
        ("no version of `tae` in ", |it| it.requests = vec!["tae@7".parse().unwrap()]),
        ("has no package `other`", |it| it.requests = vec!["other".parse().unwrap()]),
    ];
    for (expected, change) in cases {
        let (kind, text) = client.refusal(change);
        assert!(text.contains(expected), "{text}");
        assert_eq!(kind, ErrorKind::Input, "{text}");
    }
    assert!(!client.folder().exists(), "nothing was made for a request that means nothing");
    assert_eq!(scene.server.bytes("blobs/"), 0);
}
