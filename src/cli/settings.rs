//! What the environment says: every variable is a constant here and is read here alone.
//!
//! An empty variable counts as unset, because Xcode and CI systems cannot always leave one out. Proxy variables are read by the HTTP
//! client, `RUST_BACKTRACE` by the standard library. The deployment target follows distribution rules of Xcode's build system:
//! `DEPLOYMENT_TARGET_SETTING_NAME` or else `PLATFORM_NAME` says which of the variables counts.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use crate::base::{OsFloor, Platform};

/// The store's folder; `--home` overrides it.
pub const MLREG_HOME: &str = "MLREG_HOME";
/// Set: no colours unless `--color always` (no-color.org).
pub const NO_COLOR: &str = "NO_COLOR";
/// `dumb`: a terminal that can neither colour nor move its cursor.
pub const TERM: &str = "TERM";
/// Set by Xcode in build phases: diagnostics then have Xcode's form.
pub const XCODE_VERSION_ACTUAL: &str = "XCODE_VERSION_ACTUAL";
/// Set by Xcode's build system in every build phase, as is [`SRCROOT`]: what is done, e.g. `build`.
pub const ACTION: &str = "ACTION";
/// Set by Xcode's build system: the project's folder.
pub const SRCROOT: &str = "SRCROOT";
/// Set by Xcode: the name of the variable that has the deployment target, e.g. `IPHONEOS_DEPLOYMENT_TARGET`.
pub const DEPLOYMENT_TARGET_SETTING_NAME: &str = "DEPLOYMENT_TARGET_SETTING_NAME";
/// Set by Xcode: what is built for, e.g. `iphonesimulator`.
pub const PLATFORM_NAME: &str = "PLATFORM_NAME";
/// Set by Xcode: `-maccatalyst` for Mac Catalyst, whose `PLATFORM_NAME` is `macosx`.
pub const EFFECTIVE_PLATFORM_NAME: &str = "EFFECTIVE_PLATFORM_NAME";
/// Xcode's deployment target of iOS, and of Mac Catalyst.
pub const IPHONEOS_DEPLOYMENT_TARGET: &str = "IPHONEOS_DEPLOYMENT_TARGET";
/// Xcode's deployment target of macOS.
pub const MACOSX_DEPLOYMENT_TARGET: &str = "MACOSX_DEPLOYMENT_TARGET";
/// Xcode's deployment target of tvOS.
pub const TVOS_DEPLOYMENT_TARGET: &str = "TVOS_DEPLOYMENT_TARGET";
/// Xcode's deployment target of watchOS.
pub const WATCHOS_DEPLOYMENT_TARGET: &str = "WATCHOS_DEPLOYMENT_TARGET";
/// Xcode's deployment target of visionOS.
pub const XROS_DEPLOYMENT_TARGET: &str = "XROS_DEPLOYMENT_TARGET";

/// Which variable holds which platform's floor, and the SDK names of that platform.
const DEPLOYMENT_TARGETS: [(&str, Platform, &[&str]); 5] = [
    (IPHONEOS_DEPLOYMENT_TARGET, Platform::Ios, &["iphoneos", "iphonesimulator"]),
    (MACOSX_DEPLOYMENT_TARGET, Platform::MacOs, &["macosx"]),
    (TVOS_DEPLOYMENT_TARGET, Platform::TvOs, &["appletvos", "appletvsimulator"]),
    (WATCHOS_DEPLOYMENT_TARGET, Platform::WatchOs, &["watchos", "watchsimulator"]),
    (XROS_DEPLOYMENT_TARGET, Platform::VisionOs, &["xros", "xrsimulator"]),
];

/// The folder below the user's home that is the store by default.
const DEFAULT_HOME: &str = ".mlreg";

/// The environment as far as mlreg cares.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The store's folder, unless `--home` says another.
    pub home: Option<PathBuf>,
    /// Whether colours are unwanted.
    pub no_color: bool,
    /// Whether the terminal can only print lines.
    pub plain_terminal: bool,
    /// Whether this is a build phase of Xcode.
    pub xcode: bool,
    /// The variable that has Xcode's deployment target, its platform, and its value.
    deployment_target: Option<(&'static str, Platform, String)>,
}

/// What is wrong with the environment.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// No place for the store.
    #[error("the user has no home folder")]
    NoHome,
    /// No working directory.
    #[error("the working directory cannot be read")]
    NoDirectory(#[source] io::Error),
    /// A deployment target that is no version.
    #[error("`{variable}` is `{value}`, expected an OS version such as 17.0")]
    DeploymentTarget {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
}

impl SettingsError {
    /// The next step.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoHome => Some(format!("give the store's folder with `--home DIR` or `{MLREG_HOME}`")),
            Self::NoDirectory(_) => None,
            Self::DeploymentTarget { .. } => Some("give the lowest OS version with `--target`, e.g. `--target iOS17`".to_owned()),
        }
    }
}

