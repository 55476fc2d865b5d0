//! Variants of a component: the product of its axes without excluded combinations. Refuses the first combination that
//! cannot be built.

use std::collections::HashSet;

use super::{
    axes::Axes,
    component::{Component, ComponentKind, Conversion, Exclusion},
    conflict::Conflict,
    error::{self, ManifestError, Problem},
    plan::{Content, VariantPlan},
    release::BundleKind,
};

/// Highest number of combinations of one component.
const LIMIT: usize = 10_000;

impl Component {
    /// Every variant, in the order of the lists in the manifest (the first axis of an id varies slowest). Empty for
    /// imports, which depend on files.
    ///
    /// # Errors
    /// When a combination cannot be built (the hint has the `exclude` line), an exclusion has no effect, or an id is no
    /// file name.
    pub fn variants(&self) -> Result<Vec<VariantPlan>, ManifestError> {
        let plans = match &self.kind {
            ComponentKind::Checkpoint(conversion) => self.converted(conversion)?,
            ComponentKind::Import(_) => Vec::new(),
            ComponentKind::Files(_) => {
                vec![VariantPlan::named(&self.name, vec![self.name.clone()], None, BundleKind::Files, Content::Files)]
            }
        };
        match plans.iter().find(|plan| !plan.is_file_name()) {
            Some(plan) => {
                Err(self.error(Problem::Id { component: self.name.clone(), id: plan.id.chars().take(300).collect() }))
            }
            None => Ok(plans),
        }
    }

    fn converted(&self, conversion: &Conversion) -> Result<Vec<VariantPlan>, ManifestError> {
        let all = self.combinations(conversion)?;
        if let Some(unused) =
            conversion.exclude.iter().find(|exclusion| !all.iter().any(|axes| exclusion.matches(axes)))
        {
            let entry = error::entry(unused.axes.iter().map(|(axis, values)| (*axis, values.as_slice())));
            return Err(
                self.error_at(Some(unused.place), Problem::ExcludesNothing { component: self.name.clone(), entry })
            );
        }
        let kept: Vec<Axes> = all
            .into_iter()
            .filter(|axes| !conversion.exclude.iter().any(|exclusion| exclusion.matches(axes)))
            .collect();
        if kept.is_empty() {
            return Err(self.error_at(
                conversion.places.get("exclude").copied(),
                Problem::NothingLeft { component: self.name.clone() },
            ));
        }
        if let Some(conflict) = kept.iter().find_map(|axes| Conflict::of(conversion, axes)) {
            return Err(self.impossible(conversion, conflict));
        }
        let kept = if conversion.multifunction { join_shapes(kept) } else { kept };
        Ok(kept.into_iter().map(|axes| VariantPlan::converted(&self.name, axes)).collect())
    }

    fn impossible(&self, conversion: &Conversion, conflict: Conflict) -> ManifestError {
        let place = conflict.axes.iter().find_map(|(axis, _)| conversion.places.get(axis.name()).copied());
        let Conflict { axes, reason, first_target } = conflict;
        self.error_at(place, Problem::Impossible { component: self.name.clone(), conflict: axes, reason, first_target })
    }

    /// The product of all lists, one shape each.
    fn combinations(&self, conversion: &Conversion) -> Result<Vec<Axes>, ManifestError> {
        let found = conversion.axes.count();
        if found > LIMIT as u128 {
            return Err(self.error(Problem::TooMany { component: self.name.clone(), found, limit: LIMIT }));
        }
        // Formats without a target come once, however many targets there are.
        let mut seen = HashSet::new();
        let combinations = conversion.axes.combinations(conversion.chunk).into_iter().map(Axes::resolved);
        Ok(combinations.filter(|axes| seen.insert(axes.clone())).collect())
    }
}

impl Exclusion {
    /// Whether `axes` has a listed value on every listed axis.
    pub fn matches(&self, axes: &Axes) -> bool {
        self.axes.iter().all(|(axis, values)| axes.value(*axis).is_some_and(|value| values.contains(&value)))
    }
}

