//! `[delivery]` and `[tags]`: globs over variant ids say when a variant is downloaded, and by which tags an app selects
//! it.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    error::{ManifestError, Problem},
    glob::{GlobError, VariantGlob},
    plan::VariantPlan,
    reader::{Item, Place, Table},
    release::Delivery,
};
use crate::base::{Tag, nearest};

/// Delivery and tags of one variant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment {
    /// When it is downloaded. `initial` wins over `prefetch`; on demand if no glob matches.
    pub delivery: Delivery,
    /// The tags that select it.
    pub tags: BTreeSet<Tag>,
}

/// A glob and its place in the file.
#[derive(Debug, Clone)]
struct PlacedGlob {
    glob: VariantGlob,
    place: Place,
}

/// The tables `[delivery]` and `[tags]`.
#[derive(Debug, Clone, Default)]
pub(super) struct Assignments {
    initial: Vec<PlacedGlob>,
    prefetch: Vec<PlacedGlob>,
    tags: BTreeMap<Tag, Vec<PlacedGlob>>,
}

impl Assignments {
    pub(super) fn parse(delivery: Option<Item<'_>>, tags: Option<Item<'_>>) -> Result<Self, ManifestError> {
        let mut delivery =
            delivery.map(|item| item.table("`[delivery]`".to_owned(), &["initial", "prefetch"])).transpose()?;
        let mut list =
            |key| delivery.as_mut().and_then(|table| table.take(key)).map_or(Ok(Vec::new()), |item| globs(&item));
        let (initial, prefetch) = (list("initial")?, list("prefetch")?);
        let tags = tags.map(|item| item.names("`[tags]`".to_owned())).transpose()?.map_or(Vec::new(), Table::rest);
        let tags = tags.iter().map(|item| Ok((tag(item)?, globs(item)?))).collect::<Result<_, ManifestError>>()?;
        Ok(Self { initial, prefetch, tags })
    }
}

fn tag(item: &Item<'_>) -> Result<Tag, ManifestError> {
    let expected = "1 to 64 characters of a-z, 0-9, `-`, `_` or `.`, starting with a letter or digit".to_owned();
    item.key.parse().map_err(|_| {
        let found = format!("\"{}\"", item.key.chars().take(80).collect::<String>());
        item.key_error(Problem::Value { key: "[tags]".to_owned(), found, expected, nearest: None })
    })
}

fn globs(item: &Item<'_>) -> Result<Vec<PlacedGlob>, ManifestError> {
    item.items()
        .iter()
        .map(|item| {
            let text = item.text("a glob over variant ids, or a list of them")?;
            let glob =
                text.parse().map_err(|glob: GlobError| item.error(Problem::Glob { key: item.key.clone(), glob }))?;
            Ok(PlacedGlob { glob, place: item.place() })
        })
        .collect()
}

impl Assignments {
    /// Delivery and tags of every variant, in the order of `plans`. `file` is the manifest's name in errors.
    ///
    /// # Errors
    /// When a glob matches no variant.
    pub(super) fn of(&self, plans: &[VariantPlan], file: &str) -> Result<Vec<Assignment>, ManifestError> {
        let mut assigned = vec![Assignment::default(); plans.len()];
        // `initial` comes last, so that it wins.
        for (key, globs, delivery) in
            [("prefetch", &self.prefetch, Delivery::Prefetch), ("initial", &self.initial, Delivery::Initial)]
        {
            for index in
                matching("delivery", key, globs, plans).map_err(|(place, problem)| place.error(file, problem))?
            {
                assigned[index].delivery = delivery;
            }
        }
        for (tag, globs) in &self.tags {
            for index in
                matching("tags", tag.as_str(), globs, plans).map_err(|(place, problem)| place.error(file, problem))?
            {
                assigned[index].tags.insert(tag.clone());
            }
        }
        Ok(assigned)
    }
}

