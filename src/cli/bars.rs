//! Progress bars on standard error, if it is a terminal. Elsewhere, `-v` prints a line per task.

use std::{io, io::IsTerminal, sync::Arc, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use super::{
    printer::{Printer, Verbosity},
    settings::Settings,
    visible,
};
use crate::workflow::{Amount, Progress, ProgressTask, Silent};

/// The progress display for this process's standard error.
pub fn progress(printer: &Printer, settings: &Settings) -> Arc<dyn Progress> {
    match printer.verbosity() {
        Verbosity::Quiet => Arc::new(Silent),
        _ if io::stderr().is_terminal() && !settings.plain_terminal => Arc::new(Bars {
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
            printer: printer.clone(),
        }),
        Verbosity::Normal | Verbosity::Verbose => Arc::new(Lines { printer: printer.clone() }),
    }
}

/// Shows a bar for each running task.
#[derive(Debug)]
struct Bars {
    bars: MultiProgress,
    printer: Printer,
}

#[derive(Debug)]
struct Bar {
    bar: ProgressBar,
    bars: MultiProgress,
    printer: Printer,
}

impl Progress for Bars {
    fn begin(&self, name: &str, total: Amount) -> Box<dyn ProgressTask> {
        let bar = match total {
            Amount::Bytes(total) | Amount::Items(total) => ProgressBar::new(total),
            Amount::Unknown => ProgressBar::new_spinner(),
        };
        let bar = self
            .bars
            .add(bar.with_style(style(total)).with_message(visible::line(name)).with_finish(ProgressFinish::AndClear));
        bar.enable_steady_tick(Duration::from_millis(100));
        Box::new(Bar { bar, bars: self.bars.clone(), printer: self.printer.clone() })
    }

    fn warning(&self, text: &str) {
        self.bars.suspend(|| self.printer.warning(text));
    }
}

impl ProgressTask for Bar {
    fn advance(&self, amount: u64) {
        self.bar.inc(amount);
    }

    fn finish(self: Box<Self>, summary: &str) {
        self.bar.finish_and_clear();
        self.bars.suspend(|| self.printer.detail(summary));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(total: Amount) -> ProgressStyle {
    let template = match total {
        Amount::Bytes(_) => {
            "{wide_msg} [{bar:16}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}, {eta} left"
        }
        Amount::Items(_) => "{wide_msg} [{bar:28}] {pos}/{len}",
        Amount::Unknown => "{spinner} {wide_msg} {pos}",
    };
    ProgressStyle::with_template(template).expect("the templates above are valid").progress_chars("=> ")
}

/// Prints a line when a task begins and when it ends.
#[derive(Debug)]
struct Lines {
    printer: Printer,
}

impl Progress for Lines {
    fn begin(&self, name: &str, _: Amount) -> Box<dyn ProgressTask> {
        self.printer.detail(name);
        Box::new(Lines { printer: self.printer.clone() })
    }

    fn warning(&self, text: &str) {
        self.printer.warning(text);
    }
}

impl ProgressTask for Lines {
    fn advance(&self, _: u64) {}

    fn finish(self: Box<Self>, summary: &str) {
        self.printer.detail(summary);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_valid() {
        for total in [Amount::Bytes(1), Amount::Items(1), Amount::Unknown] {
            let _ = style(total);
        }
    }
}
