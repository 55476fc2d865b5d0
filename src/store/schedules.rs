//! A model of the store under a budget, checked against the store over random schedules: what is held never goes, what
//! goes first is of the lowest priority and then least recently used, and nothing goes while everything fits.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::SystemTime,
};

use proptest::prelude::*;
use serde_json::json;

use super::{
    GcOptions, Placement, Priority, Segmentation, Subject, VariantKey,
    tests::{Home, fetched, home, noise},
};
use crate::base::{Digest, PackageName};

const PACKAGES: usize = 3;
const VARIANTS: usize = 3;
const TAGS: [&str; 2] = ["even", "odd"];

#[derive(Debug, Clone)]
enum Step {
    Fetch(usize, usize),
    Place(usize, usize),
    Unplace(usize),
    Pin(usize, usize),
    Unpin(usize, usize),
    Rank(usize, u16),
    Collect(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let unit = (0..PACKAGES, 0..VARIANTS);
    prop_oneof![
        3 => unit.clone().prop_map(|(package, variant)| Step::Fetch(package, variant)),
        2 => unit.prop_map(|(package, variant)| Step::Place(package, variant)),
        1 => (0..PACKAGES).prop_map(Step::Unplace),
        2 => (0..2usize, 0..2usize).prop_map(|(holder, tag)| Step::Pin(holder, tag)),
        2 => (0..2usize, 0..2usize).prop_map(|(holder, tag)| Step::Unpin(holder, tag)),
        1 => (0..2usize, 0..=10u16).prop_map(|(tag, tenths)| Step::Rank(tag, tenths * 100)),
        3 => (0..12_000u64).prop_map(Step::Collect),
    ]
}

/// A package and its variant, by number.
type Place = (usize, usize);

/// What the model knows of a variant.
#[derive(Debug, Clone, Default)]
struct Known {
    is_here: bool,
    used: u64,
}

/// The store as it should behave.
#[derive(Default)]
struct Model {
    clock: u64,
    variants: BTreeMap<(usize, usize), Known>,
    placed: BTreeMap<usize, usize>,
    /// By holder and tag: how often, and what.
    pins: BTreeMap<(usize, usize), (u64, BTreeSet<Place>)>,
    ranks: BTreeMap<usize, u16>,
}

/// A variant's own 1000 bytes, and 500 that its package's variants share.
fn contents(package: usize, variant: usize) -> [Vec<u8>; 2] {
    [noise((10 * package + variant) as u64, 1000), noise(1000 + package as u64, 500)]
}

fn id(package: usize, variant: usize) -> String {
    format!("p{package}-v{variant}")
}

fn name(package: usize) -> PackageName {
    format!("p{package}").parse().unwrap()
}

impl Model {
    fn holds(&self, unit: (usize, usize)) -> bool {
        self.placed.get(&unit.0) == Some(&unit.1) || self.pins.values().any(|(_, held)| held.contains(&unit))
    }

    fn bytes(&self, gone: &BTreeSet<(usize, usize)>) -> u64 {
        let here: Vec<_> = self
            .variants
            .iter()
            .filter(|(unit, known)| known.is_here && !gone.contains(unit))
            .map(|(unit, _)| unit)
            .collect();
        let packages: BTreeSet<usize> = here.iter().map(|(package, _)| *package).collect();
        1000 * here.len() as u64 + 500 * packages.len() as u64
    }

    /// What a budget should remove: written from the rule, one unit after another.
    fn evicted(&self, budget: u64) -> BTreeSet<(usize, usize)> {
        let mut gone = BTreeSet::new();
        while self.bytes(&gone) > budget {
            let loose = self
                .variants
                .iter()
                .filter(|(unit, known)| known.is_here && !gone.contains(*unit) && !self.holds(**unit));
            let rank = |unit: &(usize, usize)| self.ranks.get(&(unit.1 % 2)).copied().unwrap_or(500);
            let Some((first, _)) = loose.min_by_key(|(unit, known)| (rank(unit), known.used, **unit)) else { break };
            gone.insert(*first);
        }
        gone
    }
}

struct World {
    home: Home,
    releases: Vec<Digest>,
    model: Model,
}

impl World {
    fn new() -> Self {
        let home = home();
        let releases = (0..PACKAGES).map(|package| release(&home, package)).collect();
        Self { home, releases, model: Model::default() }
    }

    fn key(&self, (package, variant): (usize, usize)) -> VariantKey {
        VariantKey { release: self.releases[package], variant: id(package, variant) }
    }

    fn bring(&mut self, unit: (usize, usize)) {
        // A collection may have taken the manifest.
        release(&self.home, unit.0);
        contents(unit.0, unit.1)
            .iter()
            .for_each(|bytes| drop(self.home.store.put(bytes, Segmentation::Whole).unwrap()));
        self.use_now([unit].into());
        self.model.variants.get_mut(&unit).unwrap().is_here = true;
    }

