//! `pin` and `unpin`: begin and end of access to tags. What is pinned stays in the store, whatever the budget.
//!
//! In an app, tags are those of the releases that its lock names; elsewhere those of the highest version of every
//! package in the store.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Context, Error, app::locked_releases};
use crate::{
    base::{Digest, PackageName, Tag},
    manifest::{nearest, release::Release},
    store::{Priority, Subject, VariantKey},
};

/// What to pin or unpin.
#[derive(Debug, Clone, Default)]
pub struct PinOptions {
    /// Tags; none: whole packages.
    pub tags: Vec<Tag>,
    /// Packages; none: every one that has the tags.
    pub packages: Vec<PackageName>,
    /// Who holds it; none: the app's folder, or the user.
    pub holder: Option<String>,
    /// How much it is worth keeping, from now on.
    pub priority: Option<Priority>,
}

/// What is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PinReport {
    /// Who holds it.
    pub holder: String,
    /// In the order of the command line, or, of a list, of holders.
    pub pins: Vec<PinnedSubject>,
}

/// One access.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PinnedSubject {
    /// Who has it.
    pub holder: String,
    /// The tag, the package, or `package:tag`.
    pub subject: String,
    /// How many accesses are open.
    pub count: u64,
    /// How many variants are held.
    pub variants: u64,
    /// Bytes of them that are in the store.
    pub bytes: u64,
    /// Bytes of them that are not, and that a pin does not fetch.
    pub missing_bytes: u64,
}

/// Why something cannot be pinned or unpinned.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// Nothing of that name.
    #[error("no release of the store has `{subject}`")]
    Unknown {
        /// What was asked for.
        subject: Subject,
        /// Every tag and package that there is.
        known: Vec<String>,
    },
    /// An end without a beginning.
    #[error("`{subject}` is not pinned by `{holder}`")]
    NotPinned {
        /// What was asked for.
        subject: Subject,
        /// By whom.
        holder: String,
    },
}

impl PinError {
    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { subject, known } => {
                let asked = subject
                    .tag
                    .as_ref()
                    .map(Tag::as_str)
                    .or(subject.package.as_ref().map(PackageName::as_str))
                    .unwrap_or_default();
                let near = nearest(asked, known.iter().map(String::as_str), 1);
                Some(near.first().map_or_else(
                    || "fetch it first, e.g. `mlreg fetch --tag TAG`".to_owned(),
                    |near| format!("did you mean `{near}`?"),
                ))
            }
            Self::NotPinned { .. } => {
                Some("`mlreg pin` lists what is pinned, and by whom; `--holder` names another".to_owned())
            }
        }
    }
}

/// Begins access to tags or packages.
///
/// # Errors
/// `Unknown` where the store has nothing of that name; then nothing was pinned.
pub fn pin(context: &Context, options: &PinOptions) -> Result<PinReport, Error> {
    let store = context.store();
    let _guard = store.writing()?;
    let (holder, releases) = (holder(context, options), releases(context)?);
    let mut held = Vec::new();
    for subject in subjects(options) {
        let variants = meant(&subject, &releases);
        if variants.is_empty() {
            return Err(PinError::Unknown { subject, known: known(&releases) }.into());
        }
        held.push((subject, variants));
    }
    let mut pins = Vec::new();
    for (subject, variants) in held {
        let count = store.pin(&holder, &subject, variants.clone())?;
        store.note_use(&variants)?;
        options.priority.map(|priority| store.set_priority(&subject, priority)).transpose()?;
        pins.push(described(context, &releases, &holder, &subject, count, &variants));
    }
    Ok(PinReport { holder, pins })
}

/// Ends access to tags or packages.
///
/// # Errors
/// `NotPinned`.
pub fn unpin(context: &Context, options: &PinOptions) -> Result<PinReport, Error> {
    let store = context.store();
    let holder = holder(context, options);
    let pins = store.pins()?;
    let mut ended = Vec::new();
    for subject in subjects(options) {
        let own = pins.holders.get(&holder).and_then(|pins| pins.iter().find(|pin| pin.subject == subject));
        let Some(pin) = own else { return Err(PinError::NotPinned { subject, holder }.into()) };
        ended.push(pin.clone());
    }
    let releases = releases(context)?;
    let mut report = Vec::new();
    for pin in ended {
        let count = store.unpin(&holder, &pin.subject)?.unwrap_or(0);
        store.note_use(&pin.held)?;
        options.priority.map(|priority| store.set_priority(&pin.subject, priority)).transpose()?;
        report.push(described(context, &releases, &holder, &pin.subject, count, &pin.held));
    }
    Ok(PinReport { holder, pins: report })
}

