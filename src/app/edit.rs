//! Edits of `mlreg.toml` that leave everything else as it is: comments, order, blank lines.

use std::collections::BTreeMap;

use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, TomlError, Value};

use super::manifest::{BuildPhase, delivery_name, layout_name};
use crate::{
    base::{OsFloor, PackageName, Tag},
    fetch::Layout,
    manifest::release::Delivery,
};

const PACKAGES: &str = "packages";
const XCODE: &str = "xcode";

/// What to write about a package; what is empty stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Which versions will do.
    pub version: Option<String>,
    /// Sources, in order.
    pub from: Vec<String>,
    /// Globs over variants.
    pub variants: Vec<String>,
    /// Components.
    pub components: Vec<String>,
    /// Tags.
    pub tags: Vec<Tag>,
    /// Delivery categories.
    pub deliveries: Vec<Delivery>,
    /// Globs over variants by new name.
    pub rename: BTreeMap<String, String>,
    /// The lowest OS of the app.
    pub target: Option<OsFloor>,
    /// Where bundles are placed.
    pub out: Option<String>,
    /// How they are placed.
    pub layout: Option<Layout>,
}

impl Changes {
    fn values(&self) -> Vec<(&'static str, Value)> {
        let list = |key: &'static str, texts: Vec<String>| (!texts.is_empty()).then(|| (key, one_or_list(texts)));
        let text = |key: &'static str, text: Option<String>| text.map(|text| (key, Value::from(text)));
        let rename = |rename: &BTreeMap<String, String>| {
            Value::InlineTable(rename.iter().map(|(name, glob)| (name.as_str(), glob.as_str())).collect())
        };
        let values = [
            text("version", self.version.clone()),
            list("from", self.from.clone()),
            list("variant", self.variants.clone()),
            list("component", self.components.clone()),
            list("tag", self.tags.iter().map(Tag::to_string).collect()),
            list("delivery", self.deliveries.iter().map(|delivery| delivery_name(*delivery).to_owned()).collect()),
            (!self.rename.is_empty()).then(|| ("rename", rename(&self.rename))),
            text("target", self.target.map(|floor| floor.to_string())),
            text("out", self.out.clone()),
            text("layout", self.layout.map(|layout| layout_name(layout).to_owned())),
        ];
        values.into_iter().flatten().collect()
    }
}

fn one_or_list(texts: Vec<String>) -> Value {
    match <[String; 1]>::try_from(texts) {
        Ok([text]) => Value::from(text),
        Err(texts) => Value::Array(Array::from_iter(texts)),
    }
}

/// The manifest with these changes to a package, which joins it if it is new.
///
/// # Errors
/// For texts that are not TOML.
pub fn set_package(text: &str, name: &PackageName, changes: &Changes) -> Result<String, TomlError> {
    let mut document: DocumentMut = text.parse()?;
    let packages = document.entry(PACKAGES).or_insert_with(|| Item::Table(Table::new()));
    let Some(packages) = packages.as_table_like_mut() else { return Ok(text.to_owned()) };
    let item = packages.entry(name.as_str()).or_insert_with(|| Item::Value(Value::InlineTable(InlineTable::new())));
    if let Some(version) = item.as_str().map(str::to_owned) {
        *item = Item::Value(Value::InlineTable(InlineTable::from_iter([("version", version)])));
    }
    let is_inline = item.is_inline_table();
    if let Some(table) = item.as_table_like_mut() {
        for (key, value) in changes.values() {
            set(table, key, value);
        }
    }
    if let Some(table) = item.as_inline_table_mut().filter(|_| is_inline) {
        table.fmt();
    }
    Ok(document.to_string())
}

/// The manifest with where the files of a build phase are.
///
/// # Errors
/// For texts that are not TOML.
pub fn set_phase(text: &str, phase: &BuildPhase) -> Result<String, TomlError> {
    let mut document: DocumentMut = text.parse()?;
    let Some(table) = document.entry(XCODE).or_insert_with(|| Item::Table(Table::new())).as_table_like_mut() else {
        return Ok(text.to_owned());
    };
    let path = |path: &std::path::Path| path.to_string_lossy().replace('\\', "/");
    let values = [
        ("out", Some(path(&phase.out))),
        ("srcroot", phase.project.as_deref().map(path)),
        ("target", phase.target.map(|floor| floor.to_string())),
    ];
    for (key, value) in values {
        match value {
            Some(value) => set(table, key, value.into()),
            None => _ = table.remove(key),
        }
    }
    Ok(document.to_string())
}

