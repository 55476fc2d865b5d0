//! Who holds what: begin and end of access to tags, counted per holder, and preservation priorities, as On-Demand
//! Resources have them.
//!
//! A pin holds the variants that it meant when it began, so that a later release of the same tag does not change what
//! is held.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    Store, StoreError,
    lock::{self, ExclusiveGuard},
    record,
};
use crate::base::{Digest, PackageName, Tag};

/// What is pinned, or has a priority: a tag, a package, or a tag of a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subject {
    /// The package; none: of every package.
    pub package: Option<PackageName>,
    /// The tag; none: the whole package.
    pub tag: Option<Tag>,
}

impl Subject {
    /// Whether a variant with these tags is meant.
    pub fn means(&self, package: &PackageName, tags: &BTreeSet<Tag>) -> bool {
        self.package.as_ref().is_none_or(|own| own == package) && self.tag.as_ref().is_none_or(|tag| tags.contains(tag))
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.package, &self.tag) {
            (Some(package), Some(tag)) => write!(f, "{package}:{tag}"),
            (Some(package), None) => write!(f, "{package}"),
            (None, tag) => f.write_str(tag.as_ref().map_or("everything", Tag::as_str)),
        }
    }
}

/// How much a tag is worth keeping, from 0 to 1 in thousandths; what has the lowest goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Priority(u16);

impl Priority {
    /// The priority of a number from 0 to 1.
    pub fn new(value: f64) -> Option<Self> {
        (0.0..=1.0).contains(&value).then(|| Self((value * 1000.0).round() as u16))
    }

    /// As a number from 0 to 1.
    pub fn value(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(500)
    }
}

/// A variant of a release.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VariantKey {
    /// The sha256 of the release manifest.
    pub release: Digest,
    /// The variant's id.
    pub variant: String,
}

/// One holder's access to one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// What is held.
    pub subject: Subject,
    /// How often access began without having ended.
    pub count: u64,
    /// The variants that are held.
    pub held: BTreeSet<VariantKey>,
}

/// Every pin and priority.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pins {
    /// Pins by holder.
    pub holders: BTreeMap<String, Vec<Pin>>,
    /// Priorities that differ from the default.
    pub priorities: Vec<(Subject, Priority)>,
}

impl Pins {
    /// Every variant that somebody holds.
    pub fn held(&self) -> BTreeSet<&VariantKey> {
        self.holders.values().flatten().flat_map(|pin| &pin.held).collect()
    }

    /// The highest priority that was given to something that means the variant, else the default.
    pub fn priority(&self, package: &PackageName, tags: &BTreeSet<Tag>) -> Priority {
        let given =
            self.priorities.iter().filter(|(subject, _)| subject.means(package, tags)).map(|(_, priority)| *priority);
        given.max().unwrap_or_default()
    }

    fn begin(&mut self, holder: &str, subject: &Subject, held: BTreeSet<VariantKey>) -> u64 {
        let pins = self.holders.entry(holder.to_owned()).or_default();
        match pins.iter_mut().find(|pin| pin.subject == *subject) {
            Some(pin) => {
                pin.count += 1;
                pin.held.extend(held);
                pin.count
            }
            None => {
                pins.push(Pin { subject: subject.clone(), count: 1, held });
                1
            }
        }
    }

    /// The count after the end of an access; `None` where there was none.
    fn end(&mut self, holder: &str, subject: &Subject) -> Option<u64> {
        let pins = self.holders.get_mut(holder)?;
        let at = pins.iter().position(|pin| pin.subject == *subject)?;
        pins[at].count -= 1;
        let count = pins[at].count;
        if count == 0 {
            pins.remove(at);
        }
        self.holders.retain(|_, pins| !pins.is_empty());
        Some(count)
    }

    fn set_priority(&mut self, subject: &Subject, priority: Priority) {
        self.priorities.retain(|(known, _)| known != subject);
        if priority != Priority::default() {
            self.priorities.push((subject.clone(), priority));
            self.priorities.sort();
        }
    }
}

