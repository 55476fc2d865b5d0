//! Where the files of a release lie in a repository that people browse: complete bundles, or the hand-off layout. Pure.

use std::collections::BTreeMap;

use crate::{
    base::{Digest, RelativePath},
    fetch::{FetchError, LAYOUT_NAME, Layout, Named, Proof},
    manifest::release::Release,
    remote::default_places,
};

/// Which blob lies where, and the small files that mlreg adds.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Places {
    /// Blobs by path.
    pub blobs: BTreeMap<RelativePath, Digest>,
    /// Documents by path.
    pub documents: BTreeMap<RelativePath, Vec<u8>>,
}

/// The places of a release under full ids.
///
/// # Errors
/// `PlacedName` and `Collision` where ids or files are no names for every file system.
pub fn places(release: &Release, digest: Digest, layout: Layout) -> Result<Places, FetchError> {
    if layout != Layout::Shared {
        return Ok(Places { blobs: default_places(release), documents: BTreeMap::new() });
    }
    let names: Vec<String> = release.variants.iter().map(|variant| variant.kind.file_name(&variant.id)).collect();
    let named: Vec<Named<'_>> =
        names.iter().zip(&release.variants).map(|(name, variant)| Named { name, variant }).collect();
    let proof = Proof::new(release, digest, None, layout, &named)?;
    let mut places = Places::default();
    let below = |path: &str| format!("{}/{path}", release.package).parse::<RelativePath>();
    for (name, bundle) in &proof.bundles {
        for (path, file) in &bundle.files {
            places.blobs.extend(below(&format!("{name}/{path}")).map(|path| (path, file.sha256)));
        }
    }
    for (name, file) in proof.files.iter().filter(|(name, _)| *name != LAYOUT_NAME) {
        places.blobs.extend(below(name).map(|path| (path, file.sha256)));
    }
    if let Some((path, bytes)) = below(LAYOUT_NAME).ok().zip(proof.layout_document()) {
        places.documents.insert(path, bytes);
    }
    Ok(places)
}
