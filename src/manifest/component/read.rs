//! Reads `[[component]]` tables.

use std::collections::BTreeMap;

use super::{Component, ComponentKind, Conversion, Exclusion, keys::SOURCES};
use crate::{
    base::{HubUrl, PackageName, RelativePath, Target, escaped_name, name_key},
    contract::{AttentionForm, PictureRange},
    manifest::{
        axes::{Axis, AxisLists, Format, SIZE_LIMIT, value::AxisValue},
        error::{ManifestError, Problem},
        import::{Import, ImportPattern},
        reader::{Item, Place, Table},
    },
};

/// Formats of imported bundles.
const IMPORTED: &[Format] = &[Format::MlPackage, Format::MlModelC];

pub(in crate::manifest) fn parse(mut table: Table<'_>, file: &str) -> Result<Component, ManifestError> {
    let name = component_name(&table.need("name")?)?;
    table.relabel(format!("component `{name}`"));
    let place = table.place();
    let sources: Vec<Item<'_>> = SOURCES.into_iter().filter_map(|key| table.take(key)).collect();
    let [source] = <[Item<'_>; 1]>::try_from(sources).map_err(|found| {
        let names = SOURCES.into_iter().filter(|name| found.iter().any(|item| item.key == *name));
        let problem = Problem::Sources { component: name.clone(), found: names.collect() };
        found.last().map_or_else(|| table.error(problem.clone()), |item| item.key_error(problem.clone()))
    })?;
    let kind = match source.key.as_str() {
        "checkpoint" => ComponentKind::Checkpoint(Box::new(conversion(&name, &source, &mut table)?)),
        "import" => ComponentKind::Import(Box::new(import(&name, &source, &mut table, file)?)),
        _ => ComponentKind::Files(files(&source)?),
    };
    if let Some(item) = table.rest().first() {
        let source_key = SOURCES.into_iter().find(|key| *key == source.key).unwrap_or("files");
        return Err(item.key_error(Problem::Unfit { component: name, key: item.key.clone(), source_key }));
    }
    Component { name, kind, file: file.to_owned(), place, source: source.place() }.consistent()
}

/// Names follow the rules of package names, because ids start with them and become file names.
fn component_name(item: &Item<'_>) -> Result<String, ManifestError> {
    let expected =
        "1 to 64 characters of a-z, 0-9, `-`, `_` or `.`, starting with a letter or digit, and no reserved device name";
    let text = item.text(expected)?;
    let valid = text.parse::<PackageName>().is_ok() && text.parse::<RelativePath>().is_ok();
    if valid { Ok(text.to_owned()) } else { Err(item.unexpected(expected)) }
}

fn files(source: &Item<'_>) -> Result<Vec<String>, ManifestError> {
    let files = source.one_or_list(|item| {
        let text = item.text("a path, or a list of paths")?;
        if text.starts_with("hf://") && !is_file_of_the_hub(text) {
            return Err(item.unexpected(
                "a path on this machine, or `hf://ORG/REPO[@REVISION]/PATH`, where `*` stands for any part of a name",
            ));
        }
        Ok(text.to_owned())
    })?;
    let name = |file: &str| file.rsplit('/').next().unwrap_or(file).to_owned();
    let key = |file: &str| name_key(&name(file));
    // What globs of the Hub match is known when they are looked up.
    let plain = |file: &&String| !(file.starts_with("hf://") && file.contains(['*', '?', '[', '{']));
    let names: Vec<&String> = files.iter().filter(plain).collect();
    let clash =
        names.iter().enumerate().find(|(index, file)| names[..*index].iter().any(|other| key(other) == key(file)));
    match clash {
        Some((_, file)) => Err(source.error(Problem::Duplicate {
            key: "files".to_owned(),
            value: format!("the file name `{}`", escaped_name(&name(file))),
        })),
        None => Ok(files),
    }
}

/// Whether an address names files in a repository.
fn is_file_of_the_hub(text: &str) -> bool {
    HubUrl::parse(text).is_ok_and(|url| url.path().is_some_and(|path| globset::Glob::new(path).is_ok()))
}