impl Store {
    /// Every pin and priority.
    ///
    /// # Errors
    /// `DamagedRecord`, or what the file system says.
    pub fn pins(&self) -> Result<Pins, StoreError> {
        Ok(record::read(&self.layout().pins())?.unwrap_or_default())
    }

    /// Begins an access: until it ends, `gc` keeps these variants. Gives how many of this holder's are open now.
    ///
    /// # Errors
    /// As [`pins`](Self::pins).
    pub fn pin(&self, holder: &str, subject: &Subject, held: BTreeSet<VariantKey>) -> Result<u64, StoreError> {
        self.change_pins(|pins| pins.begin(holder, subject, held))
    }

    /// Ends an access. Gives how many of this holder's stay open; `None` where none was.
    ///
    /// # Errors
    /// As [`pins`](Self::pins).
    pub fn unpin(&self, holder: &str, subject: &Subject) -> Result<Option<u64>, StoreError> {
        self.change_pins(|pins| pins.end(holder, subject))
    }

    /// Says how much something is worth keeping.
    ///
    /// # Errors
    /// As [`pins`](Self::pins).
    pub fn set_priority(&self, subject: &Subject, priority: Priority) -> Result<(), StoreError> {
        self.change_pins(|pins| pins.set_priority(subject, priority))
    }

    fn change_pins<T>(&self, change: impl FnOnce(&mut Pins) -> T) -> Result<T, StoreError> {
        let _guard = self.writing()?;
        let _lock = self.lock_pins()?;
        let mut pins = self.pins()?;
        let result = change(&mut pins);
        record::write(&self.layout().pins(), &pins)?;
        Ok(result)
    }

    fn lock_pins(&self) -> Result<ExclusiveGuard, StoreError> {
        lock::exclusive(&self.layout().pins_lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::home;

    fn tag(tag: &str) -> Subject {
        Subject { package: None, tag: Some(tag.parse().unwrap()) }
    }

    fn key(variant: &str) -> VariantKey {
        VariantKey { release: Digest::of(b"r"), variant: variant.to_owned() }
    }

    #[test]
    fn accesses_are_counted_per_holder() {
        let home = home();
        let begin = |holder, variant| home.store.pin(holder, &tag("a"), [key(variant)].into()).unwrap();
        assert_eq!((begin("one", "x"), begin("one", "y"), begin("two", "x")), (1, 2, 1));
        assert_eq!(home.other().pins().unwrap().held().len(), 2);
        let end = |holder| home.store.unpin(holder, &tag("a")).unwrap();
        assert_eq!((end("one"), end("one"), end("one")), (Some(1), Some(0), None));
        let pins = home.store.pins().unwrap();
        assert_eq!((pins.held().into_iter().collect::<Vec<_>>(), pins.holders.len()), (vec![&key("x")], 1));
        assert_eq!((end("two"), home.store.unpin("two", &tag("b")).unwrap()), (Some(0), None));
        assert_eq!(home.store.pins().unwrap(), Pins::default());
    }

    #[test]
    fn the_highest_priority_counts() {
        let home = home();
        let package: PackageName = "tae".parse().unwrap();
        home.store.set_priority(&tag("a"), Priority::new(0.2).unwrap()).unwrap();
        home.store
            .set_priority(&Subject { package: Some(package.clone()), tag: None }, Priority::new(0.3).unwrap())
            .unwrap();
        let pins = home.store.pins().unwrap();
        let of = |package: &str, tags: &[&str]| {
            pins.priority(&package.parse().unwrap(), &tags.iter().map(|tag| tag.parse().unwrap()).collect())
        };
        assert_eq!([of("tae", &["a"]), of("x", &["a"]), of("x", &[])].map(Priority::value), [0.3, 0.2, 0.5]);
        home.store.set_priority(&tag("a"), Priority::default()).unwrap();
        assert_eq!(home.store.pins().unwrap().priorities.len(), 1);
        assert!(Priority::new(1.1).is_none() && Priority::new(f64::NAN).is_none());
    }
}
