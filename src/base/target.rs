//! Deployment targets: the lowest OS that may load a bundle, and everything that depends on it, in one table.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::meant;

/// Text that names no target or floor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not one of the targets.
    #[error(
        "`{text}` is not a deployment target: expected one of iOS15, iOS16, iOS17, iOS18, iOS26, iOS27, or the same in \
         another platform's versions, such as macOS15{}",
        suggestion(Target::meant(.0)),
        text = .0
    )]
    Unknown(String),
    /// Not a platform with a version.
    #[error(
        "`{text}` is not an OS version: expected a platform and a version such as iOS17.2 or macOS14 (iOS, macOS, \
         macCatalyst, tvOS, watchOS, visionOS){}",
        suggestion(OsFloor::meant(.0)),
        text = .0
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

fn suggestion(meant: Option<String>) -> String {
    meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"))
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

    /// The target of that iOS name, as documents have it.
    fn of_name(name: &str) -> Option<Target> {
        TABLE.iter().find(|row| row.name.eq_ignore_ascii_case(name)).map(|row| row.target)
    }

    /// The target that a text which is none may be meant to be, as its platform names it.
    pub fn meant(text: &str) -> Option<String> {
        let (name, version) = split(text)?;
        let platform = Platform::of_name(name).or_else(|| Platform::meant(name))?;
        let major = version.split('.').next()?.parse::<u16>().ok()?;
        let known: Vec<u16> = TABLE.iter().filter_map(|row| row.versions[platform.column()]).collect();
        let nearest = known.iter().rev().find(|known| **known <= major).or(known.first())?;
        Some(format!("{}{nearest}", platform.name()))
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

/// Any platform's name for it: `iOS18`, `macOS15`, `visionOS 2`.
impl FromStr for Target {
    type Err = TargetError;
    fn from_str(text: &str) -> Result<Self, TargetError> {
        let floor = text.parse::<OsFloor>().ok().filter(|floor| floor.minor == 0);
        let is_named = |row: &&Row, floor: OsFloor| row.versions[floor.platform.column()] == Some(floor.major);
        let row = floor.and_then(|floor| TABLE.iter().find(|row| is_named(row, floor)));
        row.map(|row| row.target).ok_or_else(|| TargetError::Unknown(text.to_owned()))
    }
}

/// Documents name targets by iOS versions alone.
impl TryFrom<String> for Target {
    type Error = TargetError;
    fn try_from(text: String) -> Result<Self, TargetError> {
        Self::of_name(&text).ok_or(TargetError::Unknown(text))
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

    /// The platform of a name, in any case.
    fn of_name(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "ipados" => Some(Self::Ios),
            "catalyst" => Some(Self::MacCatalyst),
            lower => {
                Self::NAMES.iter().find(|(_, name)| name.eq_ignore_ascii_case(lower)).map(|(platform, _)| *platform)
            }
        }
    }

    /// The platform that a name which is none may be meant to be: what it was called once, a device, or a slip.
    fn meant(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "osx" | "os x" | "mac" | "macosx" | "mac os" | "mac os x" => Some(Self::MacOs),
            "iphone" | "iphoneos" | "ipad" => Some(Self::Ios),
            "appletv" | "appletvos" | "tv" => Some(Self::TvOs),
            "watch" | "applewatch" => Some(Self::WatchOs),
            "xros" | "xr" | "vision" | "visionpro" => Some(Self::VisionOs),
            other => meant(other, Self::NAMES.iter().map(|(_, name)| *name)).and_then(Self::of_name),
        }
    }

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

/// A platform's name and what stands after it.
fn split(text: &str) -> Option<(&str, &str)> {
    let (name, version) = text.split_at(text.find(|c: char| c.is_ascii_digit())?);
    Some((name.trim(), version.trim()))
}

impl OsFloor {
    /// The floor that a text which is none may be meant to be.
    fn meant(text: &str) -> Option<String> {
        let (name, version) = split(text)?;
        let platform = Platform::meant(name)?;
        let meant = format!("{}{version}", platform.name());
        meant.parse::<Self>().ok().map(|_| meant)
    }

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
        let (name, version) = split(text).ok_or_else(error)?;
        let platform = Platform::of_name(name).ok_or_else(error)?;
        let mut numbers = version.split('.').map(|n| n.parse::<u16>().map_err(|_| error()));
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
    fn every_platform_names_targets() {
        for (name, target) in [
            ("iOS15", Target::Ios15),
            ("macOS12", Target::Ios15),
            ("macos 13", Target::Ios16),
            ("watchOS10", Target::Ios17),
            ("visionOS1", Target::Ios17),
            ("visionOS2.0", Target::Ios18),
            ("macOS15", Target::Ios18),
            ("tvOS18", Target::Ios18),
            ("iPadOS18", Target::Ios18),
            ("macCatalyst18", Target::Ios18),
            ("macOS26", Target::Ios26),
            ("visionOS27", Target::Ios27),
        ] {
            assert_eq!(name.parse::<Target>().unwrap(), target, "{name}");
        }
        for (unknown, meant) in [
            ("macOS16", Some("macOS15")),
            ("macOS11", Some("macOS12")),
            ("iOS19", Some("iOS18")),
            ("iOS14", Some("iOS15")),
            ("iOS17.2", Some("iOS17")),
            ("visionOS3", Some("visionOS2")),
            ("mcaOS15", Some("macOS15")),
            ("osx13", Some("macOS13")),
            ("xrOS2", Some("visionOS2")),
            ("macOS", None),
            ("android14", None),
            ("iOS99999", None),
        ] {
            let error = unknown.parse::<Target>().unwrap_err();
            assert_eq!(Target::meant(unknown).as_deref(), meant, "{unknown}");
            assert_eq!(error.to_string().contains("did you mean"), meant.is_some(), "{error}");
        }
        assert!(Target::try_from("macOS15".to_owned()).is_err(), "documents have one name for a target");
        let error = "macosx14.2".parse::<OsFloor>().unwrap_err().to_string();
        assert!(error.ends_with("; did you mean `macOS14.2`?"), "{error}");
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
