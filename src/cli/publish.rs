//! `mlreg publish`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{
    CommandError, Exit, LayoutChoice, Session,
    printer::{Table, bytes, count},
    remote_url,
    table::{self, Columns},
};
use crate::{
    base::UrlError,
    remote::{RemoteUrl, writable_forms},
    workflow::{
        PackageRequest, RequestError,
        publish::{PublishOptions, PublishReport, PublishStatus, PublishSubject, publish},
    },
};

const EXAMPLES: &str = "\
Examples:
  mlreg publish flux-1-tae --to /srv/registry
  mlreg publish flux-1-tae@1.0.0 --to registry --dry-run
  mlreg publish flux-1-tae --hf acme/flux-1-tae --public
  mlreg publish manifests/flux_1_tae.toml --to /srv/registry";

const COLUMNS: Columns = Columns { headings: &["FILE", ">SIZE", ">TO UPLOAD"], wrapped: &[], left_out: &["SIZE"] };

/// Publish a release.
///
/// Uploads what the remote lacks, then makes the release visible in one step. A manifest is built first. Published
/// versions never change: the same content is accepted again, other content is refused.
///
/// On the Hub every bundle is a folder of its own, which other tools can download; a file that several bundles have is
/// stored once. The token is that of `HF_TOKEN`, or the one that `hf auth login` stored. Large files are uploaded by
/// Xet where the Hub has it, which sends little more than the changes of a file. Elsewhere, or with
/// `HF_HUB_DISABLE_XET=1`, they are uploaded by Git LFS.
#[derive(Debug, Args)]
#[command(after_long_help = table::help(EXAMPLES, &[&COLUMNS]))]
#[command(group = clap::ArgGroup::new("remote").required(true).args(["to", "hf"]))]
pub(super) struct PublishArguments {
    /// A package of the store, or a package manifest (TOML)
    #[arg(value_name = "PACKAGE[@VERSION]|MANIFEST", value_parser = subject)]
    subject: PublishSubject,
    #[arg(long, value_name = "URL", value_parser = remote_url, help = format!("The remote: {}", writable_forms()))]
    to: Option<RemoteUrl>,
    /// A repository of the Hub: short for --to hf://ORG/REPO
    #[arg(long, value_name = "ORG/REPO", value_parser = hub_url)]
    hf: Option<RemoteUrl>,
    /// Make a repository that does not exist public rather than private
    #[arg(long)]
    public: bool,
    /// How the repository holds bundles: linked or copied (complete), or shared
    ///
    /// `shared` lifts equal weight files out: bundles without weights, the weight files beside them, and a
    /// `layout.json`.
    #[arg(long, default_value = "linked", hide_possible_values = true)]
    layout: LayoutChoice,
    /// Show the numbers of an `mlreg eval --json` document in the card
    ///
    /// Only numbers of the release that is published are taken. May be repeated.
    #[arg(long, value_name = "FILE")]
    eval: Vec<PathBuf>,
    /// Publish what breaks apps under a compatible version
    ///
    /// Without it, changed inputs, outputs, states or functions, a raised deployment target and vanished variants need
    /// another major version than that of the release before.
    #[arg(long)]
    allow_breaking: bool,
    /// Only say what would be uploaded
    #[arg(long)]
    dry_run: bool,
    /// Commit message, for remotes with a history
    #[arg(long, value_name = "M")]
    message: Option<String>,
}

/// A path has a separator or ends with `.toml`; anything else is a package.
fn subject(text: &str) -> Result<PublishSubject, RequestError> {
    let is_path = Path::new(text).extension().is_some_and(|extension| extension == "toml")
        || text.contains(std::path::is_separator);
    if is_path {
        return Ok(PublishSubject::Manifest(PathBuf::from(text)));
    }
    text.parse::<PackageRequest>().map(PublishSubject::Package)
}

/// `ORG/REPO[@BRANCH]`, with or without `hf://`.
fn hub_url(text: &str) -> Result<RemoteUrl, UrlError> {
    remote_url(&format!("hf://{}", text.strip_prefix("hf://").unwrap_or(text)))
}

pub(super) fn run(arguments: &PublishArguments, session: &Session) -> Result<Exit, CommandError> {
    let options = PublishOptions {
        subject: arguments.subject.clone(),
        // The group asks for one of the two.
        to: arguments.to.clone().or_else(|| arguments.hf.clone()).expect("clap requires --to or --hf"),
        allow_breaking: arguments.allow_breaking,
        dry_run: arguments.dry_run,
        message: arguments.message.clone(),
        public: arguments.public,
        layout: arguments.layout.into(),
        evaluations: arguments.eval.clone(),
    };
    let report = publish(&session.context, &options)?;
    session.printer.report("publish", &report, |printer| {
        report.breaking.iter().for_each(|change| printer.detail(format_args!("  {change}")));
        if arguments.dry_run && !report.files.is_empty() {
            printer.table(&files(&report))?;
        }
        printer.summary(summary(&report));
        Ok(())
    })?;
    Ok(Exit::Ok)
}

fn files(report: &PublishReport) -> Table {
    let mut table = Table::of(&COLUMNS);
    for file in &report.files {
        let upload = if file.uploaded { bytes(file.bytes) } else { "-".to_owned() };
        table.row([file.path.clone(), bytes(file.bytes), upload]);
    }
    table
}

fn summary(report: &PublishReport) -> String {
    let name = format!("{}@{}", report.package, report.version);
    let upload =
        format!("{} of {}, {}", report.uploaded_blobs, count(report.blobs, "blob"), bytes(report.uploaded_bytes));
    match report.status {
        PublishStatus::New => format!("published {name} to `{}`: {upload} uploaded", report.url),
        PublishStatus::AlreadyThere => format!("`{}` has {name} already", report.url),
        PublishStatus::DryRun if report.files.is_empty() => {
            format!("would publish {name} to `{}`: {upload} to upload", report.url)
        }
        PublishStatus::DryRun => {
            let there = report.plan.present.values().copied().fold(0, u64::saturating_add);
            let files = count(report.files.len() as u64, "file");
            format!(
                "would publish {name} to `{}`: {files}; {upload} to upload, {} there already",
                report.url,
                bytes(there)
            )
        }
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
