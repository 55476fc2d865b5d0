//! Compiled bundles: stores what mlreg's own compiler made, and runs Apple's compiler for programs that the own one
//! refuses.
//!
//! Apple's compiler gets a package in a temporary folder. No bundle is run here; releases record that.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use super::{error::BuildError, hub, shelf::Shelf, tree::Tree, variant::BuiltVariant, weights::StoredWeights};
use crate::{
    emit::{BundleFile, FileSource, coreml::CoreMlError},
    manifest::{
        VariantPlan,
        release::{Compiled, Other},
    },
    workflow::Error,
};

/// Apple's tool and its sub-tool.
const XCRUN: &str = "xcrun";
const COREMLCOMPILER: &str = "coremlcompiler";

/// How a variant is compiled.
#[derive(Debug)]
pub(super) enum Compilation {
    /// mlreg's own compiler has made these files.
    Done { compiler: &'static str, files: Vec<BundleFile> },
    /// Apple's compiler makes the files from a package, once its weight files are stored.
    Apple { compiler: AppleCompiler, package: Vec<BundleFile> },
}

impl Compilation {
    /// Compiles `package` with Apple's compiler; `refusal` is the error of mlreg's own.
    ///
    /// # Errors
    /// Where this machine does not have Apple's compiler.
    pub(super) fn by_apple(
        plan: &VariantPlan,
        package: Vec<BundleFile>,
        refusal: CoreMlError,
    ) -> Result<Self, BuildError> {
        Ok(Self::Apple { compiler: AppleCompiler::required(plan, refusal)?, package })
    }

    /// Stores the bundle.
    ///
    /// # Errors
    /// When Apple's compiler fails, or the store does.
    pub(super) fn store(
        self,
        shelf: &Shelf<'_>,
        plan: &VariantPlan,
        weights: &StoredWeights,
    ) -> Result<BuiltVariant, Error> {
        match self {
            Self::Done { compiler, files } => {
                Ok(compiled_by(compiler, BuiltVariant::of_files(shelf, plan, files, weights)?))
            }
            Self::Apple { compiler, package } => {
                let blob = |name: &str| shelf.store().blob_path(&weights[name].digest);
                compiler.store(shelf, plan, |folder| write_package(&folder.join("model.mlpackage"), &package, blob))
            }
        }
    }
}

fn compiled_by(compiler: &str, mut built: BuiltVariant) -> BuiltVariant {
    built.variant.compiled =
        Some(Compiled { compiler: compiler.to_owned(), run_on_device: false, other: Other::default() });
    built
}

/// `xcrun coremlcompiler`, which comes with Xcode.
#[derive(Debug)]
pub(super) struct AppleCompiler {
    xcrun: PathBuf,
}

impl AppleCompiler {
    /// Apple's compiler; where this machine has none, the error of mlreg's own compiler.
    ///
    /// # Errors
    /// Where this machine does not have it.
    pub(super) fn required(plan: &VariantPlan, refusal: CoreMlError) -> Result<Self, BuildError> {
        Self::find().ok_or_else(|| BuildError::Compile {
            id: plan.id.clone(),
            component: plan.component.clone(),
            source: refusal,
        })
    }

    /// Compiles a package in a temporary folder and stores the result; `package` writes the package there, or returns
    /// the path of an existing one.
    ///
    /// # Errors
    /// When the compiler fails, or the store does.
    pub(super) fn store(
        &self,
        shelf: &Shelf<'_>,
        plan: &VariantPlan,
        package: impl FnOnce(&Path) -> Result<PathBuf, BuildError>,
    ) -> Result<BuiltVariant, Error> {
        let folder = hub::scratch(shelf.store())?;
        let package = package(folder.path())?;
        let compiled = self.compile(&plan.id, &package, &folder.path().join("out"))?;
        Ok(compiled_by(COREMLCOMPILER, Tree::of_bundle(&compiled)?.store(shelf, plan)?))
    }

    /// The compiler of this machine, where there is one.
    fn find() -> Option<Self> {
        cfg!(target_os = "macos").then(|| Self { xcrun: XCRUN.into() }).filter(Self::works)
    }

    fn works(&self) -> bool {
        let found = Command::new(&self.xcrun)
            .args(["--find", COREMLCOMPILER])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        found.is_ok_and(|status| status.success())
    }

