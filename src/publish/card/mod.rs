//! The model card: the README.md that people see in a repository. mlreg writes the part between its two marks and a few
//! keys of the front matter; everything else belongs to the authors and stays, and so does a key that they changed.

mod front;
mod quality;
mod section;

pub use quality::{Quality, QualityError};

use std::collections::{BTreeMap, BTreeSet};

use self::front::{FrontMatter, list, scalar};
use crate::{
    arch,
    contract::{Interface, Task, features},
    fetch::Layout,
    manifest::release::Release,
    remote::Card,
};

/// Licences that the Hub knows by the lower-case form of their SPDX identifier.
const LICENSES: &[&str] = &[
    "afl-3.0",
    "agpl-3.0",
    "apache-2.0",
    "artistic-2.0",
    "bsd-2-clause",
    "bsd-3-clause",
    "bsd-3-clause-clear",
    "bsl-1.0",
    "cc-by-2.0",
    "cc-by-2.5",
    "cc-by-3.0",
    "cc-by-4.0",
    "cc-by-nc-2.0",
    "cc-by-nc-3.0",
    "cc-by-nc-4.0",
    "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0",
    "cc-by-nc-sa-2.0",
    "cc-by-nc-sa-3.0",
    "cc-by-nc-sa-4.0",
    "cc-by-nd-4.0",
    "cc-by-sa-3.0",
    "cc-by-sa-4.0",
    "cc0-1.0",
    "ecl-2.0",
    "epl-1.0",
    "epl-2.0",
    "eupl-1.1",
    "eupl-1.2",
    "gpl-2.0",
    "gpl-3.0",
    "isc",
    "lgpl-2.1",
    "lgpl-3.0",
    "lppl-1.3c",
    "mit",
    "mpl-2.0",
    "ms-pl",
    "ncsa",
    "odbl-1.0",
    "ofl-1.1",
    "osl-3.0",
    "postgresql",
    "unlicense",
    "wtfpl",
    "zlib",
];

/// The card of a release.
#[derive(Debug)]
pub struct ModelCard {
    release: Release,
    layout: Layout,
    quality: Vec<Quality>,
    keys: BTreeMap<&'static str, String>,
}

impl ModelCard {
    /// The card of a release, with the results of evaluations.
    pub fn new(release: &Release, layout: Layout, quality: Vec<Quality>) -> Self {
        Self { release: release.clone(), layout, quality, keys: keys(release) }
    }

    fn begin(&self) -> String {
        format!("<!-- mlreg:begin {} -->", self.release.package)
    }

    fn end(&self) -> String {
        format!("<!-- mlreg:end {} -->", self.release.package)
    }

    /// The part between the marks. It records the keys, so that a key which the authors changed is kept, and an old
    /// value of mlreg is replaced.
    fn part(&self, repository: &str) -> String {
        let keys: Vec<String> = self.keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let section = section::section(repository, &self.release, self.layout, &self.quality);
        format!("{}\n<!-- mlreg:keys {} -->\n{section}{}", self.begin(), keys.join("; "), self.end())
    }

    fn recorded(part: &str) -> BTreeMap<String, String> {
        let line = part.lines().find_map(|line| line.trim().strip_prefix("<!-- mlreg:keys ")?.strip_suffix(" -->"));
        let pairs = line.unwrap_or_default().split("; ").filter_map(|pair| pair.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }
}

impl Card for ModelCard {
    fn render(&self, repository: &str, existing: Option<&str>) -> String {
        let title = repository.rsplit('/').next().unwrap_or(repository);
        let (mut front, body) = FrontMatter::split(existing.unwrap_or_default());
        let span = span(body, &self.begin(), &self.end());
        let recorded = span.map_or_else(BTreeMap::new, |(begin, end)| Self::recorded(&body[begin..end]));
        for (key, value) in &self.keys {
            front.set(key, value, recorded.get(*key).map(String::as_str));
        }
        for (key, value) in recorded.iter().filter(|(key, _)| !self.keys.contains_key(key.as_str())) {
            front.remove(key, value);
        }
        front.add_tags(&["coreml", "mlreg"]);
        let body = match span {
            Some((begin, end)) => format!("{}{}{}", &body[..begin], self.part(repository), &body[end..]),
            None if body.trim().is_empty() => format!("\n# {title}\n\n{}\n", self.part(repository)),
            None => format!("{}\n\n{}\n", body.trim_end(), self.part(repository)),
        };
        format!("{front}{body}")
    }
}

/// From the beginning of one mark to the end of the other.
fn span(text: &str, begin: &str, end: &str) -> Option<(usize, usize)> {
    let start = text.find(begin)?;
    let length = text[start..].find(end)? + end.len();
    Some((start, start + length))
}

/// Keys of the front matter with their values as YAML.
fn keys(release: &Release) -> BTreeMap<&'static str, String> {
    let mut keys = BTreeMap::from([("library_name", "coreml".to_owned())]);
    if let Some(license) = &release.license {
        match license_of(license) {
            Some(known) => _ = keys.insert("license", known),
            None => {
                keys.insert("license", "other".to_owned());
                keys.insert("license_name", scalar(&slug(license)));
            }
        }
    }
    // Plain files that come along make no model.
    let converted = release.sources.values().filter(|source| source.architecture.is_some());
    let sources: BTreeSet<&str> = converted.filter_map(|source| source.repository.as_deref()).collect();
    if !sources.is_empty() {
        let names: Vec<&str> = sources.into_iter().collect();
        keys.insert("base_model", if let [one] = names[..] { scalar(one) } else { list(&names) });
        keys.insert("base_model_relation", "quantized".to_owned());
    }
    let task = |(component, source): (&String, &crate::manifest::release::Source)| {
        task_of(release, component, source.architecture.as_deref()?)
    };
    let tasks: BTreeSet<&str> = release.sources.iter().filter_map(task).collect();
    if let [task] = tasks.into_iter().collect::<Vec<_>>()[..] {
        keys.insert("pipeline_tag", task.to_owned());
    }
    keys
}