impl Settings {
    /// Reads this process's environment.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    pub fn from_environment() -> Self {
        let mut settings = Self::read(|name| std::env::var_os(name));
        if settings.home.is_none() {
            let user = std::env::home_dir().filter(|folder| !folder.as_os_str().is_empty());
            settings.home = user.map(|folder| folder.join(DEFAULT_HOME));
        }
        settings
    }

    fn read(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let raw = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &str| raw(name).and_then(|value| value.into_string().ok());
        let xcode = raw(XCODE_VERSION_ACTUAL).is_some() || (raw(ACTION).is_some() && raw(SRCROOT).is_some());
        Self {
            home: raw(MLREG_HOME).map(PathBuf::from),
            no_color: raw(NO_COLOR).is_some(),
            plain_terminal: text(TERM).is_some_and(|term| term == "dumb"),
            xcode,
            deployment_target: deployment_target(text, xcode),
        }
    }

    /// The store's folder.
    ///
    /// # Errors
    /// When neither the command line nor the environment names one and the user has no home folder.
    pub fn home(&self, argument: Option<&Path>) -> Result<PathBuf, SettingsError> {
        argument.map(Path::to_owned).or_else(|| self.home.clone()).ok_or(SettingsError::NoHome)
    }

    /// The lowest OS version that the app supports, as Xcode says it in a build.
    ///
    /// # Errors
    /// When it is not a version.
    pub fn floor(&self) -> Result<Option<OsFloor>, SettingsError> {
        let Some((variable, platform, value)) = &self.deployment_target else { return Ok(None) };
        let floor = format!("{}{value}", platform.name()).parse();
        floor.map(Some).map_err(|_| SettingsError::DeploymentTarget { variable, value: value.clone() })
    }
}

/// The working directory.
///
/// # Errors
/// When it was removed or cannot be read.
#[expect(clippy::disallowed_methods, reason = "this is the one place that asks for the working directory")]
pub fn working_directory() -> Result<PathBuf, SettingsError> {
    std::env::current_dir().map_err(SettingsError::NoDirectory)
}

fn deployment_target(text: impl Fn(&str) -> Option<String>, xcode: bool) -> Option<(&'static str, Platform, String)> {
    let (named, sdk) = (text(DEPLOYMENT_TARGET_SETTING_NAME), text(PLATFORM_NAME));
    let by_name = |row: &&(&str, Platform, &[&str])| named.as_deref() == Some(row.0);
    let by_sdk = |row: &&(&str, Platform, &[&str])| sdk.as_deref().is_some_and(|sdk| row.2.contains(&sdk));
    let catalyst = text(EFFECTIVE_PLATFORM_NAME).is_some_and(|name| name == "-maccatalyst");
    let row = match named {
        Some(_) => DEPLOYMENT_TARGETS.iter().find(by_name)?,
        None if catalyst => &DEPLOYMENT_TARGETS[0],
        None if sdk.is_some() => DEPLOYMENT_TARGETS.iter().find(by_sdk)?,
        None => only_target(&text, xcode)?,
    };
    let platform = if catalyst && row.1 == Platform::Ios { Platform::MacCatalyst } else { row.1 };
    Some((row.0, platform, text(row.0)?))
}

/// The deployment target that is set where only one is. That of macOS is often set for compilers, so that it counts in builds of Xcode alone.
fn only_target(text: impl Fn(&str) -> Option<String>, xcode: bool) -> Option<&'static (&'static str, Platform, &'static [&'static str])> {
    let mut set = DEPLOYMENT_TARGETS.iter().filter(|row| text(row.0).is_some());
    let only = set.next().filter(|row| xcode || row.1 != Platform::MacOs);
    only.filter(|_| set.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Settings {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        Settings::read(find)
    }

    fn floor(variables: &[(&str, &str)]) -> Option<String> {
        settings(variables).floor().unwrap().map(|floor| floor.to_string())
    }

    #[test]
    fn the_floor_counts_only_where_the_build_says_which() {
        let both = [(IPHONEOS_DEPLOYMENT_TARGET, "17.2"), (MACOSX_DEPLOYMENT_TARGET, "14.0")];
        let with = |more: &[(&'static str, &'static str)]| floor(&[&both[..], more].concat());
        assert_eq!(with(&[]), None);
        assert_eq!(with(&[(PLATFORM_NAME, "iphonesimulator")]).unwrap(), "iOS17.2");
        assert_eq!(with(&[(PLATFORM_NAME, "macosx")]).unwrap(), "macOS14");
        assert_eq!(with(&[(PLATFORM_NAME, "macosx"), (EFFECTIVE_PLATFORM_NAME, "-maccatalyst")]).unwrap(), "macCatalyst17.2");
        assert_eq!(with(&[(PLATFORM_NAME, "macosx"), (DEPLOYMENT_TARGET_SETTING_NAME, IPHONEOS_DEPLOYMENT_TARGET)]).unwrap(), "iOS17.2");
        assert_eq!(floor(&[(WATCHOS_DEPLOYMENT_TARGET, "10.0")]).unwrap(), "watchOS10");
        assert_eq!(floor(&[(MACOSX_DEPLOYMENT_TARGET, "14.0")]), None);
        assert_eq!(floor(&[(MACOSX_DEPLOYMENT_TARGET, "14.0"), (ACTION, "build"), (SRCROOT, "/app")]).unwrap(), "macOS14");
        assert_eq!(with(&[(PLATFORM_NAME, "xros")]), None);
        assert_eq!(with(&[(DEPLOYMENT_TARGET_SETTING_NAME, "DRIVERKIT_DEPLOYMENT_TARGET")]), None);
    }

    #[test]
    fn a_floor_that_is_no_version_is_an_error() {
        let error = settings(&[(PLATFORM_NAME, "xros"), (XROS_DEPLOYMENT_TARGET, "latest")]).floor().unwrap_err();
        assert_eq!(error.to_string(), "`XROS_DEPLOYMENT_TARGET` is `latest`, expected an OS version such as 17.0");
    }

    #[test]
    fn empty_variables_count_as_unset() {
        let settings = settings(&[(MLREG_HOME, ""), (NO_COLOR, ""), (XCODE_VERSION_ACTUAL, "")]);
        assert!(settings.home.is_none() && !settings.no_color && !settings.xcode);
        assert!(matches!(settings.home(None), Err(SettingsError::NoHome)));
        assert_eq!(settings.home(Some(Path::new("x"))).unwrap(), Path::new("x"));
    }
}
