//! The keys of `[[component]]`.

use crate::manifest::axes::Axis;

/// Keys that say what a component is made from.
pub(super) const SOURCES: [&str; 3] = ["checkpoint", "import", "files"];

/// Keys beside sources and axes that every conversion has.
const SETTINGS: [&str; 8] =
    ["name", "part", "architecture", "ignore-config", "batch", "shared", "multifunction", "exclude"];

/// Keys beside axes whose meaning depends on the architecture.
const OF_ARCHITECTURES: [&str; 5] = ["chunks", "attention", "range", "clamp", "window-cache"];

/// Every key that some kind of component has.
pub(in crate::manifest) fn all() -> Vec<&'static str> {
    let axes = Axis::ALL.iter().map(|axis| axis.name());
    SETTINGS.into_iter().chain(SOURCES).chain(axes).chain(OF_ARCHITECTURES).collect()
}

/// Whether the architecture decides if a key means something.
pub(super) fn is_for_architectures(key: &str) -> bool {
    OF_ARCHITECTURES.contains(&key) || Axis::from_name(key).is_some_and(Axis::is_for_architectures)
}