    /// Compiles the package `NAME.mlpackage`; the result lies in `out`, as `NAME.mlmodelc`.
    ///
    /// # Errors
    /// When the compiler does not run, or says that it failed.
    pub(super) fn compile(&self, id: &str, package: &Path, out: &Path) -> Result<PathBuf, BuildError> {
        fs::create_dir_all(out).map_err(BuildError::read(out))?;
        let output = Command::new(&self.xcrun)
            .arg(COREMLCOMPILER)
            .arg("compile")
            .args([package, out])
            .stdin(Stdio::null())
            .output();
        let failed = |said: String| BuildError::AppleCompiler { id: id.to_owned(), said };
        let output = output.map_err(|error| failed(error.to_string()))?;
        let compiled = out.join(package.file_stem().unwrap_or_default()).with_extension("mlmodelc");
        if output.status.success() && compiled.is_dir() { Ok(compiled) } else { Err(failed(said(&output))) }
    }
}

/// The lines that a failed tool printed, in one.
fn said(output: &Output) -> String {
    let printed = [&output.stderr, &output.stdout].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    let lines: Vec<&str> = printed.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() { output.status.to_string() } else { lines.join("; ") }
}

/// Writes a package to `folder` and returns that path. Weight files are linked, or copied where links fail; `weights`
/// gives their paths.
pub(super) fn write_package(
    folder: &Path,
    files: &[BundleFile],
    weights: impl Fn(&str) -> PathBuf,
) -> Result<PathBuf, BuildError> {
    for (path, source) in files {
        let file = path.below(folder);
        let parent = file.parent().unwrap_or(folder);
        let written = fs::create_dir_all(parent).and_then(|()| match source {
            FileSource::Bytes(bytes) => fs::write(&file, bytes),
            FileSource::WeightFile(name) => link_or_copy(&weights(name), &file),
        });
        written.map_err(BuildError::read(&file))?;
    }
    Ok(folder.to_owned())
}

fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(|_| ()))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A stand-in for `xcrun`.
    fn tool(folder: &Path, script: &str) -> AppleCompiler {
        let xcrun = folder.join("xcrun");
        fs::write(&xcrun, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&xcrun, fs::Permissions::from_mode(0o755)).unwrap();
        AppleCompiler { xcrun }
    }

    #[test]
    fn apples_compiler_gets_a_whole_package() {
        let folder = tempfile::tempdir().unwrap();
        let script = "[ \"$1 $2\" = 'coremlcompiler compile' ] || exit 64\nmkdir \"$4/v.mlmodelc\" && cp -R \"$3\"/. \
             \"$4/v.mlmodelc\"";
        let compiler = tool(folder.path(), script);
        fs::write(folder.path().join("blob"), "weights").unwrap();
        let files = [
            ("Manifest.json".parse().unwrap(), FileSource::Bytes(b"{}".to_vec())),
            ("Data/weights/weight.bin".parse().unwrap(), FileSource::WeightFile("weight.bin".to_owned())),
        ];
        let package = folder.path().join("v.mlpackage");
        write_package(&package, &files, |_| folder.path().join("blob")).unwrap();
        let compiled = compiler.compile("v", &package, &folder.path().join("out")).unwrap();
        assert_eq!(compiled, folder.path().join("out/v.mlmodelc"));
        assert_eq!(fs::read(compiled.join("Data/weights/weight.bin")).unwrap(), b"weights");
    }

    #[test]
    fn what_apples_compiler_says_is_passed_on() {
        let folder = tempfile::tempdir().unwrap();
        let compile = |script: &str| {
            let compiler = tool(folder.path(), script);
            compiler
                .compile("decoder-ios18", &folder.path().join("v.mlpackage"), &folder.path().join("out"))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            compile("echo 'coremlc: error: bad op' >&2\necho 'line 2'\nexit 1"),
            "variant `decoder-ios18`: Apple's compiler failed: coremlc: error: bad op; line 2"
        );
        assert_eq!(compile("exit 0"), "variant `decoder-ios18`: Apple's compiler failed: exit status: 0");
        assert!(tool(folder.path(), "[ \"$1 $2\" = '--find coremlcompiler' ]").works());
        assert!(!tool(folder.path(), "exit 1").works());
    }
}
