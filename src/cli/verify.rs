//! `mlreg verify`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{
    CommandError, Exit, Session,
    printer::{Table, bytes, count},
    remote_url,
    table::{self, Columns},
};
use crate::{
    base::UrlError,
    workflow::{
        self, PackageRequest, RequestError,
        bundles::BundleArgument,
        verify::{VerifyOptions, VerifySubject, verify},
    },
};

const EXAMPLES: &str = "\
Examples:
  mlreg verify
  mlreg verify flux-1-tae@1.0.0
  mlreg verify Models/flux-1-tae
  mlreg verify https://models.acme.dev/registry";

const COLUMNS: Columns =
    Columns { headings: &["FILE", "PROBLEM", "EXPECTED", "FOUND"], wrapped: &[], left_out: &["FOUND", "EXPECTED"] };

/// Check every byte against its digest.
///
/// Checks the store, a release in it, a placed folder, or a remote. Repairs and removes nothing. Prints one line per
/// problem, and exits with 3 where there is one.
#[derive(Debug, Args)]
#[command(after_long_help = table::help(EXAMPLES, &[&COLUMNS]))]
pub(super) struct VerifyArguments {
    /// What to check [default: the store]
    ///
    /// A text with `://` is a remote, one with a path separator or a leading `.` a folder (placed, or a registry).
    /// Anything else is a package; where the store has none of that name, a folder.
    #[arg(value_name = "PACKAGE|DIR|URL", value_parser = subject)]
    subject: Option<SubjectArgument>,
}

/// A text that names nothing to verify.
#[derive(Debug, thiserror::Error)]
enum SubjectError {
    #[error(transparent)]
    Url(#[from] UrlError),
    #[error(transparent)]
    Package(#[from] RequestError),
}

/// What to verify, or a name that may be a package or a folder.
#[derive(Debug, Clone)]
enum SubjectArgument {
    Subject(VerifySubject),
    Name(PackageRequest),
}

fn subject(text: &str) -> Result<SubjectArgument, SubjectError> {
    if text.contains("://") {
        return Ok(SubjectArgument::Subject(VerifySubject::Remote(remote_url(text)?)));
    }
    let Ok(argument) = text.parse::<BundleArgument>();
    match argument {
        BundleArgument::Path(path) => Ok(SubjectArgument::Subject(VerifySubject::Folder(path))),
        BundleArgument::Name(request) => Ok(SubjectArgument::Name(request)),
        BundleArgument::Other(text, _) if Path::new(&text).is_dir() => {
            Ok(SubjectArgument::Subject(VerifySubject::Folder(text.into())))
        }
        BundleArgument::Other(_, error) => Err(error.into()),
    }
}

impl Session {
    /// What is to be verified: of a package and a folder of the same name the package.
    fn verified(&self, argument: Option<&SubjectArgument>) -> Result<VerifySubject, CommandError> {
        let request = match argument {
            None => return Ok(VerifySubject::Store),
            Some(SubjectArgument::Subject(subject)) => return Ok(subject.clone()),
            Some(SubjectArgument::Name(request)) => request,
        };
        let name = &request.package;
        let folder = self.context.directory().join(name.as_str()).is_dir();
        let is_package = !self.context.store().releases(name).map_err(workflow::Error::from)?.is_empty();
        if folder && is_package {
            self.printer.summary(format_args!(
                "note: `{name}` is the package of the store; the folder of that name is `./{name}`"
            ));
        }
        Ok(match folder && !is_package && request.to_string() == name.as_str() {
            true => VerifySubject::Folder(PathBuf::from(name.as_str())),
            false => VerifySubject::Package(request.clone()),
        })
    }
}

pub(super) fn run(arguments: &VerifyArguments, session: &Session) -> Result<Exit, CommandError> {
    let subject = session.verified(arguments.subject.as_ref())?;
    let report = verify(&session.context, &VerifyOptions { subject })?;
    session.printer.report("verify", &report, |printer| {
        let mut table = Table::of(&COLUMNS);
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
        use SubjectArgument::{Name, Subject};
        assert!(matches!(subject("https://host/x"), Ok(Subject(VerifySubject::Remote(_)))));
        assert!(matches!(subject("Models/tae"), Ok(Subject(VerifySubject::Folder(_)))));
        assert!(matches!(subject("."), Ok(Subject(VerifySubject::Folder(_)))));
        assert!(matches!(subject("no-such-folder@1"), Ok(Name(_))));
        assert!(subject("ftp://host/").is_err() && subject("Tae").is_err());
    }
}
