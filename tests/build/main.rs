//! `build` from manifest to packages: what it makes runs, is shared, and is the same every time.

#[path = "../support/package.rs"]
mod package;

mod autoencoders;
mod causal;
mod compiled;
mod digests;
mod encoders;
mod errors;
mod imports;
mod releases;
mod swift;
mod text;

use std::{
    fs,
    path::{Path, PathBuf},
};

use mlreg::{
    base::Digest,
    fetch::Layout,
    manifest::release::Release,
    workflow::{
        Context, Error,
        build::{BuildOptions, BuildReport, build},
    },
};
use tempfile::TempDir;

/// A folder with a store, a manifest and what they need.
pub(crate) struct Project {
    pub folder: TempDir,
    pub context: Context,
}

impl Project {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let context = Context::new(&folder.path().join("home"), folder.path().to_owned()).unwrap();
        Self { folder, context }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), bytes).unwrap();
    }

    /// Builds a manifest of these components.
    pub(crate) fn build(&self, components: &str) -> Result<BuildReport, Error> {
        self.build_with(components, |_| ())
    }

    pub(crate) fn build_with(
        &self,
        components: &str,
        change: impl FnOnce(&mut BuildOptions),
    ) -> Result<BuildReport, Error> {
        self.write("m.toml", format!("[package]\nname = \"p\"\nversion = \"1.0.0\"\n{components}"));
        let mut options = BuildOptions {
            manifests: vec!["m.toml".into()],
            variants: Vec::new(),
            out: None,
            layout: Layout::Linked,
            force: false,
        };
        change(&mut options);
        build(&self.context, &options)
    }

    /// The release `p@1.0.0`.
    pub(crate) fn release(&self) -> (Digest, Release) {
        let (digest, bytes) =
            self.context.store().release(&"p".parse().unwrap(), &"1.0.0".parse().unwrap()).unwrap().unwrap();
        (digest, Release::parse(&bytes).unwrap())
    }
}

/// The text, the causes and the hints of an error.
pub(crate) fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        // What adds a place says the same as what it adds it to.
        if !text.ends_with(&cause.to_string()) {
            text.push_str(&format!("; {cause}"));
        }
        source = cause.source();
    }
    error.hints().iter().for_each(|hint| text.push_str(&format!(" | {hint}")));
    text
}

/// A component that converts a fixture.
pub(crate) fn decoder(fixture: &str, keys: &str) -> String {
    let checkpoint = package::fixtures().join(fixture);
    format!(
        "[[component]]\nname = \"decoder\"\ncheckpoint = \"{}\"\narchitecture = \"autoencoder-tiny\"\n{keys}\n",
        toml_path(&checkpoint)
    )
}

pub(crate) fn toml_path(path: &Path) -> String {
    path.display().to_string().replace('\\', "/")
}
