//! `mlreg run`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{
    CommandError, Exit, Session,
    printer::{Table, count},
    run_chat,
    run_text::{self, TextArguments},
    table::{self, Columns},
};
use crate::{
    eval::Mode,
    tensors::{FitMode, ValueRange},
    workflow::{
        bundles::BundleArgument,
        run::{PictureChoice, RunOptions, RunReport, run as execute},
    },
};

const EXAMPLES: &str = "\
Examples:
  mlreg run decoder.mlpackage --input latent.safetensors --output image.png
  mlreg run flux-1-tae --variant '*-1024-*-ios18' --input latent.npy --output image.npy
  mlreg run encoder.mlpackage --input photo.jpg --fit crop --output latent.npz --json
  mlreg run flan-t5-base --text 'translate English to German: Good morning'
  mlreg run flan-t5-base --text-file lines.txt --beams 4
  mlreg run minilm --text 'eating food' --text 'having a meal'
  mlreg run Models/smollm2 --chat
  mlreg run smollm2 --chat --system 'Be brief.' < question.txt";

const COLUMNS: Columns = Columns {
    headings: &["RESULT", "TYPE", ">MIN", ">MAX", ">MEAN", "NOTE"],
    wrapped: &["NOTE"],
    left_out: &["MEAN", "TYPE"],
};

/// Run a bundle on this machine's CPU: tensors or text in and out.
///
/// Runs ML Programs and pipelines of them, whoever made them, in an interpreter: on any system, to look at numbers, not
/// for speed. Inputs and results are .safetensors, .npy, .npz or .png files, pictures that go in .jpg as well. As on a
/// device, every result is rounded to the type that the program declares, and optional inputs that are left out hold
/// their defaults.
#[derive(Debug, Args)]
#[command(after_long_help = table::help(EXAMPLES, &[&COLUMNS]))]
pub(super) struct RunArguments {
    /// A package of the store, a placed folder, or a .mlpackage
    ///
    /// A path has a separator, begins with `.`, or ends as bundles do. Everything else is a package; where the store
    /// has none of that name, a placed folder of that name.
    #[arg(value_name = "PACKAGE|PATH")]
    subject: BundleArgument,
    /// Of a package: run the variant whose id matches
    #[arg(long, value_name = "GLOB")]
    variant: Option<String>,
    /// Run this function
    ///
    /// Default: the one that the bundle runs by default.
    #[arg(long, value_name = "NAME", conflicts_with = "text")]
    function: Option<String>,
    /// Take input tensors from FILE
    ///
    /// Names in the file are the names of inputs. The only tensor of a file goes to the only input without a default, a
    /// picture to the only image. A picture for an input that is an image becomes pixels in the order of its color
    /// space; colors become grey as in ITU-R BT.601, alpha is left out. Repeat it for several files.
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    input: Vec<PathBuf>,
    /// Write results to FILE
    ///
    /// A .png or .npy file takes one result: the only one, or the one that it is called after.
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    output: Vec<PathBuf>,
    /// What a name in the input files means, e.g. latents_nchw=latent
    #[arg(long, value_name = "NAME=INPUT", value_parser = pair)]
    map: Vec<(String, String)>,
    /// Numbers of pictures: unit, signed or byte [default: unit]
    ///
    /// `unit`: black is 0 and white is 1; `signed`: -1 and 1; `byte`: 0 and 255. For inputs and results that are
    /// arrays: images have pixels from 0 to 255 in the order of their color space.
    #[arg(long, hide_possible_values = true)]
    range: Option<RangeChoice>,
    /// Resize pictures to what the input takes: stretch, crop or pad
    ///
    /// `stretch`: both sides get their length; `crop`: the middle fills the input; `pad`: the whole picture, in the
    /// middle of black. Without it, a picture of another size is an error.
    #[arg(long, value_name = "MODE", hide_possible_values = true)]
    fit: Option<FitChoice>,
    /// Compute in float32 throughout, whatever the program declares
    #[arg(long)]
    float32: bool,
    #[command(flatten)]
    text: TextArguments,
}

