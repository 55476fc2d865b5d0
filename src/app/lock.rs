//! The lock, `mlreg.lock`: what was chosen, so that every machine gets the same bytes whoever serves them.
//!
//! One table for each package and one line for each variant, sorted, so that merges of two branches meet only where
//! both changed the same package. Variants stand under the deployment targets from which on they are chosen: what holds
//! for iOS15 holds up to the next target that is listed; `all` is what a build without any target gets.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

use semver::Version;

use crate::{
    base::{Digest, PackageName, Target},
    fetch::Wanted,
    manifest::{
        GlobError, ManifestError, Problem, SelectError,
        reader::{self, Item},
        release::Release,
        select,
    },
};

/// The name of a lock.
pub const LOCK_NAME: &str = "mlreg.lock";

const HEAD: &str = "\
# Written by mlreg; `mlreg update` moves it. Keep it under version control.
version = 1
";
const DIGEST: &str = "sha256:";
const ALL: &str = "all";

/// A parsed `mlreg.lock`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    /// What was chosen, by package.
    pub packages: BTreeMap<PackageName, LockedPackage>,
}

/// What was chosen of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedPackage {
    /// The version.
    pub version: Version,
    /// The sha256 of the release manifest, which fixes every byte.
    pub release: Digest,
    /// The source that named it, as the manifest names that.
    pub source: String,
    /// The commit of that source, where it has such.
    pub revision: Option<String>,
    /// Chosen variants by the target from which on they are chosen; under `None` those without any target.
    pub variants: BTreeMap<Option<Target>, BTreeSet<String>>,
}

/// A selection that comes to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ChoiceError {
    /// Text that is no glob.
    #[error(transparent)]
    Glob(#[from] GlobError),
    /// No variants.
    #[error(transparent)]
    Select(#[from] SelectError),
}

impl LockedPackage {
    /// What `wanted` means for a release, for every target; without a `floor` also for builds that name no target.
    ///
    /// # Errors
    /// When nothing is chosen for any target, or for the floor.
    pub fn new(
        release: &Release,
        digest: Digest,
        source: &str,
        wanted: &Wanted,
        floor: Option<Target>,
    ) -> Result<Self, ChoiceError> {
        let chosen = |floor| {
            let chosen = select(release, &wanted.selection(floor)?)?;
            Ok::<BTreeSet<String>, ChoiceError>(chosen.iter().map(|chosen| chosen.variant.id.clone()).collect())
        };
        let mut variants = BTreeMap::new();
        let mut last = None;
        for target in Target::all() {
            match chosen(Some(target)) {
                Ok(ids) if last.as_ref() == Some(&ids) => {}
                Ok(ids) => {
                    last = Some(ids.clone());
                    variants.insert(Some(target), ids);
                }
                // A later target may do.
                Err(ChoiceError::Select(SelectError::Floor { .. })) if Some(target) != Target::all().next_back() => {}
                Err(error) => return Err(error),
            }
        }
        let for_floor = chosen(floor)?;
        if floor.is_none() {
            variants.insert(None, for_floor);
        }
        Ok(Self {
            version: release.version.clone(),
            release: digest,
            source: source.to_owned(),
            revision: None,
            variants,
        })
    }

    /// The variants for a floor; none where the lock has nothing for it.
    pub fn variants_for(&self, floor: Option<Target>) -> Option<&BTreeSet<String>> {
        match floor {
            None => self.variants.get(&None),
            Some(_) => self.variants.range(Some(Target::Ios15)..=floor).next_back().map(|(_, ids)| ids),
        }
    }
}

impl Lock {
    /// Reads a lock; `file` is its name in messages.
    ///
    /// # Errors
    /// The first mistake, with line and column.
    pub fn parse(text: &str, file: &str) -> Result<Self, ManifestError> {
        let mut document = reader::parse(text, file, &["version", "package"])?;
        let version = document.need("version")?;
        if version.number(u32::MAX).ok() != Some(1) {
            return Err(version.unexpected("1, the version of locks that this mlreg reads"));
        }
        let packages = document.take("package").map(|item| item.names("`[package]`".to_owned())).transpose()?;
        let one = |item: Item<'_>| {
            let name = item.key.parse().map_err(|_| item.unexpected("a table named like a package"))?;
            Ok((name, package(item)?))
        };
        let packages = packages.map(reader::Table::rest).unwrap_or_default().into_iter().map(one);
        Ok(Self { packages: packages.collect::<Result<_, ManifestError>>()? })
    }

    /// The text of the lock: always the same for the same content.
    pub fn to_text(&self) -> String {
        let mut text = HEAD.to_owned();
        for (name, package) in &self.packages {
            let name = key(name.as_str());
            let LockedPackage { version, release, source, revision, variants } = package;
            // Writing to a string never fails.
            let _ = write!(
                text,
                "\n[package.{name}]\nversion = \"{version}\"\nrelease = \"{DIGEST}{release}\"\nsource = {}\n",
                quoted(source)
            );
            if let Some(revision) = revision {
                let _ = writeln!(text, "revision = {}", quoted(revision));
            }
            let _ = writeln!(text, "\n[package.{name}.variants]");
            for (target, ids) in variants {
                let lines: String = ids.iter().map(|id| format!("    {},\n", quoted(id))).collect();
                let _ = writeln!(text, "{} = [\n{lines}]", target.map_or(ALL, Target::name));
            }
        }
        text
    }
}

