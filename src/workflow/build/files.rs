//! Plain files of a component, from this machine and from repositories of the Hub.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use globset::GlobBuilder;
use tempfile::TempDir;

use super::{
    error::BuildError,
    hub::{HubFiles, address, scratch},
    tree::Tree,
};
use crate::{
    base::{HubUrl, name_key},
    manifest::release::Source,
    store::StoreError,
    workflow::{Context, Error},
};

/// Hashed files, and the repositories of those that came from the Hub.
pub(super) struct PlainFiles {
    pub(super) tree: Tree,
    source: Option<Source>,
    /// Temporary folder with the files of the Hub.
    _folder: Option<TempDir>,
}

/// Files of one commit and their names in the release, by path in the repository.
struct HubSelection {
    files: HubFiles,
    names: BTreeMap<String, String>,
}

impl PlainFiles {
    /// Finds the files of a component and downloads those of the Hub; `folder` is the manifest's.
    pub(super) fn look(context: &Context, component: &str, folder: &Path, files: &[String]) -> Result<Self, Error> {
        let mut names = ReservedNames { component, origins: BTreeMap::new() };
        let (mut places, mut repositories) = (Vec::new(), Vec::<((String, Option<String>), HubSelection)>::new());
        for file in files {
            let Some(url) = address(file) else {
                names.reserve(file, file)?;
                places.push(folder.join(file));
                continue;
            };
            let url = url?;
            let key = (url.repository().to_owned(), url.revision().map(str::to_owned));
            if !repositories.iter().any(|(known, _)| *known == key) {
                repositories.push((
                    key.clone(),
                    HubSelection { files: HubFiles::open(context, &url)?, names: BTreeMap::new() },
                ));
            }
            for (_, selection) in repositories.iter_mut().filter(|(known, _)| *known == key) {
                for path in named(&selection.files, &url)? {
                    let name = names.reserve(&path, file)?;
                    selection.names.insert(path, name);
                }
            }
        }
        let scratch = if repositories.is_empty() { None } else { Some(scratch(context.store())?) };
        for (_, HubSelection { files, names }) in &repositories {
            let place = |name: &String| scratch.as_ref().map_or_else(PathBuf::new, |scratch| scratch.path().join(name));
            let placed: BTreeMap<_, _> = names.iter().map(|(path, name)| (path.clone(), place(name))).collect();
            files.place(&placed)?;
            places.extend(placed.into_values());
        }
        let tree = Tree::of_files(folder, places)?.hashed(context.store())?;
        let mut sources = repositories.into_iter().map(|(_, selection)| source(&tree, &selection));
        let source = sources.next().map(|first| Source { more: sources.collect(), ..first });
        Ok(Self { tree, source, _folder: scratch })
    }

    /// Feeds everything that identifies the files and their repositories.
    pub(super) fn feed(&self, feed: &mut impl FnMut(&[u8])) -> Result<(), StoreError> {
        for source in self.source.iter().flat_map(|source| std::iter::once(source).chain(&source.more)) {
            [&source.repository, &source.revision].into_iter().flatten().for_each(|text| feed(text.as_bytes()));
            source.files.keys().for_each(|path| feed(path.as_bytes()));
        }
        self.tree.feed(feed);
        Ok(())
    }

    /// What a release records about the files of the Hub.
    pub(super) fn source(&self) -> Option<Source> {
        self.source.clone()
    }
}

/// Names that are in use, and the manifest's entry for each, by comparison key.
struct ReservedNames<'a> {
    component: &'a str,
    origins: BTreeMap<String, String>,
}

impl ReservedNames<'_> {
    /// Reserves the last part of a path as a name.
    ///
    /// # Errors
    /// When another file has that name.
    fn reserve(&mut self, path: &str, origin: &str) -> Result<String, BuildError> {
        let name = path.rsplit('/').next().unwrap_or(path);
        match self.origins.insert(name_key(name), origin.to_owned()) {
            Some(first) => Err(BuildError::SameName {
                component: self.component.to_owned(),
                name: name.to_owned(),
                first,
                second: origin.to_owned(),
            }),
            None => Ok(name.to_owned()),
        }
    }
}

/// Paths of an address: the file that it names, or the files that its glob matches.
fn named(files: &HubFiles, url: &HubUrl) -> Result<Vec<String>, BuildError> {
    let pattern = url.path().unwrap_or_default();
    if files.list().contains_key(pattern) {
        return Ok(vec![pattern.to_owned()]);
    }
    // The manifest was refused where it is no glob.
    let glob = GlobBuilder::new(pattern).literal_separator(true).build().map(|glob| glob.compile_matcher());
    let matches = |path: &&String| glob.as_ref().is_ok_and(|glob| glob.is_match(path));
    let paths: Vec<String> = files.list().keys().filter(matches).cloned().collect();
    if paths.is_empty() { Err(files.missing(pattern)) } else { Ok(paths) }
}

fn source(tree: &Tree, selection: &HubSelection) -> Source {
    let digest = |(path, name): (&String, &String)| Some((path.clone(), tree.digest(name)?));
    selection.files.source(selection.names.iter().filter_map(digest).collect())
}
