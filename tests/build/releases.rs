//! What a build leaves in the store: shared weights, the same bytes every time, nothing done where nothing changed.

use std::{collections::BTreeSet, fs};

use mlreg::{
    store::Origin,
    workflow::{Context, ErrorKind, build::BuildStatus},
};

use super::{Project, decoder, package::fixtures, told};

const SIX: &str = "part = \"decoder\"\nsize = [64, 128, 192, 256, 320, 384]\nlayout = \"nhwc\"\nprecision = \
     \"float16\"\ntarget = [\"iOS15\", \"iOS18\"]";

#[test]
fn six_sizes_and_two_targets_cost_one_weight_file() {
    let project = Project::new();
    let report = project.build(&decoder("taef1", SIX)).unwrap();
    let (_, release) = project.release();
    assert_eq!(release.variants.len(), 12);
    let file = |name: &'static str| {
        let of = move |variant: &mlreg::manifest::release::Variant| {
            variant.files.iter().find(|file| file.path.file_name() == name).cloned().unwrap()
        };
        release.variants.iter().map(of).collect::<Vec<_>>()
    };
    let weights: BTreeSet<_> = file("weight.bin").into_iter().map(|file| (file.sha256, file.size)).collect();
    assert_eq!(weights.len(), 1);
    let weights: u64 = weights.iter().map(|(_, size)| size).sum();
    let specifications: u64 = file("model.mlmodel").iter().map(|file| file.size).sum();
    let stored = report.packages[0].stored_bytes;
    assert!(stored as f64 <= 1.01 * weights as f64 + specifications as f64, "{stored} of {weights} + {specifications}");
    assert_eq!(report.packages[0].new_bytes, stored);
    assert_eq!(release.blobs.len(), 14);
}

#[test]
fn the_same_input_gives_the_same_release_on_any_number_of_threads() {
    let digest = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let project = Project::new();
        pool.install(|| project.build(&decoder("taef2", SIX)).unwrap());
        project.release().0
    };
    let first = digest(1);
    assert_eq!(first, digest(2));
    assert_eq!(first, digest(7));
}

#[test]
fn nothing_changed_means_nothing_done() {
    let mut project = Project::new();
    project.write("c/config.json", fs::read(fixtures().join("taef1/config.json")).unwrap());
    let weights = fs::read(fixtures().join("taef1/diffusion_pytorch_model.safetensors")).unwrap();
    project.write("c/model.safetensors", &weights);
    let component = format!("[[component]]\nname = \"decoder\"\ncheckpoint = \"c\"\n{SIX}");
    let status = |project: &Project| {
        let package = project.build(&component).unwrap().packages.remove(0);
        (package.status, package.new_bytes > 0)
    };
    assert_eq!(status(&project), (BuildStatus::Built, true));
    assert_eq!(status(&project), (BuildStatus::Unchanged, false));
    let forced = project.build_with(&component, |options| options.force = true).unwrap().packages.remove(0);
    assert_eq!((forced.status, forced.new_bytes), (BuildStatus::Built, 0));
    // A lost blob is made again.
    let (_, release) = project.release();
    let lost = project.context.store().blob_path(release.blobs.keys().next().unwrap());
    fs::remove_file(&lost).unwrap();
    assert_eq!(status(&project), (BuildStatus::Built, true));
    assert!(lost.exists());
    // So is everything, when the index is gone.
    fs::remove_file(project.path("home/index.sqlite")).unwrap();
    project.context = Context::new(&project.path("home"), project.folder.path().to_owned()).unwrap();
    assert_eq!(status(&project).0, BuildStatus::Built);
    let mut other = weights.clone();
    let data = 8 + u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    other[data + 3] ^= 1;
    project.write("c/model.safetensors", &other);
    assert_eq!(status(&project), (BuildStatus::Built, true));
}

#[test]
fn a_published_version_cannot_change() {
    let project = Project::new();
    project.build(&decoder("taef1", SIX)).unwrap();
    let (digest, _) = project.release();
    let (_, bytes) =
        project.context.store().release(&"p".parse().unwrap(), &"1.0.0".parse().unwrap()).unwrap().unwrap();
    let origin = Origin::Built { published_to: BTreeSet::from(["file:///registry".to_owned()]) };
    project.context.store().put_release(&bytes, origin).unwrap();
    let error = project.build(&decoder("taef2", SIX)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
    assert!(told(&error).contains("raise the version"), "{}", told(&error));
    assert_eq!(project.release().0, digest);
    assert_eq!(project.build(&decoder("taef1", SIX)).unwrap().packages[0].status, BuildStatus::Unchanged);
}

#[test]
fn a_part_of_a_package_is_placed_but_no_release() {
    let project = Project::new();
    let report = project.build_with(&decoder("taef1", SIX), |options| {
        options.variants = vec!["decoder-64-*".to_owned()];
        options.out = Some("out".into());
    });
    let package = report.unwrap().packages.remove(0);
    assert_eq!((package.status, package.variants.len()), (BuildStatus::Partial, 2));
    assert!(project.context.store().packages().unwrap().is_empty());
    assert!(project.path("out/p/decoder-64-nhwc-float16-ios15.mlpackage/Manifest.json").exists());
}

#[test]
fn delivery_tags_and_sources_are_told() {
    let project = Project::new();
    let tables = "[delivery]\ninitial = [\"decoder-64-*\"]\nprefetch = [\"decoder-128-*\"]\n[tags]\npreview = \
         [\"decoder-64-*\"]";
    project.build(&format!("{}{tables}", decoder("taef1", SIX))).unwrap();
    let (_, release) = project.release();
    let told: Vec<String> = release
        .variants
        .iter()
        .filter(|variant| variant.axes["size"] != "192")
        .map(|it| format!("{} {:?} {}", it.id, it.delivery, it.tags.len()))
        .collect();
    assert!(told.contains(&"decoder-64-nhwc-float16-ios18 Initial 1".to_owned()), "{told:?}");
    assert!(told.contains(&"decoder-128-nhwc-float16-ios18 Prefetch 0".to_owned()), "{told:?}");
    assert!(told.contains(&"decoder-256-nhwc-float16-ios15 OnDemand 0".to_owned()), "{told:?}");
    let source = &release.sources["decoder"];
    assert_eq!(source.architecture.as_deref(), Some("autoencoder-tiny"));
    assert_eq!(source.files.keys().collect::<Vec<_>>(), ["config.json", "diffusion_pytorch_model.safetensors"]);
    let interface = release.variants[0].interface.as_ref().unwrap();
    assert_eq!((interface.inputs[0].name.as_str(), interface.outputs[0].name.as_str()), ("latent", "image"));
}