fn license_of(spdx: &str) -> Option<String> {
    let lower = spdx.trim().to_lowercase();
    let plain = lower.strip_suffix("-only").or_else(|| lower.strip_suffix("-or-later")).unwrap_or(&lower);
    LICENSES.contains(&plain).then(|| plain.to_owned())
}

/// A name of the letters that the Hub takes in `license_name`.
fn slug(text: &str) -> String {
    let dashed: String =
        text.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let trimmed = dashed.trim_matches('-');
    if trimmed.is_empty() { "custom".to_owned() } else { trimmed.to_owned() }
}

fn task_of(release: &Release, component: &str, architecture: &str) -> Option<&'static str> {
    let variants = release.variants.iter().filter(|variant| variant.component == component);
    let interface = variants.filter_map(|variant| variant.interface.as_ref()).next();
    if let Some(task) = interface.and_then(told_by_outputs) {
        return Some(task);
    }
    Some(match arch::task(architecture)? {
        Task::ImageToImage => "image-to-image",
        Task::Translation => "translation",
        Task::TextGeneration => "text-generation",
        Task::TextEncoding => encoder_task(interface),
    })
}

/// The task of a model of any family that has outputs which no other task has.
fn told_by_outputs(interface: &Interface) -> Option<&'static str> {
    let tasks = [(features::SENTENCE_EMBEDDING, "sentence-similarity"), (features::START_LOGITS, "question-answering")];
    tasks.into_iter().find(|(output, _)| interface.gives(output)).map(|(_, task)| task)
}