    fn use_now(&mut self, units: BTreeSet<(usize, usize)>) {
        self.home.store.note_use(&units.iter().map(|unit| self.key(*unit)).collect()).unwrap();
        self.model.clock += 1;
        units.into_iter().for_each(|unit| self.model.variants.entry(unit).or_default().used = self.model.clock);
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Fetch(package, variant) => self.bring((package, variant)),
            Step::Place(package, variant) => self.place(package, variant),
            Step::Unplace(package) => {
                let _ = fs::remove_dir(self.home.folder.path().join(name(package).as_str()));
                self.model.placed.remove(&package);
            }
            Step::Pin(holder, tag) => self.pin(holder, tag),
            Step::Unpin(holder, tag) => self.unpin(holder, tag),
            Step::Rank(tag, thousandths) => {
                let priority = Priority::new(f64::from(thousandths) / 1000.0).unwrap();
                self.home.store.set_priority(&subject(tag), priority).unwrap();
                self.model.ranks.insert(tag, thousandths);
            }
            Step::Collect(budget) => self.collect(budget),
        }
    }

    fn place(&mut self, package: usize, variant: usize) {
        self.bring((package, variant));
        let folder = self.home.folder.path().join(name(package).as_str());
        fs::create_dir_all(&folder).unwrap();
        let held = Some(contents(package, variant).iter().map(|bytes| Digest::of(bytes)).collect());
        self.home
            .store
            .put_placement(&Placement { folder, releases: vec![self.releases[package]], held, body: 0 })
            .unwrap();
        self.model.placed.insert(package, variant);
    }

    /// Pins what is here of the tag.
    fn pin(&mut self, holder: usize, tag: usize) {
        let here = self.model.variants.iter().filter(|(unit, known)| known.is_here && unit.1 % 2 == tag);
        let units: BTreeSet<(usize, usize)> = here.map(|(unit, _)| *unit).collect();
        let keys = units.iter().map(|unit| self.key(*unit)).collect();
        let count = self.home.store.pin(&holder.to_string(), &subject(tag), keys).unwrap();
        let pin = self.model.pins.entry((holder, tag)).or_default();
        pin.0 += 1;
        pin.1.extend(units);
        assert_eq!(count, pin.0);
    }

    fn unpin(&mut self, holder: usize, tag: usize) {
        let count = self.home.store.unpin(&holder.to_string(), &subject(tag)).unwrap();
        let expected = self.model.pins.get_mut(&(holder, tag)).map(|pin| {
            pin.0 -= 1;
            pin.0
        });
        self.model.pins.retain(|_, pin| pin.0 > 0);
        assert_eq!(count, expected);
    }

    fn collect(&mut self, budget: u64) {
        let expected = self.model.evicted(budget);
        let plan = self.home.store.gc_plan(&GcOptions { now: SystemTime::UNIX_EPOCH, budget: Some(budget) }).unwrap();
        let found: BTreeSet<String> = plan.evicted.iter().map(|it| it.variant.clone()).collect();
        assert_eq!(found, expected.iter().map(|(package, variant)| id(*package, *variant)).collect());
        self.home.store.gc_run(&plan).unwrap();
        for unit in expected {
            *self.model.variants.get_mut(&unit).unwrap() = Known::default();
        }
        let bytes: u64 =
            self.home.store.all_blobs().unwrap().iter().map(|(_, path)| fs::metadata(path).unwrap().len()).sum();
        assert_eq!(bytes, self.model.bytes(&BTreeSet::new()));
    }

    fn check(&self) {
        for (unit, known) in &self.model.variants {
            let here =
                contents(unit.0, unit.1).iter().all(|bytes| self.home.store.blob_size(&Digest::of(bytes)).is_some());
            assert!(here || !known.is_here, "{unit:?} is gone");
        }
    }
}

fn subject(tag: usize) -> Subject {
    Subject { package: None, tag: Some(TAGS[tag].parse().unwrap()) }
}

fn release(home: &Home, package: usize) -> Digest {
    let blob = |bytes: &[u8]| (Digest::of(bytes).to_string(), json!({ "size": bytes.len() }));
    let file = |bytes: &Vec<u8>| json!({ "path": "x", "sha256": Digest::of(bytes), "size": bytes.len() });
    let variants: Vec<_> = (0..VARIANTS)
        .map(|variant| json!({ "id": id(package, variant), "tags": [TAGS[variant % 2]], "files": contents(package, variant).iter().map(file).collect::<Vec<_>>() }))
        .collect();
    let blobs: serde_json::Map<_, _> =
        (0..VARIANTS).flat_map(|variant| contents(package, variant)).map(|bytes| blob(&bytes)).collect();
    let manifest = json!({ "schema": "mlreg/release/1", "package": name(package), "version": "1.0.0", "variants": variants, "blobs": blobs });
    home.store.put_release(&serde_json::to_vec(&manifest).unwrap(), fetched()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_model_does(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
            world.check();
        }
    }
}
