//! Environment variables: each is a constant here and is read only here.
//!
//! An empty variable counts as unset, because Xcode and CI systems cannot always leave one out. Proxy variables are
//! read by the HTTP client, `RUST_BACKTRACE` by the standard library. The deployment target follows distribution rules
//! of Xcode's build system: `DEPLOYMENT_TARGET_SETTING_NAME` or else `PLATFORM_NAME` says which of the variables
//! counts.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use crate::{
    base::{OsFloor, Platform},
    remote::{HUB_ENDPOINT, HubOptions, HubToken},
    text::LocalTime,
};

/// The store's folder; `--home` overrides it.
pub const MLREG_HOME: &str = "MLREG_HOME";
/// If set, no colours unless `--color always` (no-color.org).
pub const NO_COLOR: &str = "NO_COLOR";
/// `dumb` means a terminal without colours and cursor movement.
pub const TERM: &str = "TERM";
/// Set by Xcode in build phases: diagnostics then have Xcode's form.
pub const XCODE_VERSION_ACTUAL: &str = "XCODE_VERSION_ACTUAL";
/// Set by Xcode's build system in every build phase: the action, e.g. `build`.
pub const ACTION: &str = "ACTION";
/// Set by Xcode's build system: the project's folder.
pub const SRCROOT: &str = "SRCROOT";
/// Set by Xcode: the name of the variable that has the deployment target, e.g. `IPHONEOS_DEPLOYMENT_TARGET`.
pub const DEPLOYMENT_TARGET_SETTING_NAME: &str = "DEPLOYMENT_TARGET_SETTING_NAME";
/// Set by Xcode: the platform of the build, e.g. `iphonesimulator`.
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
/// A token of the Hugging Face Hub.
pub const HF_TOKEN: &str = "HF_TOKEN";
/// The file with the token, where it is not `HF_HOME/token`.
pub const HF_TOKEN_PATH: &str = "HF_TOKEN_PATH";
/// The folder of the Hub's clients: token and cache. Default: `huggingface` in the user's cache folder.
pub const HF_HOME: &str = "HF_HOME";
/// The cache of the Hub's clients, where it is not `HF_HOME/hub`. mlreg looks into it and never writes there.
pub const HF_HUB_CACHE: &str = "HF_HUB_CACHE";
/// The Hub's address, where it is not <https://huggingface.co>.
pub const HF_ENDPOINT: &str = "HF_ENDPOINT";
/// If true, no request is sent to the Hub.
pub const HF_HUB_OFFLINE: &str = "HF_HUB_OFFLINE";
/// If true, the token is sent to publish, and not to read.
pub const HF_HUB_DISABLE_IMPLICIT_TOKEN: &str = "HF_HUB_DISABLE_IMPLICIT_TOKEN";
/// If true, large files are uploaded by Git LFS, even where the Hub has Xet.
pub const HF_HUB_DISABLE_XET: &str = "HF_HUB_DISABLE_XET";
/// The user's cache folder, in which `huggingface` lies. Default: `.cache` in the user's home.
pub const XDG_CACHE_HOME: &str = "XDG_CACHE_HOME";

/// Time that chat templates see, in seconds since 1970 (UTC), for repeatable runs. Default: the clock, in local time.
pub const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";

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

/// The environment variables that mlreg uses.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Settings of the Hub.
    pub hub: HubSettings,
    /// The store's folder, unless `--home` is given.
    pub home: Option<PathBuf>,
    /// Whether colours are turned off.
    pub no_color: bool,
    /// Whether the terminal only prints lines.
    pub plain_terminal: bool,
    /// Whether this is a build phase of Xcode.
    pub xcode: bool,
    /// `SOURCE_DATE_EPOCH`, not parsed yet.
    source_date: Option<String>,
    /// The variable that has Xcode's deployment target, its platform, and its value.
    deployment_target: Option<(&'static str, Platform, String)>,
}

/// Settings of the Hub. The token is never printed.
#[derive(Debug, Clone, Default)]
pub struct HubSettings {
    endpoint: Option<String>,
    token: Option<HubToken>,
    token_file: Option<PathBuf>,
    cache: Option<PathBuf>,
    offline: bool,
    no_implicit_token: bool,
    no_xet: bool,
}

