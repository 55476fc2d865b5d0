//! Checking every byte of the store against its digest, and every manifest against the blobs. Only looks; repairs are
//! made by fetching.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rayon::prelude::*;
use serde::Serialize;

use crate::{
    base::{Digest, PackageName, hash_file},
    manifest::release::{Blob, Release},
};

use super::{
    Placement, Store, StoreError,
    error::RecordDamage,
    gc::is_atomic_temporary,
    layout::{manifest_version, origin_version},
    placements::is_placement,
    record,
    releases::list,
    segments,
};

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Problem {
    /// A blob's bytes are not those of its name.
    WrongContent,
    /// A manifest says another size or BLAKE3 than the blob has.
    WrongDescription,
    /// A manifest's segments do not fit its blob.
    WrongSegments,
    /// A manifest lies under the name of another package or version.
    WrongName,
    /// A manifest's variants name a file that its list of blobs does not have.
    UnlistedBlob,
    /// A release that was built here needs a blob that is not here.
    MissingBlob,
    /// A manifest, origin or placement is not as it was written.
    DamagedRecord,
    /// A file that the store did not put there.
    StrayFile,
    /// A file that cannot be read.
    Unreadable,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// What kind of thing is wrong.
    pub problem: Problem,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// What a verification looked at and found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct VerifyReport {
    /// Number of blobs that were hashed.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Number of release manifests.
    pub releases: u64,
    /// Number of placements.
    pub placements: u64,
    /// What is wrong, in order of paths.
    pub findings: Vec<Finding>,
}

/// What manifests say about blobs.
#[derive(Default)]
struct Claims {
    described: BTreeMap<Digest, Vec<(PathBuf, Blob)>>,
    built: BTreeMap<Digest, PathBuf>,
}

impl VerifyReport {
    fn add(&mut self, path: &Path, problem: Problem, expected: impl ToString, found: impl ToString) {
        self.findings.push(Finding {
            path: path.to_owned(),
            problem,
            expected: expected.to_string(),
            found: found.to_string(),
        });
    }

    fn add_error(&mut self, error: &StoreError, path: &Path) {
        match error {
            StoreError::DamagedRecord { path, why: RecordDamage::Digest { expected, found } } => {
                self.add(path, Problem::DamagedRecord, expected, found);
            }
            StoreError::DamagedRecord { path, why: RecordDamage::Form { expected } } => {
                self.add(path, Problem::DamagedRecord, expected, "something else");
            }
            other => self.add(path, Problem::Unreadable, "a readable file", other),
        }
    }
}