fn encoder_task(interface: Option<&Interface>) -> &'static str {
    let Some(interface) = interface else { return "sentence-similarity" };
    match interface.output(features::LOGITS).map(|logits| logits.shape.len()) {
        Some(3) => "token-classification",
        Some(_) => "text-classification",
        None => "feature-extraction",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn release(version: &str, license: &str) -> Release {
        let variant = json!({
            "id": "decoder-768-float16-ios18", "name": "decoder-768-float16", "component": "decoder", "target": "iOS18", "kind": "mlpackage",
            "delivery": "initial", "files": [{ "path": "Manifest.json", "sha256": crate::base::Digest::of(b"x"), "size": 1_500 }],
        });
        let source = json!({ "architecture": "autoencoder-tiny", "repository": "acme/taef1" });
        serde_json::from_value(json!({
            "schema": "mlreg/release/1", "package": "tae", "version": version, "license": license, "description": "Tiny.",
            "variants": [variant], "blobs": {}, "sources": { "decoder": source },
        }))
        .unwrap()
    }

    fn card(version: &str, license: &str) -> ModelCard {
        ModelCard::new(&release(version, license), Layout::Linked, Vec::new())
    }

    #[test]
    fn a_new_card_says_what_it_is() {
        let text = card("1.0.0", "MIT").render("acme/tae", None);
        let front = "---\nbase_model: acme/taef1\nbase_model_relation: quantized\nlibrary_name: coreml\nlicense: mit\n\
                     pipeline_tag: image-to-image\ntags:\n- coreml\n- mlreg\n---\n\n# tae\n\n<!-- mlreg:begin tae -->\n";
        assert!(text.starts_with(front), "{text}");
        assert!(
            text.contains("| `decoder-768-float16-ios18.mlpackage` | iOS 18+, macOS 15+ | 1.5 kB | initial |\n"),
            "{text}"
        );
        assert!(text.contains("\nmlreg fetch tae@1.0.0 --from hf://acme/tae --out Models\n"), "{text}");
        let download = "\nhf download acme/tae --revision tae-v1.0.0 --include \
             'tae/decoder-768-float16-ios18.mlpackage/*' --local-dir Models\n";
        assert!(text.contains(download), "{text}");
        assert!(text.ends_with("<!-- mlreg:end tae -->\n"), "{text}");
        assert_eq!(card("1.0.0", "MIT").render("acme/tae", Some(&text)), text);
    }

    #[test]
    fn what_the_authors_wrote_stays() {
        let first = card("1.0.0", "MIT").render("acme/tae", None);
        let edited = first
            .replace("# tae\n", "# Our decoder\n\nPlease cite us.\n")
            .replace("pipeline_tag: image-to-image", "pipeline_tag: text-to-image")
            .replace("- coreml\n", "- coreml\n- ours\n")
            + "\n## Thanks\n";
        let second = card("1.1.0", "Apache-2.0").render("acme/tae", Some(&edited));
        for kept in ["# Our decoder\n\nPlease cite us.\n", "pipeline_tag: text-to-image\n", "- ours\n", "\n## Thanks\n"]
        {
            assert!(second.contains(kept), "{kept}: {second}");
        }
        assert!(second.contains("license: apache-2.0\n") && second.contains("## tae 1.1.0"), "{second}");
        assert!(!second.contains("1.0.0"), "{second}");
    }

    #[test]
    fn a_card_without_our_part_gets_one_at_its_end() {
        let text = card("1.0.0", "MIT").render("acme/tae", Some("---\nlicense: gpl-3.0\ntags: [vae]\n---\n# Mine\n"));
        assert!(text.starts_with("---\nlicense: gpl-3.0\ntags: [vae, coreml, mlreg]\n"), "{text}");
        assert!(text.contains("\n# Mine\n\n<!-- mlreg:begin tae -->\n"), "{text}");
        let plain = card("1.0.0", "MIT").render("acme/tae", Some("Hello"));
        assert!(plain.contains("---\nHello\n\n<!-- mlreg:begin"), "{plain}");
    }

    #[test]
    fn what_encoders_are_for_is_seen_from_their_outputs() {
        let interface = |outputs: &[(&str, &[u64])]| -> Interface {
            let feature = |(name, shape): &(&str, &[u64])| json!({ "name": name, "dtype": "float16", "shape": shape });
            serde_json::from_value(json!({ "inputs": [], "outputs": outputs.iter().map(feature).collect::<Vec<_>>() }))
                .unwrap()
        };
        let states: (&str, &[u64]) = ("last_hidden_state", &[1, 8, 4]);
        let tasks = [
            (interface(&[states, ("sentence_embedding", &[1, 4])]), "sentence-similarity"),
            (interface(&[("start_logits", &[1, 8]), ("end_logits", &[1, 8])]), "question-answering"),
            (interface(&[("logits", &[1, 2])]), "text-classification"),
            (interface(&[("logits", &[1, 8, 9])]), "token-classification"),
            (interface(&[states]), "feature-extraction"),
        ];
        for (interface, task) in tasks {
            assert_eq!(told_by_outputs(&interface).unwrap_or_else(|| encoder_task(Some(&interface))), task);
        }
    }

    #[test]
    fn values_of_strangers_stay_values() {
        let mut release = release("1.0.0", "MIT");
        let source = release.sources.get_mut("decoder").unwrap();
        source.repository = Some("acme/x: y -->; a=b\nlicense: none".to_owned());
        release.description = Some("Ends here <!-- mlreg:end tae --> or ---\nnot.".to_owned());
        let card = |release: &Release| ModelCard::new(release, Layout::Linked, Vec::new());
        let text = card(&release).render("acme/tae", None);
        assert!(text.contains("\nbase_model: \"acme/x: y --\\u003e\\u003b a=b\\nlicense: none\"\n"), "{text}");
        assert_eq!(text.matches("<!-- mlreg:end tae -->").count(), 1, "{text}");
        assert_eq!(card(&release).render("acme/tae", Some(&text)), text, "its own value is known again");
        release.sources.get_mut("decoder").unwrap().repository = Some("acme/z".to_owned());
        assert!(card(&release).render("acme/tae", Some(&text)).contains("\nbase_model: acme/z\n"));
    }

    #[test]
    fn licences_of_the_hub_and_others() {
        assert_eq!((slug("非商用"), slug("1.0")), ("custom".to_owned(), "1.0".to_owned()));
        assert_eq!(license_of("GPL-3.0-or-later").unwrap(), "gpl-3.0");
        assert_eq!(license_of("MIT OR Apache-2.0"), None);
        let text = card("1.0.0", "FLUX.1 [dev] Non-Commercial").render("acme/tae", None);
        assert!(text.contains("license: other\nlicense_name: flux.1--dev--non-commercial\n"), "{text}");
    }
}
