//! The part of a model card that mlreg writes: what the release has, what it takes and gives, and how to get and use
//! it.

use std::fmt::Write;

use super::quality::Quality;
use crate::{
    base::{Platform, Target},
    codegen,
    contract::{Feature, Interface},
    fetch::Layout,
    manifest::release::{BundleKind, Release, Variant},
};

/// Where people learn what mlreg is.
const ABOUT: &str = "https://crates.io/crates/mlreg";
/// How many interfaces are shown.
const MOST_INTERFACES: usize = 8;

pub(super) fn section(repository: &str, release: &Release, layout: Layout, quality: &[Quality]) -> String {
    let mut text = format!("\n## {} {}\n\n", release.package, release.version);
    if let Some(description) = &release.description {
        // A mark inside it would end the part.
        let _ = writeln!(text, "{}\n", description.replace("<!--", "").replace("-->", ""));
    }
    variants(&mut text, release);
    interfaces(&mut text, release);
    if !quality.is_empty() {
        text.push_str("### Quality\n\n");
        quality.iter().for_each(|quality| quality.write(&mut text));
    }
    download(&mut text, repository, release, layout);
    swift(&mut text, release);
    python(&mut text, repository, release, layout);
    let _ = writeln!(text, "Packaged with [mlreg]({ABOUT}), which checks every file against the release's digests.\n");
    text
}

fn variants(text: &mut String, release: &Release) {
    text.push_str("| variant | runs on | size | delivery |\n|---|---|---:|---|\n");
    for variant in &release.variants {
        let delivery = serde_json::to_value(variant.delivery)
            .ok()
            .and_then(|it| it.as_str().map(str::to_owned))
            .unwrap_or_default();
        let (name, size) = (code(&variant.kind.file_name(&variant.id)), size(variant_bytes(variant)));
        let _ = writeln!(text, "| {name} | {} | {size} | {delivery} |", systems(variant.target));
    }
    if release.variants.iter().filter_map(|variant| variant.compiled.as_ref()).any(|compiled| !compiled.run_on_device) {
        text.push_str("\nThe `.mlmodelc` bundles were compiled by mlreg and not run on a device.\n");
    }
    let stored = release.blobs.values().map(|blob| blob.size).fold(0, u64::saturating_add);
    let _ = writeln!(text, "\nEqual files are stored once: all variants together have {}.\n", size(stored));
}

/// What variants take and give, once for those that have it in common.
fn interfaces(text: &mut String, release: &Release) {
    let mut found: Vec<(&Interface, Vec<&Variant>)> = Vec::new();
    for variant in &release.variants {
        let Some(interface) = &variant.interface else { continue };
        match found.iter_mut().find(|(known, _)| *known == interface) {
            Some((_, variants)) => variants.push(variant),
            None => found.push((interface, vec![variant])),
        }
    }
    if found.is_empty() {
        return;
    }
    text.push_str("### Inputs and outputs\n\n");
    for (interface, variants) in found.iter().take(MOST_INTERFACES) {
        let names: Vec<String> = variants.iter().map(|variant| code(&variant.id)).collect();
        let _ = writeln!(text, "{}\n", names.join(", "));
        if interface.functions.is_empty() {
            features(text, interface);
        }
        for (name, function) in &interface.functions {
            let default = if interface.default_function.as_ref() == Some(name) { " (default)" } else { "" };
            let _ = writeln!(text, "Function {}{default}:\n", code(name));
            features(text, function);
        }
    }
    if found.len() > MOST_INTERFACES {
        let (more, package) = (found.len() - MOST_INTERFACES, &release.package);
        let _ =
            writeln!(text, "Variants of {more} more shapes: `mlreg show {package}@{}` lists them.\n", release.version);
    }
}

fn features(text: &mut String, interface: &Interface) {
    text.push_str("| | name | type | shape |\n|---|---|---|---|\n");
    let kinds = [("input", &interface.inputs), ("output", &interface.outputs), ("state", &interface.states)];
    for (kind, features) in kinds {
        for feature in features {
            let kind = if feature.optional { format!("{kind}, optional") } else { kind.to_owned() };
            let _ =
                writeln!(text, "| {kind} | {} | {} | {} |", code(&feature.name), cell(&feature.dtype), shape(feature));
        }
    }
    text.push('\n');
}

/// As `Feature` prints it, without name and type.
fn shape(feature: &Feature) -> String {
    let bare = Feature { name: String::new(), dtype: String::new(), optional: false, ..feature.clone() };
    cell(bare.to_string().trim()).replace(',', ", ")
}

fn download(text: &mut String, repository: &str, release: &Release, layout: Layout) {
    let Release { package, version, .. } = release;
    let _ =
        writeln!(text, "### Download\n\n```sh\nmlreg fetch {package}@{version} --from hf://{repository} --out Models");
    if let (Some(first), true) = (release.variants.first(), layout != Layout::Shared) {
        let folder = format!("{package}/{}", first.kind.file_name(&first.id));
        let _ = writeln!(text, "# or one variant with huggingface_hub:");
        let _ = writeln!(
            text,
            "hf download {repository} --revision {package}-v{version} --include '{folder}/*' --local-dir Models"
        );
    }
    text.push_str("```\n\n");
}