impl HubSettings {
    fn read(
        raw: impl Fn(&str) -> Option<OsString>,
        text: impl Fn(&str) -> Option<String>,
        user: Option<&Path>,
    ) -> Self {
        let path = |name: &str| raw(name).map(PathBuf::from).map(|path| expanded(path, user));
        let cache = || path(XDG_CACHE_HOME).or_else(|| Some(user?.join(".cache")));
        let home = path(HF_HOME).or_else(|| Some(cache()?.join("huggingface")));
        let below_home = |name: &str| home.as_ref().map(|home| home.join(name));
        let is_true = |name: &str| {
            text(name).is_some_and(|value| ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str()))
        };
        Self {
            endpoint: text(HF_ENDPOINT),
            token: text(HF_TOKEN).and_then(|token| HubToken::new(&token)),
            token_file: path(HF_TOKEN_PATH).or_else(|| below_home("token")),
            cache: path(HF_HUB_CACHE).or_else(|| below_home("hub")),
            offline: is_true(HF_HUB_OFFLINE),
            no_implicit_token: is_true(HF_HUB_DISABLE_IMPLICIT_TOKEN),
            no_xet: is_true(HF_HUB_DISABLE_XET),
        }
    }

    /// Builds the options of the Hub's client. Reads the token's file.
    pub fn options(&self) -> HubOptions {
        // Who has no such file is not logged in.
        let from_file = || HubToken::new(&std::fs::read_to_string(self.token_file.as_ref()?).ok()?);
        HubOptions {
            endpoint: self.endpoint.clone().unwrap_or_else(|| HUB_ENDPOINT.to_owned()),
            token: self.token.clone().or_else(from_file),
            token_for_reading: !self.no_implicit_token,
            offline: self.offline,
            xet: !self.no_xet,
            cache: self.cache.clone(),
        }
    }
}

/// Expands `~` at the beginning of a path, as the Hub's clients do.
fn expanded(path: PathBuf, user: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), user) {
        (Ok(rest), Some(user)) => user.join(rest),
        _ => path,
    }
}

/// An environment that mlreg cannot use.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// No folder for the store: no `--home`, no variable, no home folder.
    #[error("the user has no home folder")]
    NoHome,
    /// The working directory cannot be read.
    #[error("the working directory cannot be read")]
    NoDirectory(#[source] io::Error),
    /// `SOURCE_DATE_EPOCH` is not a number.
    #[error("`{SOURCE_DATE_EPOCH}` is `{value}`, expected seconds since 1970")]
    SourceDate {
        /// Its value.
        value: String,
    },
    /// A deployment target is not a version.
    #[error("`{variable}` is `{value}`, expected an OS version such as 17.0")]
    DeploymentTarget {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
}

impl SettingsError {
    /// A hint for the user.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoHome => Some(format!("give the store's folder with `--home DIR` or `{MLREG_HOME}`")),
            Self::NoDirectory(_) => None,
            Self::SourceDate { .. } => Some(format!("unset `{SOURCE_DATE_EPOCH}` to use the clock")),
            Self::DeploymentTarget { .. } => {
                Some("give the lowest OS version with `--target`, e.g. `--target iOS17`".to_owned())
            }
        }
    }
}

