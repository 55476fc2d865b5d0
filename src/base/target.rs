//! Deployment targets: the lowest OS that may load a bundle, and everything that depends on it, in one table.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Text that names no target or floor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not one of the targets.
    #[error("`{0}` is not a deployment target: expected one of iOS15, iOS16, iOS17, iOS18, iOS26, iOS27")]
    Unknown(String),
    /// Not a platform with a version.
    #[error(
        "`{0}` is not an OS version: expected a platform and a version such as iOS17.2 or macOS14 (iOS, macOS, macCatalyst, tvOS, watchOS, visionOS)"
    )]
    Floor(String),
    /// An OS that is older than every target.
    #[error("{floor} is older than every target that mlreg knows: the lowest is {lowest}")]
    TooOld {
        /// The floor asked for.
        floor: OsFloor,
        /// The oldest version on that platform that has a target.
        lowest: OsFloor,
    },
}

/// A deployment target, named by its iOS version. Ordered: a later target has everything that an earlier one has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum Target {
    /// iOS 15, macOS 12: ML Programs.
    Ios15,
    /// iOS 16, macOS 13: float16 inputs and outputs, compressed weights.
    Ios16,
    /// iOS 17, macOS 14: 8 and 16 bit integer tensors.
    Ios17,
    /// iOS 18, macOS 15: states, functions, sub-byte weights, fused attention.
    Ios18,
    /// iOS 26, macOS 26.
    Ios26,
    /// iOS 27, macOS 27: for imported bundles; no Core ML opset is known for it.
    Ios27,
}

/// An Apple platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Platform {
    /// iOS and iPadOS.
    Ios,
    /// macOS.
    MacOs,
    /// Mac Catalyst, whose versions are iOS versions.
    MacCatalyst,
    /// tvOS.
    TvOs,
    /// watchOS.
    WatchOs,
    /// visionOS.
    VisionOs,
}

struct Row {
    target: Target,
    name: &'static str,
    specification: Option<i32>,
    opset: Option<&'static str>,
    /// First major version on iOS, macOS, tvOS, watchOS, visionOS.
    versions: [Option<u16>; 5],
}

/// Specification versions and opsets as coremltools 9 writes them; OS versions as Apple released them together.
const TABLE: [Row; 6] = [
    Row {
        target: Target::Ios15,
        name: "iOS15",
        specification: Some(6),
        opset: Some("CoreML5"),
        versions: [Some(15), Some(12), Some(15), Some(8), None],
    },
    Row {
        target: Target::Ios16,
        name: "iOS16",
        specification: Some(7),
        opset: Some("CoreML6"),
        versions: [Some(16), Some(13), Some(16), Some(9), None],
    },
    Row {
        target: Target::Ios17,
        name: "iOS17",
        specification: Some(8),
        opset: Some("CoreML7"),
        versions: [Some(17), Some(14), Some(17), Some(10), Some(1)],
    },
    Row {
        target: Target::Ios18,
        name: "iOS18",
        specification: Some(9),
        opset: Some("CoreML8"),
        versions: [Some(18), Some(15), Some(18), Some(11), Some(2)],
    },
    Row {
        target: Target::Ios26,
        name: "iOS26",
        specification: Some(10),
        opset: Some("CoreML9"),
        versions: [Some(26), Some(26), Some(26), Some(26), Some(26)],
    },
    Row {
        target: Target::Ios27,
        name: "iOS27",
        specification: None,
        opset: None,
        versions: [Some(27), Some(27), Some(27), Some(27), Some(27)],
    },
];

impl Target {
    /// Every target, oldest first.
    pub fn all() -> impl DoubleEndedIterator<Item = Target> {
        TABLE.iter().map(|row| row.target)
    }

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// `iOS15` and so on.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// `ios15` and so on, as in variant ids.
    pub fn id(self) -> String {
        self.name().to_ascii_lowercase()
    }

    /// Core ML's `specificationVersion`, where the target has a Core ML opset.
    pub fn specification(self) -> Option<i32> {
        self.row().specification
    }

