//! The command line: arguments in, a verb run, its report printed, an exit code out.
//!
//! | file | content |
//! |---|---|
//! | `settings` | every environment variable |
//! | `printer`, `table`, `bars`, `paint` | data, messages, progress, colours |
//! | `visible` | escapes control characters in every text that is printed |
//! | `diagnostic`, `exit` | errors and exit codes |
//! | `unknown`, `interrupt` | commands of other tools; signals |
//! | `numbers` | parsers of numeric options |
//! | the others | one command each: its arguments, and its report as text |
//!
//! A command turns arguments into options of a verb, and its report into text. Everything else belongs to `workflow`.

mod add;
mod bars;
mod build;
mod codegen;
mod diagnostic;
mod eval;
mod eval_language;
mod eval_texts;
mod exit;
mod fetch;
mod gc;
mod inspect;
mod interrupt;
mod link;
mod list;
mod numbers;
mod paint;
mod pin;
mod printer;
mod publish;
mod rm;
mod run;
mod run_chat;
mod run_text;
mod settings;
mod show;
mod table;
mod unknown;
mod verify;
mod visible;
mod xcode;

use std::{
    num::NonZeroUsize,
    panic,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use self::{
    diagnostic::{CommandError, Diagnostic},
    paint::Paint,
    printer::{Printer, Verbosity},
    settings::Settings,
};
use crate::{
    base::UrlError,
    fetch::Layout,
    remote::{RemoteOptions, RemoteUrl},
    workflow::{
        Context,
        bundles::{BundleArgument, BundleSubject, resolve},
    },
};

pub use exit::Exit;

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 wrong input, 2 wrong usage, 3 verification failed, 4 network or remote, 5 bug in mlreg, 130 interrupted, 143 \
terminated.

Standard output is for data, standard error for everything else. On a terminal tables have a header, and fit: they leave out columns, in \
the order that a command's help states. Elsewhere a row is a line with tabs between its cells and no header; columns keep their place, \
and new ones come last.

`mlreg COMMAND --help` explains a command.";

/// From a model checkpoint to an app: build, publish and fetch on-device model bundles.
#[derive(Debug, Parser)]
#[command(name = "mlreg", version, after_long_help = EXIT_CODES, max_term_width = 100, propagate_version = false)]
#[command(arg_required_else_help = true)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Flags of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// The store's folder [env: MLREG_HOME] [default: ~/.mlreg].
    ///
    /// Unpublished releases live there, so it is no cache: `mlreg gc` removes what can be fetched again.
    #[arg(long, global = true, value_name = "DIR")]
    home: Option<PathBuf>,
    /// Print one JSON document on standard output.
    ///
    /// Its `schema` field is `mlreg/cli/<command>/1`; where the command fails, `mlreg/cli/error/1`.
    #[arg(long, global = true)]
    json: bool,
    /// Print only the result and errors.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Print details.
    #[arg(short, long, global = true, action = ArgAction::SetTrue)]
    verbose: bool,
    /// When to colour: auto, always or never.
    ///
    /// `auto` is on a terminal, unless `NO_COLOR` is set.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_possible_values = true)]
    color: ColorChoice,
    /// How many threads and requests run at once.
    ///
    /// Default: as many threads as there are cores, and 8 requests.
    #[arg(long, global = true, value_name = "N", value_parser = jobs)]
    jobs: Option<NonZeroUsize>,
}

fn jobs(text: &str) -> Result<NonZeroUsize, &'static str> {
    text.parse().map_err(|_| "expected a number of at least 1")
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal.
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

/// How bundles are placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LayoutChoice {
    /// Complete bundles, whose equal files are links to one file.
    Linked,
    /// Equal weight files are lifted out into the package's folder.
    Shared,
    /// Complete bundles without links.
    Copied,
}

impl From<LayoutChoice> for Layout {
    fn from(choice: LayoutChoice) -> Self {
        match choice {
            LayoutChoice::Linked => Self::Linked,
            LayoutChoice::Shared => Self::Shared,
            LayoutChoice::Copied => Self::Copied,
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Build(build::BuildArguments),
    Publish(publish::PublishArguments),
    Add(add::AddArguments),
    Remove(add::RemoveArguments),
    Update(add::UpdateArguments),
    Fetch(fetch::FetchArguments),
    List(list::ListArguments),
    Show(show::ShowArguments),
    Inspect(inspect::InspectArguments),
    Run(run::RunArguments),
    Eval(Box<eval::EvalArguments>),
    Verify(verify::VerifyArguments),
    Xcode(xcode::XcodeArguments),
    Codegen(codegen::CodegenArguments),
    Link(link::LinkArguments),
    Pin(pin::PinArguments),
    Unpin(pin::UnpinArguments),
    Rm(rm::RmArguments),
    Gc(gc::GcArguments),
    /// Print the version.
    #[command(after_long_help = "Examples:\n  mlreg version")]
    Version,
}

/// What every command uses.
#[derive(Debug)]
struct Session {
    context: Context,
    printer: Printer,
    settings: Settings,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    panic::set_hook(Box::new(|info| printer::write_talk(&diagnostic::render_panic(info, Paint::Plain))));
    guarded(run).into()
}

/// Turns a panic, which the hook has reported, into [`Exit::Internal`].
fn guarded(run: impl FnOnce() -> Exit + panic::UnwindSafe) -> Exit {
    panic::catch_unwind(run).unwrap_or(Exit::Internal)
}

fn run() -> Exit {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            if let Some(text) = unknown::explained(&error) {
                printer::write_talk(&text);
                return Exit::Usage;
            }
            // A closed pipe behind `--help` is no error.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Ok };
        }
    };
    interrupt::watch();
    let settings = Settings::from_environment();
    let printer = Printer::new(arguments.global.json, arguments.global.verbosity(), arguments.global.color, &settings);
    let outcome =
        session(&arguments.global, settings, printer.clone()).and_then(|session| arguments.command.run(&session));
    outcome.unwrap_or_else(|error| fail(&printer, &error))
}

