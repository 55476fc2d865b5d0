//! Signals: Ctrl-C and SIGTERM end the command at once and leave no temporary files.
//!
//! A thread waits for SIGINT and SIGTERM, removes the temporary files of this process, and ends it with
//! [`Exit::Interrupted`] or [`Exit::Terminated`]. The next fetch of the same folder, or `gc`, removes files that the
//! thread misses, as after a kill.

use std::{
    io,
    io::IsTerminal,
    process,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::{Exit, printer::write_talk};
use crate::base::{remove_temporaries, watch_temporaries};

/// Whether the command handles Ctrl-C itself.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Leaves Ctrl-C to the command, which waits for it itself. SIGTERM still ends the process.
pub fn leave_to_command() {
    TAKEN.store(true, Ordering::Relaxed);
}

#[expect(
    clippy::disallowed_methods,
    reason = "running work cannot be cancelled; temporary files are removed here instead of by destructors"
)]
/// Starts the thread that waits for signals. Where it cannot start, signals have the system's default effect.
pub fn watch() {
    watch_temporaries();
    let waiting = thread::Builder::new().name("mlreg-interrupt".to_owned()).spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        let Ok(exit) = runtime.and_then(|runtime| runtime.block_on(signal())) else { return };
        // On a terminal the line has a bar, or `^C`.
        let start = if io::stderr().is_terminal() { "\r\u{1b}[2K" } else { "" };
        write_talk(&format!("{start}interrupted\n"));
        remove_temporaries();
        process::exit(exit as i32);
    });
    drop(waiting);
}

/// Waits for a signal that ends the process.
#[cfg(unix)]
async fn signal() -> io::Result<Exit> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    loop {
        tokio::select! {
            _ = interrupt.recv() => if !TAKEN.load(Ordering::Relaxed) { return Ok(Exit::Interrupted) },
            _ = terminate.recv() => return Ok(Exit::Terminated),
        }
    }
}

/// Waits for a signal that ends the process.
#[cfg(not(unix))]
async fn signal() -> io::Result<Exit> {
    loop {
        tokio::signal::ctrl_c().await?;
        if !TAKEN.load(Ordering::Relaxed) {
            return Ok(Exit::Interrupted);
        }
    }
}