    /// The opset's name in a program, e.g. `CoreML5`, where the target has one.
    pub fn opset(self) -> Option<&'static str> {
        self.row().opset
    }

    /// The target of a Core ML `specificationVersion`; versions below 6 hold no ML Program but load everywhere.
    pub fn of_specification(version: i32) -> Option<Target> {
        if (1..6).contains(&version) {
            return Some(Target::Ios15);
        }
        TABLE.iter().find(|row| row.specification == Some(version)).map(|row| row.target)
    }

    /// The lowest version of `platform` that loads this target, where one exists.
    pub fn floor_on(self, platform: Platform) -> Option<OsFloor> {
        let major = match platform {
            // visionOS 1 is the first and has what iOS 17 has, so it loads older targets, too.
            Platform::VisionOs => TABLE[self as usize..].iter().find_map(|row| row.versions[4]),
            _ => self.row().versions[platform.column()],
        };
        major.map(|major| OsFloor { platform, major, minor: 0 })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Target {
    type Err = TargetError;
    fn from_str(text: &str) -> Result<Self, TargetError> {
        let row = TABLE.iter().find(|row| row.name.eq_ignore_ascii_case(text));
        row.map(|row| row.target).ok_or_else(|| TargetError::Unknown(text.to_owned()))
    }
}

impl TryFrom<String> for Target {
    type Error = TargetError;
    fn try_from(text: String) -> Result<Self, TargetError> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> String {
        target.name().to_owned()
    }
}

impl Platform {
    const NAMES: [(Platform, &'static str); 6] = [
        (Platform::Ios, "iOS"),
        (Platform::MacOs, "macOS"),
        (Platform::MacCatalyst, "macCatalyst"),
        (Platform::TvOs, "tvOS"),
        (Platform::WatchOs, "watchOS"),
        (Platform::VisionOs, "visionOS"),
    ];

    fn column(self) -> usize {
        match self {
            Platform::Ios | Platform::MacCatalyst => 0,
            Platform::MacOs => 1,
            Platform::TvOs => 2,
            Platform::WatchOs => 3,
            Platform::VisionOs => 4,
        }
    }

    /// Every platform.
    pub fn all() -> impl Iterator<Item = Platform> {
        Self::NAMES.iter().map(|(platform, _)| *platform)
    }

    /// The platform's name as Apple writes it.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }
}

/// The lowest OS version that an app supports, e.g. iOS 17.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OsFloor {
    /// The platform.
    pub platform: Platform,
    /// Major version.
    pub major: u16,
    /// Minor version.
    pub minor: u16,
}

impl OsFloor {
    /// The highest target that every OS from this floor on can load.
    ///
    /// # Errors
    /// When the floor is older than every target.
    pub fn target(&self) -> Result<Target, TargetError> {
        let fits = |target: &Target| target.floor_on(self.platform).is_some_and(|floor| floor.major <= self.major);
        Target::all().rev().find(fits).ok_or_else(|| {
            let lowest = Target::all().find_map(|target| target.floor_on(self.platform));
            TargetError::TooOld { floor: *self, lowest: lowest.unwrap_or(*self) }
        })
    }
}

impl fmt::Display for OsFloor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.platform.name(), self.major)?;
        if self.minor > 0 { write!(f, ".{}", self.minor) } else { Ok(()) }
    }
}

/// `iOS17`, `ios17.2`, `macOS 14.0`: the platform in any case, then a version whose patch level is ignored.
impl FromStr for OsFloor {
    type Err = TargetError;
    fn from_str(text: &str) -> Result<Self, TargetError> {
        let error = || TargetError::Floor(text.to_owned());
        let split = text.find(|c: char| c.is_ascii_digit()).ok_or_else(error)?;
        let (name, version) = text.split_at(split);
        let name = name.trim();
        let platform = match name.to_ascii_lowercase().as_str() {
            "ipados" => Platform::Ios,
            "catalyst" => Platform::MacCatalyst,
            lower => Platform::NAMES.iter().find(|(_, n)| n.eq_ignore_ascii_case(lower)).map(|(p, _)| *p).ok_or_else(error)?,
        };
        let mut numbers = version.trim().split('.').map(|n| n.parse::<u16>().map_err(|_| error()));
        let major = numbers.next().ok_or_else(error)??;
        let minor = numbers.next().transpose()?.unwrap_or(0);
        numbers.try_for_each(|n| n.map(|_| ()))?;
        Ok(Self { platform, major, minor })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target_of(floor: &str) -> Target {
        floor.parse::<OsFloor>().unwrap().target().unwrap()
    }

    #[test]
    fn the_table_is_in_order_of_targets() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.target as usize, index);
            assert_eq!(row.name.parse::<Target>().unwrap(), row.target);
        }
    }

    #[test]
    fn floors_choose_the_highest_target_that_fits() {
        for (floor, target) in [
            ("iOS15.0", Target::Ios15),
            ("iOS17.2", Target::Ios17),
            ("macOS14", Target::Ios17),
            ("macOS 15.1", Target::Ios18),
            ("watchOS8", Target::Ios15),
            ("visionOS1", Target::Ios17),
            ("visionOS 2.0", Target::Ios18),
            ("tvOS20", Target::Ios18),
            ("macCatalyst16.4", Target::Ios16),
            ("iOS26.1", Target::Ios26),
        ] {
            assert_eq!(target_of(floor), target, "{floor}");
        }
    }

    #[test]
    fn too_old_and_nonsense_say_so() {
        let error = "iOS14".parse::<OsFloor>().unwrap().target().unwrap_err().to_string();
        assert_eq!(error, "iOS14 is older than every target that mlreg knows: the lowest is iOS15");
        for bad in ["", "17", "fooOS1", "iOS", "iOSx", "iOS17.x"] {
            assert!(bad.parse::<OsFloor>().is_err(), "{bad}");
        }
    }
}
