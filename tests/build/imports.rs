//! Bundles that were made elsewhere are described, stored as they are, and share what is equal.

use std::fs;

use mlreg::{
    base::Target,
    manifest::release::{BundleKind, SegmentContent},
};

use super::{Project, package::fixtures, told, toml_path};

fn packages() -> String {
    toml_path(&fixtures().join("packages"))
}

#[test]
fn packages_say_what_they_are() {
    let project = Project::new();
    let keys =
        format!("[[component]]\nname = \"vendor\"\nimport = \"{}/{{conv,state}}_ios1[58].mlpackage\"", packages());
    project.build(&keys).unwrap();
    let (_, release) = project.release();
    let ids: Vec<&str> = release.variants.iter().map(|variant| variant.id.as_str()).collect();
    assert_eq!(ids, ["conv-ios15", "state-ios18"]);
    let [conv, state] = &release.variants[..] else { panic!("two variants") };
    assert_eq!(
        (conv.kind, conv.target, state.target),
        (BundleKind::MlPackage, Some(Target::Ios15), Some(Target::Ios18))
    );
    assert!(!conv.interface.as_ref().unwrap().inputs.is_empty());
    assert!(!state.interface.as_ref().unwrap().states.is_empty());
    // Weight files are cut where their tensors lie, and the program gives the names.
    let weights = conv.files.iter().find(|file| file.path.file_name() == "weight.bin").unwrap();
    let segments = &release.blobs[&weights.sha256].segments;
    let tensors: Vec<_> = segments.iter().filter_map(|segment| segment.tensor.as_ref()).collect();
    assert!(
        !tensors.is_empty() && tensors.iter().all(|tensor| !tensor.name.is_empty() && !tensor.shape.is_empty()),
        "{segments:?}"
    );
    assert!(segments.iter().any(|segment| matches!(segment.content, SegmentContent::Data(_))));
}

#[test]
fn pipelines_have_an_interface_and_named_tensors() {
    let project = Project::new();
    let foreign = toml_path(&fixtures().join("foreign"));
    project
        .build(&format!("[[component]]\nname = \"vendor\"\nimport = \"{foreign}/{{two,old_records,bgr}}.mlpackage\""))
        .unwrap();
    let (_, release) = project.release();
    let variant = |name: &str| release.variants.iter().find(|variant| variant.id.starts_with(name)).unwrap();
    let two = variant("two");
    let interface = two.interface.as_ref().unwrap();
    assert_eq!(
        [&interface.inputs[0], &interface.outputs[0]].map(ToString::to_string),
        ["x float32[1,16]", "y float32[1,8]"]
    );
    assert_eq!(variant("bgr").interface.as_ref().unwrap().inputs[0].color.as_deref(), Some("BGR"));
    for variant in [two, variant("old-records")] {
        for file in variant.files.iter().filter(|file| file.path.as_str().contains("/weights/")) {
            let tensors: Vec<_> =
                release.blobs[&file.sha256].segments.iter().filter_map(|segment| segment.tensor.as_ref()).collect();
            assert!(
                !tensors.is_empty() && tensors.iter().all(|tensor| !tensor.name.is_empty()),
                "{}: {tensors:?}",
                file.path
            );
        }
    }
}

#[test]
fn only_programs_are_compiled() {
    let foreign = toml_path(&fixtures().join("foreign"));
    let compiled = |name: &str| {
        let keys = format!(
            "[[component]]\nname = \"vendor\"\nimport = \"{foreign}/{name}.mlpackage\"\nformat = [\"mlmodelc\"]"
        );
        Project::new().build(&keys)
    };
    compiled("old_records").unwrap();
    let text = told(&compiled("two").unwrap_err());
    assert!(text.contains("a model of the type `pipeline` cannot be compiled: only ML Programs can"), "{text}");
}

#[test]
fn bundles_come_back_as_they_were() {
    let project = Project::new();
    project.write("in/a_512/m.mlmodelc/weights/weight.bin", vec![7; 5000]);
    project.write(
        "in/a_512/m.mlmodelc/metadata.json",
        r#"[{"specificationVersion":7,"inputSchema":[],"outputSchema":[]}]"#,
    );
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
    let placed = project.path("out/p/vendor-768-ios17.mlmodelc");
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
    let keys = format!(
        "[[component]]\nname = \"vendor\"\nimport = \"{}/state_ios18.mlpackage\"\ntarget = \"iOS16\"",
        packages()
    );
    let text = project.build(&keys).unwrap_err().to_string();
    assert!(text.contains("state_ios18.mlpackage") && text.contains("iOS18") && text.contains("iOS16"), "{text}");
}

/// A component that imports every bundle of `in`.
const EVERYTHING: &str = "[[component]]\nname = \"v\"\nimport = \"in/*.mlmodelc\"\ntarget = \"macOS15\"";

