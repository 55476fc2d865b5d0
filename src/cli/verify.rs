//! `mlreg verify`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{
    CommandError, Exit, Session,
    printer::{Table, bytes, count},
    remote_url,
};
use crate::{
    base::UrlError,
    workflow::{
        PackageRequest, RequestError,
        verify::{VerifyOptions, VerifySubject, verify},
    },
};

const EXAMPLES: &str = "\
Examples:
  mlreg verify
  mlreg verify flux-1-tae@1.0.0
  mlreg verify Models/flux-1-tae
  mlreg verify https://models.acme.dev/registry";

/// Check every byte against its digest.
///
/// Of the store, a release in it, a placed folder, or a remote. Nothing is repaired or removed. What is wrong is printed a line each, and the exit code is 3.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct VerifyArguments {
    /// What to check [default: the store]
    ///
    /// A text with `://` is a remote, one with a path separator or the name of a folder is a folder (placed, or a registry), anything
    /// else is a package.
    #[arg(value_name = "PACKAGE|DIR|URL", value_parser = subject)]
    subject: Option<VerifySubject>,
}

/// Text that is no subject.
#[derive(Debug, thiserror::Error)]
enum SubjectError {
    #[error(transparent)]
    Url(#[from] UrlError),
    #[error(transparent)]
    Package(#[from] RequestError),
}

fn subject(text: &str) -> Result<VerifySubject, SubjectError> {
    if text.contains("://") {
        return Ok(VerifySubject::Remote(remote_url(text)?));
    }
    if text.contains(std::path::is_separator) || matches!(text, "." | "..") || Path::new(text).is_dir() {
        return Ok(VerifySubject::Folder(PathBuf::from(text)));
    }
    Ok(VerifySubject::Package(text.parse::<PackageRequest>()?))
}

pub(super) fn run(arguments: &VerifyArguments, session: &Session) -> Result<Exit, CommandError> {
    let subject = arguments.subject.clone().unwrap_or(VerifySubject::Store);
    let report = verify(&session.context, &VerifyOptions { subject })?;
    session.printer.report("verify", &report, |printer| {
        let mut table = Table::new(["FILE", "PROBLEM", "EXPECTED", "FOUND"]);
        for finding in &report.findings {
            table.row([finding.path.clone(), finding.problem.clone(), finding.expected.clone(), finding.found.clone()]);
        }
        if !table.is_empty() {
            printer.table(&table)?;
        }
        Ok(())
    })?;
    let looked_at = format!("{}, {}", count(report.files, "file"), bytes(report.bytes));
    if report.findings.is_empty() {
        session.printer.summary(format_args!("verified `{}`: {looked_at}", report.subject));
        return Ok(Exit::Ok);
    }
    let problems = count(report.findings.len() as u64, "problem");
    session.printer.failure(format_args!("`{}` has {problems} in {looked_at}", report.subject));
    Ok(Exit::Verification)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_told_apart() {
        assert!(matches!(subject("https://host/x"), Ok(VerifySubject::Remote(_))));
        assert!(matches!(subject("Models/tae"), Ok(VerifySubject::Folder(_))));
        assert!(matches!(subject("."), Ok(VerifySubject::Folder(_))));
        assert!(matches!(subject("no-such-folder@1"), Ok(VerifySubject::Package(_))));
        assert!(subject("ftp://host/").is_err() && subject("Tae").is_err());
    }
}
