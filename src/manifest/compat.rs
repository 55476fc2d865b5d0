//! Breaking changes between two releases of a package: removed variants, raised deployment floors, removed tags, and
//! every difference in the inputs, outputs, states and functions that an app gets at one floor. Bytes may change.
//!
//! The order of features counts as well, because initializers of the classes that Xcode generates follow it.

use crate::contract::{Feature, Interface};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use semver::Version;

use super::release::{BundleKind, Release, Variant};
use crate::base::{Tag, Target};

/// A difference that needs a new major version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Breaking {
    /// The later release has no variant of that id.
    Vanished {
        /// Its id.
        variant: String,
    },
    /// The oldest systems no longer get a bundle.
    FloorRaised {
        /// The name that apps see.
        name: String,
        /// The lowest target before.
        from: Target,
        /// The lowest target now.
        to: Target,
    },
    /// No variant has the tag any more.
    TagVanished {
        /// The tag.
        tag: Tag,
    },
    /// A variant belongs to another component.
    Component {
        /// Its id.
        variant: String,
        /// The component before.
        from: String,
        /// The component now.
        to: String,
    },
    /// An app gets another interface at one floor.
    Interface {
        /// The id of the variant that an app has got so far.
        variant: String,
        /// The id of what it would get.
        successor: String,
        /// The function; none: the model itself.
        function: Option<String>,
        /// What differs.
        change: Change,
    },
}

/// A difference between two interfaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// A feature was removed, added or changed.
    Feature {
        /// `input`, `output` or `state`.
        role: &'static str,
        /// As it was; none: it is new.
        from: Option<String>,
        /// As it is; none: it is gone.
        to: Option<String>,
    },
    /// The same features in another order.
    Order {
        /// `input`, `output` or `state`.
        role: &'static str,
    },
    /// A function was removed or added.
    Function {
        /// Its name.
        name: String,
        /// Whether it is new.
        is_new: bool,
    },
    /// Another default function.
    DefaultFunction {
        /// Before.
        from: Option<String>,
        /// Now.
        to: Option<String>,
    },
    /// Nothing is known about the interface any more.
    Unknown,
}

impl fmt::Display for Breaking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vanished { variant } => write!(f, "the variant `{variant}` is gone"),
            Self::FloorRaised { name, from, to } => write!(f, "`{name}` needs {to}, before {from}"),
            Self::TagVanished { tag } => write!(f, "the tag `{tag}` is gone"),
            Self::Component { variant, from, to } => write!(f, "`{variant}` belongs to `{to}`, before to `{from}`"),
            Self::Interface { variant, successor, function, change } => {
                write!(f, "`{variant}`")?;
                if variant != successor {
                    write!(f, " becomes `{successor}`")?;
                }
                function.iter().try_for_each(|function| write!(f, ", function `{function}`"))?;
                write!(f, ": {change}")
            }
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Feature { role, from: Some(from), to: Some(to) } => write!(f, "{role} `{from}` becomes `{to}`"),
            Self::Feature { role, from: Some(from), to: None } => write!(f, "{role} `{from}` is gone"),
            Self::Feature { role, to, .. } => write!(f, "{role} `{}` is new", to.as_deref().unwrap_or_default()),
            Self::Order { role } => write!(f, "the order of {role}s is another one"),
            Self::Function { name, is_new } => {
                write!(f, "function `{name}` is {}", if *is_new { "new" } else { "gone" })
            }
            Self::DefaultFunction { from, to } => {
                let shown =
                    |name: &Option<String>| name.as_ref().map_or_else(|| "none".to_owned(), |name| format!("`{name}`"));
                write!(f, "the default function is {}, before {}", shown(to), shown(from))
            }
            Self::Unknown => f.write_str("its inputs and outputs are not known any more"),
        }
    }
}

/// Whether an update may break apps, as cargo counts versions: another major version, or another minor one below 1.0.
/// Pre-releases promise nothing.
pub fn may_break(from: &Version, to: &Version) -> bool {
    let promise = |version: &Version| match (version.major, version.minor) {
        (0, 0) => (0, 0, version.patch),
        (0, minor) => (0, minor, 0),
        (major, _) => (major, 0, 0),
    };
    !to.pre.is_empty() || promise(from) != promise(to)
}

