//! Folders that were placed by `fetch` and `build`: what keeps fetched releases alive, and what "nothing changed" is
//! checked against.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::base::Digest;

use super::{
    Store, StoreError, record,
    releases::{list, remove_optional},
};

/// A folder that holds parts of releases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Placement<B = serde_json::Value> {
    /// The folder, absolute.
    pub folder: PathBuf,
    /// The releases that it holds parts of; `gc` keeps their blobs while the folder exists.
    pub releases: Vec<Digest>,
    /// The blobs of them that it holds; `None`: not known, so that a budget spares all that the releases name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Vec<Digest>>,
    /// What the writer wants to know later; the store does not look at it.
    pub body: B,
}

/// The first line of a record.
#[derive(Serialize, Deserialize)]
struct Glance<P, G> {
    folder: P,
    glance: G,
}

impl Store {
    /// Records a placement, in place of an earlier one of the same folder.
    ///
    /// # Errors
    /// `PlacementPath` for a folder that is relative or not Unicode, or what the file system says.
    pub fn put_placement<B: Serialize>(&self, placement: &Placement<B>) -> Result<(), StoreError> {
        let path = self.placement_path(&placement.folder)?;
        let _guard = self.writing()?;
        record::write(&path, placement)
    }

    /// The placement of a folder, if there is one.
    ///
    /// # Errors
    /// `PlacementPath`, `DamagedRecord` also for a body of another form, or what the file system says.
    pub fn placement<B: DeserializeOwned>(&self, folder: &Path) -> Result<Option<Placement<B>>, StoreError> {
        let found: Option<Placement<B>> = record::read(&self.placement_path(folder)?)?;
        Ok(found.filter(|placement| placement.folder == folder))
    }

    /// Records a placement as [`Store::put_placement`] does, with what is asked for often.
    ///
    /// # Errors
    /// As there.
    pub fn put_placement_with_glance<B: Serialize, G: Serialize>(
        &self,
        placement: &Placement<B>,
        glance: &G,
    ) -> Result<(), StoreError> {
        let path = self.placement_path(&placement.folder)?;
        let _guard = self.writing()?;
        record::write_with_glance(&path, placement, &Glance { folder: placement.folder.as_path(), glance })
    }

    /// The glance of a folder's placement, if it was recorded with one of this form. Parses no more than that.
    ///
    /// # Errors
    /// `PlacementPath`, or what the file system says.
    pub fn placement_glance<G: DeserializeOwned>(&self, folder: &Path) -> Result<Option<G>, StoreError> {
        let found: Option<Glance<PathBuf, G>> = record::read_glance(&self.placement_path(folder)?)?;
        Ok(found.filter(|found| found.folder == folder).map(|found| found.glance))
    }

    /// Forgets the placement of a folder; the folder itself stays. Says whether there was one.
    ///
    /// # Errors
    /// `PlacementPath`, or what the file system says.
    pub fn remove_placement(&self, folder: &Path) -> Result<bool, StoreError> {
        let path = self.placement_path(folder)?;
        let _guard = self.writing()?;
        remove_optional(&path)
    }

    /// Every placement, in order of their folders.
    ///
    /// # Errors
    /// `DamagedRecord`, or what the file system says.
    pub fn placements(&self) -> Result<Vec<Placement>, StoreError> {
        let folder = self.layout().placements();
        let mut placements: Vec<Placement> = Vec::new();
        for name in list(&folder)?.iter().filter(|name| is_placement(name)) {
            placements.extend(record::read::<Placement>(&folder.join(name))?);
        }
        placements.sort_by(|left, right| left.folder.cmp(&right.folder));
        Ok(placements)
    }

    fn placement_path(&self, folder: &Path) -> Result<PathBuf, StoreError> {
        let text = folder.to_str().filter(|_| folder.is_absolute());
        text.map(|text| self.layout().placement(text))
            .ok_or_else(|| StoreError::PlacementPath { path: folder.to_owned() })
    }
}

/// Whether a placement may have this file name.
pub(super) fn is_placement(name: &std::ffi::OsStr) -> bool {
    let stem = name.to_str().and_then(|name| name.strip_suffix(".json"));
    stem.is_some_and(|stem| stem.len() == 16 && stem.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::home;

    #[test]
    fn placements_are_kept_by_folder() {
        let home = home();
        let place = |folder: &Path, body: f64| Placement {
            folder: folder.to_owned(),
            releases: vec![Digest::of(b"r")],
            held: None,
            body: body.into(),
        };
        let (one, two) = (home.folder.path().join("one"), home.folder.path().join("two"));
        home.store.put_placement(&place(&two, 1.0)).unwrap();
        home.store.put_placement(&place(&one, 2.0)).unwrap();
        home.store.put_placement(&place(&one, 0.1)).unwrap();
        assert_eq!(home.other().placements().unwrap(), [place(&one, 0.1), place(&two, 1.0)]);
        assert_eq!(home.store.placement::<f64>(&one).unwrap().map(|found| found.body), Some(0.1));
        assert_eq!(home.store.placement_glance::<u8>(&one).unwrap(), None);
        home.store.put_placement_with_glance(&place(&one, 0.2), &7).unwrap();
        assert_eq!(home.store.placement::<f64>(&one).unwrap().map(|found| found.body), Some(0.2));
        assert_eq!(home.store.placement_glance::<u8>(&one).unwrap(), Some(7));
        assert_eq!(home.store.placement_glance::<String>(&one).unwrap(), None);
        assert!(home.store.remove_placement(&one).unwrap() && !home.store.remove_placement(&one).unwrap());
        assert!(home.store.placement::<f64>(&one).unwrap().is_none());
        assert!(matches!(
            home.store.put_placement(&place(Path::new("relative"), 0.0)),
            Err(StoreError::PlacementPath { .. })
        ));
    }
}