fn swift(text: &mut String, release: &Release) {
    let Some(example) = codegen::example(release) else { return };
    let package = &release.package;
    let _ = writeln!(
        text,
        "### Swift\n\n```sh\nmlreg codegen swift {package} --out Sources\n```\n\n```swift\n{example}\n```\n"
    );
}

/// How to open a bundle with coremltools.
fn python(text: &mut String, repository: &str, release: &Release, layout: Layout) {
    let class = |kind: BundleKind| match kind {
        BundleKind::MlPackage => Some("MLModel"),
        BundleKind::MlModelC => Some("CompiledMLModel"),
        _ => None,
    };
    let first = release.variants.iter().find_map(|variant| Some((variant, class(variant.kind)?)));
    let (Some((variant, class)), true) = (first, layout != Layout::Shared) else { return };
    let Release { package, version, .. } = release;
    let folder = format!("{package}/{}", variant.kind.file_name(&variant.id));
    let _ = writeln!(
        text,
        "### Python\n\n```python\nimport coremltools\nfrom huggingface_hub import snapshot_download\n\n\
         folder = snapshot_download(\"{repository}\", revision=\"{package}-v{version}\", \
              allow_patterns=\"{folder}/*\")\n\
         model = coremltools.models.{class}(f\"{{folder}}/{folder}\")  # predictions need macOS\n```\n"
    );
}

/// `iOS 18+, macOS 15+`.
fn systems(target: Option<Target>) -> String {
    let Some(target) = target else { return "any".to_owned() };
    let floors = [Platform::Ios, Platform::MacOs].into_iter().filter_map(|platform| target.floor_on(platform));
    floors.map(|floor| format!("{} {}+", floor.platform.name(), floor.major)).collect::<Vec<_>>().join(", ")
}

/// A text as code in a cell of a table.
pub(super) fn code(text: &str) -> String {
    format!("`{}`", cell(text).replace('`', "'"))
}

/// A text that cannot end its cell or begin a mark.
pub(super) fn cell(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.replace('|', "\\|").replace("<!--", "<! --").replace("-->", "-- >")
}

fn variant_bytes(variant: &Variant) -> u64 {
    variant.files.iter().map(|file| file.size).fold(0, u64::saturating_add)
}

/// Decimal units, as the Hub shows them.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn release(kind: &str) -> Release {
        let feature = |name: &str, dtype: &str, shape: &[u64]| json!({ "name": name, "dtype": dtype, "shape": shape });
        let variant = |id: &str, target: &str| {
            json!({
                "id": id, "name": id, "component": "encoder", "target": target, "kind": kind, "delivery": "on-demand", "files": [],
                "interface": {
                    "inputs": [feature("input_ids", "int32", &[1, 64]), feature("a|b`c", "float16", &[])],
                    "outputs": [feature("sentence_embedding", "float16", &[1, 384])],
                },
            })
        };
        serde_json::from_value(json!({
            "schema": "mlreg/release/1", "package": "minilm", "version": "1.2.0", "blobs": {},
            "variants": [variant("encoder-s64-ios15", "iOS15"), variant("encoder-s64-ios18", "iOS18")],
        }))
        .unwrap()
    }

    #[test]
    fn interfaces_are_told_once() {
        let text = section("acme/minilm", &release("mlpackage"), Layout::Linked, &[]);
        let wanted = "### Inputs and outputs\n\n`encoder-s64-ios15`, `encoder-s64-ios18`\n\n| | name | type | shape \
             |\n|---|---|---|---|\n\
                      | input | `input_ids` | int32 | [1, 64] |\n| input | `a\\|b'c` | float16 |  |\n\
                      | output | `sentence_embedding` | float16 | [1, 384] |\n\n";
        assert!(text.contains(wanted), "{text}");
        assert!(text.contains("| `encoder-s64-ios15.mlpackage` | iOS 15+, macOS 12+ |"), "{text}");
    }

    #[test]
    fn every_way_to_use_it_is_told() {
        let text = section("acme/minilm", &release("mlpackage"), Layout::Linked, &[]);
        assert!(text.contains("allow_patterns=\"minilm/encoder-s64-ios15.mlpackage/*\""), "{text}");
        assert!(
            text.contains("coremltools.models.MLModel(f\"{folder}/minilm/encoder-s64-ios15.mlpackage\")"),
            "{text}"
        );
        assert!(text.contains("```swift\nlet models = Minilm.Models(folder: folder)"), "{text}");
        assert!(text.contains("](https://crates.io/crates/mlreg)"), "{text}");
        let compiled = section("acme/minilm", &release("mlmodelc"), Layout::Linked, &[]);
        assert!(compiled.contains("coremltools.models.CompiledMLModel("), "{compiled}");
        let shared = section("acme/minilm", &release("mlpackage"), Layout::Shared, &[]);
        assert!(
            !shared.contains("hf download") && !shared.contains("snapshot_download"),
            "bundles lie there without weights: {shared}"
        );
        let files = section("acme/minilm", &release("files"), Layout::Linked, &[]);
        assert!(!files.contains("coremltools") && !files.contains("### Swift"), "{files}");
    }
}
