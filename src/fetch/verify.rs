//! Checking a placed folder byte for byte against its proof. Only looks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use rayon::prelude::*;
use serde::Serialize;

use super::{
    FetchError,
    layout::{PROOF_NAME, PlacedFile, Proof},
    scan::{HAS_EXECUTABLES, Scan, Stat},
    state::Journal,
};
use crate::{
    base::{Digest, FolderError, hash_file, limits::INDEX_BYTES, read_plain},
    store::Store,
};

/// What can be wrong with something in a placed folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlacedProblem {
    /// A file or folder that is not there.
    Missing,
    /// Something in a bundle that is not part of it.
    Extra,
    /// A file of another length.
    WrongSize,
    /// A file with other bytes.
    WrongContent,
    /// A file that is executable and should not be, or the other way round.
    WrongMode,
    /// A proof that is not as it was written.
    WrongProof,
    /// A file that cannot be read.
    Unreadable,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PlacedFinding {
    /// Path in the folder, with `/`.
    pub path: String,
    /// What is wrong.
    pub problem: PlacedProblem,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// What was looked at and found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct PlacedReport {
    /// Number of files that were hashed.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is wrong, in order of paths.
    pub findings: Vec<PlacedFinding>,
}

impl PlacedReport {
    fn add(&mut self, path: &str, problem: PlacedProblem, expected: impl ToString, found: impl ToString) {
        self.findings.push(PlacedFinding {
            path: path.to_owned(),
            problem,
            expected: expected.to_string(),
            found: found.to_string(),
        });
    }
}

/// Whether a folder has a proof in it, readable or not.
pub fn is_placed(folder: &Path) -> bool {
    fs::symlink_metadata(folder.join(PROOF_NAME)).is_ok_and(|metadata| !metadata.is_dir())
}

/// Hashes every file that the folder's proof names. Where the proof itself is damaged, the store may remember it.
///
/// # Errors
/// When the folder cannot be listed; files that cannot be read are findings.
pub fn verify_placed(store: &Store, folder: &Path) -> Result<PlacedReport, FetchError> {
    let folder = fs::canonicalize(folder).map_err(FetchError::io("resolve", folder))?;
    let mut report = PlacedReport::default();
    let path = folder.join(PROOF_NAME);
    let written = match read_plain(&path, INDEX_BYTES) {
        Err(FolderError::Io { action, path, source }) => return Err(FetchError::Io { action, path, source }),
        Err(error) => Err(error.to_string()),
        Ok(bytes) => Proof::parse(&bytes).ok_or_else(|| "something else".to_owned()),
    };
    if let Err(found) = &written {
        report.add(PROOF_NAME, PlacedProblem::WrongProof, "a proof with its checksum", found);
    }
    let remembered = || Journal::read(store, &folder)?.proof;
    let Some(proof) = written.ok().or_else(remembered) else { return Ok(report) };
    let names = proof.names().filter(|name| *name != PROOF_NAME);
    let scan = Scan::of(&folder, names).map_err(FetchError::io("look at", &folder))?;
    compare(&folder, &proof, &scan, &mut report);
    report.findings.sort();
    Ok(report)
}

fn compare(folder: &Path, proof: &Proof, scan: &Scan, report: &mut PlacedReport) {
    let (mut files, mut folders) = (BTreeMap::new(), BTreeSet::new());
    for entry in proof.entries().into_values() {
        files.extend(entry.files_with(|path| scan.files.contains_key(path)));
        folders.extend(entry.folders);
    }
    for missing in folders.iter().filter(|path| !scan.folders.contains(*path)) {
        report.add(missing, PlacedProblem::Missing, "a folder", "nothing");
    }
    for missing in files.iter().filter(|(path, _)| !scan.files.contains_key(*path)) {
        report.add(missing.0, PlacedProblem::Missing, named(&missing.1.sha256), "nothing");
    }
    let extra_files = scan.files.keys().filter(|path| !files.contains_key(*path));
    let extra_folders = scan.folders.iter().filter(|path| !folders.contains(*path));
    for extra in extra_files.chain(extra_folders).chain(&scan.others) {
        report.add(extra, PlacedProblem::Extra, "nothing", "something that was not placed");
    }
    let present: Vec<_> = files.iter().filter_map(|(path, file)| Some((path, file, scan.files.get(path)?))).collect();
    let checked: Vec<PlacedReport> =
        present.par_iter().map(|(path, file, stat)| compare_file(folder, path, file, stat)).collect();
    for one in checked {
        report.files += one.files;
        report.bytes += one.bytes;
        report.findings.extend(one.findings);
    }
}

fn compare_file(folder: &Path, path: &str, file: &PlacedFile, stat: &Stat) -> PlacedReport {
    let mut report = PlacedReport { files: 1, bytes: stat.size, findings: Vec::new() };
    if HAS_EXECUTABLES && stat.executable != file.executable {
        let shown = |executable| if executable { "executable" } else { "not executable" };
        report.add(path, PlacedProblem::WrongMode, shown(file.executable), shown(stat.executable));
    }
    if stat.size != file.size {
        report.add(path, PlacedProblem::WrongSize, bytes(file.size), bytes(stat.size));
        return report;
    }
    match hash_file(&folder.join(path), &|_| ()).map(|hashed| hashed.sha256) {
        Ok(found) if found == file.sha256 => {}
        Ok(found) => report.add(path, PlacedProblem::WrongContent, named(&file.sha256), named(&found)),
        Err(error) => report.add(path, PlacedProblem::Unreadable, named(&file.sha256), error),
    }
    report
}

fn named(digest: &Digest) -> String {
    format!("sha256:{digest}")
}

fn bytes(count: u64) -> String {
    format!("{count} bytes")
}