/// Numbers that stand for black and white.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum RangeChoice {
    Unit,
    Signed,
    Byte,
}

impl From<RangeChoice> for ValueRange {
    fn from(choice: RangeChoice) -> Self {
        match choice {
            RangeChoice::Unit => Self::Unit,
            RangeChoice::Signed => Self::Signed,
            RangeChoice::Byte => Self::Byte,
        }
    }
}

/// How a picture is resized to an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum FitChoice {
    Stretch,
    Crop,
    Pad,
}

impl From<FitChoice> for FitMode {
    fn from(choice: FitChoice) -> Self {
        match choice {
            FitChoice::Stretch => Self::Stretch,
            FitChoice::Crop => Self::Crop,
            FitChoice::Pad => Self::Pad,
        }
    }
}

/// A text that is not a pair of names.
#[derive(Debug, thiserror::Error)]
#[error("expected NAME=INPUT")]
struct PairError;

fn pair(text: &str) -> Result<(String, String), PairError> {
    let (name, input) =
        text.split_once('=').filter(|(name, input)| !name.is_empty() && !input.is_empty()).ok_or(PairError)?;
    Ok((name.to_owned(), input.to_owned()))
}

pub(super) fn run(arguments: &RunArguments, session: &Session) -> Result<Exit, CommandError> {
    let mode = if arguments.float32 { Mode::Float32 } else { Mode::Declared };
    let subject = session.subject(&arguments.subject)?;
    if arguments.text.is_asked_for() {
        return run_text::run(&arguments.text, subject, arguments.variant.clone(), mode, session);
    }
    if arguments.text.is_conversation() {
        if !(arguments.input.is_empty() && arguments.output.is_empty() && arguments.function.is_none()) {
            return Err(CommandError::Usage {
                message: "`--chat` takes texts, and not tensors or functions",
                hint: "leave out --input, --output and --function",
            });
        }
        return run_chat::run(&arguments.text, subject, arguments.variant.clone(), mode, session);
    }
    let options = RunOptions {
        subject,
        variant: arguments.variant.clone(),
        function: arguments.function.clone(),
        inputs: arguments.input.clone(),
        names: arguments.map.iter().cloned().collect(),
        outputs: arguments.output.clone(),
        mode,
        pictures: PictureChoice { range: arguments.range.map(Into::into), fit: arguments.fit.map(Into::into) },
    };
    let report = execute(&session.context, &options)?;
    session.printer.report("run", &report, |printer| {
        printer.table(&table(&report))?;
        if let Some(first) = &report.not_finite {
            let with = if first.constants.is_empty() {
                String::new()
            } else {
                format!(", with {}", first.constants.join(", "))
            };
            printer.warning(format_args!(
                "`{}` ({}{with}) is the first whose result is not finite",
                first.operation, first.operator
            ));
        }
        report.warnings.iter().for_each(|warning| printer.warning(warning));
        if let Some(other) = report.others.first() {
            let others = report.others.join(", ");
            printer.summary(format_args!("picked {}; there is {others}, too: --variant '{other}'", report.bundle));
        }
        report.written.iter().for_each(|path| printer.summary(format_args!("wrote `{}`", path.display())));
        printer.summary(format_args!("ran `{}` of `{}` in {:.1} s", report.function, report.bundle, report.seconds));
        Ok(())
    })?;
    Ok(Exit::Ok)
}

fn table(report: &RunReport) -> Table {
    let mut table = Table::of(&COLUMNS);
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.6}"));
    for output in &report.outputs {
        let shape = output.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let note = if output.not_finite == 0 {
            "-".to_owned()
        } else {
            format!("{} not finite", count(output.not_finite, "number"))
        };
        let ty = format!("{}[{shape}]", output.dtype);
        table.row([output.name.clone(), ty, number(output.min), number(output.max), number(output.mean), note]);
    }
    table
}