/// All breaking changes from one release to another, sorted.
pub fn breaking_changes(from: &Release, to: &Release) -> Vec<Breaking> {
    let mut found = BTreeSet::new();
    let (old, new) = (groups(from), groups(to));
    let ids: BTreeSet<(&str, BundleKind)> =
        to.variants.iter().map(|variant| (variant.id.as_str(), variant.kind)).collect();
    for (key, variants) in &old {
        let successors = new.get(key).map(Vec::as_slice).unwrap_or_default();
        let raised = raised(variants, successors);
        found.extend(raised.map(|(from, to)| Breaking::FloorRaised { name: key.0.to_owned(), from, to }));
        let gone = variants.iter().filter(|variant| !ids.contains(&(variant.id.as_str(), variant.kind)));
        // Variants below a raised floor are gone because of it.
        let explained = |variant: &Variant| raised.is_some_and(|(_, to)| variant.target < Some(to));
        found.extend(
            gone.filter(|variant| !explained(variant))
                .map(|variant| Breaking::Vanished { variant: variant.id.clone() }),
        );
        if raised.is_none() {
            found.extend(variants.iter().filter_map(|variant| later(variant, successors)));
        }
        for floor in Target::all() {
            if let (Some(variant), Some(successor)) = (best(variants, floor), best(successors, floor)) {
                compare(variant, successor, &mut found);
            }
        }
    }
    let tags =
        |release: &Release| release.variants.iter().flat_map(|variant| variant.tags.clone()).collect::<BTreeSet<Tag>>();
    found.extend(tags(from).difference(&tags(to)).map(|tag| Breaking::TagVanished { tag: tag.clone() }));
    found.into_iter().collect()
}

/// Groups variants that differ only in their target.
fn groups(release: &Release) -> BTreeMap<(&str, BundleKind), Vec<&Variant>> {
    let mut groups: BTreeMap<_, Vec<&Variant>> = BTreeMap::new();
    release
        .variants
        .iter()
        .for_each(|variant| groups.entry((variant.name.as_str(), variant.kind)).or_default().push(variant));
    groups
}

/// The variant that an app with this floor gets.
fn best<'r>(variants: &[&'r Variant], floor: Target) -> Option<&'r Variant> {
    let fitting = variants.iter().filter(|variant| variant.target.is_none_or(|target| target <= floor));
    fitting.max_by_key(|variant| variant.target).copied()
}

/// The lowest targets before and now, where the bundle is still there and the floor is higher.
fn raised(old: &[&Variant], new: &[&Variant]) -> Option<(Target, Target)> {
    let lowest = |variants: &[&Variant]| variants.iter().map(|variant| variant.target).min();
    let (from, to) = (lowest(old)?, lowest(new)??);
    let from = from.or_else(|| Target::all().next())?;
    (to > from).then_some((from, to))
}

/// A variant that keeps its id and needs a later system.
fn later(variant: &Variant, successors: &[&Variant]) -> Option<Breaking> {
    let same = successors.iter().find(|successor| successor.id == variant.id)?;
    let from = variant.target.or_else(|| Target::all().next())?;
    let to = same.target.filter(|to| *to > from)?;
    Some(Breaking::FloorRaised { name: variant.id.clone(), from, to })
}

fn compare(variant: &Variant, successor: &Variant, found: &mut BTreeSet<Breaking>) {
    if variant.component != successor.component {
        let (from, to) = (variant.component.clone(), successor.component.clone());
        found.insert(Breaking::Component { variant: variant.id.clone(), from, to });
    }
    let Some(before) = &variant.interface else { return };
    let mut changes = Vec::new();
    match &successor.interface {
        None => changes.push((None, Change::Unknown)),
        Some(now) => interfaces(before, now, None, &mut changes),
    }
    let named = |(function, change)| Breaking::Interface {
        variant: variant.id.clone(),
        successor: successor.id.clone(),
        function,
        change,
    };
    found.extend(changes.into_iter().map(named));
}