impl Store {
    /// Hashes every blob, several at once, and reads every manifest, origin and placement. `progress` is called from
    /// several threads with the bytes of blobs done and in total.
    ///
    /// # Errors
    /// What the file system says about folders; files that cannot be read are findings.
    pub fn verify(&self, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<VerifyReport, StoreError> {
        // Keeps `gc` away; a home that cannot be written can be verified, too.
        let _guard = self.writing().ok();
        let (mut report, mut claims) = (VerifyReport::default(), Claims::default());
        self.verify_releases(&mut report, &mut claims)?;
        self.verify_placements(&mut report)?;
        self.find_strays(&mut report)?;
        let blobs = self.all_blobs()?;
        for (digest, manifest) in &claims.built {
            if self.blob_size(digest).is_none() {
                report.add(
                    &self.blob_path(digest),
                    Problem::MissingBlob,
                    format!("a blob of `{}`", manifest.display()),
                    "no file",
                );
            }
        }
        self.verify_blobs(&blobs, &claims, &mut report, progress);
        report.findings.sort();
        Ok(report)
    }

    fn verify_blobs(
        &self,
        blobs: &[(Digest, PathBuf)],
        claims: &Claims,
        report: &mut VerifyReport,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) {
        let sizes = blobs.iter().filter_map(|(_, path)| Some(fs::metadata(path).ok()?.len()));
        let (done, total) = (AtomicU64::new(0), sizes.sum());
        let seen = |bytes: u64| progress(done.fetch_add(bytes, Ordering::Relaxed) + bytes, total);
        let check = |(digest, path): &(Digest, PathBuf)| {
            let mut one = VerifyReport::default();
            verify_blob(digest, path, claims.described.get(digest).map_or(&[], Vec::as_slice), &mut one, &seen);
            one
        };
        let checked: Vec<_> = blobs.par_iter().map(check).collect();
        for one in checked {
            report.blobs += one.blobs;
            report.bytes += one.bytes;
            report.findings.extend(one.findings);
        }
    }

    fn verify_releases(&self, report: &mut VerifyReport, claims: &mut Claims) -> Result<(), StoreError> {
        for package in self.packages()? {
            for version in self.releases(&package)? {
                report.releases += 1;
                let path = self.layout().manifest(&package, &version);
                let stored = match self.stored_release(&package, &version) {
                    Ok(Some(stored)) => stored,
                    Ok(None) => continue,
                    Err(error) => {
                        report.add_error(&error, &path);
                        continue;
                    }
                };
                match serde_json::from_slice::<Release>(&stored.bytes) {
                    Ok(release) => {
                        verify_release(&release, (&package, &version), &path, report);
                        claims.add(release, &path, stored.origin.is_built());
                    }
                    Err(error) => report.add(&path, Problem::DamagedRecord, "a release manifest", error),
                }
            }
        }
        Ok(())
    }

    fn verify_placements(&self, report: &mut VerifyReport) -> Result<(), StoreError> {
        let folder = self.layout().placements();
        for path in list(&folder)?.iter().filter(|name| is_placement(name)).map(|name| folder.join(name)) {
            report.placements += 1;
            match record::read::<Placement>(&path) {
                Ok(Some(placement)) => {
                    let expected = placement.folder.to_str().map(|folder| self.layout().placement(folder));
                    if expected.as_ref() != Some(&path) {
                        report.add(&path, Problem::WrongName, expected.unwrap_or_default().display(), path.display());
                    }
                }
                Ok(None) => {}
                Err(error) => report.add_error(&error, &path),
            }
        }
        Ok(())
    }

    fn find_strays(&self, report: &mut VerifyReport) -> Result<(), StoreError> {
        let mut strays = |folder: PathBuf, expected: &str, known: &dyn Fn(&str) -> bool| -> Result<(), StoreError> {
            for name in list(&folder)? {
                if !name.to_str().is_some_and(known) && !is_atomic_temporary(&name) {
                    report.add(&folder.join(&name), Problem::StrayFile, expected, name.display());
                }
            }
            Ok(())
        };
        let is_shard =
            |name: &str| name.len() == 2 && name.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        strays(self.layout().blobs(), "a folder named by two hexadecimal digits", &is_shard)?;
        for shard in list(&self.layout().blobs())?.iter().filter_map(|name| name.to_str()).filter(|name| is_shard(name))
        {
            let belongs = |name: &str| name.parse::<Digest>().is_ok() && name.starts_with(shard);
            strays(self.layout().blobs().join(shard), "a file named by its sha256", &belongs)?;
        }
        strays(self.layout().releases(), "a folder named by a package", &|name| {
            name == ".lock" || name.parse::<PackageName>().is_ok()
        })?;
        for package in self.packages()? {
            let versions: BTreeSet<_> = self.releases(&package)?.into_iter().collect();
            let known = |name: &str| {
                manifest_version(name).is_some()
                    || origin_version(name).is_some_and(|version| versions.contains(&version))
            };
            strays(self.layout().package(&package), "manifests and their origins", &known)?;
        }
        let is_partial = |name: &str| Path::new(name).extension().is_some_and(|it| it == "part" || it == "ranges");
        strays(self.layout().partials(), "downloads under way", &is_partial)?;
        strays(self.layout().placements(), "placements", &|name| is_placement(OsStr::new(name)))
    }
}

impl Claims {
    fn add(&mut self, release: Release, path: &Path, built: bool) {
        for (digest, blob) in release.blobs {
            if built {
                self.built.entry(digest).or_insert_with(|| path.to_owned());
            }
            self.described.entry(digest).or_default().push((path.to_owned(), blob));
        }
    }
}

fn verify_release(release: &Release, name: (&PackageName, &semver::Version), path: &Path, report: &mut VerifyReport) {
    if (&release.package, &release.version) != name {
        let text = |(package, version): (&PackageName, &semver::Version)| format!("{package}@{version}");
        report.add(path, Problem::WrongName, text(name), text((&release.package, &release.version)));
    }
    for file in release.variants.iter().flat_map(|variant| &variant.files) {
        match release.blobs.get(&file.sha256) {
            Some(blob) if blob.size == file.size => {}
            Some(blob) => report.add(
                path,
                Problem::WrongDescription,
                format!("`{}` of {} bytes", file.path, blob.size),
                file.size,
            ),
            None => report.add(
                path,
                Problem::UnlistedBlob,
                format!("blob {} of `{}`", file.sha256, file.path),
                "no such blob",
            ),
        }
    }
    for (digest, blob) in &release.blobs {
        if let Err(error) = segments::check(blob) {
            report.add(path, Problem::WrongSegments, format!("segments that cover blob {digest}"), error);
        }
    }
}

fn verify_blob(
    digest: &Digest,
    path: &Path,
    described: &[(PathBuf, Blob)],
    report: &mut VerifyReport,
    seen: &(dyn Fn(u64) + Sync),
) {
    let hashed = match hash_file(path, seen) {
        Ok(hashed) => hashed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return report.add(path, Problem::Unreadable, "a readable file", error),
    };
    report.blobs += 1;
    report.bytes += hashed.size;
    if hashed.sha256 != *digest {
        let found = format!("sha256:{} of {} bytes", hashed.sha256, hashed.size);
        let size = described.first().map(|(_, blob)| format!(" of {} bytes", blob.size)).unwrap_or_default();
        return report.add(path, Problem::WrongContent, format!("sha256:{digest}{size}"), found);
    }
    for (manifest, blob) in described {
        if !blob.describes(&hashed) {
            let expected = format!("blob {digest} of {} bytes with BLAKE3 {}", hashed.size, hashed.blake3);
            let blake3 = blob.blake3.unwrap_or(hashed.blake3);
            report.add(
                manifest,
                Problem::WrongDescription,
                expected,
                format!("{} bytes with BLAKE3 {blake3}", blob.size),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{
        Cut, Segmentation,
        tests::{Home, built, damage, fetched, home, manifest, noise},
    };

    fn findings(home: &Home) -> Vec<(Problem, PathBuf)> {
        home.other()
            .verify(&|_, _| ())
            .unwrap()
            .findings
            .into_iter()
            .map(|finding| (finding.problem, finding.path))
            .collect()
    }

    /// A store with two releases, three blobs and a placement.
    fn filled() -> Home {
        let home = home();
        let cuts = vec![Cut { range: crate::base::ByteRange::new(64, 200).unwrap(), label: None }];
        let weights = home.store.put(&noise(1, 300), Segmentation::Cuts(cuts)).unwrap();
        let program = home.store.put(&noise(2, 70), Segmentation::Whole).unwrap();
        let empty = home.store.put(b"", Segmentation::Whole).unwrap();
        home.store.put_release(&manifest("a", "1.0.0", &[&weights, &program, &empty]), built()).unwrap();
        let digest = home.store.put_release(&manifest("b", "2.0.0", &[&program]), fetched()).unwrap();
        let placement = Placement {
            folder: home.folder.path().to_owned(),
            releases: vec![digest],
            held: None,
            body: serde_json::json!({ "n": 1 }),
        };
        home.store.put_placement(&placement).unwrap();
        home
    }

    fn truth(home: &Home) -> Vec<PathBuf> {
        let mut folders = vec![home.store.home().to_owned()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() { folders.push(entry.path()) } else { files.push(entry.path()) }
            }
        }
        files.retain(|path| path.parent() != Some(home.store.home()) && fs::metadata(path).unwrap().len() > 0);
        files.sort();
        files
    }

    #[test]
    fn a_sound_store_has_no_findings() {
        let home = filled();
        let last = AtomicU64::new(0);
        let progress = |done, total| {
            last.fetch_max(done, Ordering::Relaxed);
            assert_eq!(total, 370);
        };
        let report = home.store.verify(&progress).unwrap();
        assert_eq!(
            (report.blobs, report.bytes, report.releases, report.placements, report.findings),
            (3, 370, 2, 1, vec![])
        );
        assert_eq!(last.into_inner(), 370);
    }

    /// Changes the bytes of one file, verifies, and puts the bytes back.
    fn found_after(home: &Home, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let bytes = fs::read(path).unwrap();
        damage(path, change);
        let found = findings(home).iter().any(|(_, at)| at == path);
        damage(path, |damaged| *damaged = bytes);
        found
    }

    #[test]
    fn every_flipped_byte_of_every_file_is_found() {
        let home = filled();
        let files = truth(&home);
        assert_eq!(files.len(), 7, "{files:?}");
        for path in &files {
            for position in 0..fs::metadata(path).unwrap().len() as usize {
                let found = found_after(&home, path, |bytes| bytes[position] ^= 1 << (position % 8));
                assert!(found, "byte {position} of {}", path.display());
            }
        }
        assert_eq!(findings(&home), []);
    }

    #[test]
    fn every_lost_tail_is_found() {
        let home = filled();
        for path in truth(&home) {
            for length in (0..fs::metadata(&path).unwrap().len() as usize).step_by(11) {
                assert!(
                    found_after(&home, &path, |bytes| bytes.truncate(length)),
                    "{} cut to {length} bytes",
                    path.display()
                );
            }
        }
    }

    #[test]
    fn lost_blobs_matter_to_builds_and_not_to_fetches() {
        let home = filled();
        let blobs: Vec<_> = home.store.all_blobs().unwrap().into_iter().map(|(_, path)| path).collect();
        blobs.iter().for_each(|path| fs::remove_file(path).unwrap());
        assert_eq!(findings(&home), blobs.into_iter().map(|path| (Problem::MissingBlob, path)).collect::<Vec<_>>());
        home.store.remove_release(&"a".parse().unwrap(), &"1.0.0".parse().unwrap()).unwrap();
        assert_eq!(findings(&home), [], "what was fetched in part is whole enough");
    }

    #[test]
    fn wrong_names_and_strays_are_found() {
        let home = filled();
        let package = home.store.layout().package(&"b".parse().unwrap());
        fs::rename(package.join("2.0.0.json"), package.join("2.0.1.json")).unwrap();
        fs::rename(package.join("2.0.0~origin.json"), package.join("2.0.1~origin.json")).unwrap();
        let shard = home.store.all_blobs().unwrap()[0].1.parent().unwrap().to_owned();
        let strays = [
            home.store.layout().blobs().join("x"),
            shard.join("ab"),
            package.join("notes.txt"),
            home.store.layout().partials().join("x"),
        ];
        for stray in &strays {
            fs::create_dir_all(stray.parent().unwrap()).unwrap();
            fs::write(stray, "?").unwrap();
        }
        let mut expected: Vec<_> = strays.into_iter().map(|path| (Problem::StrayFile, path)).collect();
        expected.push((Problem::WrongName, package.join("2.0.1.json")));
        expected.sort_by(|left, right| left.1.cmp(&right.1));
        assert_eq!(findings(&home), expected);
    }

    #[test]
    fn manifests_that_describe_blobs_wrongly_are_found() {
        let home = filled();
        let mut stored = home.store.put(&noise(2, 70), Segmentation::Whole).unwrap();
        stored.blob.size = 71;
        home.store.put_release(&manifest("c", "1.0.0", &[&stored]), fetched()).unwrap();
        let mut cut = home.store.put(&noise(1, 300), Segmentation::Cuts(Vec::new())).unwrap();
        cut.blob.segments[0].length = 299;
        home.store.put_release(&manifest("d", "1.0.0", &[&cut]), fetched()).unwrap();
        let path = |package: &str| home.store.layout().manifest(&package.parse().unwrap(), &"1.0.0".parse().unwrap());
        assert_eq!(findings(&home), [(Problem::WrongDescription, path("c")), (Problem::WrongSegments, path("d"))]);
    }
}