impl Project {
    /// The error of a build, which leaves no release.
    #[track_caller]
    fn refused(&self, components: &str) -> String {
        let error = self.build(components).unwrap_err();
        assert_eq!(error.kind(), mlreg::workflow::ErrorKind::Input);
        assert_eq!(self.context.store().packages().unwrap(), []);
        told(&error)
    }
}

#[test]
fn names_that_are_one_on_some_file_system_are_not_built() {
    for (one, two) in
        [("model.mil", "Model.mil"), ("\u{e9}", "e\u{301}"), ("s", "\u{17f}"), ("\u{1e9e}", "\u{df}"), ("a/K", "A/k")]
    {
        let project = Project::new();
        project.write(&format!("in/a.mlmodelc/{one}"), "one");
        if project.path(&format!("in/a.mlmodelc/{two}")).exists() {
            continue;
        }
        project.write(&format!("in/a.mlmodelc/{two}"), "two");
        let said = project.refused(EVERYTHING);
        assert!(
            said.contains("in/a.mlmodelc` cannot be released: `") && said.ends_with("rename one of the two"),
            "{said}"
        );
        let files = format!("[[component]]\nname = \"v\"\nfiles = [\"in/a.mlmodelc/{one}\", \"in/a.mlmodelc/{two}\"]");
        let said = project.refused(&files);
        assert!(said.contains("twice"), "{said}");
    }
}

#[test]
fn what_is_built_can_be_fetched_in_every_layout() {
    let project = Project::new();
    project.write("in/a.mlmodelc/weights/weight.bin", "weights");
    // `layout.json` is a file of the layout `shared`.
    project.write("x", "x");
    let said = project.refused(&format!("[[component]]\nname = \"layout.json\"\nfiles = \"x\"\n{EVERYTHING}"));
    assert!(said.contains("`layout.json`") && said.contains("cannot both be placed"), "{said}");
}

#[test]
fn placed_names_say_target_and_format_once() {
    let project = Project::new();
    for name in ["a_ios18", "b-mlmodelc", "c"] {
        project.write(&format!("in/{name}.mlmodelc/model.mil"), name);
    }
    project.build_with(EVERYTHING, |options| options.out = Some("out".into())).unwrap();
    let (_, release) = project.release();
    let ids: Vec<&str> = release.variants.iter().map(|variant| variant.id.as_str()).collect();
    assert_eq!(ids, ["a-ios18-mlmodelc", "b-ios18-mlmodelc", "c-ios18-mlmodelc"]);
    let mut placed: Vec<_> =
        fs::read_dir(project.path("out/p")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    placed.sort();
    assert_eq!(placed, [".mlreg.json", "a-ios18.mlmodelc", "b-ios18.mlmodelc", "c-ios18.mlmodelc"]);
    assert_eq!(release.variants[0].target, Some(Target::Ios18));
}

#[cfg(unix)]
#[test]
fn what_a_search_finds_does_not_lead_out_of_it() {
    use std::os::unix::fs::symlink;
    let project = Project::new();
    project.write("elsewhere/x.mlmodelc/model.mil", "private");
    project.write("in/a.mlmodelc/model.mil", "a");
    symlink("a.mlmodelc", project.path("in/b.mlmodelc")).unwrap();
    project.build(EVERYTHING).unwrap();
    assert_eq!(project.release().1.variants.len(), 2, "links within the folder are what they lead to");
    let project = Project::new();
    project.write("elsewhere/x.mlmodelc/model.mil", "private");
    project.write("in/a.mlmodelc/model.mil", "a");
    symlink("../elsewhere/x.mlmodelc", project.path("in/x.mlmodelc")).unwrap();
    let said = project.refused(EVERYTHING);
    assert!(
        said.contains("in/x.mlmodelc` is a link to `") && said.contains("outside of the folder that `import` searches"),
        "{said}"
    );
    fs::remove_file(project.path("in/x.mlmodelc")).unwrap();
    symlink("../elsewhere", project.path("in/deep")).unwrap();
    let deep = "[[component]]\nname = \"v\"\nimport = \"in/*/x.mlmodelc\"";
    let said = project.refused(deep);
    assert!(said.contains("in/deep` is a link to `"), "{said}");
    // What the manifest names may be a link.
    symlink("../elsewhere/x.mlmodelc", project.path("in/y.mlmodelc")).unwrap();
    project.build("[[component]]\nname = \"v\"\nimport = \"in/y.mlmodelc\"").unwrap();
}

#[cfg(unix)]
#[test]
fn a_package_folder_that_is_a_link_is_refused() {
    let project = Project::new();
    project.write("in/a.mlmodelc/model.mil", "a");
    fs::create_dir_all(project.path("outside")).unwrap();
    fs::create_dir_all(project.path("out")).unwrap();
    std::os::unix::fs::symlink("../outside", project.path("out/p")).unwrap();
    let error = project.build_with(EVERYTHING, |options| options.out = Some("out".into())).unwrap_err();
    assert!(told(&error).contains("out/p` is a symbolic link to `../outside`"), "{}", told(&error));
    assert_eq!(fs::read_dir(project.path("outside")).unwrap().count(), 0);
}
