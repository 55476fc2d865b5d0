//! `mlreg pin` and `mlreg unpin`.

use clap::Args;

use super::{
    CommandError, Exit, Session,
    printer::{Table, bytes, count},
    table::{self, Columns},
};
use crate::{
    base::{PackageName, Tag},
    store::Priority,
    workflow::pin::{PinOptions, PinReport, PinnedSubject, pin, pins, unpin},
};

const PIN_EXAMPLES: &str = "\
Examples:
  mlreg pin preview
  mlreg pin preview --package flux-1-tae --priority 0.8
  mlreg pin";

const COLUMNS: Columns = Columns {
    headings: &["HOLDER", "PINNED", ">TIMES", ">VARIANTS", ">SIZE"],
    wrapped: &[],
    left_out: &["TIMES", "VARIANTS", "SIZE"],
};

const UNPIN_EXAMPLES: &str = "\
Examples:
  mlreg unpin preview
  mlreg unpin preview --priority 0.1";

/// Keep the variants of a tag in the store until `unpin`.
///
/// As in On-Demand Resources, pins are counted for each holder: a tag is free again when every `pin` had its `unpin`. A
/// pin keeps the variants that had the tag when it began, also when a later release gives the tag to others. In an app,
/// tags are those of the releases in `mlreg.lock`; elsewhere those of the highest version of every package in the
/// store. Without a tag and a package, lists what is pinned.
#[derive(Debug, Args)]
#[command(after_long_help = table::help(PIN_EXAMPLES, &[&COLUMNS]))]
pub(super) struct PinArguments {
    #[command(flatten)]
    what: Subjects,
}

/// End a pin, so that `gc` may delete the variants.
#[derive(Debug, Args)]
#[command(after_long_help = UNPIN_EXAMPLES)]
pub(super) struct UnpinArguments {
    #[command(flatten)]
    what: Subjects,
}

#[derive(Debug, Args)]
struct Subjects {
    /// The tags
    #[arg(value_name = "TAG")]
    tags: Vec<Tag>,
    /// Only this package; without a tag, all of it
    #[arg(long, value_name = "P")]
    package: Vec<PackageName>,
    /// Who holds it; default: the app's folder
    #[arg(long, value_name = "NAME")]
    holder: Option<String>,
    /// How much it is worth keeping, from 0 to 1
    ///
    /// `mlreg gc --budget` removes what has the lowest priority first. It is 0.5 where nothing was said, and stays
    /// until another is given.
    #[arg(long, value_name = "N", value_parser = priority)]
    priority: Option<Priority>,
}

fn priority(text: &str) -> Result<Priority, &'static str> {
    text.parse().ok().and_then(Priority::new).ok_or("expected a number from 0 to 1")
}

impl Subjects {
    fn options(&self) -> PinOptions {
        PinOptions {
            tags: self.tags.clone(),
            packages: self.package.clone(),
            holder: self.holder.clone(),
            priority: self.priority,
        }
    }

    fn is_empty(&self) -> bool {
        self.tags.is_empty() && self.package.is_empty()
    }
}

pub(super) fn run(arguments: &PinArguments, session: &Session) -> Result<Exit, CommandError> {
    if arguments.what.is_empty() {
        let report = pins(&session.context)?;
        session.printer.report("pin", &report, |printer| printer.table(&table(&report)))?;
        return Ok(Exit::Ok);
    }
    let report = pin(&session.context, &arguments.what.options())?;
    session.printer.report("pin", &report, |printer| {
        report.pins.iter().for_each(|pin| printer.summary(pinned(pin)));
        Ok(())
    })?;
    Ok(Exit::Ok)
}

pub(super) fn run_unpin(arguments: &UnpinArguments, session: &Session) -> Result<Exit, CommandError> {
    if arguments.what.is_empty() {
        return Err(CommandError::Usage {
            message: "nothing to unpin is given",
            hint: "name tags, or packages with `--package`",
        });
    }
    let report = unpin(&session.context, &arguments.what.options())?;
    session.printer.report("unpin", &report, |printer| {
        for pin in &report.pins {
            let open = if pin.count == 0 { String::new() } else { format!(", pinned {} still", times(pin.count)) };
            printer.summary(format_args!("unpinned `{}` (holder `{}`){open}", pin.subject, pin.holder));
        }
        Ok(())
    })?;
    Ok(Exit::Ok)
}

fn pinned(pin: &PinnedSubject) -> String {
    let missing = if pin.missing_bytes > 0 {
        format!("; {} are not in the store", bytes(pin.missing_bytes))
    } else {
        String::new()
    };
    let variants = count(pin.variants, "variant");
    format!(
        "`{}` is pinned {} by `{}`: {variants}, {}{missing}",
        pin.subject,
        times(pin.count),
        pin.holder,
        bytes(pin.bytes)
    )
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

fn table(report: &PinReport) -> Table {
    let mut table = Table::of(&COLUMNS);
    for pin in &report.pins {
        table.row([
            pin.holder.clone(),
            pin.subject.clone(),
            pin.count.to_string(),
            pin.variants.to_string(),
            bytes(pin.bytes),
        ]);
    }
    table
}
