//! Selection: resolves which variants of a release are wanted, and their names when placed.
//!
//! Selections of one kind are alternatives, different kinds narrow. With a deployment floor, the highest permitted
//! target among variants that differ only in their target is taken, under its name without target, so that paths in an
//! app stay the same when the floor rises.

use std::collections::BTreeMap;

use super::{
    glob::VariantGlob,
    release::{BundleKind, Delivery, Release, Variant},
};
use crate::base::{RelativePath, Tag, Target, meant, name_key, nearest};

/// How many ids a message lists.
const LISTED: usize = 20;

/// Criteria for variants of a release. An empty list selects all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Globs over ids and names.
    pub variants: Vec<VariantGlob>,
    /// Components.
    pub components: Vec<String>,
    /// Tags.
    pub tags: Vec<Tag>,
    /// Delivery categories.
    pub deliveries: Vec<Delivery>,
    /// The lowest OS that the app supports; `None` selects every target, under full ids.
    pub floor: Option<Target>,
    /// New name, without extension, by glob over ids and names; each matches exactly one of the chosen variants.
    pub rename: BTreeMap<String, VariantGlob>,
}

/// A chosen variant, and the path that it gets in the package's folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen<'r> {
    /// Its index in [`Release::variants`].
    pub index: usize,
    /// The variant.
    pub variant: &'r Variant,
    /// One component, with the extension of its kind, e.g. `decoder-768-float16.mlpackage`.
    pub path: RelativePath,
}

/// A selection that comes to nothing, or to too much.
#[allow(missing_docs, reason = "the messages name the fields")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// A glob without a match.
    #[error("`{glob}` matches no variant of the release: there {}", listing(ids))]
    Variant { glob: String, ids: Vec<String>, nearest: Vec<String> },
    /// A component that is not there.
    #[error("the release has no component `{component}`: there {}", listing(components))]
    Component { component: String, components: Vec<String> },
    /// A tag that is not there.
    #[error("the release has no tag `{tag}`: there {}", listing(tags))]
    Tag { tag: Tag, tags: Vec<String> },
    /// Kinds of selections that have nothing in common.
    #[error("no variant of the release is in all of the selections: there {}", listing(ids))]
    Nothing { ids: Vec<String> },
    /// Variants that need a later OS.
    #[error(
        "{} for {floor}: {}",
        plural(unfit, "a variant has no bundle", "variants have no bundle"),
        unfit_listing(unfit)
    )]
    Floor { floor: Target, unfit: Vec<(String, Vec<Target>)>, fits: Target },
    /// A new name that does not mean one variant.
    #[error("the new name `{name}` is for `{glob}`, which matches {} of the chosen variants: expected exactly one", matches.len())]
    Rename { name: String, glob: String, matches: Vec<String> },
    /// Two new names for one variant.
    #[error("the variant `{id}` gets two new names: `{first}` and `{second}`")]
    RenamedTwice { id: String, first: String, second: String },
    /// A new name that is no file name.
    #[error("`{name}` is not a safe file name")]
    Name { name: String },
    /// Two variants with one path.
    #[error("the variants `{first}` and `{second}` would both be placed as `{path}`")]
    Collision { first: String, second: String, path: String },
}

impl SelectError {
    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Variant { nearest, .. } if !nearest.is_empty() => {
                Some(format!("did you mean {}?", backticked(nearest).join(" or ")))
            }
            Self::Component { component: asked, components: known } => did_you_mean(asked, known),
            Self::Tag { tag, tags } => did_you_mean(tag.as_str(), tags),
            Self::Floor { fits, .. } => Some(format!("the floor {fits} fits; or select other variants")),
            Self::Rename { matches, .. } if matches.len() > 1 => {
                Some(format!("it matches {}", backticked(&matches[..matches.len().min(LISTED)]).join(", ")))
            }
            Self::Collision { .. } => Some("`rename` gives one of them another name".to_owned()),
            _ => None,
        }
    }
}

fn backticked(words: &[String]) -> Vec<String> {
    words.iter().map(|word| format!("`{word}`")).collect()
}

