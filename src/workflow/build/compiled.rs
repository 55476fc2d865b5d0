//! Compiled bundles: which compiler makes them, and Apple's where it is needed.
//!
//! mlreg's own compiler comes first, on a Mac too, so that a release does not depend on where it was built. Apple's is asked for what the
//! other one refuses, and gets a package in a folder of its own. No bundle is run here: releases say so.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use super::{Made, error::BuildError, hub, shelf::Shelf, tree::Tree};
use crate::{
    base::RelativePath,
    emit::coreml::{COMPILER, CoreMlError, PackageSource, compiled_files},
    manifest::{
        VariantPlan,
        release::{Compiled, Other},
    },
    mil::Program,
    store::StoredBlob,
    workflow::Error,
};

/// Apple's tool and its sub-tool.
const XCRUN: &str = "xcrun";
const COREMLCOMPILER: &str = "coremlcompiler";

/// How a variant is compiled.
#[derive(Debug)]
pub(super) enum Compilation {
    /// Here are its files.
    Done(Vec<(RelativePath, PackageSource)>),
    /// By Apple's compiler, from the package.
    Apple(AppleCompiler),
}

/// Compiles a program, or finds who can.
///
/// # Errors
/// Where the program needs Apple's compiler and this machine has none.
pub(super) fn compile(plan: &VariantPlan, specification: &[u8], program: &Program, weights: &[&str]) -> Result<Compilation, BuildError> {
    match compiled_files(specification, program, weights) {
        Ok(files) => Ok(Compilation::Done(files)),
        Err(refused) => match AppleCompiler::find() {
            Some(compiler) => Ok(Compilation::Apple(compiler)),
            None => Err(refusal(plan, refused)),
        },
    }
}

fn refusal(plan: &VariantPlan, source: CoreMlError) -> BuildError {
    BuildError::Compile { id: plan.id.clone(), component: plan.component.clone(), source }
}

impl Compilation {
    /// Puts the bundle into the store; `package` makes the package in a folder, for Apple's compiler, and says where it is.
    ///
    /// # Errors
    /// When Apple's compiler fails, or the store does.
    pub(super) fn store(
        self,
        shelf: &Shelf<'_>,
        plan: &VariantPlan,
        weights: &BTreeMap<&str, StoredBlob>,
        package: impl FnOnce(&Path) -> Result<PathBuf, BuildError>,
    ) -> Result<Made, Error> {
        let (mut made, compiler) = match self {
            Self::Done(files) => (Made::of_files(shelf, plan, files, weights)?, COMPILER),
            Self::Apple(compiler) => {
                let folder = hub::scratch(shelf.store())?;
                let package = package(folder.path())?;
                let compiled = compiler.compile(&plan.id, &package, &folder.path().join("out"))?;
                (Tree::of_bundle(&compiled)?.store(shelf, plan)?, COREMLCOMPILER)
            }
        };
        made.variant.compiled = Some(Compiled { compiler: compiler.to_owned(), run_on_device: false, other: Other::default() });
        Ok(made)
    }
}

/// `xcrun coremlcompiler`, which comes with Xcode.
#[derive(Debug)]
pub(super) struct AppleCompiler {
    xcrun: PathBuf,
}

impl AppleCompiler {
    /// That of this machine, where there is one.
    fn find() -> Option<Self> {
        cfg!(target_os = "macos").then(|| Self { xcrun: XCRUN.into() }).filter(Self::works)
    }

    fn works(&self) -> bool {
        let found = Command::new(&self.xcrun).args(["--find", COREMLCOMPILER]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        found.is_ok_and(|status| status.success())
    }

    /// Compiles the package `NAME.mlpackage`; the result lies in `out`, as `NAME.mlmodelc`.
    ///
    /// # Errors
    /// When the compiler does not run, or says that it failed.
    pub(super) fn compile(&self, id: &str, package: &Path, out: &Path) -> Result<PathBuf, BuildError> {
        fs::create_dir_all(out).map_err(BuildError::read(out))?;
        let output = Command::new(&self.xcrun).arg(COREMLCOMPILER).arg("compile").args([package, out]).stdin(Stdio::null()).output();
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

/// Writes a package to `folder` and says where it is; `weights` says where a weight file is, which is linked where that can be.
pub(super) fn write_package(
    folder: &Path,
    files: &[(RelativePath, PackageSource)],
    weights: impl Fn(&str) -> PathBuf,
) -> Result<PathBuf, BuildError> {
    for (path, source) in files {
        let file = path.below(folder);
        let parent = file.parent().unwrap_or(folder);
        let written = fs::create_dir_all(parent).and_then(|()| match source {
            PackageSource::Bytes(bytes) => fs::write(&file, bytes),
            PackageSource::WeightFile(name) => link_or_copy(&weights(name), &file),
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
        let script = "[ \"$1 $2\" = 'coremlcompiler compile' ] || exit 64\nmkdir \"$4/v.mlmodelc\" && cp -R \"$3\"/. \"$4/v.mlmodelc\"";
        let compiler = tool(folder.path(), script);
        fs::write(folder.path().join("blob"), "weights").unwrap();
        let files = [
            ("Manifest.json".parse().unwrap(), PackageSource::Bytes(b"{}".to_vec())),
            ("Data/weights/weight.bin".parse().unwrap(), PackageSource::WeightFile("weight.bin".to_owned())),
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
            compiler.compile("decoder-ios18", &folder.path().join("v.mlpackage"), &folder.path().join("out")).unwrap_err().to_string()
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