fn import(component: &str, source: &Item<'_>, table: &mut Table<'_>, file: &str) -> Result<Import, ManifestError> {
    let text = source.text("a path with `{axis}` placeholders, or a glob")?;
    let pattern =
        ImportPattern::parse(text).map_err(|why| source.error(Problem::Pattern { pattern: text.to_owned(), why }))?;
    let target = table.take("target").map(|item| the_one(&item, <Option<Target>>::read)).transpose()?.flatten();
    let formats =
        table.take("format").map(|item| item.one_or_list(|item| item.word(IMPORTED, Format::name))).transpose()?;
    let mut stated = BTreeMap::new();
    let described = Axis::ALL.iter().filter(|axis| !matches!(axis, Axis::Target | Axis::Format));
    for (axis, item) in described.filter_map(|axis| Some((*axis, table.take(axis.name())?))) {
        if pattern.placeholders().contains(&axis) {
            return Err(item.key_error(Problem::Pattern {
                pattern: text.to_owned(),
                why: format!("`{axis}` stands in the pattern and beside it"),
            }));
        }
        stated.insert(axis, the_one(&item, |item| axis.read(item))?);
    }
    if let (Some(_), true) = (target, pattern.placeholders().contains(&Axis::Target)) {
        return Err(source.error(Problem::Pattern {
            pattern: text.to_owned(),
            why: "`target` stands in the pattern and beside it".to_owned(),
        }));
    }
    let formats = formats.unwrap_or_default();
    Ok(Import {
        component: component.to_owned(),
        pattern,
        target,
        formats,
        stated,
        file: file.to_owned(),
        place: source.place(),
    })
}

/// A single value, which all bundles of an import have.
fn the_one<'t, T: PartialEq>(
    item: &Item<'t>,
    read: impl Fn(&Item<'t>) -> Result<T, ManifestError>,
) -> Result<T, ManifestError> {
    let values: [T; 1] = item
        .one_or_list(read)?
        .try_into()
        .map_err(|_| item.unexpected("the one value that all bundles of an import have"))?;
    let [value] = values;
    Ok(value)
}

fn exclusion(item: Item<'_>, component: &str) -> Result<Exclusion, ManifestError> {
    let known: Vec<&'static str> = Axis::ALL.iter().map(|axis| axis.name()).collect();
    let place = item.place();
    let mut table = item.clone().table(format!("`exclude` of component `{component}`"), &known)?;
    let mut axes = BTreeMap::new();
    for axis in Axis::ALL {
        if let Some(values) = table.take(axis.name()) {
            axes.insert(*axis, values.one_or_list(|value| axis.read(value))?);
        }
    }
    if axes.is_empty() { Err(item.unexpected("a table with at least one axis")) } else { Ok(Exclusion { axes, place }) }
}

/// Takes keys from a component's table and records their places.
struct Keys<'a, 't> {
    table: &'a mut Table<'t>,
    places: BTreeMap<&'static str, Place>,
}

impl<'t> Keys<'_, 't> {
    fn take(&mut self, key: &'static str) -> Option<Item<'t>> {
        let item = self.table.take(key)?;
        self.places.insert(key, item.place());
        Some(item)
    }

    fn list<T: PartialEq>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Item<'t>) -> Result<T, ManifestError>,
    ) -> Result<Vec<T>, ManifestError> {
        self.take(key).map_or(Ok(Vec::new()), |item| item.one_or_list(read))
    }

    fn one<T: Default>(
        &mut self,
        key: &'static str,
        read: impl Fn(&Item<'t>) -> Result<T, ManifestError>,
    ) -> Result<T, ManifestError> {
        self.take(key).map_or(Ok(T::default()), |item| read(&item))
    }

    fn text(&mut self, key: &'static str) -> Result<Option<String>, ManifestError> {
        self.one(key, |item| Ok(Some(item.text("a text")?.to_owned())))
    }
}

fn conversion(component: &str, source: &Item<'_>, table: &mut Table<'_>) -> Result<Conversion, ManifestError> {
    let checkpoint = source.text("a folder, a file or an `hf://` address")?.to_owned();
    let keys = &mut Keys { table, places: BTreeMap::new() };
    let exclude = keys
        .take("exclude")
        .map_or(Ok(Vec::new()), |item| item.list("a list of tables such as `[{ target = \"iOS15\" }]`"))?;
    let mut conversion = Conversion {
        checkpoint,
        part: keys.text("part")?,
        architecture: keys.text("architecture")?,
        ignore_config: keys
            .list("ignore-config", |item| Ok(item.text("the name of a key of config.json")?.to_owned()))?,
        axes: AxisLists::read(|key| keys.take(key))?,
        chunks: keys.one("chunks", |item| item.number(1024).map(Some))?,
        chunk: None,
        batch: keys.one("batch", |item| item.number(SIZE_LIMIT).map(Some))?.unwrap_or(1),
        attention: keys.one("attention", |item| item.word(AttentionForm::ALL, AttentionForm::name))?,
        range: keys.one("range", |item| item.word(PictureRange::ALL, PictureRange::name))?,
        clamp: keys.one("clamp", Item::boolean)?,
        window_cache: keys.one("window-cache", Item::boolean)?,
        shared: keys.one("shared", Item::boolean)?,
        multifunction: keys.one("multifunction", Item::boolean)?,
        exclude: exclude.into_iter().map(|item| exclusion(item, component)).collect::<Result<_, _>>()?,
        places: BTreeMap::new(),
    };
    conversion.places = std::mem::take(&mut keys.places);
    Ok(conversion)
}