fn did_you_mean(asked: &str, known: &[String]) -> Option<String> {
    meant(asked, known.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`?"))
}

fn listing(words: &[String]) -> String {
    match words.len() {
        0 => "are none".to_owned(),
        1 => format!("is `{}`", words[0]),
        count if count <= LISTED => format!("are {}", backticked(words).join(", ")),
        count => format!("are {} and {} more", backticked(&words[..LISTED]).join(", "), count - LISTED),
    }
}

fn plural<T>(items: &[T], one: &str, many: &str) -> String {
    if items.len() == 1 { one.to_owned() } else { format!("{} {many}", items.len()) }
}

/// What there is for which targets, as a sentence.
pub fn unfit_listing(unfit: &[(String, Vec<Target>)]) -> String {
    let targets = |targets: &[Target]| targets.iter().map(|target| target.name()).collect::<Vec<_>>().join(", ");
    let mut texts: Vec<String> =
        unfit.iter().take(LISTED).map(|(name, found)| format!("`{name}` is there for {}", targets(found))).collect();
    if unfit.len() > LISTED {
        texts.push(format!("{} more", unfit.len() - LISTED));
    }
    texts.join("; ")
}

/// A variant and its index.
type Entry<'r> = (usize, &'r Variant);

/// Resolves a selection: the chosen variants in the order of the release. No two get one path, even where case does not
/// count.
///
/// # Errors
/// When a part of the selection matches nothing, when the floor is too low for a chosen name, and when two variants
/// would get one path.
pub fn select<'r>(release: &'r Release, selection: &Selection) -> Result<Vec<Chosen<'r>>, SelectError> {
    selection.check_each(release)?;
    let wanted: Vec<Entry<'r>> =
        release.variants.iter().enumerate().filter(|(_, variant)| selection.wants(variant)).collect();
    if wanted.is_empty() {
        return Err(SelectError::Nothing { ids: ids(release) });
    }
    let chosen = match selection.floor {
        Some(floor) => highest(&wanted, floor)?,
        None => wanted,
    };
    let names = selection.new_names(&chosen)?;
    place(chosen, &names, selection.floor.is_some())
}

/// Whether one of the alternatives holds, or there are none to choose from.
fn any<T>(alternatives: &[T], holds: impl Fn(&T) -> bool) -> bool {
    alternatives.is_empty() || alternatives.iter().any(holds)
}

fn ids(release: &Release) -> Vec<String> {
    release.variants.iter().map(|variant| variant.id.clone()).collect()
}

fn matches(glob: &VariantGlob, variant: &Variant) -> bool {
    glob.is_match(&variant.id) || glob.is_match(&variant.name)
}

impl Selection {
    /// Whether a variant is among what is wanted; floor and new names aside.
    pub fn wants(&self, variant: &Variant) -> bool {
        any(&self.variants, |glob| matches(glob, variant))
            && any(&self.components, |component| *component == variant.component)
            && any(&self.tags, |tag| variant.tags.contains(tag))
            && any(&self.deliveries, |delivery| *delivery == variant.delivery)
    }

    /// An alternative that means nothing is a mistake, even where another one means something.
    fn check_each(&self, release: &Release) -> Result<(), SelectError> {
        let variants = || release.variants.iter();
        if let Some(glob) = self.variants.iter().find(|glob| !variants().any(|variant| matches(glob, variant))) {
            let candidates = variants().flat_map(|variant| [variant.id.as_str(), variant.name.as_str()]);
            let nearest = nearest(glob.as_str(), candidates, 3).into_iter().map(str::to_owned).collect();
            return Err(SelectError::Variant { glob: glob.to_string(), ids: ids(release), nearest });
        }
        if let Some(component) =
            self.components.iter().find(|component| !variants().any(|variant| variant.component == **component))
        {
            let mut components: Vec<String> = variants().map(|variant| variant.component.clone()).collect();
            components.sort_unstable();
            components.dedup();
            return Err(SelectError::Component { component: component.clone(), components });
        }
        if let Some(tag) = self.tags.iter().find(|tag| !variants().any(|variant| variant.tags.contains(tag))) {
            let mut tags: Vec<String> =
                variants().flat_map(|variant| variant.tags.iter().map(Tag::to_string)).collect();
            tags.sort_unstable();
            tags.dedup();
            return Err(SelectError::Tag { tag: tag.clone(), tags });
        }
        Ok(())
    }

    /// New names by index of the variant.
    fn new_names(&self, chosen: &[Entry<'_>]) -> Result<BTreeMap<usize, &str>, SelectError> {
        let mut names = BTreeMap::new();
        for (name, glob) in &self.rename {
            let matching: Vec<&Entry<'_>> = chosen.iter().filter(|(_, variant)| matches(glob, variant)).collect();
            let [(index, variant)] = matching[..] else {
                let matches = matching.iter().map(|(_, variant)| variant.id.clone()).collect();
                return Err(SelectError::Rename { name: name.clone(), glob: glob.to_string(), matches });
            };
            if let Some(first) = names.insert(*index, name.as_str()) {
                return Err(SelectError::RenamedTwice {
                    id: variant.id.clone(),
                    first: first.to_owned(),
                    second: name.clone(),
                });
            }
        }
        Ok(names)
    }
}

/// Of the variants that differ in target alone, the highest that `floor` allows; those without a target always fit.
fn highest<'r>(wanted: &[Entry<'r>], floor: Target) -> Result<Vec<Entry<'r>>, SelectError> {
    let mut groups: BTreeMap<(&str, BundleKind), Vec<Entry<'r>>> = BTreeMap::new();
    for (index, variant) in wanted {
        groups.entry((&variant.name, variant.kind)).or_default().push((*index, *variant));
    }
    let mut best = Vec::new();
    let mut unfit = Vec::new();
    for ((name, _), group) in groups {
        let fitting = group.iter().filter(|(_, variant)| variant.target.is_none_or(|target| target <= floor));
        match fitting.max_by_key(|(_, variant)| variant.target) {
            Some(entry) => best.push(*entry),
            None => unfit.push((name.to_owned(), targets(&group))),
        }
    }
    best.sort_unstable_by_key(|(index, _)| *index);
    match unfit.iter().filter_map(|(_, targets)| targets.first().copied()).max() {
        Some(fits) => Err(SelectError::Floor { floor, unfit, fits }),
        None => Ok(best),
    }
}

/// What is wanted and needs some OS, by name with its targets: what there is to say to a floor that is older than all
/// of them.
pub fn offered(release: &Release, selection: &Selection) -> Vec<(String, Vec<Target>)> {
    let mut groups: BTreeMap<&str, Vec<Entry<'_>>> = BTreeMap::new();
    for entry in release.variants.iter().enumerate().filter(|(_, variant)| selection.wants(variant)) {
        groups.entry(&entry.1.name).or_default().push(entry);
    }
    let groups = groups.into_iter().map(|(name, group)| (name.to_owned(), targets(&group)));
    groups.filter(|(_, targets)| !targets.is_empty()).collect()
}

fn targets(group: &[Entry<'_>]) -> Vec<Target> {
    let mut targets: Vec<Target> = group.iter().filter_map(|(_, variant)| variant.target).collect();
    targets.sort_unstable();
    targets.dedup();
    targets
}

fn place<'r>(
    chosen: Vec<Entry<'r>>,
    names: &BTreeMap<usize, &str>,
    has_floor: bool,
) -> Result<Vec<Chosen<'r>>, SelectError> {
    let mut taken: BTreeMap<String, &str> = BTreeMap::new();
    let mut placed = Vec::new();
    for (index, variant) in chosen {
        let own = if has_floor { &variant.name } else { &variant.id };
        let (name, file) = match names.get(&index).copied() {
            Some(new) => (new, format!("{new}{}", variant.kind.extension())),
            None => (own.as_str(), variant.kind.file_name(own)),
        };
        let path = path_of(name, &file).ok_or_else(|| SelectError::Name { name: name.to_owned() })?;
        if let Some(first) = taken.insert(name_key(path.as_str()), &variant.id) {
            return Err(SelectError::Collision {
                first: first.to_owned(),
                second: variant.id.clone(),
                path: path.to_string(),
            });
        }
        placed.push(Chosen { index, variant, path });
    }
    Ok(placed)
}

/// Hidden names are the package folder's own.
fn path_of(name: &str, file: &str) -> Option<RelativePath> {
    let plain = !name.is_empty() && !name_key(name).starts_with('.') && !name.contains('/');
    plain.then(|| file.parse().ok())?
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        base::{Blake3, Digest},
        manifest::release::{Blob, FileEntry, SCHEMA},
    };

    const DIGEST: Digest = Digest::from_bytes([0; 32]);

    /// A variant of a decoder of that size.
    fn decoder(size: u32, target: Target) -> Variant {
        let name = format!("decoder-{size}-float16");
        Variant {
            id: format!("{name}-{}", target.id()),
            name,
            component: "decoder".to_owned(),
            target: Some(target),
            kind: BundleKind::MlPackage,
            axes: BTreeMap::new(),
            tags: BTreeSet::from([format!("s{size}").parse().unwrap()]),
            delivery: if size == 1024 { Delivery::Initial } else { Delivery::OnDemand },
            interface: None,
            compiled: None,
            files: vec![FileEntry { path: "x".parse().unwrap(), sha256: DIGEST, size: 1, executable: false }],
            folders: Vec::new(),
            other: serde_json::Map::new(),
        }
    }

    fn release(mut variants: Vec<Variant>) -> Release {
        variants.sort_by(|a, b| a.id.cmp(&b.id));
        variants.dedup_by(|a, b| a.id == b.id);
        Release {
            schema: SCHEMA.to_owned(),
            package: "tae".parse().unwrap(),
            version: semver::Version::new(1, 0, 0),
            description: None,
            license: None,
            sources: BTreeMap::new(),
            variants,
            blobs: BTreeMap::from([(
                DIGEST,
                Blob { size: 1, blake3: Some(Blake3::from_bytes([0; 32])), segments: Vec::new() },
            )]),
            other: serde_json::Map::new(),
        }
    }

    /// Decoders of two sizes for iOS15 and iOS18, one for iOS17 alone, and a tokenizer.
    fn sample() -> Release {
        use Target::{Ios15, Ios17, Ios18};
        let mut tokenizer = decoder(1, Ios15);
        tokenizer.id = "tokenizer".to_owned();
        tokenizer.name = "tokenizer".to_owned();
        tokenizer.component = "tokenizer".to_owned();
        tokenizer.target = None;
        tokenizer.kind = BundleKind::Files;
        let decoders = [(768, Ios15), (768, Ios18), (1024, Ios15), (1024, Ios18), (512, Ios17)];
        release(decoders.into_iter().map(|(size, target)| decoder(size, target)).chain([tokenizer]).collect())
    }

    fn globs(texts: &[&str]) -> Vec<VariantGlob> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn variants(texts: &[&str], floor: Option<Target>) -> Selection {
        Selection { variants: globs(texts), floor, ..Selection::default() }
    }

    /// `id > path` of everything chosen.
    fn chosen(selection: &Selection) -> Result<Vec<String>, SelectError> {
        let release = sample();
        let chosen = select(&release, selection)?;
        Ok(chosen.iter().map(|chosen| format!("{} > {}", chosen.variant.id, chosen.path)).collect())
    }

    fn error(selection: &Selection) -> (String, Option<String>) {
        let error = chosen(selection).unwrap_err();
        (error.to_string(), error.hint())
    }

    #[test]
    fn with_a_floor_the_highest_that_fits_under_its_name() {
        for (floor, expected) in
            [(Target::Ios15, "ios15"), (Target::Ios17, "ios15"), (Target::Ios18, "ios18"), (Target::Ios27, "ios18")]
        {
            assert_eq!(
                chosen(&variants(&["decoder-768-*", "tokenizer"], Some(floor))).unwrap(),
                [
                    format!("decoder-768-float16-{expected} > decoder-768-float16.mlpackage"),
                    "tokenizer > tokenizer".to_owned()
                ]
            );
        }
        assert_eq!(
            chosen(&variants(&["decoder-768-float16-ios15"], Some(Target::Ios18))).unwrap(),
            ["decoder-768-float16-ios15 > decoder-768-float16.mlpackage"],
            "a target that was asked for by id stays"
        );
    }

    #[test]
    fn without_a_floor_all_targets_under_their_ids() {
        assert_eq!(
            chosen(&variants(&["decoder-768-float16"], None)).unwrap(),
            [
                "decoder-768-float16-ios15 > decoder-768-float16-ios15.mlpackage",
                "decoder-768-float16-ios18 > decoder-768-float16-ios18.mlpackage"
            ]
        );
        assert_eq!(chosen(&Selection::default()).unwrap().len(), 6);
    }

    #[test]
    fn alternatives_within_a_kind_and_narrowing_between_kinds() {
        let mut selection = variants(&["decoder-768-*", "decoder-1024-*"], Some(Target::Ios18));
        assert_eq!(chosen(&selection).unwrap().len(), 2);
        selection.tags = vec!["s1024".parse().unwrap(), "s1".parse().unwrap()];
        assert_eq!(chosen(&selection).unwrap(), ["decoder-1024-float16-ios18 > decoder-1024-float16.mlpackage"]);
        selection.deliveries = vec![Delivery::Initial, Delivery::Prefetch];
        selection.components = vec!["decoder".to_owned()];
        assert_eq!(chosen(&selection).unwrap().len(), 1);
        selection.components = vec!["tokenizer".to_owned()];
        assert!(matches!(chosen(&selection), Err(SelectError::Nothing { .. })));
    }

    #[test]
    fn what_matches_nothing_is_named() {
        let (text, hint) = error(&variants(&["decoder-768-*", "decoder-769-float16-ios18"], None));
        assert_eq!(
            text,
            "`decoder-769-float16-ios18` matches no variant of the release: there are `decoder-1024-float16-ios15`, \
             `decoder-1024-float16-ios18`, `decoder-512-float16-ios17`, `decoder-768-float16-ios15`, `decoder-768-float16-ios18`, `tokenizer`"
        );
        assert!(hint.unwrap().starts_with("did you mean `decoder-768-float16-ios18` or "));
        let (text, hint) = error(&Selection { components: vec!["decodr".to_owned()], ..Selection::default() });
        assert_eq!(text, "the release has no component `decodr`: there are `decoder`, `tokenizer`");
        assert_eq!(hint.unwrap(), "did you mean `decoder`?");
        let (text, _) = error(&Selection { tags: vec!["big".parse().unwrap()], ..Selection::default() });
        assert_eq!(text, "the release has no tag `big`: there are `s1`, `s1024`, `s512`, `s768`");
    }

    #[test]
    fn long_lists_are_cut() {
        let many = release((1..=30).map(|size| decoder(size, Target::Ios15)).collect());
        let text = select(&many, &variants(&["x"], None)).unwrap_err().to_string();
        assert!(text.ends_with(" and 10 more"), "{text}");
        assert_eq!(text.matches('`').count(), 2 * 21, "{text}");
    }

    #[test]
    fn a_floor_that_is_too_low_says_which_would_do() {
        let (text, hint) = error(&variants(&["decoder-512-*"], Some(Target::Ios16)));
        assert_eq!(text, "a variant has no bundle for iOS16: `decoder-512-float16` is there for iOS17");
        assert_eq!(hint.unwrap(), "the floor iOS17 fits; or select other variants");
        let (text, _) = error(&variants(&["*-ios18", "decoder-512-*"], Some(Target::Ios16)));
        assert_eq!(
            text,
            "3 variants have no bundle for iOS16: `decoder-1024-float16` is there for iOS18; `decoder-512-float16` is \
             there for iOS17; \
             `decoder-768-float16` is there for iOS18"
        );
    }

    #[test]
    fn new_names() {
        let mut selection = variants(&["decoder-768-*", "decoder-1024-*"], Some(Target::Ios18));
        selection.rename.insert("Decoder768".to_owned(), "decoder-768-*".parse().unwrap());
        assert_eq!(chosen(&selection).unwrap()[1], "decoder-768-float16-ios18 > Decoder768.mlpackage");
        selection.rename.insert("Any".to_owned(), "decoder-*".parse().unwrap());
        let (text, hint) = error(&selection);
        assert_eq!(
            text,
            "the new name `Any` is for `decoder-*`, which matches 2 of the chosen variants: expected exactly one"
        );
        assert_eq!(hint.unwrap(), "it matches `decoder-1024-float16-ios18`, `decoder-768-float16-ios18`");
        selection.rename = BTreeMap::from([("decoder-1024-FLOAT16".to_owned(), "decoder-768-*".parse().unwrap())]);
        assert_eq!(
            error(&selection).0,
            "the variants `decoder-1024-float16-ios18` and `decoder-768-float16-ios18` would both be placed as \
             `decoder-1024-FLOAT16.mlpackage`"
        );
        for bad in ["../x", "a/b", "", ".hidden", "nul", "a\u{1b}", "a:b", "\u{200d}.x"] {
            selection.rename = BTreeMap::from([(bad.to_owned(), "decoder-768-*".parse().unwrap())]);
            assert!(matches!(chosen(&selection), Err(SelectError::Name { .. })), "{bad}");
        }
        selection.rename = BTreeMap::from(
            [("e\u{301}", "decoder-768-*"), ("\u{c9}", "decoder-1024-*")]
                .map(|(name, glob)| (name.to_owned(), glob.parse().unwrap())),
        );
        assert!(matches!(chosen(&selection), Err(SelectError::Collision { .. })), "one name on a Mac");
        selection.rename = BTreeMap::from(["A", "B"].map(|name| (name.to_owned(), "decoder-768-*".parse().unwrap())));
        assert_eq!(error(&selection).0, "the variant `decoder-768-float16-ios18` gets two new names: `A` and `B`");
    }

    fn target() -> impl Strategy<Value = Target> {
        prop::sample::select(Target::all().collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn one_best_variant_per_name(pairs in prop::collection::vec((1..5_u32, target()), 1..12), floor in target(), glob in "decoder-[1-4*]\\*") {
            let release = release(pairs.into_iter().map(|(size, target)| decoder(size, target)).collect());
            let selection = variants(&[&glob], Some(floor));
            let wanted: Vec<&Variant> = release.variants.iter().filter(|variant| selection.variants[0].is_match(&variant.id)).collect();
            let names: BTreeSet<&str> = wanted.iter().map(|variant| variant.name.as_str()).collect();
            let fitting = |name: &str| wanted.iter().filter(|variant| variant.name == name && variant.target <= Some(floor)).max_by_key(|v| v.target).copied();
            match select(&release, &selection) {
                Ok(chosen) => {
                    let found: Vec<&Variant> = chosen.iter().map(|chosen| chosen.variant).collect();
                    let mut expected: Vec<&Variant> = names.iter().map(|name| fitting(name).expect("an error otherwise")).collect();
                    expected.sort_by(|a, b| a.id.cmp(&b.id));
                    prop_assert_eq!(found, expected);
                    for chosen in &chosen {
                        prop_assert_eq!(chosen.path.as_str(), format!("{}.mlpackage", chosen.variant.name));
                        prop_assert_eq!(&release.variants[chosen.index], chosen.variant);
                    }
                }
                Err(SelectError::Variant { .. }) => prop_assert!(wanted.is_empty()),
                Err(SelectError::Floor { unfit, fits, .. }) => {
                    let expected: Vec<&str> = names.iter().copied().filter(|name| fitting(name).is_none()).collect();
                    prop_assert_eq!(unfit.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), expected);
                    prop_assert!(select(&release, &variants(&[&glob], Some(fits))).is_ok());
                    let lower = Target::all().take_while(|target| *target < fits).last();
                    prop_assert!(lower.is_none_or(|lower| select(&release, &variants(&[&glob], Some(lower))).is_err()));
                }
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
    }
}