/// Indices of the variants that one of the globs matches. The error has the place of a glob that matches none.
fn matching(
    table: &'static str,
    key: &str,
    globs: &[PlacedGlob],
    plans: &[VariantPlan],
) -> Result<BTreeSet<usize>, (Place, Problem)> {
    let mut matching = BTreeSet::new();
    for PlacedGlob { glob, place } in globs {
        let found: Vec<usize> = (0..plans.len()).filter(|index| glob.is_match(&plans[*index].id)).collect();
        if found.is_empty() {
            let nearest = nearest(glob.as_str(), plans.iter().map(|plan| plan.id.as_str()), 3)
                .into_iter()
                .map(str::to_owned)
                .collect();
            return Err((
                *place,
                Problem::MatchesNothing { table, key: key.to_owned(), glob: glob.to_string(), nearest },
            ));
        }
        matching.extend(found);
    }
    Ok(matching)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::PackageManifest;

    const HEAD: &str = "[package]\nname = \"x\"\nversion = \"1.0.0\"\n[[component]]\nname = \"decoder\"\ncheckpoint = \
         \"x\"\nsize = [7, 8, 9]\ntarget = \"iOS18\"\n";

    fn assign(text: &str) -> Result<Vec<String>, ManifestError> {
        let manifest = PackageManifest::parse(&format!("{HEAD}{text}"), "x.toml")?;
        let plans = manifest.variants()?;
        let shown = |(plan, assignment): (&VariantPlan, Assignment)| {
            let tags: Vec<&str> = assignment.tags.iter().map(Tag::as_str).collect();
            format!("{} {:?} {}", plan.id, assignment.delivery, tags.join(","))
        };
        Ok(plans.iter().zip(manifest.assign(&plans)?).map(shown).collect())
    }

    #[test]
    fn initial_wins_and_tags_add_up() {
        let text = "[delivery]\ninitial = \"decoder-8-*\"\nprefetch = [\"decoder-7-*\", \
             \"decoder-[78]-*\"]\n[tags]\nsmall = \"decoder-7-*\"\nall = [\"*\"]";
        assert_eq!(
            assign(text).unwrap(),
            [
                "decoder-7-float16-ios18 Prefetch all,small",
                "decoder-8-float16-ios18 Initial all",
                "decoder-9-float16-ios18 OnDemand all"
            ]
        );
        assert_eq!(assign("").unwrap()[0], "decoder-7-float16-ios18 OnDemand ");
    }

    #[test]
    fn globs_that_mean_nothing_are_named() {
        let error = assign("[delivery]\ninitial = [\"decoder-7-*\", \"decoder-7-float16-ios17\"]").unwrap_err();
        assert_eq!(
            error.to_string(),
            "x.toml:10:27: `initial` in `[delivery]`: `decoder-7-float16-ios17` matches no variant"
        );
        assert_eq!(
            error.hint().unwrap(),
            "did you mean `decoder-7-float16-ios18` or `decoder-8-float16-ios18` or `decoder-9-float16-ios18`?"
        );
        let error = assign("[tags]\nbig = \"encoder\"").unwrap_err();
        assert_eq!(error.to_string(), "x.toml:10:7: `big` in `[tags]`: `encoder` matches no variant");
        let error = assign("[tags]\nbig = \"[\"").unwrap_err();
        assert_eq!(error.to_string(), "x.toml:10:7: `big`: `[` is not a glob: unclosed character class; missing ']'");
        let error = assign("[tags]\nBig = \"*\"").unwrap_err();
        assert!(error.to_string().starts_with("x.toml:10:1: `[tags]` is \"Big\", expected"), "{error}");
        let error = assign("[delivery]\non-demand = \"*\"").unwrap_err();
        assert_eq!(error.to_string(), "x.toml:10:1: unknown key `on-demand` in `[delivery]`");
    }

    #[test]
    fn two_components_cannot_make_one_id() {
        let error = assign("[[component]]\nname = \"decoder-7\"\ncheckpoint = \"x\"\ntarget = \"iOS18\"").unwrap_err();
        assert_eq!(
            error.to_string(),
            "x.toml:9:1: a variant of component `decoder` and a variant of component `decoder-7` both get the id \
             `decoder-7-float16-ios18`"
        );
    }
}