impl Settings {
    /// Reads this process's environment.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    pub fn from_environment() -> Self {
        let user = std::env::home_dir().filter(|folder| !folder.as_os_str().is_empty());
        let mut settings = Self::read(|name| std::env::var_os(name), user.as_deref());
        if settings.home.is_none() {
            settings.home = user.map(|folder| folder.join(DEFAULT_HOME));
        }
        settings
    }

    fn read(variable: impl Fn(&str) -> Option<OsString>, user: Option<&Path>) -> Self {
        let raw = |name: &str| variable(name).filter(|value| !value.is_empty());
        let text = |name: &str| raw(name).and_then(|value| value.into_string().ok());
        let xcode = raw(XCODE_VERSION_ACTUAL).is_some() || (raw(ACTION).is_some() && raw(SRCROOT).is_some());
        Self {
            hub: HubSettings::read(raw, text, user),
            home: raw(MLREG_HOME).map(PathBuf::from),
            no_color: raw(NO_COLOR).is_some(),
            plain_terminal: text(TERM).is_some_and(|term| term == "dumb"),
            xcode,
            source_date: text(SOURCE_DATE_EPOCH),
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

    /// The time that chat templates see.
    ///
    /// # Errors
    /// When the variable for it is no number of seconds.
    pub fn now(&self) -> Result<LocalTime, SettingsError> {
        let Some(value) = &self.source_date else { return Ok(LocalTime::now()) };
        let time = value.trim().parse().ok().and_then(LocalTime::utc);
        time.ok_or_else(|| SettingsError::SourceDate { value: value.clone() })
    }

    /// The deployment target that Xcode sets: the lowest OS version that the app supports.
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

/// The deployment target if exactly one is set. Compilers often set that of macOS, so it counts only in builds of
/// Xcode.
fn only_target(
    text: impl Fn(&str) -> Option<String>,
    xcode: bool,
) -> Option<&'static (&'static str, Platform, &'static [&'static str])> {
    let mut set = DEPLOYMENT_TARGETS.iter().filter(|row| text(row.0).is_some());
    let only = set.next().filter(|row| xcode || row.1 != Platform::MacOs);
    only.filter(|_| set.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Settings {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        Settings::read(find, Some(Path::new("/home/me")))
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
        assert_eq!(
            with(&[(PLATFORM_NAME, "macosx"), (EFFECTIVE_PLATFORM_NAME, "-maccatalyst")]).unwrap(),
            "macCatalyst17.2"
        );
        assert_eq!(
            with(&[(PLATFORM_NAME, "macosx"), (DEPLOYMENT_TARGET_SETTING_NAME, IPHONEOS_DEPLOYMENT_TARGET)]).unwrap(),
            "iOS17.2"
        );
        assert_eq!(floor(&[(WATCHOS_DEPLOYMENT_TARGET, "10.0")]).unwrap(), "watchOS10");
        assert_eq!(floor(&[(MACOSX_DEPLOYMENT_TARGET, "14.0")]), None);
        assert_eq!(
            floor(&[(MACOSX_DEPLOYMENT_TARGET, "14.0"), (ACTION, "build"), (SRCROOT, "/app")]).unwrap(),
            "macOS14"
        );
        assert_eq!(with(&[(PLATFORM_NAME, "xros")]), None);
        assert_eq!(with(&[(DEPLOYMENT_TARGET_SETTING_NAME, "DRIVERKIT_DEPLOYMENT_TARGET")]), None);
    }

    #[test]
    fn a_floor_that_is_no_version_is_an_error() {
        let error = settings(&[(PLATFORM_NAME, "xros"), (XROS_DEPLOYMENT_TARGET, "latest")]).floor().unwrap_err();
        assert_eq!(error.to_string(), "`XROS_DEPLOYMENT_TARGET` is `latest`, expected an OS version such as 17.0");
    }

    #[test]
    fn the_hub_is_found_as_its_own_clients_find_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        for (name, token) in [("token", "hf_home\n"), ("other", " hf_other ")] {
            std::fs::write(folder.path().join(name), token).unwrap();
        }
        let (home, other) = (path(""), path("other"));
        let token = |variables: &[(&str, &str)]| settings(variables).hub.options().token;
        assert_eq!(token(&[(HF_HOME, &home)]), HubToken::new("hf_home"));
        assert_eq!(token(&[(HF_HOME, &home), (HF_TOKEN_PATH, &other)]), HubToken::new("hf_other"));
        assert_eq!(
            token(&[(HF_HOME, &home), (HF_TOKEN_PATH, &other), (HF_TOKEN, "hf_mine")]),
            HubToken::new("hf_mine")
        );
        assert_eq!(token(&[(HF_HOME, "/nowhere")]), None);
        let all = [
            (HF_HUB_OFFLINE, "yes"),
            (HF_HUB_DISABLE_IMPLICIT_TOKEN, "1"),
            (HF_HUB_DISABLE_XET, "1"),
            (HF_ENDPOINT, "http://hub"),
        ];
        let all = settings(&all).hub.options();
        assert!(all.offline && !all.token_for_reading && !all.xet && all.endpoint == "http://hub");
        let none = settings(&[(HF_HUB_OFFLINE, "0")]).hub.options();
        assert!(!none.offline && none.token_for_reading && none.xet && none.endpoint == HUB_ENDPOINT);
        assert_eq!(none.cache.unwrap(), Path::new("/home/me/.cache/huggingface/hub"));
        assert_eq!(settings(&[(XDG_CACHE_HOME, "/c")]).hub.options().cache.unwrap(), Path::new("/c/huggingface/hub"));
        assert_eq!(settings(&[(HF_HUB_CACHE, "~/x")]).hub.options().cache.unwrap(), Path::new("/home/me/x"));
    }

    #[test]
    fn the_time_can_be_fixed() {
        let date = |value| settings(&[(SOURCE_DATE_EPOCH, value)]).now().map(|now| now.format("%Y-%m-%d %H:%M:%S"));
        assert_eq!(date("1772694249").unwrap(), "2026-03-05 07:04:09");
        let error = date("yesterday").unwrap_err();
        assert_eq!(error.to_string(), "`SOURCE_DATE_EPOCH` is `yesterday`, expected seconds since 1970");
        assert!(error.hint().is_some() && settings(&[]).now().is_ok());
    }

    #[test]
    fn empty_variables_count_as_unset() {
        let settings = settings(&[(MLREG_HOME, ""), (NO_COLOR, ""), (XCODE_VERSION_ACTUAL, "")]);
        assert!(settings.home.is_none() && !settings.no_color && !settings.xcode);
        assert!(matches!(settings.home(None), Err(SettingsError::NoHome)));
        assert_eq!(settings.home(Some(Path::new("x"))).unwrap(), Path::new("x"));
    }
}