/// A key, quoted only where it has to be.
fn key(text: &str) -> String {
    if text.contains('.') { quoted(text) } else { text.to_owned() }
}

fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

fn package(item: Item<'_>) -> Result<LockedPackage, ManifestError> {
    let label = format!("`[package.{}]`", item.key);
    let mut table = item.table(label, &["version", "release", "source", "revision", "variants"])?;
    let digest =
        |text: &str| text.strip_prefix(DIGEST).and_then(|hex| hex.parse::<Digest>().ok()).ok_or("another form");
    let mut variants = BTreeMap::new();
    for item in table.need("variants")?.names("`variants`".to_owned())?.rest() {
        let unknown = |_| {
            item.key_error(Problem::Value {
                key: "variants".to_owned(),
                found: item.key.clone(),
                expected: "`all` or a deployment target".to_owned(),
                nearest: None,
            })
        };
        let target = if item.key == ALL { None } else { Some(item.key.parse().map_err(unknown)?) };
        let ids: Vec<String> = item
            .list("a list of variant ids")?
            .iter()
            .map(|id| id.text("a variant id").map(str::to_owned))
            .collect::<Result<_, _>>()?;
        variants.insert(target, ids.into_iter().collect());
    }
    Ok(LockedPackage {
        version: table.need("version")?.parsed("a semantic version such as \"1.0.0\"", Version::parse)?,
        release: table.need("release")?.parsed("`sha256:` and 64 hexadecimal digits", digest)?,
        source: table.need("source")?.text("the name of a source")?.to_owned(),
        revision: table.take("revision").map(|item| item.text("a revision").map(str::to_owned)).transpose()?,
        variants,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locked(version: &str, revision: Option<&str>) -> LockedPackage {
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        LockedPackage {
            version: version.parse().unwrap(),
            release: Digest::of(version.as_bytes()),
            source: "../a \"b\"".to_owned(),
            revision: revision.map(str::to_owned),
            variants: [
                (Some(Target::Ios15), ids(&["x-ios15"])),
                (Some(Target::Ios18), ids(&["x-ios18", "y-ios18"])),
                (None, ids(&["x-ios15"])),
            ]
            .into(),
        }
    }

    fn sample() -> Lock {
        Lock {
            packages: [
                ("tae".parse().unwrap(), locked("1.0.0", None)),
                ("exa-4.0".parse().unwrap(), locked("2.0.0-rc.1", Some("abc"))),
            ]
            .into(),
        }
    }

    #[test]
    fn locks_read_what_they_write() {
        let text = sample().to_text();
        assert_eq!(Lock::parse(&text, "mlreg.lock").unwrap(), sample(), "{text}");
        assert!(text.contains("\n[package.\"exa-4.0\"]\nversion = \"2.0.0-rc.1\"\nrelease = \"sha256:"), "{text}");
        assert!(text.contains("iOS18 = [\n    \"x-ios18\",\n    \"y-ios18\",\n]\n"), "{text}");
        assert!(text.find("exa-4.0") < text.find("package.tae"));
        assert_eq!(Lock::parse(&Lock::default().to_text(), "x").unwrap(), Lock::default());
    }

    #[test]
    fn a_target_gets_what_is_listed_for_the_nearest_below() {
        let package = locked("1.0.0", None);
        let first = |floor| package.variants_for(floor).and_then(|ids| ids.last().cloned());
        assert_eq!(first(Some(Target::Ios17)).as_deref(), Some("x-ios15"));
        assert_eq!(first(Some(Target::Ios27)).as_deref(), Some("y-ios18"));
        assert_eq!(first(None).as_deref(), Some("x-ios15"));
        let without = LockedPackage {
            variants: [(Some(Target::Ios18), BTreeSet::new()), (None, BTreeSet::new())].into(),
            ..package
        };
        assert_eq!(without.variants_for(Some(Target::Ios17)), None);
    }

    #[test]
    fn what_is_no_lock_says_where() {
        let error = |text: &str| Lock::parse(text, "mlreg.lock").unwrap_err().to_string();
        assert_eq!(
            error("version = 2"),
            "mlreg.lock:1:11: `version` is 2, expected 1, the version of locks that this mlreg reads"
        );
        let text = sample().to_text().replace("sha256:", "md5:");
        assert!(error(&text).starts_with("mlreg.lock:6:11: `release` is \"md5:"), "{}", error(&text));
        assert!(error(&format!("<<<<<<< ours\n{text}")).starts_with("mlreg.lock:1:"));
    }
}