/// A value that was there keeps the comment behind it.
fn set(table: &mut dyn TableLike, key: &str, mut value: Value) {
    if let Some(old) = table.get(key).and_then(Item::as_value) {
        *value.decor_mut() = old.decor().clone();
    }
    table.insert(key, Item::Value(value));
}

/// The manifest without a package; `None` where it has none of that name. Comments right above it go with it.
///
/// # Errors
/// For texts that are not TOML.
pub fn remove_package(text: &str, name: &PackageName) -> Result<Option<String>, TomlError> {
    let mut document: DocumentMut = text.parse()?;
    let Some(packages) = document.get_mut(PACKAGES).and_then(Item::as_table_like_mut) else { return Ok(None) };
    let names: Vec<String> = packages.iter().map(|(key, _)| key.to_owned()).collect();
    let Some(at) = names.iter().position(|known| known == name.as_str()) else { return Ok(None) };
    let prefix = packages
        .key(name.as_str())
        .and_then(|key| key.leaf_decor().prefix())
        .and_then(|raw| raw.as_str())
        .unwrap_or_default();
    // What a blank line parts from the package is not about it.
    let kept = prefix.rfind("\n\n").map_or("", |end| &prefix[..end + 2]).to_owned();
    packages.remove(name.as_str());
    let next = names.get(at + 1).and_then(|next| packages.key_mut(next));
    match next {
        Some(mut next) => {
            let own = next.leaf_decor().prefix().and_then(|raw| raw.as_str()).unwrap_or_default().to_owned();
            next.leaf_decor_mut().set_prefix(kept + &own);
        }
        None if !kept.trim().is_empty() => {
            let own = document.trailing().as_str().unwrap_or_default().to_owned();
            document.set_trailing(format!("{}{own}", kept.trim_end_matches('\n').to_owned() + "\n"));
        }
        None => {}
    }
    Ok(Some(document.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> PackageName {
        text.parse().unwrap()
    }

    fn changes() -> Changes {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Changes {
            version: Some("1.2.0".to_owned()),
            from: texts(&["../r"]),
            tags: vec!["preview".parse().unwrap()],
            ..Changes::default()
        }
    }

    #[test]
    fn a_new_package_joins() {
        let expected = "[packages]\ntae = { version = \"1.2.0\", from = \"../r\", tag = \"preview\" }\n";
        assert_eq!(set_package("", &name("tae"), &changes()).unwrap(), expected);
        let text = "# ours\n[defaults]\nout = \"M\" # here\n\n[packages]\n# the small one\nminilm = \"1\" # pinned\n";
        let added = set_package(text, &name("tae"), &changes()).unwrap();
        assert_eq!(added, format!("{text}tae = {{ version = \"1.2.0\", from = \"../r\", tag = \"preview\" }}\n"));
    }

    #[test]
    fn a_known_package_keeps_what_nobody_changed() {
        let text = "[packages]\ntae = { version = \"1\", variant = [\"a\"] } # small\n[packages.minilm] # \
             text\nversion = \"0.1\" # old\nfrom = \"x\"\n";
        let edited = set_package(text, &name("tae"), &changes()).unwrap();
        let edited =
            set_package(&edited, &name("minilm"), &Changes { version: Some("0.2".to_owned()), ..Changes::default() })
                .unwrap();
        let expected = "[packages]\ntae = { version = \"1.2.0\", variant = [\"a\"], from = \"../r\", tag = \"preview\" } # small\n\
            [packages.minilm] # text\nversion = \"0.2\" # old\nfrom = \"x\"\n";
        assert_eq!(edited, expected);
        let edited = set_package(
            "packages.tae = \"1\"\n",
            &name("tae"),
            &Changes { from: vec!["a".to_owned(), "b".to_owned()], ..Changes::default() },
        );
        assert_eq!(edited.unwrap(), "packages.tae = { version = \"1\", from = [\"a\", \"b\"] }\n");
    }

    #[test]
    fn a_removed_package_takes_its_own_comments_along() {
        let text = "[packages]\n# pictures\n\n# the small one\ntae = \"1\" # pinned\n# text\nminilm = \"1\"\n";
        assert_eq!(
            remove_package(text, &name("tae")).unwrap().unwrap(),
            "[packages]\n# pictures\n\n# text\nminilm = \"1\"\n"
        );
        assert_eq!(remove_package(text, &name("exaone")).unwrap(), None);
        let last = remove_package("[packages]\n# all\n\ntae = \"1\"\n", &name("tae")).unwrap().unwrap();
        assert_eq!(last, "[packages]\n# all\n");
        assert_eq!(remove_package("", &name("tae")).unwrap(), None);
    }
}
