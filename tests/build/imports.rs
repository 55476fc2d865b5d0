//! Bundles that were made elsewhere are described, stored as they are, and share what is equal.

use std::fs;

use mlreg::{
    base::Target,
    manifest::release::{BundleKind, SegmentContent},
};

use super::{Project, package::fixtures, toml_path};

fn packages() -> String {
    toml_path(&fixtures().join("packages"))
}

#[test]
fn packages_say_what_they_are() {
    let project = Project::new();
    let keys = format!("[[component]]\nname = \"vendor\"\nimport = \"{}/{{conv,state}}_ios1[58].mlpackage\"", packages());
    project.build(&keys).unwrap();
    let (_, release) = project.release();
    let ids: Vec<&str> = release.variants.iter().map(|variant| variant.id.as_str()).collect();
    assert_eq!(ids, ["conv-ios15-ios15", "state-ios18-ios18"]);
    let [conv, state] = &release.variants[..] else { panic!("two variants") };
    assert_eq!((conv.kind, conv.target, state.target), (BundleKind::MlPackage, Some(Target::Ios15), Some(Target::Ios18)));
    assert!(!conv.interface.as_ref().unwrap().inputs.is_empty());
    assert!(!state.interface.as_ref().unwrap().states.is_empty());
    // Weight files are cut where their tensors lie, and the program gives the names.
    let weights = conv.files.iter().find(|file| file.path.file_name() == "weight.bin").unwrap();
    let segments = &release.blobs[&weights.sha256].segments;
    let tensors: Vec<_> = segments.iter().filter_map(|segment| segment.tensor.as_ref()).collect();
    assert!(!tensors.is_empty() && tensors.iter().all(|tensor| !tensor.name.is_empty() && !tensor.shape.is_empty()), "{segments:?}");
    assert!(segments.iter().any(|segment| matches!(segment.content, SegmentContent::Data(_))));
}

#[test]
fn bundles_come_back_as_they_were() {
    let project = Project::new();
    project.write("in/a_512/m.mlmodelc/weights/weight.bin", vec![7; 5000]);
    project.write("in/a_512/m.mlmodelc/metadata.json", r#"[{"specificationVersion":7,"inputSchema":[],"outputSchema":[]}]"#);
    project.write("in/a_768/m.mlmodelc/weights/weight.bin", vec![7; 5000]);
    fs::create_dir_all(project.path("in/a_768/m.mlmodelc/analytics")).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        project.write("in/a_768/m.mlmodelc/tool", "x");
        fs::set_permissions(project.path("in/a_768/m.mlmodelc/tool"), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let keys = "[[component]]\nname = \"vendor\"\nimport = \"in/a_{size}/m.mlmodelc\"\ntarget = \"iOS17\"\n\
                [[component]]\nname = \"text\"\nfiles = [\"in/a_512/m.mlmodelc/metadata.json\"]";
    project.build_with(keys, |options| options.out = Some("out".into())).unwrap();
    let (_, release) = project.release();
    let ids: Vec<&str> = release.variants.iter().map(|variant| variant.id.as_str()).collect();
    assert_eq!(ids, ["text", "vendor-512-ios17-mlmodelc", "vendor-768-ios17-mlmodelc"]);
    let weights = |index: usize| release.variants[index].files.iter().find(|file| file.size == 5000).unwrap().sha256;
    assert_eq!(weights(1), weights(2));
    let placed = project.path("out/p/vendor-768-ios17-mlmodelc.mlmodelc");
    assert!(placed.join("analytics").is_dir());
    assert_eq!(fs::read(placed.join("weights/weight.bin")).unwrap(), vec![7; 5000]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_ne!(fs::metadata(placed.join("tool")).unwrap().permissions().mode() & 0o111, 0);
    }
    let json = project.path("in/a_512/m.mlmodelc/metadata.json");
    assert_eq!(fs::read(project.path("out/p/text/metadata.json")).unwrap(), fs::read(json).unwrap());
}

#[test]
fn a_bundle_that_needs_a_later_system_than_stated_is_refused() {
    let project = Project::new();
    let keys = format!("[[component]]\nname = \"vendor\"\nimport = \"{}/state_ios18.mlpackage\"\ntarget = \"iOS16\"", packages());
    let text = project.build(&keys).unwrap_err().to_string();
    assert!(text.contains("state_ios18.mlpackage") && text.contains("iOS18") && text.contains("iOS16"), "{text}");
}