/// Joins combinations that differ only in shape into one bundle, whose functions keep the order of the shapes.
fn join_shapes(combinations: Vec<Axes>) -> Vec<Axes> {
    let mut joined: Vec<Axes> = Vec::new();
    for axes in combinations {
        let same = |other: &&mut Axes| {
            Axes { shapes: Vec::new(), ..(**other).clone() } == Axes { shapes: Vec::new(), ..axes.clone() }
        };
        match joined.iter_mut().find(same) {
            Some(other) => other.shapes.extend(axes.shapes),
            None => joined.push(axes),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::manifest::PackageManifest;

    fn component(keys: &str) -> Component {
        let text = format!("[package]\nname = \"x\"\nversion = \"1.0.0\"\n[[component]]\n{keys}");
        PackageManifest::parse(&text, "x.toml").unwrap().components.remove(0)
    }

    fn ids(keys: &str) -> Vec<String> {
        component(keys).variants().unwrap().into_iter().map(|plan| plan.id).collect()
    }

    /// Text and hint.
    fn error(keys: &str) -> (String, Option<String>) {
        let error = component(keys).variants().unwrap_err();
        (error.to_string(), error.hint())
    }

    const DECODER: &str = "name = \"decoder\"\ncheckpoint = \"x\"\n";
    const LM: &str = "name = \"lm\"\ncheckpoint = \"x\"\n";

    #[test]
    fn ids_follow_the_contract() {
        for (start, keys, expected) in [
            (DECODER, "size = 768\ntarget = \"iOS18\"", &["decoder-768-float16-ios18"][..]),
            (
                DECODER,
                "size = [[768, 1024]]\nlayout = \"nhwc\"\ntarget = \"iOS15\"",
                &["decoder-768x1024-nhwc-float16-ios15"],
            ),
            (DECODER, "size = [[768, 768]]\ntarget = \"iOS18\"", &["decoder-768-float16-ios18"]),
            (DECODER, "size = 768\ntarget = \"iOS18\"\nformat = \"mlmodelc\"", &["decoder-768-float16-ios18-mlmodelc"]),
            (
                LM,
                "sequence = 64\ncontext = 2048\ncache = \"state\"\nlinear = \"conv\"\ncompress = \
                 \"palettize:4:group=16\"\ntarget = \"iOS18\"",
                &["lm-s64-c2048-conv-state-float16-palettize4-group16-ios18"],
            ),
            (DECODER, "target = \"iOS26\"", &["decoder-float16-ios26"]),
            (
                LM,
                "sequence = 128\nencoder-sequence = [128, 512]\ntarget = \"iOS15\"",
                &["lm-s128-float16-ios15", "lm-s128-e512-float16-ios15"],
            ),
            (
                LM,
                "sequence = 1\ncontext = 8\ncache = [\"none\", \"state\", \"inputs\"]\nlogits = \"last\"\ntarget = \
                 \"iOS18\"",
                &[
                    "lm-s1-c8-last-float16-ios18",
                    "lm-s1-c8-state-last-float16-ios18",
                    "lm-s1-c8-inputs-last-float16-ios18",
                ],
            ),
            (
                DECODER,
                "io-precision = [\"float32\", \"float16\"]\nprecision = [\"float16\", \"float32\"]\ntarget = \"iOS16\"",
                &[
                    "decoder-iofloat32-float16-ios16",
                    "decoder-float32-ios16",
                    "decoder-float16-ios16",
                    "decoder-iofloat16-float32-ios16",
                ],
            ),
            (
                DECODER,
                "io-precision = \"float32\"\ntarget = [\"iOS15\", \"iOS16\"]",
                &["decoder-float16-ios15", "decoder-iofloat32-float16-ios16"],
            ),
            (
                LM,
                "compress = [\"linear:int8\", \"linear:int4:block=32\", \"prune:0.5\"]\ntarget = \"iOS18\"",
                &["lm-float16-linear-int8-ios18", "lm-float16-linear-int4-block32-ios18", "lm-float16-prune50-ios18"],
            ),
            (
                DECODER,
                "size = [7, 8]\ntarget = [\"iOS15\", \"iOS18\"]",
                &[
                    "decoder-7-float16-ios15",
                    "decoder-7-float16-ios18",
                    "decoder-8-float16-ios15",
                    "decoder-8-float16-ios18",
                ],
            ),
            ("name = \"tokenizer\"\nfiles = \"tokenizer.json\"\n", "", &["tokenizer"]),
        ] {
            assert_eq!(ids(&format!("{start}{keys}")), expected, "{keys}");
        }
    }

    #[test]
    fn the_name_is_the_id_without_its_target() {
        let keys =
            format!("{DECODER}size = 768\ntarget = [\"iOS15\", \"iOS18\"]\nformat = [\"mlpackage\", \"mlmodelc\"]");
        let names: Vec<String> = component(&keys).variants().unwrap().into_iter().map(|plan| plan.name).collect();
        assert_eq!(names, ["decoder-768-float16", "decoder-768-float16-mlmodelc"].repeat(2));
    }

    #[test]
    fn formats_without_a_target_come_once() {
        let keys = format!("{DECODER}size = 768\ntarget = [\"iOS15\", \"iOS18\"]\nformat = [\"mlpackage\", \"onnx\"]");
        let plans = component(&keys).variants().unwrap();
        let ids: Vec<&str> = plans.iter().map(|plan| plan.id.as_str()).collect();
        assert_eq!(ids, ["decoder-768-float16-ios15", "decoder-768-float16-onnx", "decoder-768-float16-ios18"]);
        assert_eq!((plans[1].target, plans[1].kind), (None, BundleKind::Onnx));
        assert_eq!(self::ids(&format!("{DECODER}format = \"onnx\"")), ["decoder-float16-onnx"]);
    }

    #[test]
    fn multifunction_bundles_join_their_shapes() {
        let keys = format!(
            "{LM}sequence = [64, 1]\ncontext = 8\ncache = \"state\"\nmultifunction = true\ntarget = [\"iOS18\", \
             \"iOS26\"]"
        );
        let plans = component(&keys).variants().unwrap();
        let ids: Vec<&str> = plans.iter().map(|plan| plan.id.as_str()).collect();
        assert_eq!(ids, ["lm-s64-c8+s1-c8-state-float16-ios18", "lm-s64-c8+s1-c8-state-float16-ios26"]);
        assert_eq!(plans[0].axes_map()["sequence"], "64+1");
        let error = error(&format!("{DECODER}size = [7, 8]\nmultifunction = true\ntarget = [\"iOS15\", \"iOS18\"]"));
        assert_eq!(
            error.0,
            "x.toml:9:10: component `decoder`: `target = \"iOS15\"` cannot be built: `multifunction` bundles need iOS18"
        );
        assert_eq!(error.1.unwrap(), "`exclude = [{ target = \"iOS15\" }]` leaves it out; `target = \"iOS18\"` has it");
    }

    #[test]
    fn axes_that_fit_are_told() {
        let map = |keys: &str| {
            let plan = component(keys).variants().unwrap().remove(0);
            plan.axes_map().into_iter().map(|(axis, value)| format!("{axis}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            map(&format!("{DECODER}size = [[768, 1024]]\nlayout = \"nhwc\"\ntarget = \"iOS15\"")),
            "compression=none io-precision=float32 layout=nhwc precision=float16 size=768x1024"
        );
        assert_eq!(
            map(&format!("{LM}sequence = 64\ncompress = \"palettize:4:group=16\"\ntarget = \"iOS18\"")),
            "cache=none compression=palettize:4:group=16 encoder-sequence=64 io-precision=float16 linear=linear \
             logits=all precision=float16 \
             sequence=64"
        );
        assert_eq!(map("name = \"tokenizer\"\nfiles = \"x\""), "");
    }

    #[test]
    fn impossible_combinations_name_the_way_out() {
        let both = "target = [\"iOS15\", \"iOS18\"]";
        for (start, keys, message, hint) in [
            (
                DECODER,
                "compress = [\"none\", \"linear:int8\"]",
                "x.toml:7:12: component `decoder`: `compress = \"linear:int8\"` with `target = \"iOS15\"` cannot be \
                 built: 8 bit linear weights need iOS16",
                "`exclude = [{ compress = \"linear:int8\", target = \"iOS15\" }]` leaves it out; `target = \"iOS16\"` \
                 has it",
            ),
            (
                DECODER,
                "compress = \"palettize:2:group=16\"",
                "x.toml:7:12: component `decoder`: `compress = \"palettize:2:group=16\"` with `target = \"iOS15\"` \
                 cannot be built: \
                 2 bit palettized weights per group of channels need iOS18",
                "`exclude = [{ compress = \"palettize:2:group=16\", target = \"iOS15\" }]` leaves it out; `target = \
                 \"iOS18\"` has it",
            ),
            (
                DECODER,
                "io-precision = \"float16\"",
                "x.toml:7:16: component `decoder`: `io-precision = \"float16\"` with `target = \"iOS15\"` cannot be \
                 built: \
                 float16 inputs and outputs need iOS16",
                "`exclude = [{ io-precision = \"float16\", target = \"iOS15\" }]` leaves it out; `target = \"iOS16\"` \
                 has it",
            ),
            (
                LM,
                "cache = \"state\"\ncontext = 8",
                "x.toml:7:9: component `lm`: `cache = \"state\"` with `target = \"iOS15\"` cannot be built: states \
                 need iOS18",
                "`exclude = [{ cache = \"state\", target = \"iOS15\" }]` leaves it out; `target = \"iOS18\"` has it",
            ),
            (
                LM,
                "attention = \"fused\"",
                "x.toml:8:10: component `lm`: `target = \"iOS15\"` cannot be built: fused attention operators need \
                 iOS18",
                "`exclude = [{ target = \"iOS15\" }]` leaves it out; `target = \"iOS18\"` has it",
            ),
        ] {
            let (found, found_hint) = error(&format!("{start}{keys}\n{both}"));
            assert_eq!(found, message);
            assert_eq!(found_hint.unwrap(), hint);
            // The way out is one: with the line that the hint prints, the rest can be built.
            let line = hint.split('`').nth(1).unwrap();
            assert!(!ids(&format!("{start}{keys}\n{both}\n{line}")).is_empty(), "{line}");
        }
        let states = error(&format!("{LM}cache = \"state\"\ncontext = 8\nformat = \"onnx\""));
        assert_eq!(
            states.0,
            "x.toml:7:9: component `lm`: `cache = \"state\"` with `format = \"onnx\"` cannot be built: only Core ML \
             has states"
        );
        assert_eq!(states.1.unwrap(), "`exclude = [{ cache = \"state\", format = \"onnx\" }]` leaves it out");
        let error = error(&format!("{DECODER}target = \"iOS27\""));
        assert_eq!(
            error.0,
            "x.toml:7:10: component `decoder`: `target = \"iOS27\"` cannot be built: no Core ML operator set is known \
             for iOS27"
        );
    }

    #[test]
    fn exclusions_leave_out_and_have_an_effect() {
        let axes = "size = [7, [7, 8]]\nprecision = [\"float16\", \"float32\"]\ntarget = \"iOS18\"\n";
        let with = |exclude: &str| format!("{DECODER}{axes}exclude = {exclude}");
        assert_eq!(ids(&with("[{ size = [[7, 8]], precision = \"float32\" }]")).len(), 3);
        assert_eq!(ids(&with("[{ size = 7 }, { precision = \"float32\" }]")), ["decoder-7x8-float16-ios18"]);
        assert_eq!(
            error(&with("[{ size = 7 }, { size = [[8, 7]], target = [\"iOS18\", \"iOS17\"] }]")).0,
            "x.toml:10:26: component `decoder`: `exclude` has { size = [[8, 7]], target = [\"iOS18\", \"iOS17\"] }, \
             which matches no combination"
        );
        assert_eq!(
            error(&with("[{ target = \"iOS18\" }]")).0,
            "x.toml:10:11: component `decoder`: `exclude` leaves no combination"
        );
    }

    #[test]
    fn too_many_and_too_long() {
        let list = |count: usize| (1..=count).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
        let keys =
            format!("{LM}sequence = [{}]\ncontext = [{}]\ncache = \"inputs\"\ntarget = \"iOS18\"", list(200), list(51));
        assert_eq!(error(&keys).0, "x.toml:4:1: component `lm` has 10200 combinations: expected at most 10000");
        let keys = format!("{LM}sequence = [{}]\ntarget = \"iOS18\"\nmultifunction = true", list(100));
        assert!(error(&keys).0.ends_with("cannot be a file name"), "{}", error(&keys).0);
    }

    fn some(values: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
        prop::sample::subsequence(values, 1..=values.len())
    }

    proptest! {
        #[test]
        fn an_id_never_changes_because_another_value_joins(
            sizes in some(&["7", "[7, 8]", "9"]),
            layouts in some(&["\"nchw\"", "\"nhwc\""]),
            precisions in some(&["\"float16\"", "\"float32\""]),
            compressions in some(&["\"none\"", "\"palettize:4\"", "\"prune:0.5\""]),
            targets in some(&["\"iOS16\"", "\"iOS18\""]),
            formats in some(&["\"mlpackage\"", "\"mlmodelc\"", "\"onnx\""]),
        ) {
            let keys = |lists: [&[&str]; 6]| {
                let axes = ["size", "layout", "precision", "compress", "target", "format"];
                let lines = axes.iter().zip(lists).map(|(axis, values)| format!("{axis} = [{}]\n", values.join(", ")));
                format!("{DECODER}{}", lines.collect::<String>())
            };
            let all = ids(&keys([&sizes, &layouts, &precisions, &compressions, &targets, &formats]));
            prop_assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
            let mut alone = Vec::new();
            for format in &formats {
                for target in &targets {
                    alone.extend(ids(&keys([&sizes, &layouts, &precisions, &compressions, &[target], &[format]])));
                }
            }
            alone.sort_unstable();
            alone.dedup();
            let mut all = all;
            all.sort_unstable();
            prop_assert_eq!(all, alone);
        }
    }
}