/// Every pin of every holder.
///
/// # Errors
/// What the store says.
pub fn pins(context: &Context) -> Result<PinReport, Error> {
    let releases = releases(context)?;
    let pins = context.store().pins()?;
    let all = pins.holders.iter().flat_map(|(holder, pins)| pins.iter().map(move |pin| (holder, pin)));
    let pins =
        all.map(|(holder, pin)| described(context, &releases, holder, &pin.subject, pin.count, &pin.held)).collect();
    Ok(PinReport { holder: holder(context, &PinOptions::default()), pins })
}

/// Every combination of packages and tags.
fn subjects(options: &PinOptions) -> Vec<Subject> {
    let some = |packages: &[PackageName]| packages.iter().cloned().map(Some).collect::<Vec<_>>();
    let packages = if options.packages.is_empty() { vec![None] } else { some(&options.packages) };
    let tags: Vec<Option<Tag>> =
        if options.tags.is_empty() { vec![None] } else { options.tags.iter().cloned().map(Some).collect() };
    packages
        .iter()
        .flat_map(|package| tags.iter().map(|tag| Subject { package: package.clone(), tag: tag.clone() }))
        .collect()
}

fn holder(context: &Context, options: &PinOptions) -> String {
    let project = || super::app::project_folder(context.directory()).map(|root| root.display().to_string());
    options.holder.clone().or_else(project).unwrap_or_else(|| "user".to_owned())
}

/// The releases whose tags count: of the lock, or the highest of every package in the store. By digest.
fn releases(context: &Context) -> Result<BTreeMap<Digest, Release>, Error> {
    let store = context.store();
    let mut found = BTreeMap::new();
    let mut add = |package: &PackageName, version: &semver::Version| -> Result<(), Error> {
        if let Some((digest, bytes)) = store.release(package, version)? {
            found.extend(Release::parse(&bytes).ok().map(|release| (digest, release)));
        }
        Ok(())
    };
    match locked_releases(context.directory())? {
        Some(locked) => locked.iter().try_for_each(|(package, version)| add(package, version))?,
        None => {
            for package in store.packages()? {
                store.releases(&package)?.last().map(|version| add(&package, version)).transpose()?;
            }
        }
    }
    Ok(found)
}

fn meant(subject: &Subject, releases: &BTreeMap<Digest, Release>) -> BTreeSet<VariantKey> {
    let of = |(digest, release): (&Digest, &Release)| {
        let variants = release.variants.iter().filter(|variant| subject.means(&release.package, &variant.tags));
        variants.map(|variant| VariantKey { release: *digest, variant: variant.id.clone() }).collect::<Vec<_>>()
    };
    releases.iter().flat_map(of).collect()
}

fn known(releases: &BTreeMap<Digest, Release>) -> Vec<String> {
    let names = releases.values().map(|release| release.package.to_string());
    let tags =
        releases.values().flat_map(|release| &release.variants).flat_map(|variant| &variant.tags).map(Tag::to_string);
    names.chain(tags).collect::<BTreeSet<_>>().into_iter().collect()
}

fn described(
    context: &Context,
    releases: &BTreeMap<Digest, Release>,
    holder: &str,
    subject: &Subject,
    count: u64,
    held: &BTreeSet<VariantKey>,
) -> PinnedSubject {
    let variant = |key: &VariantKey| releases.get(&key.release).and_then(|release| release.variant(&key.variant));
    let blobs: BTreeMap<Digest, u64> = held
        .iter()
        .filter_map(variant)
        .flat_map(|variant| &variant.files)
        .map(|file| (file.sha256, file.size))
        .collect();
    let (mut bytes, mut missing_bytes) = (0u64, 0u64);
    for (digest, size) in blobs {
        let sum = if context.store().blob_size(&digest).is_some() { &mut bytes } else { &mut missing_bytes };
        *sum = sum.saturating_add(size);
    }
    PinnedSubject {
        holder: holder.to_owned(),
        subject: subject.to_string(),
        count,
        variants: held.len() as u64,
        bytes,
        missing_bytes,
    }
}