fn interfaces(from: &Interface, to: &Interface, function: Option<&str>, changes: &mut Vec<(Option<String>, Change)>) {
    let here = |change| (function.map(str::to_owned), change);
    for (role, from, to) in [
        ("input", &from.inputs, &to.inputs),
        ("output", &from.outputs, &to.outputs),
        ("state", &from.states, &to.states),
    ] {
        changes.extend(features(role, from, to).into_iter().map(here));
    }
    if from.default_function != to.default_function {
        changes.push(here(Change::DefaultFunction {
            from: from.default_function.clone(),
            to: to.default_function.clone(),
        }));
    }
    for (name, before) in &from.functions {
        match to.functions.get(name) {
            Some(now) => interfaces(before, now, Some(name), changes),
            None => changes.push(here(Change::Function { name: name.clone(), is_new: false })),
        }
    }
    let new = to.functions.keys().filter(|name| !from.functions.contains_key(*name));
    changes.extend(new.map(|name| here(Change::Function { name: name.clone(), is_new: true })));
}

fn features(role: &'static str, from: &[Feature], to: &[Feature]) -> Vec<Change> {
    if from == to {
        return Vec::new();
    }
    let find = |features: &[Feature], name: &str| features.iter().find(|feature| feature.name == name).cloned();
    let mut changes = Vec::new();
    for before in from {
        let now = find(to, &before.name);
        if !now.as_ref().is_some_and(|now| is_same(before, now)) {
            changes.push(Change::Feature { role, from: Some(before.to_string()), to: now.map(|now| now.to_string()) });
        }
    }
    let new = to.iter().filter(|feature| find(from, &feature.name).is_none());
    changes.extend(new.map(|feature| Change::Feature { role, from: None, to: Some(feature.to_string()) }));
    let names = |features: &[Feature]| features.iter().map(|feature| feature.name.clone()).collect::<Vec<_>>();
    changes.extend((changes.is_empty() && names(from) != names(to)).then_some(Change::Order { role }));
    changes
}