fn fail(printer: &Printer, error: &CommandError) -> Exit {
    if error.is_closed_pipe() {
        return Exit::Ok;
    }
    let diagnostic = Diagnostic::of(error);
    // The exit code tells scripts of the failure that a closed standard output cannot.
    let _ = printer.error(&diagnostic);
    if error.is_usage() { Exit::Usage } else { diagnostic.kind.into() }
}

fn session(global: &Global, settings: Settings, printer: Printer) -> Result<Session, CommandError> {
    let home = settings.home(global.home.as_deref())?;
    let mut context =
        Context::new(&home, settings::working_directory()?)?.with_progress(bars::progress(&printer, &settings));
    let hub = settings.hub.options();
    context = context.with_remote_options(RemoteOptions { hub, ..RemoteOptions::default() });
    if let Some(jobs) = global.jobs {
        context = context.with_jobs(jobs);
        let threads = rayon::ThreadPoolBuilder::new().num_threads(jobs.get()).build_global();
        threads.map_err(|source| CommandError::Threads { jobs: jobs.get(), source })?;
    }
    Ok(Session { context, printer, settings })
}

impl Global {
    fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, false) => Verbosity::Normal,
            (false, true) => Verbosity::Verbose,
        }
    }
}

impl Command {
    fn run(&self, session: &Session) -> Result<Exit, CommandError> {
        match self {
            Self::Build(arguments) => build::run(arguments, session),
            Self::Publish(arguments) => publish::run(arguments, session),
            Self::Add(arguments) => add::run(arguments, session),
            Self::Remove(arguments) => add::run_remove(arguments, session),
            Self::Update(arguments) => add::run_update(arguments, session),
            Self::Fetch(arguments) => fetch::run(arguments, session),
            Self::List(arguments) => list::run(arguments, session),
            Self::Show(arguments) => show::run(arguments, session),
            Self::Inspect(arguments) => inspect::run(arguments, session),
            Self::Run(arguments) => run::run(arguments, session),
            Self::Eval(arguments) => eval::run(arguments, session),
            Self::Verify(arguments) => verify::run(arguments, session),
            Self::Xcode(arguments) => xcode::run(arguments, session),
            Self::Codegen(arguments) => codegen::run(arguments, session),
            Self::Link(arguments) => link::run(arguments, session),
            Self::Pin(arguments) => pin::run(arguments, session),
            Self::Unpin(arguments) => pin::run_unpin(arguments, session),
            Self::Rm(arguments) => rm::run(arguments, session),
            Self::Gc(arguments) => gc::run(arguments, session),
            Self::Version => version(session),
        }
    }
}

fn version(session: &Session) -> Result<Exit, CommandError> {
    #[derive(serde::Serialize)]
    struct Report {
        version: &'static str,
    }
    let report = Report { version: env!("CARGO_PKG_VERSION") };
    session.printer.report("version", &report, |printer| printer.data(&format!("mlreg {}\n", report.version)))?;
    Ok(Exit::Ok)
}

/// Reads a remote's address; folders become absolute.
fn remote_url(text: &str) -> Result<RemoteUrl, UrlError> {
    let url = RemoteUrl::parse(text, Path::new(""))?;
    Ok(match url.as_folder().map(std::path::absolute) {
        Some(Ok(path)) => RemoteUrl::folder(path),
        _ => url,
    })
}

impl Session {
    /// Resolves an argument to a package or a path, and notes an unexpected choice.
    fn subject(&self, argument: &BundleArgument) -> Result<BundleSubject, CommandError> {
        let resolved = resolve(&self.context, argument)?;
        resolved.note.iter().for_each(|note| self.printer.note(note));
        Ok(resolved.subject)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_declaration_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_panic_ends_as_an_internal_error() {
        assert_eq!(guarded(|| panic!("a test of panics")), Exit::Internal);
        assert_eq!(guarded(|| Exit::Remote), Exit::Remote);
    }

    #[test]
    fn folders_become_absolute() {
        let url = remote_url("./registry").unwrap();
        assert!(url.as_folder().is_some_and(|path| path.is_absolute() && path.ends_with("registry")), "{url}");
        assert!(remote_url("ftp://host/").is_err());
    }
}
