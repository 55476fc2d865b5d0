//! `mlreg run --chat` without `--text`: a conversation on a terminal, elsewhere one message from standard input.

use std::{
    collections::VecDeque,
    io::{self, BufRead, IsTerminal},
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use super::{
    CommandError, Exit, Session, interrupt,
    paint::HINT,
    printer::{Printer, write_talk},
    run_text::{self, TextArguments},
    visible,
};
use crate::{
    eval::Mode,
    workflow::{
        bundles::BundleSubject,
        run::text::{Partner, TextResult, TextRunError, converse},
    },
};

const PROMPT: &str = "> ";

pub(super) fn run(
    arguments: &TextArguments,
    subject: BundleSubject,
    variant: Option<String>,
    mode: Mode,
    session: &Session,
) -> Result<Exit, CommandError> {
    if !(io::stdin().is_terminal() && session.printer.is_watched()) {
        let text = io::read_to_string(io::stdin()).map_err(CommandError::Input)?;
        let text = text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text)).unwrap_or(&text);
        if text.is_empty() {
            return Err(CommandError::Usage {
                message: "standard input is empty",
                hint: "give the message there, or with --text",
            });
        }
        let options = arguments.options(subject, variant, mode, vec![text.to_owned()], session)?;
        return run_text::show(&options, session);
    }
    let mut options = arguments.options(subject, variant, mode, Vec::new(), session)?;
    options.streams = true;
    session.printer.summary("Ctrl-D ends the conversation, Ctrl-C stops an answer");
    interrupt::leave_to_command();
    let mut terminal = Terminal::new(session)?;
    let report = converse(&session.context, &options, &arguments.chat_options(session)?, &mut terminal)?;
    if let Some(failure) = terminal.failure {
        return Err(failure);
    }
    session.printer.summary(format_args!("talked with {}", report.bundles.join(", ")));
    Ok(if terminal.interrupted { Exit::Interrupted } else { Exit::Ok })
}

/// An event at the terminal.
enum Event {
    Line(String),
    End,
    Interrupt,
}

/// The terminal of a conversation.
struct Terminal<'a> {
    printer: &'a Printer,
    events: Receiver<Event>,
    /// Events that came while an answer was stopped.
    waiting: VecDeque<Event>,
    /// Whether Ctrl-C was pressed while an answer came.
    stop: Arc<AtomicBool>,
    interrupted: bool,
    failure: Option<CommandError>,
}

impl<'a> Terminal<'a> {
    fn new(session: &'a Session) -> Result<Self, CommandError> {
        let (sender, events) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let (lines, pressed) = (sender.clone(), Arc::clone(&stop));
        let waiting = session.context.block_on(async move { drop(tokio::spawn(interrupts(sender, pressed))) });
        waiting?;
        // It may wait for a line that never comes, and ends with the process.
        thread::spawn(move || read_lines(io::stdin().lock(), &lines));
        Ok(Self {
            printer: &session.printer,
            events,
            waiting: VecDeque::new(),
            stop,
            interrupted: false,
            failure: None,
        })
    }

    fn print(&mut self, text: &str) {
        self.failure = self.printer.data(text).err().or(self.failure.take());
    }
}

async fn interrupts(sender: Sender<Event>, stop: Arc<AtomicBool>) {
    while tokio::signal::ctrl_c().await.is_ok() {
        stop.store(true, Ordering::Relaxed);
        if sender.send(Event::Interrupt).is_err() {
            return;
        }
    }
}

fn read_lines(input: impl BufRead, sender: &Sender<Event>) {
    for line in input.lines() {
        let event = line.map_or(Event::End, Event::Line);
        let is_end = matches!(event, Event::End);
        if sender.send(event).is_err() || is_end {
            return;
        }
    }
    // Nobody listens any more where the conversation has ended otherwise.
    let _ = sender.send(Event::End);
}

impl Partner for Terminal<'_> {
    fn next(&mut self) -> Option<String> {
        if self.failure.is_some() {
            return None;
        }
        write_talk(PROMPT);
        loop {
            match self.waiting.pop_front().unwrap_or_else(|| self.events.recv().unwrap_or(Event::End)) {
                Event::Line(line) if line.trim().is_empty() => write_talk(PROMPT),
                Event::Line(line) => {
                    self.stop.store(false, Ordering::Relaxed);
                    return Some(line);
                }
                Event::End => {
                    write_talk("\n");
                    return None;
                }
                Event::Interrupt => {
                    write_talk("\n");
                    self.interrupted = true;
                    return None;
                }
            }
        }
    }

    fn hear(&mut self, piece: &str) -> ControlFlow<()> {
        self.print(piece);
        let is_enough = self.failure.is_some() || self.stop.load(Ordering::Relaxed);
        if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn answered(&mut self, result: &TextResult) {
        self.print("\n");
        if self.stop.swap(false, Ordering::Relaxed) {
            // Ctrl-C has stopped the answer, and not the conversation.
            self.waiting.extend(self.events.try_iter().filter(|event| !matches!(event, Event::Interrupt)));
        } else if result.ended == Some(false) {
            self.printer.detail("the answer was cut at --max-tokens, or at the end of the context");
        }
    }

    fn refused(&mut self, error: &TextRunError) {
        self.printer.failure(error);
        if let Some(hint) = error.hint() {
            write_talk(&format!("{} {}\n", self.printer.talk_paint().text(HINT, "hint:"), visible::lines(&hint)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_one_by_one_and_then_the_end() {
        let (sender, events) = channel();
        read_lines("one\ntwo\r\n\nthree".as_bytes(), &sender);
        let lines: Vec<String> = events
            .try_iter()
            .map(|event| match event {
                Event::Line(line) => line,
                Event::End => "END".to_owned(),
                Event::Interrupt => "INTERRUPT".to_owned(),
            })
            .collect();
        assert_eq!(lines, ["one", "two", "", "three", "END"]);
    }
}