/// Whether a feature is what it was. Releases of older versions of mlreg record neither color spaces nor defaults.
fn is_same(before: &Feature, now: &Feature) -> bool {
    let recorded = |before: &Option<String>, now: &Option<String>| if before.is_some() { now.clone() } else { None };
    *before
        == Feature {
            default: recorded(&before.default, &now.default),
            color: recorded(&before.color, &now.color),
            ..now.clone()
        }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A release with a picture decoder for two targets, a language model with a state and two functions, and a
    /// tokenizer.
    fn sample() -> Value {
        let blob = "a".repeat(64);
        let feature = |name: &str, dtype: &str, shape: &[u64]| json!({ "name": name, "dtype": dtype, "shape": shape });
        let variant = |id: &str, name: &str, component: &str, target: Option<&str>, interface: Value| {
            let files = json!([{ "path": "model", "sha256": blob, "size": 1 }]);
            let mut variant = json!({ "id": id, "name": name, "component": component, "kind": "mlpackage", "delivery": "initial", "files": files });
            if let Some(target) = target {
                variant["target"] = target.into();
            }
            if !interface.is_null() {
                variant["interface"] = interface;
            }
            variant
        };
        let decoder = json!({ "inputs": [feature("latent", "float32", &[1, 16, 96, 96])], "outputs": [feature("image", "float32", &[1, 3, 768, 768])] });
        let function = |length: u64| {
            json!({
                "inputs": [feature("input_ids", "int32", &[1, length]), feature("position", "int32", &[1])],
                "outputs": [feature("logits", "float16", &[1, length, 100])],
                "states": [feature("key_cache", "float16", &[2, 1, 64, 8]), feature("value_cache", "float16", &[2, 1, 64, 8])],
            })
        };
        let mut lm = function(1);
        lm["functions"] = json!({ "s1": function(1), "s64": function(64) });
        lm["default_function"] = "s1".into();
        let mut variants = vec![
            variant("decoder-768-float16-ios15", "decoder-768-float16", "decoder", Some("iOS15"), decoder.clone()),
            variant("decoder-768-float16-ios18", "decoder-768-float16", "decoder", Some("iOS18"), decoder),
            variant("lm-float16-ios18", "lm-float16", "lm", Some("iOS18"), lm),
            variant("tokenizer", "tokenizer", "tokenizer", None, Value::Null),
        ];
        variants[0]["tags"] = json!(["preview"]);
        json!({ "schema": "mlreg/release/1", "package": "p", "version": "1.0.0", "variants": variants,
            "blobs": { (blob): { "size": 1, "blake3": "b".repeat(64) } } })
    }

    fn changes(to: &Value) -> Vec<String> {
        let release = |value: &Value| serde_json::from_value::<Release>(value.clone()).unwrap();
        breaking_changes(&release(&sample()), &release(to)).iter().map(ToString::to_string).collect()
    }

    fn changed(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut value = sample();
        change(&mut value);
        changes(&value)
    }

    #[test]
    fn differences_are_told() {
        assert_eq!(
            changed(|it| drop(it["variants"].as_array_mut().unwrap().remove(3))),
            ["the variant `tokenizer` is gone"]
        );
        let raised = changed(|it| drop(it["variants"].as_array_mut().unwrap().remove(0)));
        assert_eq!(raised, ["`decoder-768-float16` needs iOS18, before iOS15", "the tag `preview` is gone"]);
        let input = changed(|it| it["variants"][1]["interface"]["inputs"][0]["dtype"] = "float16".into());
        assert_eq!(
            input,
            ["`decoder-768-float16-ios18`: input `latent float32[1,16,96,96]` becomes `latent float16[1,16,96,96]`"]
        );
        let function =
            changed(|it| drop(it["variants"][2]["interface"]["functions"].as_object_mut().unwrap().remove("s64")));
        assert_eq!(function, ["`lm-float16-ios18`: function `s64` is gone"]);
    }

    #[test]
    fn what_older_releases_do_not_record_is_no_change() {
        let with = |value: &mut Value, color: &str, default: &str| {
            value["variants"][1]["interface"]["inputs"][0]["color"] = color.into();
            value["variants"][1]["interface"]["inputs"][0]["default"] = default.into();
        };
        assert_eq!(changed(|it| with(it, "RGB", "0.5")), [""; 0]);
        let release = |color: &str, default: &str| {
            let mut value = sample();
            with(&mut value, color, default);
            serde_json::from_value::<Release>(value).unwrap()
        };
        let change =
            |color: &str, default: &str| breaking_changes(&release("RGB", "0.5"), &release(color, default)).len();
        assert_eq!([change("RGB", "0.5"), change("BGR", "0.5"), change("RGB", "1")], [0, 1, 1]);
    }

    #[test]
    fn a_new_variant_that_old_floors_would_get_has_to_fit() {
        let added = changed(|it| {
            let mut variant = it["variants"][1].clone();
            variant["id"] = "decoder-768-float16-ios17".into();
            variant["target"] = "iOS17".into();
            variant["interface"]["outputs"][0]["dtype"] = "float16".into();
            it["variants"].as_array_mut().unwrap().insert(1, variant);
        });
        let expected = "`decoder-768-float16-ios15` becomes `decoder-768-float16-ios17`: \
            output `image float32[1,3,768,768]` becomes `image float16[1,3,768,768]`";
        assert_eq!(added, [expected]);
    }

    #[test]
    fn weights_deliveries_and_additions_pass() {
        let none: [String; 0] = [];
        assert_eq!(changes(&sample()), none);
        let weights = changed(|it| {
            it["variants"]
                .as_array_mut()
                .unwrap()
                .iter_mut()
                .for_each(|variant| variant["files"][0]["sha256"] = "c".repeat(64).into());
            it["blobs"] = json!({ "c".repeat(64): { "size": 2, "blake3": "d".repeat(64) } });
            it["variants"][0]["delivery"] = "on-demand".into();
            it["variants"][3]["tags"] = json!(["text"]);
            let mut more = it["variants"][3].clone();
            more["id"] = "vocabulary".into();
            more["name"] = "vocabulary".into();
            it["variants"].as_array_mut().unwrap().push(more);
        });
        assert_eq!(weights, none);
    }

    /// Every mutation of every value in every interface, and of everything that an app selects by.
    fn mutations() -> Vec<(String, Value)> {
        let mut found = Vec::new();
        let base = sample();
        for index in 0..4 {
            let at = format!("/variants/{index}");
            let mut gone = base.clone();
            gone["variants"].as_array_mut().unwrap().remove(index);
            found.push((format!("{at} removed"), gone));
            for (key, value) in [("id", "other"), ("component", "other"), ("kind", "mlmodelc"), ("target", "iOS26")] {
                let mut other = base.clone();
                other["variants"][index][key] = value.into();
                found.push((format!("{at}/{key}"), other));
            }
            if base["variants"][index]["interface"].is_object() {
                mutate(&base, &format!("{at}/interface"), &mut found);
            }
        }
        found
    }

    /// The changes of one value, without what is below it.
    fn changed_values(value: &Value) -> Vec<Value> {
        match value {
            Value::String(text) if ["float32", "float16", "int32"].contains(&text.as_str()) => vec!["int8".into()],
            Value::String(text) => vec![format!("{text}x").into()],
            Value::Number(number) => vec![(number.as_u64().unwrap() + 1).into()],
            Value::Array(items) => {
                let shorter = |index: usize| {
                    items.iter().enumerate().filter(|(at, _)| *at != index).map(|(_, item)| item.clone()).collect()
                };
                let is_features = items.iter().any(Value::is_object);
                let more =
                    if is_features { json!({ "name": "new", "dtype": "int32", "shape": [1] }) } else { 1.into() };
                let longer = items.iter().cloned().chain([more]).collect();
                let reversed = items.iter().rev().cloned().collect();
                let mut changed: Vec<Value> = (0..items.len()).map(shorter).chain([longer]).collect();
                changed.extend((is_features && items.len() > 1).then_some(reversed));
                changed
            }
            Value::Object(fields) if fields.contains_key("dtype") => {
                let with = |(key, more): (&str, Value)| {
                    let mut changed = value.clone();
                    changed[key] = more;
                    changed
                };
                [("optional", true.into()), ("ranges", json!([[1, 8]])), ("enumerated", json!([[1], [2]]))]
                    .map(with)
                    .into()
            }
            _ => Vec::new(),
        }
    }

    fn mutate(base: &Value, at: &str, found: &mut Vec<(String, Value)>) {
        let value = base.pointer(at).unwrap();
        for changed in changed_values(value) {
            let (mut other, what) = (base.clone(), format!("{at} = {changed}"));
            *other.pointer_mut(at).unwrap() = changed;
            found.push((what, other));
        }
        let below: Vec<String> = match value {
            Value::Array(items) => (0..items.len()).map(|index| index.to_string()).collect(),
            Value::Object(fields) => fields.keys().cloned().collect(),
            _ => Vec::new(),
        };
        below.iter().for_each(|key| mutate(base, &format!("{at}/{key}"), found));
    }

    #[test]
    fn every_mutation_of_what_an_app_sees_is_caught() {
        let mutations = mutations();
        assert!(mutations.len() >= 200, "{}", mutations.len());
        for (what, value) in mutations {
            assert!(!changes(&value).is_empty(), "{what} passes");
        }
    }

    #[test]
    fn major_versions_may_break() {
        let may = |from: &str, to: &str| may_break(&from.parse().unwrap(), &to.parse().unwrap());
        for (from, to) in
            [("1.0.0", "2.0.0"), ("0.1.0", "0.2.0"), ("0.0.1", "0.0.2"), ("1.0.0", "1.1.0-rc.1"), ("0.9.0", "1.0.0")]
        {
            assert!(may(from, to), "{from} {to}");
        }
        for (from, to) in [("1.0.0", "1.1.0"), ("1.0.0", "1.0.1"), ("0.1.0", "0.1.5")] {
            assert!(!may(from, to), "{from} {to}");
        }
    }
}
