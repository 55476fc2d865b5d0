//! `mlreg publish`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{
    CommandError, Exit, Session,
    printer::{bytes, count},
    remote_url,
};
use crate::{
    base::RemoteUrl,
    workflow::{
        PackageRequest, RequestError,
        publish::{PublishOptions, PublishReport, PublishStatus, PublishSubject, publish},
    },
};

const EXAMPLES: &str = "\
Examples:
  mlreg publish flux-1-tae --to /srv/registry
  mlreg publish flux-1-tae@1.0.0 --to registry --dry-run
  mlreg publish manifests/flux_1_tae.toml --to /srv/registry";

/// Publish a release.
///
/// Uploads what the remote lacks, then makes the release visible in one step. A manifest is built first. Published versions never change: the same content is accepted again, other content is refused.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct PublishArguments {
    /// A package of the store, or a package manifest (TOML)
    #[arg(value_name = "PACKAGE[@VERSION]|MANIFEST", value_parser = subject)]
    subject: PublishSubject,
    /// The remote: a folder or file://
    #[arg(long, value_name = "URL", value_parser = remote_url)]
    to: RemoteUrl,
    /// Publish what breaks apps under a compatible version
    ///
    /// Without it, changed inputs, outputs, states or functions, a raised deployment target and vanished variants need another major
    /// version than that of the release before.
    #[arg(long)]
    allow_breaking: bool,
    /// Only say what would be uploaded
    #[arg(long)]
    dry_run: bool,
    /// Say why, for remotes that keep a history
    #[arg(long, value_name = "M")]
    message: Option<String>,
}

/// A path has a separator or ends with `.toml`; anything else is a package.
fn subject(text: &str) -> Result<PublishSubject, RequestError> {
    let is_path = Path::new(text).extension().is_some_and(|extension| extension == "toml") || text.contains(std::path::is_separator);
    if is_path {
        return Ok(PublishSubject::Manifest(PathBuf::from(text)));
    }
    text.parse::<PackageRequest>().map(PublishSubject::Package)
}

pub(super) fn run(arguments: &PublishArguments, session: &Session) -> Result<Exit, CommandError> {
    let options = PublishOptions {
        subject: arguments.subject.clone(),
        to: arguments.to.clone(),
        allow_breaking: arguments.allow_breaking,
        dry_run: arguments.dry_run,
        message: arguments.message.clone(),
    };
    let report = publish(&session.context, &options)?;
    session.printer.report("publish", &report, |printer| {
        report.breaking.iter().for_each(|change| printer.detail(format_args!("  {change}")));
        printer.summary(summary(&report));
        Ok(())
    })?;
    Ok(Exit::Ok)
}

fn summary(report: &PublishReport) -> String {
    let name = format!("{}@{}", report.package, report.version);
    let upload = format!("{} of {}, {}", report.uploaded_blobs, count(report.blobs, "blob"), bytes(report.uploaded_bytes));
    match report.status {
        PublishStatus::New => format!("published {name} to `{}`: {upload} uploaded", report.url),
        PublishStatus::AlreadyThere => format!("`{}` has {name} already", report.url),
        PublishStatus::DryRun => format!("would publish {name} to `{}`: {upload} to upload", report.url),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_from_packages() {
        assert!(matches!(subject("tae.toml"), Ok(PublishSubject::Manifest(_))));
        assert!(matches!(subject("manifests/tae"), Ok(PublishSubject::Manifest(_))));
        assert!(matches!(subject("tae@1.0.0"), Ok(PublishSubject::Package(_))));
        assert!(subject("Tae").is_err());
    }
}
